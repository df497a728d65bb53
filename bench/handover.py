"""How long writes pause when the leader is restarted on purpose: SIGTERM, and started again."""

from __future__ import annotations

import random
import time
from itertools import pairwise
from multiprocessing.connection import Connection

import msgspec

from bench.errors import BenchError
from bench.loads import clock
from bench.machine import foreign_percent, spent
from bench.measure import Round, figures
from bench.stage import READY_TIMEOUT_S, Plan, Stage, staged
from bench.systems import NODES, Target, wait_healthy
from bench.workers import Worker

CASE = "restart-leader"
TRY_TIMEOUT_S = 1.0
"""A client that hears nothing for so long turns to the next node: a refusal comes much earlier."""
TRIAL_TIMEOUT_S = 60.0
_BEFORE_S = 0.5
_JITTER_S = 0.2
_AFTER_S = 2.0
"""Longer than any election: what the end of the old leader may still bring about."""


class Trial(msgspec.Struct):
    """What the writing client saw in one trial."""

    acknowledged: list[str]
    """Names."""
    longest_pause_s: float
    """Between two acknowledgements, from the signal on."""
    usual_pause_s: float
    """The longest between two acknowledgements before the signal."""
    elapsed_s: float


def run(plan: Plan) -> list[Round]:
    """Restart the leader in each trial; in the end read back all that was acknowledged."""
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
        plan.say(
            f"handover, {stage.system}, trial {number + 1}: {trial.longest_pause_s * 1e3:.1f} ms, "
            f"before {trial.usual_pause_s * 1e3:.1f} ms"
        )
        trials.append(trial)
        acknowledged.update(trial.acknowledged)
    foreign = foreign_percent(before, spent())
    missing = acknowledged - stage.target.names("trial")
    if missing:
        raise BenchError(f"{stage.system} lost {len(missing)} acknowledged writes: {missing}")
    per_second = len(acknowledged) / sum(trial.elapsed_s for trial in trials)
    summed = figures(stage.system, CASE, per_second, [one.longest_pause_s for one in trials])
    notes = {
        "trials": len(trials),
        "writes_read_back": len(acknowledged),
        "longest_pause_before_ms": round(max(one.usual_pause_s for one in trials) * 1e3, 1),
        "foreign_cpu_percent": round(foreign, 1),
    }
    return Round(summed, notes)


def _trial(stage: Stage, prefix: str) -> Trial:
    leader = wait_healthy(stage.target)
    with Worker(keep_writing, stage.target, leader, prefix) as worker:
        worker.receive(str, READY_TIMEOUT_S)
        time.sleep(_BEFORE_S + random.uniform(0, _JITTER_S))
        worker.send(stage.cluster.terminate(leader))
        trial = worker.receive(Trial, TRIAL_TIMEOUT_S)
    stage.cluster.restart(leader)
    wait_healthy(stage.target)
    return trial


def keep_writing(link: Connection, target: Target, node: int, prefix: str) -> None:
    """Task: write one by one until a while after the signal; send the `Trial`."""
    writer = target.writer()
    acknowledged: list[tuple[str, float]] = []
    told_at: float | None = None
    number = 0
    started_at = clock()
    deadline = started_at + TRIAL_TIMEOUT_S
    try:
        while clock() < deadline:
            name = f"{prefix}-{number:08d}"
            if writer.write(node, name, TRY_TIMEOUT_S):
                acknowledged.append((name, clock()))
                if number == 0:
                    link.send("ready")
            else:
                node = (node + 1) % NODES
            number += 1
            if told_at is None and link.poll(0):
                told_at = link.recv()
            if told_at is not None and acknowledged and acknowledged[-1][1] > told_at + _AFTER_S:
                link.send(_sum_up(acknowledged, told_at, clock() - started_at))
                return
        raise BenchError(f"{target.system}: the trial did not end within {TRIAL_TIMEOUT_S} s")
    finally:
        writer.close()


def _sum_up(acknowledged: list[tuple[str, float]], told_at: float, elapsed_s: float) -> Trial:
    pauses = [(end, end - begin) for (_, begin), (_, end) in pairwise(acknowledged)]
    return Trial(
        [name for name, _ in acknowledged],
        max(pause for end, pause in pauses if end >= told_at),
        max((pause for end, pause in pauses if end < told_at), default=0.0),
        elapsed_s,
    )
