"""Who leads when a broker goes down, stops, is replaced or comes back: decided in one step."""

from __future__ import annotations

import time

import msgspec
import pytest

from felix.core.catalog.placement_tables import MOVES, move_key
from felix.proto.brokers import MoveKind, MoveStep, NewPlacement, Placement, ShardMove, StreamName
from felix.proto.commands import CreateStream, DeleteStream
from felix.proto.placement_commands import (
    CancelDrain,
    DeregisterBroker,
    DrainBroker,
    PlaceShards,
    RemoveBroker,
)
from felix.proto.resources import Durability, Stream, StreamSpec
from tests.support.placement_log import (
    HERE,
    PlacementLog,
    check_rules,
    copies,
    registration,
    stream_name,
)

MANY = 1200


def led(*replicas: str, durability: Durability = "durable") -> PlacementLog:
    """Make a log where b1 leads the only shard of `s`, with these replicas."""
    log = PlacementLog("b1", *replicas)
    log.stream("s", copies("b1", *replicas), durability=durability)
    return log


def test_the_first_replica_in_sync_leads_when_the_leader_goes_down() -> None:
    log = led("b2", "b3")
    applied = log.set_status("b1", "down")
    assert [update.type for update in applied.updates] == ["UPDATE", "UPDATE"]
    assert log.shard("s") == Placement(
        shard_id=0, leader="b2", replicas=("b3", "b1"), in_sync=("b2", "b3"), generation=2
    )
    check_rules(log)


def test_a_replica_that_is_not_in_sync_is_passed_over() -> None:
    log = led("b2", "b3")
    log.say_in_sync("s", "b1", "b3")
    log.down("b1")
    assert (log.shard("s").leader, log.shard("s").in_sync) == ("b3", ("b3",))


def test_a_durable_shard_waits_for_who_has_its_data_and_says_for_whom() -> None:
    log = led("b2", "b3")
    log.say_in_sync("s", "b1")
    log.down("b1")
    shard = log.shard("s")
    assert (shard.leader, shard.replicas, shard.in_sync) == ("", ("b2", "b3", "b1"), ("b1",))
    assert "b1" in shard.reason
    assert log.index.leaderless() == [("acme", "prod", "s")]
    log.back("b1")
    assert (log.shard("s").leader, log.shard("s").reason) == ("b1", "")
    assert log.shard("s").generation == 3
    assert log.index.leaderless() == []
    check_rules(log)


def test_a_durable_shard_does_not_go_to_a_copy_that_came_back_without_its_data() -> None:
    log = led("b2")
    log.say_in_sync("s", "b1")
    log.down("b2", "b1")
    log.back("b2")
    assert log.shard("s").leader == ""
    log.back("b1")
    assert log.shard("s").leader == "b1"


def test_an_ephemeral_shard_goes_to_any_live_copy_those_in_sync_first() -> None:
    log = led("b2", "b3", durability="ephemeral")
    log.say_in_sync("s", "b1", "b3")
    log.down("b1")
    assert log.shard("s").leader == "b3"
    log.down("b3")
    assert (log.shard("s").leader, log.shard("s").in_sync) == ("b2", ("b2",))
    check_rules(log)


def test_an_ephemeral_shard_goes_to_whoever_comes_back_first() -> None:
    log = led("b2", durability="ephemeral")
    log.down("b2", "b1")
    assert log.shard("s").in_sync == ("b1",)
    log.back("b2")
    assert (log.shard("s").leader, log.shard("s").in_sync) == ("b2", ("b2",))
    log.back("b1")
    assert log.shard("s").leader == "b2"
    check_rules(log)


def test_a_follower_that_goes_down_is_not_in_sync_and_keeps_its_copy() -> None:
    log = led("b2", "b3")
    log.down("b3")
    assert log.shard("s") == Placement(
        shard_id=0, leader="b1", replicas=("b2", "b3"), in_sync=("b1", "b2")
    )
    log.back("b3")
    assert log.shard("s").in_sync == ("b1", "b2"), "that is for the leader to say"


def test_a_draining_broker_may_lead() -> None:
    log = led("b2")
    log.make(DrainBroker(broker_id="b2"))
    log.down("b1")
    assert log.shard("s").leader == "b2"


