"""How long a node with 100,000 streams needs from its start to serving, and what it weighs."""

from __future__ import annotations

import time

from bench.machine import foreign_percent, resident_mib, spent
from bench.measure import Round, figures
from bench.scale import STREAMS, Scene, each_round, wait_until
from bench.stage import Plan
from bench.systems import NODES, wait_healthy


def run(plan: Plan) -> list[Round]:
    """Restart one node, then all three, again and again, on what is on their disks."""
    return each_round(plan, lambda scene: _turn(plan, scene))


def _turn(plan: Plan, scene: Scene) -> list[Round]:
    scene.create_streams()
    wait_healthy(scene.cluster.target)
    grown_mib = max(resident_mib(scene.cluster.pids()))
    rounds = [
        _restarts(plan, scene, "one-node", [(scene.leader + 1) % NODES]),
        _restarts(plan, scene, "whole-cluster", list(range(NODES))),
    ]
    for one in rounds:
        one.notes["node_mib_grown"] = round(grown_mib, 1)
    return rounds


def _restarts(plan: Plan, scene: Scene, case: str, numbers: list[int]) -> Round:
    before = spent()
    ready_s, serving_s, sizes_mib = [], [], []
    for _ in range(plan.trials):
        for number in numbers:
            scene.cluster.kill(number)
        begun = time.monotonic()
        for number in numbers:
            scene.cluster.restart(number)
        nodes = [scene.nodes[number] for number in numbers]
        at = wait_until("/ready", lambda nodes=nodes: all(node.is_ready() for node in nodes))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        ready_s.append(at - begun)
        at = wait_until("a read", lambda: all(scene.answers_read(number) for number in numbers))
        serving_s.append(at - begun)
        wait_healthy(scene.cluster.target)
        sizes_mib.append(max(resident_mib([scene.cluster.pids()[number] for number in numbers])))
    foreign = foreign_percent(before, spent())
    size_bytes = max(
        path.stat().st_size
        for path in (scene.nodes[numbers[0]].data_dir / "snapshots").glob("*.snapshot")
    )
    notes = {
        "ready_ms_max": round(1e3 * max(ready_s), 1),
        "node_mib_restarted": round(max(sizes_mib), 1),
        "snapshot_mib": round(size_bytes / (1 << 20), 1),
        "foreign_cpu_percent": round(foreign, 1),
    }
    per_second = len(serving_s) / sum(serving_s)
    return Round(figures("felix", f"{case}, streams={STREAMS}", per_second, serving_s), notes)
