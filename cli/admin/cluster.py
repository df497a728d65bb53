"""`felix-admin cluster`: who takes part, who leads, and how that is changed."""

from __future__ import annotations

import contextlib
import sys
from functools import partial

import click
import msgspec

from felix.cli.admin.client import AdminClient
from felix.cli.admin.errors import (
    HINTS,
    OutcomeUnknown,
    Refused,
    Unreachable,
    Usage,
    plain,
)
from felix.cli.admin.options import node_option, with_client, with_output, with_waiting
from felix.cli.admin.output import Format, progress, show_members, show_status
from felix.cli.admin.wait import Step, follow, joining, leaving, member_of
from felix.http.bodies import AddressesBody, NewMember
from felix.http.cluster_views import ClusterView, MemberView


@click.group("cluster")
def cluster_group() -> None:
    """Members and leadership."""


@cluster_group.command()
@with_client
@with_output
def status(client: AdminClient, output: Format) -> None:
    """Show who leads, how far each member is, alarms, and whether a change is under way."""
    view = client.cluster()
    show_status(view, output)
    if any(one.role in {"outsider", "founder"} for one in view.members):
        raise Unreachable(
            "this node takes part in no cluster yet",
            "ask a member of the cluster: felix-admin cluster add --help",
        )
    if view.leader_id is None:
        raise Unreachable(
            "there is no leader: nothing can be changed",
            "see that a majority of the voters runs and can reach each other: "
            "docs/runbooks.md#lost-quorum",
        )


@cluster_group.command()
@with_client
@with_output
def members(client: AdminClient, output: Format) -> None:
    """List who takes part, by identity, and where each can be reached."""
    show_members(client.cluster(), output)


@cluster_group.command()
@click.argument("name")
@node_option
@click.option("--id", "member_id", metavar="HEX", help="Identity of the new node, without --node.")
@click.option("--peers", metavar="HOST:PORT", help="Where other members reach it.")
@click.option("--rpc", metavar="HOST:PORT", help="Where brokers and other members ask it.")
@click.option("--watch", metavar="HOST:PORT", help="Where brokers subscribe.")
@click.option("--http", metavar="HOST:PORT", help="Its HTTP API.")
@click.option("--metrics", metavar="HOST:PORT", help="Its probes and metrics.")
@click.option("--level", type=click.IntRange(min=1), help="Feature level of its build.")
@click.option("--replace", is_flag=True, help="It takes the place of the dead member of its name.")
@with_waiting
@with_client
@with_output
def add(
    name: str,
    node: str | None,
    member_id: str | None,
    level: int | None,
    replace: bool,
    wait: bool,
    timeout_s: float,
    client: AdminClient,
    output: Format,
    **addresses: str | None,
) -> None:
    """Take the node NAME in.

    It runs already, on an empty data directory, and takes no part yet. With --node it is asked for
    its identity and addresses; else --id, --peers and --rpc are needed. It becomes a learner at
    once, and a voter by itself when it has caught up.
    """
    if node is None:
        body = _as_told(name, member_id, level, addresses)
    elif any(value is not None for value in (member_id, level, *addresses.values())):
        raise Usage("--node says everything", "leave out --id, --level and the addresses")
    else:
        body = _introduction(node, name, client)
    view = client.cluster()
    present = member_of(view, body.member_id)
    if present is None or present.name != name:
        view = _ask_to_add(client, msgspec.structs.replace(body, replace=replace))
    if wait:
        with progress() as say:
            step_of = partial(joining, member_id=body.member_id)
            view = follow(client.cluster, step_of, say, timeout_s=timeout_s)
    show_status(view, output)


def _ask_to_add(client: AdminClient, body: NewMember) -> ClusterView:
    try:
        return client.add_member(body)
    except OutcomeUnknown as error:
        hint = "run the same again: what was done is not done twice"
        raise OutcomeUnknown(error.message, hint) from error


def _as_told(
    name: str, member_id: str | None, level: int | None, addresses: dict[str, str | None]
) -> NewMember:
    """Put together what the options say. Raises: Usage."""
    peers, rpc = addresses.pop("peers"), addresses.pop("rpc")
    if member_id is None or peers is None or rpc is None:
        raise Usage(
            "who is it? neither --node nor all of --id, --peers and --rpc were given",
            f"felix-admin cluster add {plain(name)} --node HOST:PORT",
        )
    return NewMember(member_id, name, AddressesBody(peers, rpc, **addresses), level)


