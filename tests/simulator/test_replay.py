"""A seed decides everything: what cannot be replayed cannot be repaired."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulator.disk import TransparentJournal
from tests.simulator.runner import DAY_US, run_life, run_seed, run_seeds

ROOT = Path(__file__).parents[2]


def trace_of(seed: int) -> list[str]:
    lines: list[str] = []
    results = run_seed(seed, write_trace=lines.append)
    assert not results.failures
    return lines


@pytest.mark.parametrize("seed", [3, 17])
def test_the_same_seed_gives_the_same_trace(seed: int) -> None:
    assert trace_of(seed) == trace_of(seed)


@pytest.mark.slow
def test_a_long_history_is_the_same_every_time_too() -> None:
    traces: list[list[str]] = [[], []]
    for trace in traces:
        results = run_life(5, days=0.002, write_trace=trace.append)
        assert not results.failures, results.failures[0].report()
        assert results.virtual_us >= 0.002 * DAY_US
    assert traces[0] == traces[1]


def test_another_seed_gives_another_trace() -> None:
    assert trace_of(3) != trace_of(4)


@pytest.mark.slow
def test_the_trace_does_not_depend_on_the_process() -> None:
    traces = [
        subprocess.run(
            [sys.executable, "-m", "tests.simulator", "--seed", "3", "--trace"],
            cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert traces[0] == traces[1]
    assert b"1 seeds passed" in traces[0]


def test_clusters_of_other_sizes_run_too() -> None:
    for nodes in (1, 2, 3, 7):
        results = run_seeds(range(5), nodes=nodes)
        assert not results.failures, results.failures[0].report()


def test_a_failing_seed_says_how_to_replay_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def append(self: TransparentJournal, hard_state: object, entries: object) -> None:
        """Write nothing."""

    monkeypatch.setattr(TransparentJournal, "append", append)
    (failure,) = run_seed(3).failures
    report = failure.report()
    assert f"python -m tests.simulator --seed {failure.seed} --nodes 5 --trace" in report
    assert "InvariantBroken" in report
    assert len(failure.trace) > 10
