"""Runs many seeds, on several cores, and says how to replay those that fail."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from multiprocessing.pool import AsyncResult

import msgspec

from felix.proto.errors import FelixError
from tests.simulator.coverage import Coverage
from tests.simulator.life import Life
from tests.simulator.simulation import Simulation

BLOCK = 10
"""Seeds that a process runs before it reports."""
DAY_US = 86_400_000_000
LIFE_DAYS = 0.05
TASKS_PER_LIFE = 4
"""Of these, one is a life and the others are blocks of seeds."""


class Failure(msgspec.Struct, frozen=True):
    """A seed that broke something."""

    seed: int
    nodes: int
    days: float
    """Of a long history; 0 for a short one."""
    reason: str
    trace: list[str]

    def report(self) -> str:
        """Say what broke, what happened just before, and how to see it again."""
        return "\n".join(
            [
                *self.trace,
                self.reason,
                f"seed {self.seed} failed; replay it with",
                f"    python -m tests.simulator --seed {self.seed} --nodes {self.nodes} --trace"
                + (f" --days {self.days:g}" if self.days else ""),
            ]
        )


class Results(msgspec.Struct):
    """What came of some seeds."""

    seeds: int
    lives: int
    virtual_us: int
    """Time that passed in the clusters."""
    coverage: Coverage
    failures: list[Failure]

    def add(self, other: Results) -> None:
        """Add the results of other seeds."""
        self.seeds += other.seeds
        self.lives += other.lives
        self.virtual_us += other.virtual_us
        self.coverage.add(other.coverage)
        self.failures += other.failures


def nothing_yet() -> Results:
    """Make the results of no seed."""
    return Results(0, 0, 0, Coverage(), [])


def run_seed(
    seed: int, nodes: int = 5, write_trace: Callable[[str], object] | None = None
) -> Results:
    """Run one seed."""
    simulation = Simulation(seed, nodes, write_trace)
    failures = _failures(simulation, simulation.run, 0)
    return Results(1, 0, simulation.now_us, simulation.coverage, failures)


def run_life(
    seed: int, days: float, nodes: int = 5, write_trace: Callable[[str], object] | None = None
) -> Results:
    """Run one long history."""
    life = Life(seed, nodes, write_trace)
    failures = _failures(life, partial(life.live, int(days * DAY_US)), days)
    return Results(0, 1, life.now_us, life.coverage, failures)


def _failures(simulation: Simulation, run: Callable[[], None], days: float) -> list[Failure]:
    try:
        run()
    except (
        # Whatever a broken core may raise: the seed must be known all the same.
        AssertionError,
        ArithmeticError,
        AttributeError,
        FelixError,
        LookupError,
        StopIteration,
        TypeError,
        ValueError,
    ):
        plan = simulation.plan
        trace = simulation.trace.last()
        return [Failure(plan.seed, plan.nodes, days, traceback.format_exc(), trace)]
    return []


def run_seeds(seeds: range, nodes: int = 5, jobs: int = 1) -> Results:
    """Run seeds, in several processes if wanted. Ends soon after the first failure."""
    blocks = (seeds[start : start + BLOCK] for start in range(0, len(seeds), BLOCK))
    return _total(_each((partial(run_block, block, nodes) for block in blocks), jobs), math.inf)


def run_for(seconds: float, first: int, nodes: int, jobs: int) -> Results:
    """Run new seeds for about so long: short histories, and a long one after some of them."""
    tasks = (
        partial(run_life, first + number, LIFE_DAYS, nodes)
        if number % TASKS_PER_LIFE == 0
        else partial(run_block, range(first + number * BLOCK, first + (number + 1) * BLOCK), nodes)
        for number in itertools.count()
    )
    return _total(_each(tasks, jobs), time.monotonic() + seconds)


def run_block(seeds: range, nodes: int) -> Results:
    """Run a few seeds, one after the other."""
    total = nothing_yet()
    for seed in seeds:
        total.add(run_seed(seed, nodes))
    return total


def _total(all_results: Iterable[Results], end: float) -> Results:
    total = nothing_yet()
    for results in all_results:
        total.add(results)
        if total.failures or time.monotonic() >= end:
            break
    return total


def _each(tasks: Iterable[Callable[[], Results]], jobs: int) -> Iterator[Results]:
    if jobs == 1:
        for task in tasks:
            yield task()
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        pending: deque[AsyncResult[Results]] = deque()
        for task in tasks:
            pending.append(pool.apply_async(task))
            if len(pending) > 2 * jobs:
                yield pending.popleft().get()
        while pending:
            yield pending.popleft().get()
