"""`felix-controlplane step-down`: let another node lead before this one is stopped."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import click

from felix.cli.local_rpc import socket_in
from felix.cli.options import CONFIG_OPTION, EXIT_START, end, load_config
from felix.proto.cluster import TransferLeadership
from felix.proto.control_plane import Call
from felix.proto.errors import FelixError, NotFound, TransferRefused
from felix.proto.queries import ClusterStatus, GetCluster
from felix.transport.rpc_client import RpcClient

EXIT_STILL_LEADS: Final = 4
"""Nobody took over within the time."""
EXIT_NO_ANSWER: Final = 5
"""The node of this data directory does not answer."""
ASK_S: Final = 1.0
AGAIN_S: Final = 0.2


class StillLeads(Exception):
    """The time is over."""


@click.command("step-down")
@CONFIG_OPTION
@click.option(
    "--timeout-seconds",
    "timeout_s",
    default=10.0,
    show_default=True,
    type=click.FloatRange(min=0.1, max=600),
    help="How long to try.",
)
@click.option(
    "--grace-seconds",
    "grace_s",
    default=0.0,
    show_default=True,
    type=click.FloatRange(min=0, max=600),
    help="How long to wait after that: so long others may still believe that this node takes "
    "requests.",
)
def step_down_command(path: Path | None, timeout_s: float, grace_s: float) -> None:
    """Hand leadership over, if the node that runs here has it.

    To be run on the node's own machine before the node is stopped, by whoever may enter its data
    directory. The node goes on as a follower, and may be elected again.
    """
    config = load_config(path)
    socket = socket_in(Path(config.data_dir))
    if socket is None:
        end(EXIT_START, f"data_dir: the path {config.data_dir} is too long for a socket in it")
    if not socket.exists():
        click.echo(f"no node runs in {config.data_dir}")
        return
    client = RpcClient(f"ipc://{socket}")
    try:
        click.echo(_step_down(client, time.monotonic() + timeout_s))
    except StillLeads as error:
        end(EXIT_STILL_LEADS, f"{config.name} still leads after {timeout_s:g} s: {error}")
    except FelixError as error:
        end(EXIT_NO_ANSWER, f"{config.name} does not answer: {error.message} ({error.code})")
    finally:
        client.close()
    time.sleep(grace_s)


def _step_down(client: RpcClient, deadline: float) -> str:
    """Ask until another node leads; say which. Raises: StillLeads, FelixError (no answer)."""
    refusal = "it was not asked yet"
    while (left_s := deadline - time.monotonic()) > 0:
        status = _status(client, left_s)
        if status.leader_id != status.node_id:
            return _leader(status)
        others = _successors(status)
        if not others:
            return "this node is the only voter: there is nobody to hand over to"
        for other in others:
            # By its identity: should another lead by now, this cannot come back to this node.
            call = Call(timeout_s=min(ASK_S, max(0.1, deadline - time.monotonic())))
            try:
                client.ask(TransferLeadership(target=other), call)
                break
            except (TransferRefused, NotFound) as error:
                refusal = error.message
            except FelixError as error:  # the next look says what came of it
                refusal = error.message
                break
        else:
            time.sleep(min(AGAIN_S, max(0.0, deadline - time.monotonic())))
    raise StillLeads(refusal)


def _status(client: RpcClient, left_s: float) -> ClusterStatus:
    status = client.ask(GetCluster(), Call(timeout_s=left_s, consistency="stale")).result
    assert isinstance(status, ClusterStatus)
    return status


def _successors(status: ClusterStatus) -> list[str]:
    """List the other voters, those first that would take over soonest."""
    voters = [one for one in status.members if one.voter and one.id != status.node_id]
    voters.sort(key=lambda one: (not one.active, -(one.match_index or 0), one.id))
    return [one.id for one in voters]


def _leader(status: ClusterStatus) -> str:
    names = [one.name for one in status.members if one.id == status.leader_id]
    return f"{names[0]} leads" if names else "this node does not lead"
