"""Short runs against real clusters; `make nemesis` makes long ones."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ALWAYS_POSSIBLE = (
    *("kill", "kill_all", "restart", "pause", "partition", "isolated_leader"),
    *("one_way", "bridge", "slow_link", "stepped_clock"),
)


def nemesis(*arguments: str) -> tuple[int, str]:
    """Run it, and give its exit code and what it says."""
    command = [sys.executable, "-m", "tests.nemesis", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    print(done.stdout, done.stderr)
    return done.returncode, done.stdout


def test_a_cluster_keeps_its_promises_whatever_is_done_to_it(tmp_path: Path) -> None:
    seed = int(time.time())
    code, said = nemesis("--seed", str(seed), "--seconds", "15", "--folder", str(tmp_path / "kept"))
    assert code == 0
    assert "writes go on" in said
    counts = {
        name.strip(): int(count.replace(",", ""))
        for count, _, name in (line.strip().partition("  ") for line in said.splitlines())
        if count.replace(",", "").isdigit()
    }
    assert sum(counts[f"fault: {name}"] > 0 for name in ALWAYS_POSSIBLE) >= 4
    for name in ("write: answered", "read: answered", "stale read: answered", "terms"):
        assert counts[name] > 0
    assert not (tmp_path / "kept").exists(), "a run without fault leaves nothing behind"


def test_a_client_that_takes_stale_reads_for_true_is_found_out(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    faults = "partition,isolated_leader,one_way"
    arguments = ["--seconds", "6", "--faults", faults, "--network", "proxy", "--trust-stale-reads"]
    code, said = nemesis("--seed", "4711", "--folder", str(folder), *arguments)
    assert code == 1
    assert "NOT LINEARIZABLE" in said
    assert "python -m tests.nemesis --seed 4711" in said
    logs = {f"n{number}.log" for number in (1, 2, 3)}
    kept = {path.name for path in folder.iterdir()}
    assert kept == {"history.jsonl", "faults.jsonl", "findings.txt"} | logs
    code, again = nemesis("--judge", str(folder / "history.jsonl"))
    assert code == 1
    assert "NOT LINEARIZABLE" in again
