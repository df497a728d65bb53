"""A node that was away: what it missed comes from the log, or as a snapshot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from felix.cli.config import RaftTimings
from felix.proto.commands import UpdateTenant
from felix.proto.control_plane import Call
from felix.proto.queries import ClusterStatus
from felix.transport.rpc_client import RpcClient
from tests.support.cluster import TENANT, Cluster, RunningNode, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SNAPSHOT_ENTRIES = 300
TRAIL_ENTRIES = 50
MISSED_LITTLE = 20
MISSED_MUCH = 5 * SNAPSHOT_ENTRIES
RAFT = RaftTimings(snapshot_entries=SNAPSHOT_ENTRIES, trail_entries=TRAIL_ENTRIES)


@pytest.fixture
def three() -> Iterator[Cluster]:
    with cluster(raft=RAFT) as running:
        running.make_namespace()
        yield running


def write(nodes: list[RunningNode], count: int) -> None:
    """Change one object so many times: the log grows, what a snapshot holds does not."""
    client = RpcClient([node.rpc for node in nodes])
    try:
        futures = [
            client.submit(
                UpdateTenant(tenant_id=TENANT, display_name=f"name {number}"), Call(timeout_s=30)
            )
            for number in range(count)
        ]
        for future in futures:
            future.get(timeout=60)
    finally:
        client.close()


def metric(node: RunningNode, name: str) -> float:
    return node.metrics()[f"felix_{name}"]


def snapshot_files(node: RunningNode) -> list[str]:
    return sorted(path.name for path in (node.data_dir / "snapshots").iterdir())


def newest_snapshot(node: RunningNode) -> str:
    """Name the file that a node's journal points to, if there is one and no other is written."""
    index = f"{int(metric(node, 'raft_snapshot_index')):020d}"
    return next((name for name in snapshot_files(node) if name.startswith(index)), "")


def take_another_snapshot(three: Cluster) -> None:
    """Write as much as makes one due, and wait until every node has taken it."""
    before = {node.name: metric(node, "raft_snapshot_index") for node in three.nodes}
    write(three.nodes, SNAPSHOT_ENTRIES)
    for node in three.nodes:
        eventually(
            lambda node=node: metric(node, "raft_snapshot_index") > before[node.name]  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        )


def test_a_node_that_missed_little_catches_up_from_the_log(three: Cluster) -> None:
    away = three.others(three.leader())[0]
    away.kill()
    write(three.others(away), MISSED_LITTLE)
    three.start()
    three.wait_converged()
    assert metric(away, "raft_snapshot_index") == 0


def test_a_node_that_missed_more_than_the_log_has_gets_a_snapshot(three: Cluster) -> None:
    away = three.others(three.leader())[0]
    away.kill()
    write(three.others(away), MISSED_MUCH)
    three.start()
    converged = three.wait_converged()
    assert converged.version == MISSED_MUCH + 3
    assert metric(away, "raft_snapshot_index") > SNAPSHOT_ENTRIES
    assert metric(away, "snapshots_taken_total") == 0, "it was sent, not taken here"
    for _ in range(2):  # one after the other: the older of two stays only if they are close
        take_another_snapshot(three)
    for node in three.nodes:
        assert metric(node, "raft_snapshot_index") > MISSED_MUCH
        eventually(lambda node=node: len(snapshot_files(node)) == 2)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        assert all(name.endswith(".snapshot") for name in snapshot_files(node))


def test_a_node_starts_from_its_snapshot(three: Cluster) -> None:
    write(three.nodes, 2 * SNAPSHOT_ENTRIES)
    before = three.wait_converged()
    node, *others = three.nodes
    eventually(lambda: snapshot_files(node)[-1:] == [newest_snapshot(node)])
    reached = metric(node, "raft_snapshot_index")
    for one in three.nodes:
        one.kill()
    node.start()
    alone: list[ClusterStatus] = []

    def it_answers() -> bool:
        alone[:] = [status for status in [node.status(0.5)] if status is not None]
        return bool(alone)

    eventually(it_answers, 30)
    assert alone[0].leader_id is None
    assert alone[0].applied_index == reached, "what no quorum confirmed is not applied"
    assert reached - 10 < alone[0].version <= before.version
    three.start(others)
    assert three.wait_converged().digest == before.digest


def write_until_two_are_kept(node: RunningNode) -> None:
    """Have a snapshot taken, and one more, of which the first is kept to stand in.

    Little at a time: of two that are far apart the older one goes.
    """
    before = metric(node, "raft_snapshot_index")

    def is_so() -> bool:
        write([node], SNAPSHOT_ENTRIES // 30)
        return metric(node, "raft_snapshot_index") > before and len(snapshot_files(node)) == 2

    eventually(is_so, 30.0)


def test_a_node_alone_whose_newest_snapshot_is_damaged_starts_from_the_one_before() -> None:
    without_trail = RaftTimings(snapshot_entries=SNAPSHOT_ENTRIES, trail_entries=1)
    with cluster(nodes=1, raft=without_trail) as alone:
        alone.make_namespace()
        (node,) = alone.nodes
        for _ in range(2):  # the second time what it started from is the older one
            write_until_two_are_kept(node)
            eventually(lambda: snapshot_files(node)[-1] == newest_snapshot(node))
            before = alone.wait_converged()
            node.kill()
            alone.start()
            assert len(snapshot_files(node)) == 2, "a start leaves both"
            node.kill()
            newest = node.data_dir / "snapshots" / snapshot_files(node)[-1]
            newest.write_bytes(newest.read_bytes()[:-1])
            alone.start()
            assert alone.wait_converged().digest == before.digest
            assert "an older state and the log stand in for it" in node.tail_of_log()
