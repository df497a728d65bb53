"""Thousands of histories of five nodes: half of the seeds are always the same, half are new.

`FELIX_SIM_SEEDS` sets how many. The new ones are of the day and the commit, so that every day and
every change tries others; all are printed, and a failing one says how to replay it.
"""

from __future__ import annotations

import faulthandler
import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.simulator.coverage import SEEDS_FOR_FULL_COVERAGE, Coverage
from tests.simulator.runner import run_life, run_seeds

SEEDS = int(os.environ.get("FELIX_SIM_SEEDS", "2000"))
FIRST_FIXED = 1_000_000
JOBS = 2
BLOCKS = 1 << 30
"""New seeds are taken from one of so many places."""
DAYS = 0.02
"""Of the one long history: half an hour, some five spells of faults."""


def first_new_seed() -> int:
    """Derive where the new seeds begin from the day and the commit, if there is one."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    day = time.strftime("%Y-%m-%d", time.gmtime())
    drawn = hashlib.blake2b(f"{day} {commit}".encode(), digest_size=8).digest()
    return (1 + int.from_bytes(drawn, "big") % BLOCKS) * 10_000_000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_history_breaks_an_invariant_and_every_healed_cluster_agrees(
    capsys: pytest.CaptureFixture[str],
) -> None:
    faulthandler.cancel_dump_traceback_later()  # it is meant to take longer than others
    new = first_new_seed()
    half = (SEEDS + 1) // 2
    coverage = Coverage()
    started = time.monotonic()
    for seeds in (range(FIRST_FIXED, FIRST_FIXED + half), range(new, new + SEEDS - half)):
        with capsys.disabled():
            print(f"\nseeds {seeds.start}..{seeds.stop}", flush=True)
        results = run_seeds(seeds, jobs=JOBS)
        assert not results.failures, results.failures[0].report()
        coverage.add(results.coverage)
    with capsys.disabled():
        print(coverage.table())
        print(f"{SEEDS} seeds passed in {time.monotonic() - started:.0f} s")
    if SEEDS >= SEEDS_FOR_FULL_COVERAGE:
        assert coverage.missing() == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_cluster_lives_on_through_one_trouble_after_the_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    faulthandler.cancel_dump_traceback_later()
    seed = first_new_seed()
    with capsys.disabled():
        print(f"\nlife {seed}", flush=True)
    results = run_life(seed, DAYS)
    assert not results.failures, results.failures[0].report()