def _introduction(node: str, name: str, client: AdminClient) -> NewMember:
    """Ask a node who it is. Raises: AdminError, also where it is not the one that is meant."""
    try:
        with contextlib.closing(client.at_stranger(node)) as newcomer:
            seen = newcomer.self_description()
    except (Unreachable, OutcomeUnknown) as error:
        hint = "start the new node first: felix-controlplane serve --config ..."
        raise Unreachable(error.message, hint) from error
    if seen.name != name:
        raise Usage(
            f"the node at {node} is {plain(seen.name)}, not {name}",
            f"felix-admin cluster add {plain(seen.name)} --node {node}",
        )
    view = client.cluster()
    if seen.cluster_id != view.cluster_id:
        raise Refused(
            f"the node at {node} was made for cluster {plain(seen.cluster_id)}, and this is "
            f"{view.cluster_id}",
            "correct cluster.name in its configuration, and let it begin with an empty directory",
        )
    addresses = seen.addresses
    if addresses is None:
        known = member_of(view, seen.node_id)
        if known is None:
            raise Refused(
                f"the node at {node} says that a cluster has taken it in, and this one has not",
                "see which one it is: felix-admin cluster members --endpoint HOST:PORT",
            )
        addresses = known.addresses
    return NewMember(
        member_id=seen.node_id,
        name=seen.name,
        addresses=AddressesBody(
            peers=addresses.get("peers", ""),
            rpc=addresses.get("rpc", ""),
            **{field: addresses.get(field) for field in ("watch", "http", "metrics")},
        ),
        level=seen.level,
    )


@cluster_group.command()
@click.argument("member")
@click.option("--yes", is_flag=True, help="Do not ask. Needed where there is no terminal.")
@with_waiting
@with_client
@with_output
def remove(
    member: str, yes: bool, wait: bool, timeout_s: float, client: AdminClient, output: Format
) -> None:
    """Let MEMBER, an identity or a name that only one has, leave for good.

    Its identity is never taken in again. It may be the leader.
    """
    before = client.cluster()
    gone = _find(before, member)
    if not yes:
        _confirm(before, gone)
    with progress() as say:
        say(Step("asking", f"asking the leader to let {gone.name} leave"))
        try:
            view = client.remove_member(gone.id)
        except OutcomeUnknown:
            if not wait:
                raise
            say(Step("unknown", "the answer was lost; looking whether it leaves"))
        if wait:
            step_of = partial(leaving, gone=gone)
            view = follow(client.cluster, step_of, say, timeout_s=timeout_s)
    show_status(view, output)


def _find(view: ClusterView, wanted: str) -> MemberView:
    by_id = member_of(view, wanted)
    if by_id is not None:
        return by_id
    named = [one for one in view.members if one.name == wanted]
    if not named:
        names = ", ".join(one.name for one in view.members)
        raise Refused(f"{wanted} is not a member; these are: {names}", HINTS["not_found"])
    if len(named) > 1:
        ids = ", ".join(f"{one.id} ({one.role})" for one in named)
        raise Refused(f"{len(named)} members are called {wanted}: {ids}", HINTS["ambiguous"])
    return named[0]


def _confirm(view: ClusterView, gone: MemberView) -> None:
    """Ask on a terminal. Raises: Usage where there is none, click.Abort on a no."""
    if not sys.stdin.isatty():
        raise Usage(
            f"{gone.name} would leave for good, and there is no terminal to ask on",
            f"felix-admin cluster remove {plain(gone.name)} --yes",
        )
    staying = [one for one in view.members if one.voter and one.id != gone.id]
    active = sum(one.active is not False for one in staying)
    click.confirm(
        plain(
            f"{gone.name} ({gone.role}, {gone.id}) leaves for good. "
            f"{len(staying)} voters stay, {active} of them active, {len(staying) // 2 + 1} needed. "
            "Go on?"
        ),
        abort=True,
        err=True,
    )


@cluster_group.command()
@click.argument("target", default="")
@with_client
@with_output
def transfer(target: str, client: AdminClient, output: Format) -> None:
    """Hand leadership over to TARGET, an identity or a name, or to the most advanced voter."""
    view = client.transfer(target)
    with contextlib.suppress(Unreachable, OutcomeUnknown):
        view = client.cluster()  # the new leader knows how far everybody is; the old one does not
    show_status(view, output)
