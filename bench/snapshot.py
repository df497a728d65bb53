"""How long a client that knows nothing needs to get everything."""

from __future__ import annotations

from multiprocessing.connection import Connection

from bench.errors import BenchError
from bench.loads import Order, clock
from bench.machine import foreign_percent, resident_mib, spent
from bench.measure import Round, figures
from bench.stage import READY_TIMEOUT_S, Plan, Stage, in_turns, run_load
from bench.systems import NODES, Target, Work, wait_healthy
from bench.workers import Worker

STREAMS = 10_000
_PREFIX = "stream"
_WINDOW = 64


def run(plan: Plan) -> list[Round]:
    """Load 10,000 streams, then fetch them with one fresh process after the other."""

    def turn(stage: Stage) -> list[Round]:
        empty_mib = max(resident_mib(stage.cluster.pids()))
        work = Work(_PREFIX, STREAMS, "stream")
        loaded = run_load(
            stage.target,
            Order(stage.leader, work, stage.target.position(), window=_WINDOW),
        )
        wait_healthy(stage.target)
        before = spent()
        times_s = [_fetch(stage.target, number % NODES) for number in range(plan.trials)]
        foreign = foreign_percent(before, spent())
        notes = {
            "load_s": round(loaded.load.ended_at - loaded.load.started_at, 2),
            "node_mib_empty": round(empty_mib, 1),
            "node_mib_loaded": round(max(resident_mib(stage.cluster.pids())), 1),
            "foreign_cpu_percent": round(foreign, 1),
        }
        per_second = STREAMS * len(times_s) / sum(times_s)
        return [Round(figures(stage.system, f"streams={STREAMS}", per_second, times_s), notes)]

    return in_turns(plan, plan.rounds, turn)


def _fetch(target: Target, node: int) -> float:
    with Worker(fetch, target, node) as worker:
        return worker.receive(float, READY_TIMEOUT_S)


def fetch(link: Connection, target: Target, node: int) -> None:
    """Task: connect, fetch and decode everything; send the seconds it took."""
    started_at = clock()
    objects = target.snapshot(node, _PREFIX)
    elapsed_s = clock() - started_at
    if objects != STREAMS:
        raise BenchError(f"{target.system}: {objects} objects in the snapshot, not {STREAMS}")
    link.send(elapsed_s)
