"""How long writes are interrupted when the leader is killed with kill -9."""

from __future__ import annotations

import random
import time
from multiprocessing.connection import Connection

import msgspec

from bench.errors import BenchError
from bench.loads import clock
from bench.machine import foreign_percent, spent
from bench.measure import Round, figures
from bench.stage import READY_TIMEOUT_S, Plan, Stage, staged
from bench.systems import NODES, Target, wait_healthy
from bench.workers import Worker

CASE = "kill-leader"
TRY_TIMEOUT_S = 0.1
"""A client that hears nothing for so long turns to the next node."""
TRIAL_TIMEOUT_S = 60.0
_BEFORE_KILL_S = 0.5
_KILL_JITTER_S = 0.2
"""More than the peers' heartbeat intervals, so that a kill falls anywhere between two of them."""


class Trial(msgspec.Struct):
    """What the writing client saw in one trial."""

    acknowledged: list[str]
    """Names."""
    recovered_s: float
    """From the kill to the first acknowledgement of a write begun after it."""
    elapsed_s: float


def run(plan: Plan) -> list[Round]:
    """Kill the leader in each trial; in the end read back all that was acknowledged."""
    rounds = []
    for system in plan.systems:
        if system != "floor":
            with staged(system, plan.data_dir) as stage:
                rounds.append(_trials(plan, stage))
    return rounds


def _trials(plan: Plan, stage: Stage) -> Round:
    acknowledged: set[str] = set()
    trials: list[Trial] = []
    before = spent()
    for number in range(plan.trials):
        trial = _trial(stage, f"trial{number:03d}")
        plan.say(f"failover, {stage.system}, trial {number + 1}: {trial.recovered_s:.3f} s")
        trials.append(trial)
        acknowledged.update(trial.acknowledged)
    foreign = foreign_percent(before, spent())
    missing = acknowledged - stage.target.names("trial")
    if missing:
        raise BenchError(f"{stage.system} lost {len(missing)} acknowledged writes: {missing}")
    per_second = len(acknowledged) / sum(trial.elapsed_s for trial in trials)
    summed = figures(stage.system, CASE, per_second, [trial.recovered_s for trial in trials])
    notes = {
        "trials": len(trials),
        "writes_read_back": len(acknowledged),
        "foreign_cpu_percent": round(foreign, 1),
    }
    return Round(summed, notes)


def _trial(stage: Stage, prefix: str) -> Trial:
    leader = wait_healthy(stage.target)
    with Worker(keep_writing, stage.target, leader, prefix) as worker:
        worker.receive(str, READY_TIMEOUT_S)
        time.sleep(_BEFORE_KILL_S + random.uniform(0, _KILL_JITTER_S))
        killed_at = stage.cluster.kill(leader)
        worker.send(killed_at)
        trial = worker.receive(Trial, TRIAL_TIMEOUT_S)
    stage.cluster.restart(leader)
    wait_healthy(stage.target)
    return trial


def keep_writing(link: Connection, target: Target, node: int, prefix: str) -> None:
    """Task: write one by one until one begun after the kill is acknowledged; send the `Trial`."""
    writer = target.writer()
    acknowledged: list[tuple[str, float, float]] = []
    killed_at: float | None = None
    number = 0
    started_at = clock()
    deadline = started_at + TRIAL_TIMEOUT_S
    try:
        while clock() < deadline:
            name = f"{prefix}-{number:08d}"
            begun_at = clock()
            if writer.write(node, name, TRY_TIMEOUT_S):
                acknowledged.append((name, begun_at, clock()))
                if number == 0:
                    link.send("ready")
            else:
                node = (node + 1) % NODES
            number += 1
            if killed_at is None and link.poll(0):
                killed_at = link.recv()
            if killed_at is not None and acknowledged and acknowledged[-1][1] >= killed_at:
                link.send(_sum_up(acknowledged, killed_at, clock() - started_at))
                return
        raise BenchError(f"{target.system}: no write for {TRIAL_TIMEOUT_S} s after the kill")
    finally:
        writer.close()


def _sum_up(
    acknowledged: list[tuple[str, float, float]], killed_at: float, elapsed_s: float
) -> Trial:
    first_after = min(end for _name, begun, end in acknowledged if begun >= killed_at)
    names = [name for name, _begun, _end in acknowledged]
    return Trial(names, first_after - killed_at, elapsed_s)
