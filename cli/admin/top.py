"""`felix-admin top`: a live look at members, brokers and moves, on a plain terminal."""

from __future__ import annotations

import sys
import time
from typing import Any, Final

import click
import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from felix.cli.admin.broker_table import BROKERS, MOVES
from felix.cli.admin.client import AdminClient, Request
from felix.cli.admin.errors import OutcomeUnknown, Refused, Unreachable, Usage, plain
from felix.cli.admin.options import with_client, with_output
from felix.cli.admin.output import FILE_COLUMNS, Format, number, says, show_document, table_of
from felix.cli.admin.tables import rows_table
from felix.http.cluster_views import ClusterView

ROWS_MAX: Final = 50
"""Of brokers and of moves: those that need looking at come first."""
STALE: Final = "stale"
_BROKER_COLUMNS: Final = tuple(one for one in BROKERS if not one.startswith("ADDRESS"))
_MOVE_COLUMNS: Final = tuple(one for one in MOVES if not one.startswith(("PLAN", "KIND")))


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen at one moment."""

    at_s: float
    cluster: ClusterView
    brokers: list[Any]
    moves: list[Any]
    placement: dict[str, Any]
    """What placement is at; empty where it could not be asked."""
    problems: list[str]


class Rates(msgspec.Struct, frozen=True):
    """What happened between two samples, each second; None: it cannot be said."""

    commits: float | None = None
    changes: float | None = None


@click.command("top")
@click.option(
    "--interval",
    default=2.0,
    type=click.FloatRange(0.2, 60),
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks.",
)
@click.option(
    "--once",
    is_flag=True,
    help="Look twice, an interval apart, show it once, and end: for scripts.",
)
@with_client
@with_output
def top_command(interval: float, once: bool, client: AdminClient, output: Format) -> None:
    """Show members and their lag, the commit rate, brokers and moves, until Ctrl-C."""
    console = Console(highlight=False)
    if not once and (output != "table" or not console.is_terminal):
        raise Usage("top draws on a terminal", "felix-admin top --once")
    before = look(client)
    if once:
        time.sleep(interval)
        now = look(client)
        _show_once(now, rates(before, now), output)
        return
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            live.update(screen_of(before, Rates()), refresh=True)
            while True:
                time.sleep(interval)
                try:
                    now = look(client)
                except (Unreachable, OutcomeUnknown) as error:
                    live.update(Group(Text(plain(error.message), "bold")), refresh=True)
                    continue
                live.update(screen_of(now, rates(before, now)), refresh=True)
                before = now
    except KeyboardInterrupt:
        return


def look(client: AdminClient) -> Sample:
    """Look at everything; what one may not see is missing. Raises: Unreachable, Refused."""
    problems: list[str] = []

    def ask(path: str, **query: str) -> Any:
        try:
            return client.ask(Request(path=path, query=dict(query))).document
        except (Refused, Unreachable, OutcomeUnknown) as error:
            problems.append(error.message.splitlines()[-1].strip())
            return {}

    cluster = client.cluster()
    brokers = ask("/v1/brokers", consistency=STALE).get("items", [])
    moves = ask("/v1/shard-moves", consistency=STALE, under_way="true").get("items", [])
    placement = ask("/v1/placement/plan") if cluster.leader_id is not None else {}
    return Sample(
        at_s=time.monotonic(),
        cluster=cluster,
        brokers=sorted(brokers, key=_needs_looking_at),
        moves=moves,
        placement=placement,
        problems=list(dict.fromkeys(problems)),
    )


def rates(before: Sample, now: Sample) -> Rates:
    """Say how fast the log and the metadata grew; another leader's log goes on where it was."""
    passed_s = now.at_s - before.at_s
    old, new = before.cluster, now.cluster
    if passed_s <= 0 or new.commit_index < old.commit_index:  # another node, which is behind
        return Rates()
    return Rates(
        (new.commit_index - old.commit_index) / passed_s, (new.version - old.version) / passed_s
    )


def screen_of(sample: Sample, rate: Rates) -> RenderableType:
    """Draw it."""
    parts: list[RenderableType] = [Text(plain(line)) for line in headline(sample, rate)]
    parts += [Text(""), _members(sample.cluster)]
    parts += _some(_BROKER_COLUMNS, sample.brokers)
    parts += _some(_MOVE_COLUMNS, sample.moves)
    return Group(*parts)


def _some(columns: tuple[str, ...], rows: list[Any]) -> list[RenderableType]:
    if not rows:
        return []
    more = [Text(f"and {len(rows) - ROWS_MAX:,} more")] if len(rows) > ROWS_MAX else []
    return [Text(""), rows_table(columns, rows[:ROWS_MAX]), *more]


def headline(sample: Sample, rate: Rates) -> list[str]:
    """Say in a few lines what matters first."""
    view, placement = sample.cluster, sample.placement
    names = {one.id: one.name for one in view.members}
    up = sum(one["broker"]["status"] != "down" for one in sample.brokers)
    lines = [
        f"cluster   {view.cluster_id}, leader {names.get(view.leader_id or '', 'none')}, "
        f"term {view.term}",
        f"log       committed {view.commit_index:,} ({_per_s(rate.commits)}), metadata version "
        f"{view.version:,} ({_per_s(rate.changes)})",
        f"brokers   {up} of {len(sample.brokers)} up, {len(sample.moves)} moves under way",
    ]
    if placement:
        unplaced, lacking = len(placement["unplaced"]), placement["under_replicated"]
        lines.append(f"shards    {unplaced:,} without a place, {lacking:,} lack copies")
        if placement["is_paused"]:
            lines.append(f"paused    placement is paused: {placement['paused_reason'] or '-'}")
    lines += [f"alarm     {alarm}" for alarm in view.alarms]
    return lines + [f"unseen    {problem}" for problem in sample.problems]


def _members(view: ClusterView) -> Table:
    rows = [
        [one.name, one.role, says(one.voter), number(one.lag), says(one.active), str(one.level)]
        for one in view.members
    ]
    return table_of(["NAME", "ROLE", "VOTER", "LAG", "ACTIVE", "LEVEL"], rows)


def _show_once(sample: Sample, rate: Rates, output: Format) -> None:
    if output != "table":
        document = {"rates": rate, **msgspec.structs.asdict(sample)}
        del document["at_s"]
        show_document(msgspec.to_builtins(document), output)
        return
    width = None if sys.stdout.isatty() else FILE_COLUMNS
    Console(highlight=False, width=width).print(screen_of(sample, rate))


def _needs_looking_at(one: dict[str, Any]) -> tuple[int, str]:
    order = {"down": 0, "draining": 1, "drained": 2}
    return order.get(one["broker"]["status"], 3), one["broker"]["broker_id"]


def _per_s(rate: float | None) -> str:
    return "-/s" if rate is None else f"{rate:,.1f}/s"