def test_a_broker_that_stops_cleanly_passes_its_leaderships_on_at_once() -> None:
    log = led("b2")
    epoch = log.broker("b1").broker_epoch
    log.make(DeregisterBroker(broker_id="b1", broker_epoch=epoch))
    assert log.shard("s").leader == "b2"
    log.make(registration("b1", "boot-2"))
    assert log.shard("s").leader == "b2"
    check_rules(log)


def test_a_broker_that_was_killed_and_is_back_before_anybody_noticed_is_not_trusted() -> None:
    log = led("b2", "b3")
    log.stream("alone", copies("b1"))
    log.make(registration("b1", "boot-2"))
    assert (log.shard("s").leader, log.shard("s").in_sync) == ("b2", ("b2", "b3"))
    assert log.shard("alone").leader == "b1"
    assert log.shard("alone").generation > 1, "what was sent to the last boot is refused"
    check_rules(log)


def test_the_same_boot_registering_again_moves_no_leadership() -> None:
    log = led("b2")
    log.make(registration("b1", availability_zone="z"))
    assert log.shard("s").generation == 1


def test_removing_a_dead_broker_lets_a_live_copy_lead_whatever_it_lacks() -> None:
    log = led("b2", "b3")
    log.say_in_sync("s", "b1")
    log.down("b2", "b1")
    log.delete(RemoveBroker(broker_id="b1", abandon=True))
    assert (log.shard("s").leader, log.shard("s").replicas) == ("b3", ("b2",))
    check_rules(log)


def test_removing_the_last_broker_with_the_data_waits_for_another_dead_one() -> None:
    log = led("b2", "b3")
    log.say_in_sync("s", "b1")
    log.down("b2", "b3", "b1")
    log.delete(RemoveBroker(broker_id="b1", abandon=True))
    assert (log.shard("s").leader, log.shard("s").in_sync) == ("", ("b2",))
    check_rules(log)
    log.back("b2")
    assert log.shard("s").leader == "b2"


def test_all_brokers_going_and_coming_in_any_order_leaves_every_shard_led() -> None:
    log = PlacementLog("b1", "b2", "b3")
    log.stream("s", *(copies(*order, shard_id=number) for number, order in enumerate(ORDERS)))
    log.down("b2", "b1", "b3")
    assert log.index.leads("b1") == log.index.leads("b2") == log.index.leads("b3") == 0
    check_rules(log)
    for broker_id in ("b1", "b2", "b3"):
        log.back(broker_id)
        check_rules(log)
    assert log.index.leaderless() == []


ORDERS = [("b1", "b2", "b3"), ("b2", "b3", "b1"), ("b3", "b1", "b2"), ("b1", "b3", "b2")]


# --- with a move under way ------------------------------------------------------------------------


def moving(log: PlacementLog, kind: MoveKind, step: MoveStep, reason: str = "drain") -> ShardMove:
    """Put the shard of `s` into the middle of a move from its leader b1 to b9 or to b2."""
    row, before = log.row("s"), log.shard("s")
    assert row is not None
    target = "b9" if kind == "replica" else "b2"
    move = ShardMove(
        move_id="5-1",
        plan_id="5",
        stream=stream_name("s"),
        stream_id=row.stream_id,
        shard_id=0,
        kind=kind,
        from_broker="b1",
        to_broker=target,
        reason=reason,  # type: ignore[arg-type]  # one of them
        step=step,
        original=before if step != "waiting" else None,
    )
    log.put_moves(move)
    if step == "waiting":
        return move
    replicas = (*before.replicas, "b9") if kind == "replica" else before.replicas
    in_sync = tuple(sorted((*before.in_sync, "b9"))) if step == "fencing" else before.in_sync
    shard = msgspec.structs.replace(
        before,
        replicas=replicas,
        in_sync=in_sync if kind == "replica" else before.in_sync,
        is_fenced=step == "fencing",
    )
    log.put_placement(msgspec.structs.replace(row, placements=(shard,)))
    return move


def move_of(log: PlacementLog) -> ShardMove:
    found: ShardMove = log.catalog.store.tables[MOVES].rows[move_key("5-1")]
    return found


def test_a_move_whose_leader_dies_behind_the_fence_goes_on_without_one() -> None:
    log = PlacementLog("b1", "b2", "b9")
    log.stream("s", copies("b1", "b2"))
    moving(log, "replica", "fencing")
    log.down("b1")
    shard = log.shard("s")
    assert (shard.leader, shard.is_fenced, shard.generation) == ("b2", False, 2)
    assert (move_of(log).step, log.index.move_of(("acme", "prod", "s"), 0)) == (
        "staging",
        move_of(log),
    )
    check_rules(log)


