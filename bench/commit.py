"""How long a durable write takes: one client in sequence, and 64 writes in flight."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.errors import BenchError
from bench.loads import Order
from bench.machine import foreign_percent, spent
from bench.measure import Figures, Round, figures
from bench.stage import Plan, Stage, fresh_folder, run_load, staged
from bench.systems import Work

WARMUP: Final = 200
WINDOW: Final = 64
_PER_SECOND_MAX: Final = 40_000
"""So many requests per second are encoded ahead; a faster system ends its load early."""
_FLOOR_TIMEOUT_S: Final = 120.0


def run(plan: Plan) -> list[Round]:
    """Give every system, the floor too, a turn in every round."""
    rounds = []
    for number in range(plan.rounds):
        for system in plan.systems:
            plan.say(f"commit, round {number + 1} of {plan.rounds}: {system}")
            if system == "floor":
                rounds += _floor(plan.data_dir)
            else:
                with staged(system, plan.data_dir) as stage:
                    rounds += _turn(plan, stage)
    return rounds


def _turn(plan: Plan, stage: Stage) -> list[Round]:
    node, base = stage.node(plan.via), stage.target.position()
    one = Order(node, Work("one", WARMUP + plan.count), base, warmup=WARMUP)
    many = Order(
        node,
        Work("many", round(plan.seconds * _PER_SECOND_MAX)),
        base,
        window=WINDOW,
        seconds=plan.seconds,
    )
    rounds = []
    for case, order in (("in_flight=1", one), (f"in_flight={WINDOW}", many)):
        measured = run_load(stage.target, order)
        load = measured.load
        summed = figures(stage.system, case, load.per_second, load.latencies_s)
        rounds.append(Round(summed, measured.notes()))
    return rounds


def _floor(data_dir: Path) -> list[Round]:
    """Run the floor program in a process of its own."""
    with fresh_folder(data_dir) as folder:
        out = Path(folder) / "floor.json"
        command = [sys.executable, "-m", "bench.floor_commit", "--json", str(out), "--dir", folder]
        before = spent()
        try:
            subprocess.run(command, check=True, timeout=_FLOOR_TIMEOUT_S, stdout=subprocess.DEVNULL)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise BenchError(f"the floor program failed: {error}") from error
        notes = {"foreign_cpu_percent": round(foreign_percent(before, spent()), 1)}
        rows = json.loads(out.read_text(encoding="utf-8"))
    return [
        Round(
            Figures(
                system="floor",
                case=f"in_flight={row['in_flight']}",
                ops_per_s=row["commits_per_s"],
                p50_ms=row["p50_ms"],
                p90_ms=row["p90_ms"],
                p99_ms=row["p99_ms"],
                max_ms=row["max_ms"],
            ),
            notes,
        )
        for row in rows
    ]
