"""Run the simulator by hand: one seed with its trace, a range, or as long as wanted."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulator.coverage import SEEDS_FOR_FULL_COVERAGE
from tests.simulator.runner import DAY_US, Results, run_for, run_life, run_seed, run_seeds

NODES_FOR_FULL_COVERAGE = 3


def main() -> int:
    """Run what the command line asks for; 1 if a seed fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int, help="run one seed")
    what.add_argument("--seeds", metavar="A..B", type=_range, help="run the seeds A to B - 1")
    what.add_argument("--seconds", type=float, help="run new seeds for as long as this")
    parser.add_argument("--days", type=float, help="with --seed: one life of so many virtual days")
    parser.add_argument("--trace", action="store_true", help="with --seed: print what happens")
    parser.add_argument("--nodes", type=int, default=5, help="of the cluster (default: 5)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    arguments = parser.parse_args()
    started = time.monotonic()
    results = _run(arguments)
    return _report(results, time.monotonic() - started, arguments.nodes)


def _run(arguments: argparse.Namespace) -> Results:
    if arguments.seed is not None:
        write = print if arguments.trace else None
        if arguments.days is not None:
            return run_life(arguments.seed, arguments.days, arguments.nodes, write)
        return run_seed(arguments.seed, arguments.nodes, write)
    if arguments.seeds is not None:
        return run_seeds(arguments.seeds, arguments.nodes, arguments.jobs)
    first = int(time.time()) * 1000
    print(f"seeds from {first} on, for {arguments.seconds:g} s", flush=True)
    return run_for(arguments.seconds, first, arguments.nodes, arguments.jobs)


def _range(text: str) -> range:
    first, _, end = text.partition("..")
    return range(int(first), int(end))


def _report(results: Results, seconds: float, nodes: int) -> int:
    for failure in results.failures:
        print(failure.report())
    if results.failures:
        return 1
    print(results.coverage.table())
    if results.lives:
        days = results.virtual_us / DAY_US
        pace = results.virtual_us / 1e6 / seconds
        print(f"{days:.2f} days of cluster life in {seconds:.0f} s: {pace:.0f} s in each")
        print(f"{results.lives} lives passed")
    if results.seeds:
        print(f"{results.seeds} seeds passed")
    missing = results.coverage.missing()
    if missing and results.seeds >= SEEDS_FOR_FULL_COVERAGE and nodes >= NODES_FOR_FULL_COVERAGE:
        print(f"never happened: {', '.join(missing)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
