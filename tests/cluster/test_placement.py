"""Where shards go, at three real nodes with brokers that do what the test says.

Case 22 of the field notes, on drains: the last broker of a zone, more copies wanted than brokers,
the target or the source dying in the middle of a move, a cancel and another start, everything
drained at once, a dead broker taken out of service. Either it goes on, or the plan says why not;
and nobody is without a leader because of us.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from felix.cli.config import BrokersConfig
from felix.proto.brokers import (
    MoveKind,
    MovePlan,
    MoveStep,
    Placement,
    PlacementPlan,
    PlannedMove,
    ShardMove,
    ShardMoves,
    StreamName,
)
from felix.proto.commands import CreateStream
from felix.proto.placement_commands import (
    CancelDrain,
    CancelMoves,
    DrainBroker,
    RemoveBroker,
    StartMoves,
)
from felix.proto.queries import ClusterStatus, GetCluster, GetPlacementPlan, ListShardMoves
from felix.proto.resources import StreamSpec
from tests.cluster.fake_broker import status_of
from tests.cluster.placed_broker import Site, asked
from tests.support.cluster import NAMESPACE, TENANT, Cluster, RunningNode, cluster
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

INTERVAL_S = 0.3
REBUILD_S = 1
TIMES = BrokersConfig(
    heartbeat_interval_ms=int(INTERVAL_S * 1000), missed_heartbeats=3, rebuild_after_s=REBUILD_S
)
PATIENT = BrokersConfig(heartbeat_interval_ms=int(INTERVAL_S * 1000), missed_heartbeats=3)
STEADY = BrokersConfig(heartbeat_interval_ms=int(INTERVAL_S * 1000), missed_heartbeats=100)
"""Brokers of these tests are silent while a node starts."""
PATIENCE_S = 30.0
ORDERS = StreamName(TENANT, NAMESPACE, "orders")


class Scene:
    """A cluster, its brokers, and what tests ask of both."""

    def __init__(self, three: Cluster) -> None:
        self.three = three
        self.site = Site(three.nodes)

    def create(self, name: str = "orders", *, copies: int = 2, shards: int = 1) -> None:
        spec = StreamSpec(shards=shards, replication_factor=copies, durability="durable")
        made = CreateStream(tenant_id=TENANT, namespace=NAMESPACE, stream=name, spec=spec)
        asked(self.three.nodes, made)
        self.until(lambda: name in self.site.placements())

    def until(self, condition: Callable[[], bool]) -> None:
        """Let the brokers beat until something is so."""

        def beaten() -> bool:
            self.site.beat()
            return condition()

        eventually(beaten, PATIENCE_S)

    def shard(self, name: str = "orders", shard_id: int = 0) -> Placement:
        return self.site.placements()[name].placements[shard_id]

    def status(self, broker: str) -> str:
        running = [node for node in self.three.nodes if node.is_running]
        return status_of(running[-1], broker)

    def plan(self) -> PlacementPlan:
        found = asked(self.three.nodes, GetPlacementPlan())
        assert isinstance(found, PlacementPlan)
        return found

    def moves(self) -> list[ShardMove]:
        found = asked(self.three.nodes, ListShardMoves())
        assert isinstance(found, ShardMoves)
        return found.items

    def start_move(self, kind: MoveKind, source: str, target: str) -> None:
        move = PlannedMove(
            stream=ORDERS, shard_id=0, kind=kind, from_broker=source, to_broker=target
        )
        seen = asked(self.three.nodes, GetCluster())
        assert isinstance(seen, ClusterStatus)
        plan = MovePlan(base_version=seen.version, reason="operator", moves=(move,))
        asked(self.three.nodes, StartMoves(plan=plan))

    def until_step(self, step: MoveStep) -> None:
        self.until(lambda: self.moves()[0].step == step)

    def spare(self) -> str:
        """A broker without a copy."""
        return next(one for one in self.site.running if one not in self.shard().copies)


@contextmanager
def scene(brokers: BrokersConfig = TIMES) -> Iterator[Scene]:
    with cluster(brokers=brokers) as three:
        three.make_namespace()
        yield Scene(three)


def kill_leader(three: Cluster) -> RunningNode:
    leader = three.leader()
    leader.kill()
    return leader


def test_a_stream_is_placed_right_after_its_creation_and_a_drained_broker_becomes_empty() -> None:
    with scene(PATIENT) as now:
        now.site.start("a", "b", "c")
        now.create(copies=2, shards=6)
        rows = now.site.placements()["orders"].placements
        assert all(len(one.copies) == 2 and one.leader for one in rows)
        asked(now.three.nodes, DrainBroker(broker_id="a"))
        now.until(lambda: now.status("a") == "drained")
        rows = now.site.placements()["orders"].placements
        assert all(set(one.copies) == {"b", "c"} for one in rows)
        asked(now.three.nodes, CancelDrain(broker_id="a"))
        now.until(lambda: now.status("a") == "active")


def test_the_shards_of_a_dead_broker_are_led_by_others_in_one_version_and_rebuilt_elsewhere() -> (
    None
):
    with scene() as now:
        now.site.start("a", "b", "c", "d")
        now.create(copies=3, shards=4)
        before = now.site.placements()["orders"]
        dead = before.placements[0].leader
        led = [one.shard_id for one in before.placements if one.leader == dead]
        now.site.running.pop(dead)
        now.until(lambda: now.status(dead) == "down")
        # Rebuilding may have begun by now, but a generation grows once for each other leader.
        rows = now.site.placements()["orders"].placements
        assert all(rows[one].leader not in {dead, ""} for one in led)
        assert all(rows[one].generation == before.placements[one].generation + 1 for one in led)
        now.until(
            lambda: all(
                dead not in one.copies and len(one.in_sync) == 3
                for one in now.site.placements()["orders"].placements
            )
        )


def test_a_broker_that_is_back_in_time_keeps_its_copies() -> None:
    with scene(PATIENT) as now:
        now.site.start("a", "b", "c")
        now.create(copies=2)
        before = now.shard()
        away = now.site.running.pop(before.leader)
        now.until(lambda: now.status(away.name) == "down")
        now.until(lambda: now.shard().in_sync == before.replicas)
        assert set(now.shard().copies) == set(before.copies)
        now.site.running[away.name] = away
        now.until(lambda: set(now.shard().in_sync) == set(before.copies))
        assert now.moves() == []


def test_a_dead_broker_that_is_drained_is_not_waited_for() -> None:
    with scene(PATIENT) as now:
        now.site.start("a", "b", "c")
        now.create(copies=2)
        dead = now.shard().leader
        now.site.running.pop(dead)
        now.until(lambda: now.status(dead) == "down")
        assert now.moves() == []
        asked(now.three.nodes, DrainBroker(broker_id=dead))
        now.until(lambda: dead not in now.shard().copies and len(now.shard().in_sync) == 2)
        asked(now.three.nodes, RemoveBroker(broker_id=dead))


def test_a_move_goes_step_by_step_although_the_nodes_leader_is_killed_in_each() -> None:
    with scene(STEADY) as now:
        now.site.start("a", "b", "c")
        now.create(copies=2)
        before = now.shard()
        target = now.spare()
        for broker in now.site.running.values():
            broker.copies_come = broker.drains = False
        now.start_move("replica", before.leader, target)
        now.until_step("staging")
        killed = kill_leader(now.three)
        now.until(lambda: target in now.shard().copies)
        assert now.shard().leader == before.leader
        killed.start()
        now.three.wait_ready()
        for broker in now.site.running.values():
            broker.copies_come = True
        now.until_step("fencing")
        assert now.shard().is_fenced
        killed = kill_leader(now.three)
        now.until(lambda: now.shard().is_fenced)
        assert (now.shard().leader, now.shard().generation) == (before.leader, before.generation)
        killed.start()
        now.three.wait_ready()
        for broker in now.site.running.values():
            broker.drains = True
        now.until_step("done")
        after = now.shard()
        assert (after.leader, after.replicas) == (target, before.replicas)
        assert (after.generation, after.is_fenced) == (before.generation + 1, False)


def test_the_source_may_die_behind_the_fence_and_the_target_while_it_copies() -> None:
    with scene(PATIENT) as now:
        now.site.start("a", "b", "c", "d")
        now.create(copies=2)
        before, target = now.shard(), now.spare()
        for broker in now.site.running.values():
            broker.copies_come = False
        now.start_move("replica", before.leader, target)
        now.until_step("staging")
        now.site.running.pop(target)
        now.until_step("failed")
        assert now.shard().copies == before.copies
        for broker in now.site.running.values():
            broker.copies_come, broker.drains = True, False
        second = now.spare()
        now.start_move("replica", before.leader, second)
        now.until_step("fencing")
        now.site.running.pop(before.leader)
        now.until_step("done")
        after = now.shard()
        assert set(after.copies) == {before.replicas[0], second}
        assert after.leader == before.replicas[0]
        assert not after.is_fenced


def test_a_cancelled_move_leaves_the_original_copies_and_can_be_begun_again() -> None:
    with scene(PATIENT) as now:
        now.site.start("a", "b", "c")
        now.create(copies=2)
        before, target = now.shard(), now.spare()
        for broker in now.site.running.values():
            broker.drains = False
        now.start_move("replica", before.leader, target)
        now.until_step("fencing")
        asked(now.three.nodes, CancelMoves(move_id=now.moves()[0].move_id))
        after = now.shard()
        assert (after.leader, after.replicas) == (before.leader, before.replicas)
        assert (after.generation, after.is_fenced) == (before.generation + 1, False)
        for broker in now.site.running.values():
            broker.drains = True
        now.start_move("replica", before.leader, target)
        now.until(lambda: now.shard().leader == target)


def test_the_last_broker_of_a_zone_drains_into_others_and_all_at_once_is_blocked() -> None:
    with scene(PATIENT) as now:
        now.site.start("a1", "a2", zone="a")
        now.site.start("b1", zone="b")
        now.create(copies=2)
        assert "b1" in now.shard().copies  # one copy in each zone
        asked(now.three.nodes, DrainBroker(broker_id="b1"))
        now.until(lambda: now.status("b1") == "drained")
        assert set(now.shard().copies) == {"a1", "a2"}
        for one in ("a1", "a2"):
            asked(now.three.nodes, DrainBroker(broker_id=one))
        now.until(lambda: len(now.plan().plan.blocked_by) > 0)
        assert "drained" in now.plan().plan.blocked_by[0].why
        assert now.shard().leader in {"a1", "a2"}
        now.until(lambda: {now.status(one) for one in ("a1", "a2")} == {"draining"})
