"""Drains, dead brokers and missing copies."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from felix.core.placement.fleet import Fleet, StreamRow
from felix.core.placement.repairing import drain, replace, restore
from felix.proto.brokers import Placement, ShardMove
from tests.support.fleets import (
    broker,
    carried_out,
    counted,
    fleet_of,
    placed,
    shuffled,
    stream,
    streams_of,
)


def changed(fleet: Fleet, *names: str, **changes: object) -> Fleet:
    """Change some brokers."""
    return msgspec.structs.replace(
        fleet,
        brokers=tuple(
            msgspec.structs.replace(one, **changes) if one.broker_id in names else one
            for one in fleet.brokers
        ),
    )


def held(fleet: Fleet, *names: str) -> int:
    return sum(one.copies for one in fleet.brokers if one.broker_id in names)


def drained(
    fleet: Fleet, rows: tuple[StreamRow, ...]
) -> tuple[Fleet, tuple[StreamRow, ...], list[str]]:
    """Drain until there is nothing more to do."""
    for _ in range(10):
        plan = drain(fleet, rows)
        if not plan.moves:
            return fleet, rows, [one.why for one in plan.blocked_by]
        fleet, rows = carried_out(fleet, rows, plan)
    raise AssertionError("it does not end")


@pytest.mark.parametrize("seed", range(20))
def test_a_drain_empties_a_broker_and_nothing_else_breaks(seed: int) -> None:
    print("seed", seed)
    random = Random(seed)
    fleet, rows = placed(fleet_of(random.randint(5, 12), zones=3), streams_of(30))
    name = random.choice(fleet.brokers).broker_id
    fleet = changed(fleet, name, drain=True, status="draining")
    plan = drain(fleet, rows)
    assert drain(*shuffled(random, fleet, rows)) == plan
    assert plan.reason == "drain"
    kinds = [move.kind for move in plan.moves]
    assert kinds == sorted(kinds), "leaderships go first"
    assert {move.from_broker for move in plan.moves} == {name}
    fleet, rows, blocked = drained(fleet, rows)
    assert held(fleet, name) == 0
    assert blocked == []
    assert all(len(set(one.copies)) == 3 for row in rows for one in row.placements)


def test_the_leaders_of_a_drained_broker_go_to_the_copy_that_leads_least() -> None:
    fleet, rows = placed(fleet_of(3), (stream("s", 1, 3),))
    placement = rows[0].placements[0]
    others = placement.replicas
    fleet = changed(fleet, placement.leader, drain=True)
    fleet = changed(fleet, others[0], leads=5)
    (move,) = drain(fleet, rows).moves
    assert (move.kind, move.to_broker) == ("leader", others[1])


def test_a_leader_without_a_copy_in_sync_moves_with_its_data() -> None:
    row = msgspec.structs.replace(
        stream("s", 1, 2),
        placements=(Placement(shard_id=0, leader="b1", replicas=("b2",), in_sync=("b1",)),),
    )
    fleet = Fleet(brokers=(broker("b1", drain=True), broker("b2"), broker("b3")))
    (move,) = drain(fleet, (row,)).moves
    assert (move.kind, move.from_broker, move.to_broker) == ("replica", "b1", "b3")


def test_the_last_broker_of_a_zone_is_emptied_into_the_other_zones() -> None:
    fleet, rows = placed(
        Fleet(brokers=tuple(broker(f"b{n}", zone="abbcc"[n]) for n in range(5))), streams_of(10)
    )
    fleet, rows, blocked = drained(changed(fleet, "b0", drain=True), rows)
    assert held(fleet, "b0") == 0
    assert blocked == []


def test_with_as_many_brokers_as_copies_a_drain_is_blocked() -> None:
    fleet, rows = placed(fleet_of(3), (stream("s", 2, 3),))
    fleet, rows, blocked = drained(changed(fleet, "b000", drain=True), rows)
    assert held(fleet, "b000") == 2
    assert next(one.leads for one in fleet.brokers if one.broker_id == "b000") == 0
    assert blocked == ["3 copies wanted, 2 brokers"] * 2


def test_draining_everything_at_once_is_blocked() -> None:
    fleet, rows = placed(fleet_of(2), (stream("s", 1, 2),))
    plan = drain(changed(fleet, "b000", "b001", drain=True), rows)
    assert plan.moves == ()
    assert [one.why for one in plan.blocked_by] == [
        "no broker takes shards: b000 is being drained; b001 is being drained"
    ]


def test_a_drain_is_blocked_by_brokers_that_are_full() -> None:
    fleet, rows = placed(Fleet(brokers=(broker("b1"),)), streams_of(3, 1, 1))
    fleet = Fleet(brokers=(*changed(fleet, "b1", drain=True).brokers, broker("b2", max_shards=2)))
    plan = drain(fleet, rows)
    assert [move.to_broker for move in plan.moves] == ["b2", "b2"]
    assert [one.why for one in plan.blocked_by] == [
        "no other broker has room: b2 is full (2 of 2 shards)"
    ]


def test_copies_on_dead_brokers_are_made_in_the_same_zone_again() -> None:
    fleet, rows = placed(fleet_of(6, zones=3), streams_of(20))
    # b000 is dead, and failover has given its leaderships to others.
    rows = tuple(
        msgspec.structs.replace(
            row, placements=tuple(failed_over(one, "b000") for one in row.placements)
        )
        for row in rows
    )
    fleet = changed(counted(fleet, rows), "b000", status="down")
    plan = replace(fleet, rows, ["b000"])
    assert plan.reason == "replace"
    assert {(move.from_broker, move.to_broker) for move in plan.moves} == {("b000", "b003")}
    fleet, rows = carried_out(fleet, rows, plan)
    assert held(fleet, "b000") == 0
    assert replace(fleet, rows, ["b000", "unknown"]).moves == ()


def failed_over(placement: Placement, dead: str) -> Placement:
    others = tuple(name for name in placement.copies if name != dead)
    if len(others) == len(placement.copies):
        return placement
    return msgspec.structs.replace(
        placement, leader=others[0], replicas=(*others[1:], dead), in_sync=tuple(sorted(others))
    )


def test_an_only_copy_on_a_dead_broker_is_said_by_name() -> None:
    lost = Placement(shard_id=0, replicas=("b1",), in_sync=("b1",), reason="b1 is down")
    row = msgspec.structs.replace(stream("s", 1, 1), placements=(lost,))
    fleet = Fleet(brokers=(broker("b1", status="down"), broker("b2")))
    plan = replace(fleet, (row,), ["b1"])
    assert plan.moves == ()
    assert [one.why for one in plan.blocked_by] == ["the only copy is on b1, which is down"]


def test_shards_with_too_few_copies_get_one_more_in_another_zone() -> None:
    alone, rows = placed(Fleet(brokers=(broker("b1", zone="a"),)), (stream("s", 2, 2),))
    assert [one.why for one in restore(alone, rows).blocked_by] == ["2 copies wanted, 1 broker"] * 2
    fleet = Fleet(brokers=(*alone.brokers, broker("b2", zone="a"), broker("b3", zone="b")))
    plan = restore(fleet, rows)
    assert plan.reason == "restore"
    assert [(move.from_broker, move.to_broker) for move in plan.moves] == [("", "b3")] * 2
    fleet, rows = carried_out(fleet, rows, plan)
    assert restore(fleet, rows).moves == ()


def test_copies_that_nobody_can_take_are_said() -> None:
    fleet, rows = placed(fleet_of(2), (stream("s", 1, 3),))
    assert [one.why for one in restore(fleet, rows).blocked_by] == ["3 copies wanted, 2 brokers"]


def test_a_shard_that_moves_waits_for_its_next_move() -> None:
    fleet, rows = placed(fleet_of(4), (stream("s", 1, 3),))
    name = rows[0].placements[0].leader
    move = ShardMove(
        move_id="1-0",
        plan_id="1",
        stream=rows[0].stream,
        stream_id=rows[0].stream_id,
        shard_id=0,
        kind="leader",
        from_broker=name,
        to_broker=rows[0].placements[0].replicas[0],
        reason="drain",
        step="fencing",
    )
    fleet = changed(msgspec.structs.replace(fleet, moves=(move,)), name, drain=True)
    assert drain(fleet, rows).moves == ()


def test_a_plan_has_no_more_moves_than_it_may() -> None:
    fleet, rows = placed(fleet_of(4), streams_of(30, 1, 1))
    fleet = changed(fleet, "b000", drain=True)
    assert len(drain(fleet, rows, moves_max=3).moves) == 3
