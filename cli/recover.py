"""`recover plan`, `recover apply`: when so many nodes are lost that no quorum can come back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from felix.cli.backup import (
    ABOVE_OPTION,
    DIRECTORY,
    EPOCH_OPTION,
    MARGIN_OPTION,
    describe_new_cluster,
    founder_of,
)
from felix.cli.options import CONFIG_OPTION, EXIT_START, end, ending_if_too_old, load_config
from felix.cli.settings import catalog_limits
from felix.core.catalog.catalog import CatalogLimits
from felix.core.catalog.dump import BadDump
from felix.core.catalog.renewal import TooOften
from felix.proto.ids import NodeId
from felix.proto.raft import Membership
from felix.recovery.errors import Refused
from felix.recovery.plan import Comparison, Plan, Survey, clusters_of, make_plan, plan_id
from felix.recovery.survey import (
    Contents,
    find_directories,
    read_directory,
    rebuild,
    refuse_running,
)
from felix.recovery.takeover import Floor, recover_directory
from felix.storage.errors import StorageError

EXIT_NOTHING_TO_RECOVER: Final = 6
"""The directories that were given make a quorum."""
EXIT_NOTHING_USABLE: Final = 7


@click.group("recover")
def recover_group() -> None:
    """Go on after a quorum is lost for good."""


@recover_group.command("plan")
@click.argument("directories", nargs=-1, required=True, type=DIRECTORY)
@ending_if_too_old()
def plan_command(directories: tuple[Path, ...]) -> None:
    """Read data DIRECTORIES (of stopped nodes, or copies) and say what can be recovered.

    Changes nothing. Looks two levels below each for others, such as those a node has set aside.
    """
    try:
        found = find_directories(directories)
        for path, _ in found:
            refuse_running(path)
        contents = [read_directory(path, is_set_aside=inside) for path, inside in found]
    except (OSError, Refused, StorageError) as error:
        end(EXIT_START, str(error))
    surveys = [one.survey for one in contents]
    for survey in surveys:
        _describe(survey)
    clusters = clusters_of(surveys)
    if len(clusters) > 1:
        end(EXIT_START, f"they are of {len(clusters)} clusters: {', '.join(sorted(clusters))}")
    plan = make_plan(surveys)
    if plan.chosen is None:
        end(EXIT_NOTHING_USABLE, "nothing can be built from any of these: restore a backup")
    if plan.has_quorum:
        click.echo("A quorum of whole directories is here: start these nodes, nothing is lost.")
        raise SystemExit(EXIT_NOTHING_TO_RECOVER)
    _describe_plan(plan, next(one for one in contents if one.survey is plan.chosen))


@recover_group.command("apply")
@click.option("--data-dir", required=True, type=DIRECTORY, help="The one that the plan chose.")
@click.option("--plan", "plan", help="The id that `recover plan` gave.")
@click.option("--yes", is_flag=True, help="Without a plan.")
@CONFIG_OPTION
@EPOCH_OPTION
@ABOVE_OPTION
@MARGIN_OPTION
@ending_if_too_old()
def apply_command(
    data_dir: Path,
    plan: str | None,
    yes: bool,
    path: Path | None,
    epoch: int,
    above: int,
    margin: int,
) -> None:
    """Make a new cluster of one from everything in a data directory; the old one is set aside.

    The node keeps its name and addresses, or takes those of --config.
    """
    if plan is None and not yes:
        end(EXIT_START, "give --plan with the id that `recover plan` gave, or --yes")
    config = load_config(path) if path is not None else None
    try:
        made = recover_directory(
            data_dir,
            founder_of(config) if config else None,
            catalog_limits(config) if config else CatalogLimits(),
            plan=plan,
            floor=Floor(epoch=epoch, above=above, margin=margin),
        )
    except (OSError, Refused, StorageError, BadDump, TooOften) as error:
        end(EXIT_START, str(error))
    describe_new_cluster(made)


def _describe(survey: Survey) -> None:
    click.echo(survey.path + (" (set aside)" if survey.is_set_aside else ""))
    identity, state = survey.identity, survey.hard_state
    if identity is not None:
        click.echo(f"  node          {identity.name} ({identity.node_id})")
        click.echo(f"  cluster       {identity.cluster_id}")
    if state is not None:
        click.echo(f"  term          {state.term}, vote for {state.vote or 'nobody'}")
    click.echo(f"  log           up to entry {survey.last_index} of term {survey.last_term}")
    click.echo(f"  snapshot      {survey.snapshot_index or 'none'}")
    if survey.membership is None:
        click.echo("  membership    not in this log")
    else:
        membership = survey.membership
        voters = _names(membership, membership.voters)
        joint = f", with {_names(membership, membership.outgoing)}" if membership.outgoing else ""
        click.echo(f"  membership    voters {voters}{joint} (entry {survey.membership_index})")
    for one in survey.damage:
        click.echo(f"  DAMAGE        {one}")
    if not survey.is_usable:
        click.echo("  NOT USABLE    nothing can be built from it")


def _describe_plan(plan: Plan, contents: Contents) -> None:
    chosen = plan.chosen
    assert chosen is not None
    try:
        catalog = rebuild(contents, CatalogLimits())
    except (StorageError, BadDump) as error:
        end(EXIT_NOTHING_USABLE, f"{chosen.path}: {error}")
    last = chosen.last_index
    click.echo(f"The most advanced log is in {chosen.path}")
    if chosen.membership is None:
        click.echo("  Who else votes is not in it: if other nodes live, they may have more.")
    else:
        missing = _names(chosen.membership, plan.missing)
        click.echo(f"  There is no quorum: of its voters these are missing or damaged: {missing}.")
    click.echo("What recovering from it means")
    click.echo(f"  kept          entries up to {last}: version {catalog.version} of epoch")
    click.echo(f"                {catalog.epoch}, digest {catalog.digest}")
    click.echo(f"  committed     for certain up to entry {plan.committed}")
    if plan.alone_from:
        click.echo(f"  only here     entries {plan.alone_from} to {last}: kept, committed or not")
    for line in map(_comparison, plan.others):
        click.echo(f"  {line}")
    if plan.missing:
        click.echo("  may be lost   whatever was acknowledged and is only on those missing")
    click.echo(f"Plan {plan_id(chosen)}. To carry it out:")
    click.echo(
        f"  felix-controlplane recover apply --data-dir {chosen.path} --plan {plan_id(chosen)}"
    )


def _comparison(one: Comparison) -> str:
    line = f"behind        {one.survey.path}: by {one.behind} entries"
    if one.dropped:
        line += f"; DROPS its {one.dropped} entries after {one.agreed}, which differ"
    return line


def _names(membership: Membership, ids: Sequence[NodeId]) -> str:
    names = {one.id: f"{one.name} ({one.id})" for one in membership.members}
    return ", ".join(names.get(one, one) for one in ids) or "none"
