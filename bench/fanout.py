"""How long until every subscriber has an update: paced writes, and a burst."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import chain

import msgspec

from bench.cluster import FelixTarget
from bench.errors import BenchError
from bench.loads import Audience, Heard, Load, Order, listen, write
from bench.machine import cpu_s, foreign_percent, spent
from bench.measure import Round, figures
from bench.replicas import Applied, apply
from bench.stage import LOAD_TIMEOUT_S, READY_TIMEOUT_S, Plan, Stage, in_turns
from bench.systems import Target, Work, spread
from bench.workers import Worker
from felix.transport.client import Node

PACED_WRITES = 500
PACED_PER_S = 50
BURST_WRITES = 2000
BURST_WINDOW = 256
BURST_SUBSCRIBERS = 100
LISTENING_PROCESSES = 2


def run(plan: Plan) -> list[Round]:
    """Let subscribers, spread over the nodes, hear a paced load, and others a burst."""

    def turn(stage: Stage) -> list[Round]:
        node = stage.node(plan.via)
        heard = [paced(stage, node, subscribers, PACED_WRITES) for subscribers in plan.subscribers]
        audience = min(BURST_SUBSCRIBERS, max(plan.subscribers))
        return [*heard, burst(stage, node, audience, BURST_WRITES)]

    return in_turns(plan, plan.rounds, turn)


def paced(stage: Stage, node: int, subscribers: int, writes: int) -> Round:
    """Write one after the other, 50 a second. Raises: BenchError."""
    target, work = stage.target, Work(f"paced-{subscribers}", writes)
    order = Order(node, work, target.position(), pace_s=1 / PACED_PER_S)
    nodes = target.broker_nodes if isinstance(target, FelixTarget) else []
    return _measure(stage, f"subscribers={subscribers}", order, subscribers, nodes)


def burst(stage: Stage, node: int, subscribers: int, writes: int) -> Round:
    """Write as fast as the cluster takes it. Raises: BenchError."""
    order = Order(node, Work("burst", writes), stage.target.position(), window=BURST_WINDOW)
    return _measure(stage, f"burst={writes}x{subscribers}", order, subscribers, [])


def _measure(
    stage: Stage, case: str, order: Order, subscribers: int, replicated: Sequence[Node]
) -> Round:
    """Measure thin subscribers; at the nodes of `replicated` there are broker clients as well."""
    before, nodes_before_s = spent(), cpu_s(stage.cluster.pids())
    load, heard, applied = _write_and_listen(stage.target, order, subscribers, replicated)
    foreign = foreign_percent(before, spent())
    nodes_s = cpu_s(stage.cluster.pids()) - nodes_before_s
    arrivals = list(chain.from_iterable(one.arrived_at for one in heard))
    writes = _Writes.of(load, order.work.count)
    elapsed_s = max(map(max, arrivals)) - load.started_at
    lags = figures(
        stage.system, case, order.work.count * len(arrivals) / elapsed_s, writes.lags_s(arrivals)
    )
    since_sent = figures(stage.system, case, 0.0, writes.since_sent_s(arrivals))
    cpu_share = load.cpu_share + sum(one.cpu_s for one in heard) / elapsed_s
    notes = {
        "all_have_all_s": round(elapsed_s, 3),
        "writes_per_s": round(load.per_second, 1),
        "commit_p50_ms": figures(stage.system, case, 0.0, load.latencies_s).p50_ms,
        "sent_to_delivered_p50_ms": since_sent.p50_ms,
        "sent_to_delivered_p99_ms": since_sent.p99_ms,
    }
    if applied:
        times = (one.applied_at for one in applied)
        in_force = figures(stage.system, case, 0.0, writes.lags_s(times))
        notes["applied_p50_ms"] = in_force.p50_ms
        notes["applied_p99_ms"] = in_force.p99_ms
    notes["nodes_cpu_percent"] = round(100 * nodes_s / elapsed_s, 1)
    notes["client_cpu_percent"] = round(100 * cpu_share, 1)
    notes["foreign_cpu_percent"] = round(foreign, 1)
    return Round(lags, notes)


class _Writes(msgspec.Struct, frozen=True):
    """By mark, monotonic seconds."""

    sent_at: list[float]
    acknowledged_at: list[float]

    @classmethod
    def of(cls, load: Load, count: int) -> _Writes:
        """Read what a writer saw. Raises: BenchError, when a write is missing."""
        writes = cls([0.0] * count, [0.0] * count)
        for mark, at, s in zip(load.marks, load.acknowledged_at, load.latencies_s, strict=True):
            writes.acknowledged_at[mark], writes.sent_at[mark] = at, at - s
        if len(load.marks) != count or not all(writes.acknowledged_at):
            raise BenchError(f"{len(set(load.marks))} different writes acknowledged, not {count}")
        return writes

    def lags_s(self, arrivals: Iterable[Sequence[float]]) -> list[float]:
        """Give for each write at each subscriber the time since it was acknowledged.

        An update may arrive before its writer has heard of the commit: that is no delay.
        """
        times = self.acknowledged_at
        return [max(0.0, at - times[mark]) for one in arrivals for mark, at in enumerate(one)]

    def since_sent_s(self, arrivals: Iterable[Sequence[float]]) -> list[float]:
        """Give for each write at each subscriber the time since it was sent."""
        return [at - self.sent_at[mark] for one in arrivals for mark, at in enumerate(one)]


def _write_and_listen(
    target: Target, order: Order, subscribers: int, replicated: Sequence[Node]
) -> tuple[Load, list[Heard], list[Applied]]:
    base, count = order.base, order.work.count
    with ExitStack() as stack:
        listeners = [
            stack.enter_context(Worker(listen, target, audience))
            for audience in (
                Audience(nodes, order.work.prefix, base, count, LOAD_TIMEOUT_S)
                for nodes in spread(subscribers, LISTENING_PROCESSES)
            )
        ]
        replicas = [
            stack.enter_context(Worker(apply, node, base, count, LOAD_TIMEOUT_S))
            for node in replicated
        ]
        writer = stack.enter_context(Worker(write, target, order))
        for worker in (*listeners, *replicas, writer):
            worker.receive(str, READY_TIMEOUT_S)
        writer.send("go")
        load = writer.receive(Load, LOAD_TIMEOUT_S)
        heard = [listener.receive(Heard, LOAD_TIMEOUT_S) for listener in listeners]
        applied = [one.receive(Applied, LOAD_TIMEOUT_S) for one in replicas]
        return load, heard, applied
