"""How long planning takes, and how good its plans are: pure functions, without a cluster."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from bench.machine import foreign_percent, spent
from bench.measure import Round, figures
from bench.stage import Plan
from felix.core.placement.creating import place
from felix.core.placement.fleet import BrokerRow, Fleet, StreamRow
from felix.core.placement.rebalancing import rebalance
from felix.core.placement.repairing import replace
from felix.proto.brokers import NewPlacement, Placement, Quality, StreamName

BROKERS = 100
JOINED = 10
ZONES = 5
STREAMS = 10_000
FEW_STREAMS = 500
SHARDS = 4
COPIES = 3

_T = TypeVar("_T")


def run(plan: Plan) -> list[Round]:
    """Place streams on brokers; plan after ten more have joined, and after one has died."""
    if "felix" not in plan.systems:
        return []
    rounds = []
    for number in range(plan.rounds):
        plan.say(f"round {number + 1} of {plan.rounds}")
        rounds += [
            _creating(plan, FEW_STREAMS),
            _creating(plan, STREAMS),
            _joined(plan),
            _died(plan),
        ]
    return rounds


def _creating(plan: Plan, count: int) -> Round:
    streams = _streams(count)
    fleet = _fleet(BROKERS)
    found, one = _timed(plan, f"create, streams={count}", count, lambda: place(fleet, streams))
    assert not found.unmet
    one.notes.update(_quality(_of(fleet, _placed(streams, found.items))))
    return one


def _joined(plan: Plan) -> Round:
    streams = _streams(STREAMS)
    streams = _placed(streams, place(_fleet(BROKERS - JOINED), streams).items)
    fleet = _counted(_fleet(BROKERS), streams)
    found, one = _timed(
        plan, f"{JOINED} joined, BALANCED", STREAMS, lambda: rebalance(fleet, streams, "BALANCED")
    )
    one.notes.update(
        moves_of_copies=sum(move.kind == "replica" for move in found.moves),
        moves_of_leaders=sum(move.kind == "leader" for move in found.moves),
        moves_min=found.moves_min,
        **_quality(found.after),
    )
    return one


def _died(plan: Plan) -> Round:
    streams = _streams(STREAMS)
    streams = _placed(streams, place(_fleet(BROKERS), streams).items)
    dead = "b000"
    streams = tuple(
        msgspec.structs.replace(
            row, placements=tuple(_failed_over(one, dead) for one in row.placements)
        )
        for row in streams
    )
    fleet = _counted(_fleet(BROKERS), streams)
    brokers = [
        msgspec.structs.replace(row, status="down") if row.broker_id == dead else row
        for row in fleet.brokers
    ]
    fleet = msgspec.structs.replace(fleet, brokers=tuple(brokers))
    lost = sum(dead in one.copies for row in streams for one in row.placements)
    found, one = _timed(
        plan, "1 died, replace", STREAMS, lambda: replace(fleet, streams, [dead], moves_max=lost)
    )
    arrived = Counter(move.to_broker for move in found.moves)
    loads = [row.copies + arrived[row.broker_id] for row in brokers if row.broker_id != dead]
    one.notes.update(
        moves_of_copies=len(found.moves),
        moves_min=lost,
        copies_spread=max(loads) - min(loads),
        blocked=len(found.blocked_by),
    )
    return one


def _timed(plan: Plan, case: str, streams: int, work: Callable[[], _T]) -> tuple[_T, Round]:
    """Do the same `--trials` times. `ops_per_s` is shards."""
    before = spent()
    times_s = []
    for _ in range(plan.trials):
        begun = time.perf_counter()
        found = work()
        times_s.append(time.perf_counter() - begun)
    foreign = foreign_percent(before, spent())
    per_second = streams * SHARDS * len(times_s) / sum(times_s)
    notes = {"foreign_cpu_percent": round(foreign, 1)}
    return found, Round(figures("felix", case, per_second, times_s), notes)


def _quality(quality: Quality) -> dict[str, float]:
    return {
        "copies_spread": quality.copies_spread,
        "leaders_spread": quality.leaders_spread,
        "zone_violations": quality.zone_violations,
    }


def _of(fleet: Fleet, streams: tuple[StreamRow, ...]) -> Quality:
    return rebalance(_counted(fleet, streams), streams, "MINIMIZE_MOVEMENT").before


def _fleet(count: int) -> Fleet:
    return Fleet(
        brokers=tuple(
            BrokerRow(broker_id=f"b{number:03}", zone=f"z{number % ZONES}")
            for number in range(count)
        )
    )


def _streams(count: int) -> tuple[StreamRow, ...]:
    return tuple(
        StreamRow(
            stream=StreamName("acme", "orders", f"s{number:05}"),
            stream_id=str(number),
            shards=SHARDS,
            replication_factor=COPIES,
        )
        for number in range(count)
    )


def _placed(streams: tuple[StreamRow, ...], items: Iterable[NewPlacement]) -> tuple[StreamRow, ...]:
    found = {item.stream: item.placements for item in items}
    return tuple(msgspec.structs.replace(row, placements=found[row.stream]) for row in streams)


def _counted(fleet: Fleet, streams: tuple[StreamRow, ...]) -> Fleet:
    copies: Counter[str] = Counter()
    leads: Counter[str] = Counter()
    for row in streams:
        for placement in row.placements:
            copies.update(placement.copies)
            leads[placement.leader] += 1
    return msgspec.structs.replace(
        fleet,
        brokers=tuple(
            msgspec.structs.replace(row, copies=copies[row.broker_id], leads=leads[row.broker_id])
            for row in fleet.brokers
        ),
    )


def _failed_over(placement: Placement, dead: str) -> Placement:
    others = tuple(name for name in placement.copies if name != dead)
    if len(others) == len(placement.copies):
        return placement
    return msgspec.structs.replace(
        placement,
        leader=others[0],
        replicas=(*others[1:], dead),
        in_sync=tuple(sorted(others)),
        generation=placement.generation + (placement.leader == dead),
    )