@pytest.mark.parametrize(("in_sync", "expected"), [("b2", "done"), ("b3", "failed")])
def test_a_move_of_leadership_is_over_when_its_leader_dies(in_sync: str, expected: str) -> None:
    log = led("b2", "b3")
    log.say_in_sync("s", "b1", in_sync)
    moving(log, "leader", "fencing")
    log.down("b1")
    assert log.shard("s").leader == in_sync
    assert move_of(log).step == expected
    assert log.index.moves() == []
    check_rules(log)


@pytest.mark.parametrize("step", ["waiting", "staging", "fencing"])
def test_a_drain_that_is_cancelled_takes_its_moves_back(step: MoveStep) -> None:
    log = PlacementLog("b1", "b2", "b9")
    log.stream("s", copies("b1", "b2"))
    log.make(DrainBroker(broker_id="b1"))
    moving(log, "replica", step)
    log.make(CancelDrain(broker_id="b1"))
    shard = log.shard("s")
    assert (shard.leader, shard.replicas, shard.in_sync) == ("b1", ("b2",), ("b1", "b2"))
    assert (shard.is_fenced, shard.generation) == (False, 2 if step == "fencing" else 1)
    assert move_of(log).step == "cancelled"
    check_rules(log)


def test_cancelling_a_drain_leaves_moves_alone_that_were_not_its_own() -> None:
    log = PlacementLog("b1", "b2", "b9")
    log.stream("s", copies("b1", "b2"))
    log.make(DrainBroker(broker_id="b1"))
    moving(log, "replica", "staging", reason="operator")
    log.make(CancelDrain(broker_id="b1"))
    assert move_of(log).step == "staging"


def test_taking_a_move_back_never_takes_the_only_copy_of_the_data() -> None:
    log = PlacementLog("b1", "b2", "b9")
    log.stream("s", copies("b1", "b2"))
    log.make(DrainBroker(broker_id="b1"))
    log.say_in_sync("s", "b1")
    moving(log, "replica", "fencing")
    log.down("b1")
    assert log.shard("s").leader == "b9"
    log.make(CancelDrain(broker_id="b1"))
    assert log.shard("s").leader == "b9"
    check_rules(log)
    log.down("b9")
    assert log.shard("s").in_sync == ("b9",)
    check_rules(log)


@pytest.mark.parametrize("end", ["stream", "broker"])
def test_a_move_ends_with_its_stream_or_with_one_of_its_brokers(end: str) -> None:
    log = PlacementLog("b1", "b2", "b9")
    log.stream("s", copies("b1", "b2"))
    moving(log, "replica", "staging")
    if end == "stream":
        log.delete(DeleteStream(stream="s", **HERE))
    else:
        log.down("b9")
        log.delete(RemoveBroker(broker_id="b9", abandon=True))
        assert log.shard("s").copies == ("b1", "b2")
    assert move_of(log).step == "failed"
    assert move_of(log).blocked_by
    assert log.index.moves() == log.index.moves_with("b9") == []
    check_rules(log)


# --- how long it takes ----------------------------------------------------------------------------


def test_a_broker_with_many_copies_goes_down_in_one_short_step() -> None:
    log = PlacementLog("b1", "b2", "b3", "b4")
    spec = StreamSpec(durability="durable", replication_factor=3)
    items = []
    for number in range(5 * MANY):
        (made,) = log.make(CreateStream(stream=f"s{number}", spec=spec, **HERE))
        assert isinstance(made, Stream)
        names = ("b1", "b2", "b3") if number < MANY else ("b2", "b3", "b4")
        name = StreamName("acme", "prod", f"s{number}")
        shard = copies(*names)
        items.append(NewPlacement(stream=name, stream_id=made.stream_id, placements=(shard,)))
    for start in range(0, len(items), 1000):
        log.do(PlaceShards(items=tuple(items[start : start + 1000])))
    begun = time.process_time()
    applied = log.set_status("b1", "down")
    took_ms = (time.process_time() - begun) * 1000
    print(f"{len(applied.updates)} updates in {took_ms:.1f} ms")
    assert len(applied.updates) == MANY + 1
    assert log.index.leads("b1") == 0
    assert took_ms < 300, "ten times what it takes on a machine with nothing else to do"
