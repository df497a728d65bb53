"""How much of a plan is begun at once."""

from __future__ import annotations

import msgspec

from felix.core.placement.fleet import BrokerRow, Fleet
from felix.core.placement.pacing import MOVES_MAX, QUEUE_MAX, first_moves
from felix.proto.brokers import PlannedMove, ShardMove, StreamName


def planned(number: int, source: str, target: str) -> PlannedMove:
    return PlannedMove(
        stream=StreamName("acme", "prod", f"s{number:04}"),
        shard_id=0,
        kind="replica",
        from_broker=source,
        to_broker=target,
    )


def under_way(number: int, source: str, target: str) -> ShardMove:
    return ShardMove(
        move_id=f"1-{number}",
        plan_id="1",
        stream=StreamName("acme", "prod", f"m{number:04}"),
        stream_id="id",
        shard_id=0,
        kind="replica",
        from_broker=source,
        to_broker=target,
        reason="drain",
    )


def fleet(*names: str, down: tuple[str, ...] = ()) -> Fleet:
    rows = [BrokerRow(broker_id=name) for name in names]
    rows += [BrokerRow(broker_id=name, status="down") for name in down]
    return Fleet(brokers=tuple(rows))


def test_no_broker_gets_more_than_it_gets_to_soon() -> None:
    moves = [planned(number, "a", f"b{number % 3}") for number in range(100)]
    assert first_moves(fleet("a", "b0", "b1", "b2"), moves) == tuple(moves[:QUEUE_MAX])


def test_what_is_under_way_counts() -> None:
    busy = msgspec.structs.replace(
        fleet("a", "b", "c"), moves=tuple(under_way(number, "a", "b") for number in range(3))
    )
    moves = [planned(number, "a", "c") for number in range(100)]
    assert len(first_moves(busy, moves)) == QUEUE_MAX - 3


def test_a_busy_broker_keeps_no_other_waiting() -> None:
    busy = msgspec.structs.replace(
        fleet("a", "b", "c", "d"),
        moves=tuple(under_way(number, "a", "b") for number in range(QUEUE_MAX)),
    )
    moves = [planned(0, "a", "c"), planned(1, "d", "b"), planned(2, "d", "c")]
    assert first_moves(busy, moves) == (moves[2],)


def test_a_dead_broker_is_never_busy() -> None:
    names = [f"b{number}" for number in range(100)]
    moves = [planned(number, "dead", names[number % 100]) for number in range(1000)]
    assert len(first_moves(fleet(*names, down=("dead",)), moves)) == MOVES_MAX
