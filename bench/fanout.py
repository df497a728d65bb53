"""How long until every subscriber has an update: paced writes, and a burst."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import chain

import msgspec

from bench.errors import BenchError
from bench.loads import Audience, Heard, Load, Order, listen, write
from bench.machine import foreign_percent, spent
from bench.measure import Round, figures
from bench.stage import LOAD_TIMEOUT_S, READY_TIMEOUT_S, Plan, Stage, in_turns
from bench.systems import Target, Work, spread
from bench.workers import Worker

PACED_WRITES = 500
PACED_PER_S = 50
BURST_WRITES = 2000
BURST_WINDOW = 64
LISTENING_PROCESSES = 2


def run(plan: Plan) -> list[Round]:
    """Let subscribers, spread over the nodes, hear a paced load, and others a burst."""

    def turn(stage: Stage) -> list[Round]:
        node, subscribers = stage.node(plan.via), plan.subscribers
        paced = Order(node, Work("paced", PACED_WRITES), pace_s=1 / PACED_PER_S)
        burst = Order(node, Work("burst", BURST_WRITES), window=BURST_WINDOW)
        return [
            _measure(stage, f"subscribers={subscribers}", paced, subscribers),
            _measure(stage, f"burst={BURST_WRITES}x{subscribers}", burst, subscribers),
        ]

    return in_turns(plan, plan.rounds, turn)


def _measure(stage: Stage, case: str, order: Order, subscribers: int) -> Round:
    base, count = stage.target.position(), order.work.count
    order = Order(order.node, order.work, base, order.window, seconds=None, pace_s=order.pace_s)
    before = spent()
    load, heard = _write_and_listen(stage.target, order, subscribers)
    foreign = foreign_percent(before, spent())
    arrivals = list(chain.from_iterable(one.arrived_at for one in heard))
    delays = _delays(load, arrivals, count)
    since_sent = figures(stage.system, case, 0.0, delays.since_sent_s)
    elapsed_s = max(map(max, arrivals)) - load.started_at
    cpu_share = load.cpu_share + sum(one.cpu_s for one in heard) / elapsed_s
    notes = {
        "all_have_all_s": round(elapsed_s, 3),
        "writes_per_s": round(load.per_second, 1),
        "commit_p50_ms": figures(stage.system, case, 0.0, load.latencies_s).p50_ms,
        "sent_to_delivered_p50_ms": since_sent.p50_ms,
        "sent_to_delivered_p99_ms": since_sent.p99_ms,
        "client_cpu_percent": round(100 * cpu_share, 1),
        "foreign_cpu_percent": round(foreign, 1),
    }
    delivered_per_s = len(delays.since_acknowledged_s) / elapsed_s
    lags = figures(stage.system, case, delivered_per_s, delays.since_acknowledged_s)
    return Round(lags, notes)


class _Delays(msgspec.Struct, frozen=True):
    """For each update at each subscriber."""

    since_acknowledged_s: list[float]
    since_sent_s: list[float]


def _delays(load: Load, arrivals: Iterable[Sequence[float]], count: int) -> _Delays:
    acknowledged_at, sent_at = [0.0] * count, [0.0] * count
    for mark, at, latency_s in zip(load.marks, load.acknowledged_at, load.latencies_s, strict=True):
        acknowledged_at[mark], sent_at[mark] = at, at - latency_s
    if len(load.marks) != count or not all(acknowledged_at):
        raise BenchError(f"{len(set(load.marks))} different writes acknowledged, not {count}")
    delays = _Delays([], [])
    for arrived_at in arrivals:
        # An update may arrive before its writer has heard of the commit: that is no delay.
        delays.since_acknowledged_s.extend(
            max(0.0, at - acknowledged_at[mark]) for mark, at in enumerate(arrived_at)
        )
        delays.since_sent_s.extend(at - sent_at[mark] for mark, at in enumerate(arrived_at))
    return delays


def _write_and_listen(target: Target, order: Order, subscribers: int) -> tuple[Load, list[Heard]]:
    with ExitStack() as stack:
        listeners = [
            stack.enter_context(Worker(listen, target, audience))
            for audience in (
                Audience(nodes, order.work.prefix, order.base, order.work.count, LOAD_TIMEOUT_S)
                for nodes in spread(subscribers, LISTENING_PROCESSES)
            )
        ]
        writer = stack.enter_context(Worker(write, target, order))
        for worker in (*listeners, writer):
            worker.receive(str, READY_TIMEOUT_S)
        writer.send("go")
        load = writer.receive(Load, LOAD_TIMEOUT_S)
        return load, [listener.receive(Heard, LOAD_TIMEOUT_S) for listener in listeners]
