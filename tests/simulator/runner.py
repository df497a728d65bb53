"""Runs many seeds, on several cores, and says how to replay those that fail."""

from __future__ import annotations

import math
import multiprocessing
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.pool import AsyncResult

import msgspec

from felix.proto.errors import FelixError
from tests.simulator.coverage import Coverage
from tests.simulator.simulation import Simulation

BLOCK = 10
"""Seeds that a process runs before it reports."""


class Failure(msgspec.Struct, frozen=True):
    """A seed that broke something."""

    seed: int
    nodes: int
    reason: str
    trace: list[str]

    def report(self) -> str:
        """Say what broke, what happened just before, and how to see it again."""
        return "\n".join(
            [
                *self.trace,
                self.reason,
                f"seed {self.seed} failed; replay it with",
                f"    python -m tests.simulator --seed {self.seed} --nodes {self.nodes} --trace",
            ]
        )


class Results(msgspec.Struct):
    """What came of some seeds."""

    seeds: int
    coverage: Coverage
    failures: list[Failure]

    def add(self, other: Results) -> None:
        """Add the results of other seeds."""
        self.seeds += other.seeds
        self.coverage.add(other.coverage)
        self.failures += other.failures


def run_seed(
    seed: int, nodes: int = 5, write_trace: Callable[[str], object] | None = None
) -> Results:
    """Run one seed."""
    simulation = Simulation(seed, nodes, write_trace)
    failures = []
    try:
        simulation.run()
    except (
        # Whatever a broken core may raise: the seed must be known all the same.
        AssertionError,
        ArithmeticError,
        AttributeError,
        FelixError,
        LookupError,
        TypeError,
        ValueError,
    ):
        failures = [Failure(seed, nodes, traceback.format_exc(), simulation.trace.last())]
    return Results(1, simulation.coverage, failures)


def run_seeds(seeds: range, nodes: int = 5, jobs: int = 1, seconds: float = math.inf) -> Results:
    """Run seeds, in several processes if wanted, for at most about as long as given.

    Ends soon after the first failure.
    """
    total = Results(0, Coverage(), [])
    end = time.monotonic() + seconds
    blocks = (seeds[start : start + BLOCK] for start in range(0, len(seeds), BLOCK))
    for results in _each(blocks, nodes, jobs):
        total.add(results)
        if total.failures or time.monotonic() >= end:
            break
    return total


def run_block(seeds: range, nodes: int) -> Results:
    """Run a few seeds, one after the other."""
    total = Results(0, Coverage(), [])
    for seed in seeds:
        total.add(run_seed(seed, nodes))
    return total


def _each(blocks: Iterable[range], nodes: int, jobs: int) -> Iterator[Results]:
    if jobs == 1:
        for block in blocks:
            yield run_block(block, nodes)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        pending: deque[AsyncResult[Results]] = deque()
        for block in blocks:
            pending.append(pool.apply_async(run_block, (block, nodes)))
            if len(pending) > 2 * jobs:
                yield pending.popleft().get()
        while pending:
            yield pending.popleft().get()
