"""Deliberate bugs: a simulator that does not find these would not find others.

The seeds are always the same, so that a test that fails says something about the simulator and not
about chance. Each bug must be found within a minute on one core; most take a second.
"""

from __future__ import annotations

import time

import pytest

from tests.simulator.mutations import MUTATIONS, Patch
from tests.simulator.runner import run_seeds

pytestmark = pytest.mark.slow

FIRST_SEED = 600_000
SEEDS_MAX = 600
SECONDS_MAX = 60


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
def test_the_simulator_finds_a_node_that(mutation: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    started = time.process_time()
    results = run_seeds(range(FIRST_SEED, FIRST_SEED + SEEDS_MAX))
    assert results.failures, f"seeds {FIRST_SEED} to {FIRST_SEED + SEEDS_MAX} all passed"
    assert "TypeError" not in results.failures[0].reason, "the mutation itself does not work"
    assert "AttributeError" not in results.failures[0].reason, "the mutation itself does not work"
    assert time.process_time() - started < SECONDS_MAX
