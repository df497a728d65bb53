"""Snapshots of 20,000 streams between real nodes, while commits go on.

`python -m bench install` is the same with 100,000, and says what commits felt of it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from felix.cli.config import RaftTimings
from felix.proto.commands import CreateStream, UpdateTenant
from felix.proto.control_plane import Call
from felix.proto.resources import RetentionPolicy, StreamSpec
from felix.proto.rpc import AnyRequest
from felix.transport.rpc_client import RpcClient
from tests.cluster.load import Load
from tests.support.cluster import NAMESPACE, TENANT, Cluster, RunningNode, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

STREAMS = 20_000
SNAPSHOT_ENTRIES = 2_000
TRAIL_ENTRIES = 500
DUE = STREAMS // 2 + SNAPSHOT_ENTRIES
"""So many changes, and a snapshot of all streams is taken."""
IN_FLIGHT = 1_000
KILLS_MAX = 5
SPEC = StreamSpec(
    shards=16,
    retention=RetentionPolicy(max_age_seconds=7 * 24 * 3600, max_size_bytes=1 << 40),
    durability="durable",
    replication_factor=3,
    ack_policy="quorum",
)


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    raft = RaftTimings(snapshot_entries=SNAPSHOT_ENTRIES, trail_entries=TRAIL_ENTRIES)
    with cluster(raft=raft) as running:
        running.make_namespace()
        yield running


def write(nodes: Sequence[RunningNode], requests: Iterator[AnyRequest]) -> None:
    """Write everything, many at a time."""
    client = RpcClient([node.rpc for node in nodes])
    try:
        while some := list(itertools.islice(requests, IN_FLIGHT)):
            for future in [client.submit(one, Call(timeout_s=30)) for one in some]:
                future.get(timeout=60)
    finally:
        client.close()


def streams() -> Iterator[AnyRequest]:
    for number in range(STREAMS):
        name = f"stream-{number:06d}"
        yield CreateStream(tenant_id=TENANT, namespace=NAMESPACE, stream=name, spec=SPEC)


def changes() -> Iterator[AnyRequest]:
    for number in range(DUE):
        yield UpdateTenant(tenant_id=TENANT, display_name=f"name {number}")


def metric(node: RunningNode, name: str) -> float:
    return node.metrics()[f"felix_{name}"]


def elections(nodes: Sequence[RunningNode]) -> list[tuple[float, float]]:
    return [
        (metric(node, "raft_term"), metric(node, "raft_leader_changes_total")) for node in nodes
    ]


def newest(node: RunningNode) -> Path:
    return max((node.data_dir / "snapshots").glob("*.snapshot"))


def received(node: RunningNode) -> int:
    """Count the bytes that a node has of a snapshot under way."""
    try:
        return sum(path.stat().st_size for path in (node.data_dir / "snapshots").glob("*.partial"))
    except FileNotFoundError:  # it has just become whole
        return 0


def test_a_follower_with_nothing_is_given_all_streams_and_nobody_stands_for_election(
    three: Cluster,
) -> None:
    leader = three.leader()
    away = three.others(leader)[0]
    stay = three.others(away)
    away.kill()
    write(stay, streams())
    write(stay, changes())
    eventually(lambda: metric(leader, "raft_snapshot_index") > STREAMS, 60)
    before = elections(stay)
    with Load([node.rpc for node in stay], writers=1) as load:
        three.start([away])
        eventually(lambda: metric(away, "raft_snapshot_index") > STREAMS, 60)
        eventually(lambda: metric(away, "streams_total") == STREAMS, 60)
        had = load.count
        eventually(lambda: load.count > had + 100, 30)
    three.wait_converged()
    assert elections(stay) == before
    assert metric(away, "raft_leader_changes_total") == 1, "it never thought the leader dead"
    assert metric(away, "snapshots_installed_total") == 1


def test_a_follower_killed_in_the_middle_of_a_transfer_is_sent_only_the_rest(
    three: Cluster,
) -> None:
    leader = three.leader()
    away = three.others(leader)[0]
    for _ in range(KILLS_MAX):
        away.kill()
        reached = metric(leader, "raft_snapshot_index")
        write(three.others(away), changes())
        eventually(lambda: metric(leader, "raft_snapshot_index") > reached, 60)  # noqa: B023 - used before the next turn
        away.start()
        if kill_half_way(away, newest(leader)):
            break
        three.start([away])
        three.wait_converged()
    had, size = received(away), newest(leader).stat().st_size
    assert size / 2 <= had < size, f"{KILLS_MAX} transfers were too fast to be interrupted"
    sent = metric(leader, "snapshot_sent_bytes_total")
    three.start([away])
    three.wait_converged()
    assert newest(away).name == newest(leader).name
    assert metric(away, "snapshots_installed_total") == 1
    assert 0 < metric(leader, "snapshot_sent_bytes_total") - sent < size


def kill_half_way(node: RunningNode, sent: Path) -> bool:
    """Kill a node once it has half of what it is sent; say whether it had not all of it."""
    whole = node.data_dir / "snapshots" / sent.name
    half = sent.stat().st_size / 2
    deadline = time.monotonic() + 60
    while received(node) < half and not whole.exists():  # no pause: it takes some 10 ms
        assert time.monotonic() < deadline, "no transfer began"
    node.kill()
    return received(node) >= half
