"""What moves under way do next."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from felix.core.placement.fleet import BrokerRow
from felix.core.placement.stepping import StepLimits, next_steps
from felix.proto.brokers import (
    MoveStep,
    Placement,
    PlacementSettings,
    ShardMove,
    ShardStatus,
    StreamName,
)
from felix.proto.resources import Key, ShardPlacement
from tests.support.fleets import broker

STREAM = StreamName("acme", "orders", "s")
LED = Placement(shard_id=0, leader="b1", replicas=("b2",), in_sync=("b1", "b2"), generation=4)
STAGED = msgspec.structs.replace(LED, replicas=("b2", "b3"))
SYNCED = msgspec.structs.replace(STAGED, in_sync=("b1", "b2", "b3"))
FENCED = msgspec.structs.replace(SYNCED, is_fenced=True)
DRAINED = ShardStatus(
    stream=STREAM, shard_id=0, role="leader", generation=4, is_drained=True, in_sync=("b1",)
)
MOVE = ShardMove(
    move_id="7-0",
    plan_id="7",
    stream=STREAM,
    stream_id="id",
    shard_id=0,
    kind="replica",
    from_broker="b1",
    to_broker="b3",
    reason="operator",
    step_since_ms=1000,
)
FOLLOWER = msgspec.structs.replace(MOVE, from_broker="b2")
LEADER = msgspec.structs.replace(MOVE, kind="leader", to_broker="b2")
ADDED = msgspec.structs.replace(MOVE, from_broker="", reason="restore")
UP = tuple(broker(f"b{n}") for n in range(1, 6))


def at(move: ShardMove, step: MoveStep, **changes: object) -> ShardMove:
    return msgspec.structs.replace(move, step=step, **changes)


def with_status(name: str, **changes: object) -> Iterable[BrokerRow]:
    return [msgspec.structs.replace(one, **changes) if one.broker_id == name else one for one in UP]


def step(
    move: ShardMove,
    placement: Placement,
    brokers: Iterable[BrokerRow] = UP,
    report: ShardStatus | None = None,
    now_ms: int = 2000,
    stream_id: str = "id",
) -> tuple[MoveStep, str]:
    """Give where a move goes, and why it waits."""
    record = ShardPlacement(
        tenant_id="acme",
        namespace="orders",
        stream="s",
        stream_id=stream_id,
        placements=(placement,),
    )
    found = next_steps(
        [move],
        {record.key: record},
        brokers,
        {(STREAM, 0): report} if report is not None else {},
        now_ms,
    )
    if not found:
        return move.step, move.blocked_by
    (advance,) = found
    assert (advance.move_id, advance.from_step) == (move.move_id, move.step)
    return advance.to_step, advance.blocked_by


def test_a_leaders_copy_goes_over_staging_and_fencing_to_the_end() -> None:
    assert step(MOVE, LED) == ("staging", "")
    staging = at(MOVE, "staging")
    assert step(staging, STAGED) == ("staging", "b3 does not have everything yet")
    assert step(staging, SYNCED) == ("fencing", "")
    fencing = at(MOVE, "fencing")
    assert step(fencing, FENCED) == ("fencing", "b1 has not said that it is drained")
    assert step(fencing, FENCED, report=DRAINED) == ("done", "")


def test_a_followers_copy_is_not_fenced() -> None:
    assert step(FOLLOWER, LED) == ("staging", "")
    assert step(at(FOLLOWER, "staging"), SYNCED) == ("done", "")


def test_an_added_copy_is_done_when_it_is_in_sync() -> None:
    assert step(ADDED, LED) == ("staging", "")
    assert step(at(ADDED, "staging"), STAGED)[0] == "staging"
    assert step(at(ADDED, "staging"), SYNCED) == ("done", "")


def test_leadership_alone_is_fenced_and_not_staged() -> None:
    assert step(LEADER, LED) == ("fencing", "")
    assert step(at(LEADER, "fencing"), FENCED, report=DRAINED) == ("done", "")
    behind = msgspec.structs.replace(LED, in_sync=("b1",))
    assert step(LEADER, behind) == ("waiting", "b2 is not in sync")


@pytest.mark.parametrize(
    "changes", [{"generation": 3}, {"role": "follower"}, {"is_drained": False}]
)
def test_only_the_leader_of_this_generation_says_that_it_is_drained(
    changes: dict[str, object],
) -> None:
    report = msgspec.structs.replace(DRAINED, **changes)
    assert step(at(MOVE, "fencing"), FENCED, report=report)[0] == "fencing"


def test_a_reason_that_has_been_said_is_not_said_again() -> None:
    waiting = at(MOVE, "staging", blocked_by="b3 does not have everything yet")
    record = ShardPlacement(
        tenant_id="acme", namespace="orders", stream="s", stream_id="id", placements=(STAGED,)
    )
    assert next_steps([waiting], {record.key: record}, UP, {}, 2000) == ()


def test_a_source_that_dies_while_its_copy_is_staged_is_not_fenced() -> None:
    dead = with_status("b1", status="down")
    led_by_b2 = Placement(
        shard_id=0, leader="b2", replicas=("b3", "b1"), in_sync=("b2", "b3"), generation=5
    )
    assert step(at(MOVE, "staging"), led_by_b2, dead) == ("done", "")
    behind = msgspec.structs.replace(led_by_b2, in_sync=("b2",))
    assert step(at(MOVE, "staging"), behind, dead)[0] == "staging"
    nobody = msgspec.structs.replace(
        behind, leader="", replicas=("b2", "b3", "b1"), reason="b1 has the data"
    )
    assert step(at(MOVE, "staging"), nobody, dead) == (
        "staging",
        "nobody leads the shard: b1 has the data",
    )


def test_a_source_that_dies_while_it_is_fenced_does_not_stop_the_move() -> None:
    dead = with_status("b1", status="down")
    led_by_b3 = Placement(
        shard_id=0, leader="b3", replicas=("b2", "b1"), in_sync=("b2", "b3"), generation=5
    )
    assert step(at(MOVE, "fencing"), led_by_b3, dead) == ("done", "")
    led_by_b2 = msgspec.structs.replace(led_by_b3, leader="b2", replicas=("b3", "b1"))
    assert step(at(MOVE, "fencing"), led_by_b2, dead) == ("done", "")
    # Leadership alone has either arrived by the failover or has no sense any more.
    assert step(at(LEADER, "fencing"), led_by_b2, dead) == ("done", "")
    assert step(at(LEADER, "fencing"), led_by_b3, dead) == (
        "failed",
        "b1 does not lead any more, b3 leads",
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"status": "down"}, "the target b3 is down"),
        ({"drain": True}, "the target b3 is being drained"),
    ],
)
def test_a_target_that_dies_or_is_drained_fails_the_move(
    changes: dict[str, object], why: str
) -> None:
    brokers = with_status("b3", **changes)
    assert step(MOVE, LED, brokers) == ("failed", why)
    assert step(at(MOVE, "staging"), STAGED, brokers) == ("failed", why)
    gone = [one for one in UP if one.broker_id != "b3"]
    assert step(MOVE, LED, gone) == ("failed", "b3 is not a broker any more")


def test_a_target_that_has_led_and_is_down_with_all_the_data_is_waited_for() -> None:
    alone = Placement(
        shard_id=0, replicas=("b2", "b1", "b3"), in_sync=("b3",), reason="b3 has the data"
    )
    dead = with_status("b3", status="down")
    why = "nobody leads the shard: b3 has the data"
    assert step(at(MOVE, "staging"), alone, dead) == ("staging", why)
    others = msgspec.structs.replace(alone, in_sync=("b2",))
    assert step(at(MOVE, "staging"), others, dead) == ("failed", "the target b3 is down")


def test_a_target_that_dies_at_the_end_fails_the_move_too() -> None:
    brokers = with_status("b3", status="down")
    assert step(at(MOVE, "fencing"), FENCED, brokers, DRAINED) == (
        "failed",
        "the target b3 is down",
    )
    both = [
        msgspec.structs.replace(one, status="down") if one.broker_id in {"b1", "b3"} else one
        for one in UP
    ]
    led_by_b2 = msgspec.structs.replace(STAGED, leader="b2", replicas=("b3", "b1"))
    assert step(at(MOVE, "fencing"), led_by_b2, both) == ("failed", "the target b3 is down")


def test_a_target_that_falls_behind_during_the_fence_fails_the_move() -> None:
    behind = msgspec.structs.replace(FENCED, in_sync=("b1", "b2"))
    assert step(at(MOVE, "fencing"), behind, report=DRAINED) == (
        "failed",
        "b3 fell behind while b1 was drained",
    )


def test_a_fence_does_not_last_longer_than_it_may() -> None:
    assert step(at(MOVE, "fencing"), FENCED, now_ms=30_999)[0] == "fencing"
    assert step(at(MOVE, "fencing"), FENCED, now_ms=31_000) == (
        "failed",
        "b1 was not drained in 30000 ms",
    )


def test_a_leader_that_was_down_in_between_is_not_fenced_any_more() -> None:
    assert step(at(MOVE, "fencing"), SYNCED, report=DRAINED) == (
        "failed",
        "b1 was down meanwhile, and leads again without a fence",
    )


def test_what_a_move_was_about_may_be_gone() -> None:
    assert step(MOVE, LED, stream_id="another") == ("failed", "the shard is gone")
    elsewhere = Placement(shard_id=0, leader="b4", replicas=("b2",), in_sync=("b2", "b4"))
    assert step(MOVE, elsewhere) == ("failed", "b1 has no copy any more")
    assert step(LEADER, elsewhere) == ("failed", "b1 does not lead any more, b4 does")
    assert step(MOVE, STAGED) == ("failed", "b3 has a copy already")


def many(count: int) -> tuple[list[ShardMove], dict[Key, ShardPlacement]]:
    """Make moves of as many streams from one broker."""
    moves: list[ShardMove] = []
    records: dict[Key, ShardPlacement] = {}
    for number in range(count):
        name = f"s{number}"
        record = ShardPlacement(
            tenant_id="acme", namespace="orders", stream=name, stream_id="id", placements=(LED,)
        )
        records[record.key] = record
        moves.append(
            msgspec.structs.replace(
                MOVE,
                move_id=f"7-{number}",
                stream=StreamName("acme", "orders", name),
                to_broker=f"b{3 + number % 3}",
            )
        )
    return moves, records


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_broker_has_no_more_moves_under_way_than_it_may(limit: int) -> None:
    moves, records = many(12)
    # The order in which they come is nothing: the oldest go first, 7-2 before 7-10.
    found = next_steps(
        moves[::-1],
        records,
        UP,
        {},
        2000,
        limits=StepLimits(moves_per_broker=limit),
    )
    begun = [one.move_id for one in found if one.to_step == "staging"]
    assert begun == [f"7-{number}" for number in range(limit)]
    waiting = {one.blocked_by for one in found if one.to_step == "waiting"}
    assert waiting == {f"b1 has {limit} moves under way"}


def test_a_shard_has_one_move_at_a_time() -> None:
    record = ShardPlacement(
        tenant_id="acme", namespace="orders", stream="s", stream_id="id", placements=(LED,)
    )
    second = msgspec.structs.replace(FOLLOWER, move_id="8-0", to_broker="b4")
    found = next_steps([second, MOVE], {record.key: record}, UP, {}, 2000)
    assert [(one.move_id, one.to_step, one.blocked_by) for one in found] == [
        ("7-0", "staging", ""),
        ("8-0", "waiting", "another move of the shard is under way"),
    ]


def test_while_placement_is_paused_nothing_begins_and_what_has_begun_goes_on() -> None:
    paused = PlacementSettings(is_paused=True, reason="upgrade")
    record = ShardPlacement(
        tenant_id="acme", namespace="orders", stream="s", stream_id="id", placements=(SYNCED,)
    )
    placements = {record.key: record}
    fresh = msgspec.structs.replace(MOVE, to_broker="b4")
    (one,) = next_steps([fresh], placements, UP, {}, 2000, paused)
    assert (one.to_step, one.blocked_by) == ("waiting", "placement is paused: upgrade")
    (one,) = next_steps([at(FOLLOWER, "staging")], placements, UP, {}, 2000, paused)
    assert one.to_step == "done"
