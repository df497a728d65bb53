"""Disks that are full, fail once, or hang, below real nodes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from felix.actors.ending import EXIT_ACTOR_FAILED, EXIT_STALLED
from felix.cli.config import LimitsConfig, RaftTimings
from felix.proto.commands import CreateTenant
from felix.proto.control_plane import Call
from felix.proto.errors import DiskFull, FelixError
from felix.proto.queries import GetTenant
from tests.cluster.load import Load, assert_nothing_is_lost
from tests.support.cluster import Cluster, RunningNode, cluster
from tests.support.disks import FailingDisk, failing_disk, fill, small_disk
from tests.support.faulty_node import EIO, HANG, NO_ROOM, USED_AGAIN
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

FAULTY = "tests.support.faulty_node"
LONGEST_ELECTION_S = RaftTimings().election_max_ms / 1000
STALLED_S = 2 * LONGEST_ELECTION_S
EXIT_SLACK_S = 2.0
"""For the report, and for a machine that does other things too."""
DISK_MB = 64
FREE_MIN_MB = 30


def choose(three: Cluster, role: str) -> RunningNode:
    leader = three.leader()
    return leader if role == "leader" else three.others(leader)[0]


def faults_of(node: RunningNode) -> Path:
    return node.data_dir.parent


def wait_for_more(load: Load, count: int = 50) -> None:
    goal = load.count + count
    eventually(lambda: load.count >= goal, 30)


def knows_another_leader(three: Cluster, gone: RunningNode) -> bool:
    known = [node.status(timeout_s=0.2) for node in three.others(gone)]
    leaders = {one.leader_id for one in known if one is not None}
    return len(leaders) == 1 and not leaders & {None, gone.id}


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_node_ends_with_the_first_error_of_its_disk_and_loses_nothing(role: str) -> None:
    with cluster(module=FAULTY) as three:
        three.make_namespace()
        with Load(three.rpc) as load:
            wait_for_more(load)
            node = choose(three, role)
            (faults_of(node) / EIO).touch()
            assert node.wait() == EXIT_ACTOR_FAILED
            wait_for_more(load)
        assert not (faults_of(node) / USED_AGAIN).exists(), "a disk that failed was tried again"
        assert "disk I/O error" in node.tail_of_log()
        three.start()
        three.wait_converged()
        for one in three.nodes:
            assert_nothing_is_lost(load, one)


def test_a_node_ends_though_its_disk_reports_an_error_only_once() -> None:
    disks: list[FailingDisk] = []

    @contextmanager
    def failing_for_the_first(node: RunningNode) -> Iterator[None]:
        with failing_disk(node.data_dir) if node.name == "n1" else nullcontext() as made:
            disks.extend([made] if made else [])
            yield

    never_full = LimitsConfig(disk_free_min_mb=0)  # the failing disk is a small one
    with cluster(disk=failing_for_the_first, limits=never_full) as three:
        three.make_namespace()
        node = three.nodes[0]
        with Load(three.rpc) as load:
            wait_for_more(load)
            disks[0].fail()
            assert node.wait() == EXIT_ACTOR_FAILED
            wait_for_more(load)
        assert "disk I/O error" in node.tail_of_log()
        disks[0].mend()
        three.start()
        three.wait_converged()
        for one in three.nodes:
            assert_nothing_is_lost(load, one)


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_node_whose_disk_hangs_loses_leadership_and_ends(role: str) -> None:
    with cluster(module=FAULTY) as three:
        three.make_namespace()
        with Load(three.rpc) as load:
            wait_for_more(load)
            node = choose(three, role)
            hung_at = time.monotonic()
            (faults_of(node) / HANG).touch()
            if role == "leader":
                eventually(lambda: knows_another_leader(three, node))
                passed_s = time.monotonic() - hung_at
                print("leadership passed after", round(passed_s, 3), "s")
                assert passed_s < STALLED_S
            assert node.wait() == EXIT_STALLED
            ended_s = time.monotonic() - hung_at
            print("it ended after", round(ended_s, 3), "s")
            assert ended_s < STALLED_S + EXIT_SLACK_S
            wait_for_more(load)
        report = node.log.read_text()
        assert "consensus stood still" in report
        assert "_on_disk" in report, "the report says where it stood"
        (faults_of(node) / HANG).unlink()
        three.start()
        three.wait_converged()
        for one in three.nodes:
            assert_nothing_is_lost(load, one)


def test_a_pause_of_any_length_ends_nobody() -> None:
    with cluster(nodes=1) as alone:
        (node,) = alone.nodes
        for _ in range(2):
            node.pause()
            paused_at = time.monotonic()
            eventually(lambda at=paused_at: time.monotonic() > at + 2 * STALLED_S)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            node.resume()
            alone.wait_ready()
            node.ask(CreateTenant(tenant_id=f"after-{paused_at:.0f}"))


def test_a_disk_that_is_nearly_full_takes_deletes_only_and_recovers_by_itself() -> None:
    limits = LimitsConfig(disk_free_min_mb=FREE_MIN_MB)
    with cluster(
        http=True, limits=limits, disk=lambda node: small_disk(node.data_dir, DISK_MB)
    ) as three:
        pids = [node.pid for node in three.nodes]
        leader = three.leader()
        follower = three.others(leader)[0]
        follower.ask(CreateTenant(tenant_id="before"))
        ballast = fill(leader.data_dir, leaving_mb=FREE_MIN_MB / 2)
        eventually(lambda: leader.metrics()["felix_disk_low"] == 1)
        assert "MB left" in alarms_of(leader)[0]
        assert alarms_of(follower) == []
        assert all(node.is_ready() for node in three.nodes)

        tenant = {"tenant_id": "refused", "display_name": "Refused"}
        for node in (leader, follower):
            with pytest.raises(DiskFull):
                node.ask(CreateTenant(tenant_id="refused"))
            refused = node.http("POST", "/v1/tenants", tenant)
            assert (refused.status, refused.json()["code"]) == (507, "disk_full")
        follower.ask(GetTenant(tenant_id="before"))
        assert follower.http("DELETE", "/v1/tenants/before").status == 204

        ballast.unlink()
        eventually(lambda: leader.metrics()["felix_disk_low"] == 0)
        assert follower.http("POST", "/v1/tenants", tenant).status == 201
        assert alarms_of(leader) == []
        assert [node.pid for node in three.nodes] == pids
        assert all(node.is_running for node in three.nodes)


def alarms_of(node: RunningNode) -> list[str]:
    status = node.status()
    assert status is not None
    return status.alarms


def test_a_disk_that_fills_up_all_the_same_ends_the_node_and_loses_nothing() -> None:
    limits = LimitsConfig(disk_free_min_mb=0)
    with cluster(nodes=1, limits=limits, disk=lambda node: small_disk(node.data_dir, 24)) as alone:
        (node,) = alone.nodes
        ballast = fill(node.data_dir)
        written = write_until_it_ends(node)
        print(len(written), "written")
        assert node.wait() == EXIT_ACTOR_FAILED
        last_words = node.tail_of_log().splitlines()[-1]
        assert "cannot go on" in last_words
        assert "disk is full" in last_words
        ballast.unlink()
        alone.start()
        for tenant in (*written[:10], *written[-10:]):
            node.ask(GetTenant(tenant_id=tenant))
        status = node.status()
        assert status is not None
        assert status.version in {len(written), len(written) + 1}
        node.ask(CreateTenant(tenant_id="after"))


def write_until_it_ends(node: RunningNode) -> list[str]:
    written: list[str] = []
    while True:
        tenant = f"t{len(written)}"
        try:
            node.ask(CreateTenant(tenant_id=tenant, description="much" * 1000), Call(timeout_s=2))
        except FelixError:
            return written
        written.append(tenant)


def test_a_snapshot_for_which_there_is_no_room_ends_the_node_with_the_words_of_the_disk() -> None:
    small = RaftTimings(snapshot_entries=50, trail_entries=10)
    with cluster(nodes=1, module=FAULTY, raft=small) as alone:
        (node,) = alone.nodes
        (faults_of(node) / NO_ROOM).touch()
        written = write_until_it_ends(node)
        assert len(written) >= 40
        assert node.wait() == EXIT_ACTOR_FAILED
        report = node.log.read_text()
        assert "cannot be written: [Errno 28] No space left on device" in node.tail_of_log()
        assert "Traceback" not in report
        assert "RaftNode failed" not in report
        (faults_of(node) / NO_ROOM).unlink()
        alone.start()
        for tenant in written:
            node.ask(GetTenant(tenant_id=tenant))
