"""What a cluster costs that nobody asks anything: processor time of each node, second by second."""

from __future__ import annotations

import time

from bench.machine import cpu_s, descendants, foreign_percent, spent
from bench.measure import Round, figures
from bench.scale import each_round
from bench.stage import Plan

SECONDS = 20


def run(plan: Plan) -> list[Round]:
    """Let three nodes run, with their HTTP processes, and ask them nothing."""
    return each_round(plan, lambda scene: _watch(scene.cluster.pids(), scene.leader))


def _watch(pids: list[int], leader: int) -> list[Round]:
    """Measure node processes and their children apart."""
    children = [descendants(pid) for pid in pids]
    before = spent()
    node_s: list[list[float]] = [[] for _ in pids]
    child_s: list[float] = []
    last = [(cpu_s([pid]), cpu_s(others)) for pid, others in zip(pids, children, strict=True)]
    for _ in range(SECONDS):
        time.sleep(1.0)
        now = [(cpu_s([pid]), cpu_s(others)) for pid, others in zip(pids, children, strict=True)]
        for number, (new, old) in enumerate(zip(now, last, strict=True)):
            node_s[number].append(new[0] - old[0])
            child_s.append(new[1] - old[1])
        last = now
    foreign = round(foreign_percent(before, spent()), 1)
    followers = [one for number, each in enumerate(node_s) if number != leader for one in each]
    return [
        _round("idle leader, cpu per s", node_s[leader], foreign),
        _round("idle follower, cpu per s", followers, foreign),
        _round("idle http processes, cpu per s", child_s, foreign),
    ]


def _round(case: str, used_s: list[float], foreign: float) -> Round:
    mean = sum(used_s) / len(used_s)
    notes = {"percent_of_one_core": round(100 * mean, 2), "foreign_cpu_percent": foreign}
    return Round(figures("felix", case, 0.0, used_s), notes)
