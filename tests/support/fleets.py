"""Brokers and streams made by a seed, and what a plan makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from random import Random

import msgspec

from felix.core.placement.creating import place
from felix.core.placement.fleet import BrokerRow, Fleet, StreamRow
from felix.proto.brokers import MovePlan, NewPlacement, Placement, PlannedMove, StreamName


def broker(name: str, **changes: object) -> BrokerRow:
    """Make a row; `changes` are its members."""
    return msgspec.structs.replace(BrokerRow(broker_id=name), **changes)


def fleet_of(count: int, zones: int = 1, prefix: str = "b") -> Fleet:
    """Make brokers in turns over zones."""
    return Fleet(
        brokers=tuple(
            BrokerRow(broker_id=f"{prefix}{n:03}", region="eu", zone=f"z{n % zones}")
            for n in range(count)
        )
    )


def stream(name: str, shards: int = 4, copies: int = 3, regions: Sequence[str] = ()) -> StreamRow:
    """Make a stream that is not placed."""
    return StreamRow(
        stream=StreamName("acme", "orders", name),
        stream_id=f"id-{name}",
        shards=shards,
        replication_factor=copies,
        regions=tuple(regions),
    )


def streams_of(count: int, shards: int = 4, copies: int = 3) -> tuple[StreamRow, ...]:
    """Make streams that are not placed."""
    return tuple(stream(f"s{n:05}", shards, copies) for n in range(count))


def with_placements(
    rows: Iterable[StreamRow], items: Iterable[NewPlacement]
) -> tuple[StreamRow, ...]:
    """Take placements over into the streams."""
    found = {item.stream: item.placements for item in items}
    return tuple(
        msgspec.structs.replace(row, placements=found.get(row.stream, row.placements))
        for row in rows
    )


def counted(fleet: Fleet, rows: Iterable[StreamRow]) -> Fleet:
    """Count in the brokers what the placements say."""
    copies: Counter[str] = Counter()
    leads: Counter[str] = Counter()
    for row in rows:
        for placement in row.placements:
            copies.update(placement.copies)
            leads[placement.leader] += 1
    return msgspec.structs.replace(
        fleet,
        brokers=tuple(
            msgspec.structs.replace(one, copies=copies[one.broker_id], leads=leads[one.broker_id])
            for one in fleet.brokers
        ),
    )


def placed(fleet: Fleet, rows: tuple[StreamRow, ...]) -> tuple[Fleet, tuple[StreamRow, ...]]:
    """Place streams, and count."""
    rows = with_placements(rows, place(fleet, rows).items)
    return counted(fleet, rows), rows


def carried_out(
    fleet: Fleet, rows: tuple[StreamRow, ...], plan: MovePlan
) -> tuple[Fleet, tuple[StreamRow, ...]]:
    """Do all moves of a plan at once, holding each to the rules."""
    moves = {(move.stream, move.shard_id): move for move in plan.moves}
    assert len(moves) == len(plan.moves), "two moves of one shard"
    after = []
    for row in rows:
        changed = [
            moved(placement, moves.pop((row.stream, placement.shard_id), None))
            for placement in row.placements
        ]
        after.append(msgspec.structs.replace(row, placements=tuple(changed)))
    assert not moves, "a move of a shard that there is not"
    return counted(fleet, after), tuple(after)


def moved(placement: Placement, move: PlannedMove | None) -> Placement:
    """Do one move."""
    if move is None:
        return placement
    source, target = move.from_broker, move.to_broker
    copies = list(placement.copies)
    if move.kind == "leader":
        assert placement.leader == source
        assert target in placement.in_sync
    else:
        assert target not in copies, "two copies of a shard on one broker"
        if source:
            copies.remove(source)
        copies.append(target)
    leader = target if placement.leader == source else placement.leader
    return msgspec.structs.replace(
        placement,
        leader=leader,
        replicas=tuple(name for name in copies if name != leader),
        in_sync=tuple(sorted(copies)),
        generation=placement.generation + (leader != placement.leader),
    )


def shuffled(
    random: Random, fleet: Fleet, rows: tuple[StreamRow, ...]
) -> tuple[Fleet, tuple[StreamRow, ...]]:
    """Give the same in another order."""
    brokers, streams = list(fleet.brokers), list(rows)
    random.shuffle(brokers)
    random.shuffle(streams)
    return msgspec.structs.replace(fleet, brokers=tuple(brokers)), tuple(streams)


def spread(counts: Iterable[int]) -> int:
    """Tell the most from the least."""
    numbers = list(counts)
    return max(numbers) - min(numbers)
