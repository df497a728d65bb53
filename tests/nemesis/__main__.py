"""Break a real cluster on purpose, and judge what its clients and watchers were told."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.nemesis import namespaces
from tests.nemesis.history import History
from tests.nemesis.judge import Report, judge
from tests.nemesis.nemesis import FAULTS
from tests.nemesis.run import Plan, Result, run

SHOWN = 10
CLEAN, VIOLATION, UNDECIDED = 0, 1, 3


def main() -> int:
    """Do what the command line asks for.

    The exit code is 1 after a violation, 3 when there was not enough time to judge everything.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.nemesis", description=__doc__)
    parser.add_argument("--seed", type=int, help="of faults and clients (default: from the clock)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of faults (default: 60)")
    parser.add_argument("--nodes", type=int, choices=(1, 3, 5), default=3, help="(default: 3)")
    parser.add_argument("--clients", type=int, default=10, help="(default: 10)")
    parser.add_argument(
        "--faults",
        type=_faults,
        default=tuple(FAULTS),
        metavar="NAME,...",
        help=f"some of: {', '.join(FAULTS)} (default: all)",
    )
    parser.add_argument(
        "--network",
        choices=("auto", "namespaces", "proxy"),
        default="auto",
        help="what lies between the nodes (default: namespaces, where root may make them)",
    )
    parser.add_argument("--folder", type=Path, help="for what is left of a run that failed")
    parser.add_argument(
        "--trust-stale-reads",
        action="store_true",
        help="take stale reads for linearizable ones: a mistake that must be found",
    )
    parser.add_argument("--judge", type=Path, metavar="HISTORY", help="judge a history.jsonl again")
    arguments = parser.parse_args()
    if arguments.judge is not None:
        return _report(judge(History.load(arguments.judge).operations))
    if arguments.seed is None:
        arguments.seed = int(time.time())
    if arguments.network != "proxy" and not namespaces.is_inside():
        if namespaces.are_possible():
            given = [*sys.argv[1:], "--seed", str(arguments.seed)]
            return namespaces.enter(given)
        if arguments.network == "namespaces":
            parser.error("this user cannot make network namespaces on this machine")
    plan = Plan(
        seed=arguments.seed,
        seconds=arguments.seconds,
        nodes=arguments.nodes,
        faults=arguments.faults,
        clients=arguments.clients,
        trust_stale_reads=arguments.trust_stale_reads,
        folder=arguments.folder or Path("run", "nemesis", f"seed-{arguments.seed}"),
    )
    print(plan.command(), flush=True)
    result = run(plan)
    _print_coverage(result)
    code = _report(result.report, result.wrong)
    if code != CLEAN:
        print(f"everything is in {plan.folder}; again: {plan.command()}")
    return code


def _faults(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no such fault: {', '.join(unknown)}")
    return names


def _print_coverage(result: Result) -> None:
    for name, count in result.coverage.items():
        print(f"{count:>9,}  {name}")


def _report(report: Report, wrong: list[str] | None = None) -> int:
    for text in [*(wrong or []), *report.broken][:SHOWN]:
        print(f"WRONG: {text}")
    for finding in report.findings[:SHOWN]:
        print(f"NOT LINEARIZABLE: {finding.text()}")
    if report.undecided:
        names = ", ".join(report.undecided)
        print(f"UNDECIDED: no time was left for {len(report.undecided)} objects: {names}")
    print(
        f"{report.objects} objects judged in {report.seconds:.1f} s, {report.steps:,} steps: "
        f"{len(report.findings)} not linearizable, {len(report.undecided)} undecided, "
        f"{len(report.broken) + len(wrong or [])} other promises broken"
    )
    return exit_code(report, wrong or [])


def exit_code(report: Report, wrong: list[str]) -> int:
    """Say in one number what came of it; what was not decided is not clean."""
    if wrong or not report.is_clean:
        return VIOLATION
    return UNDECIDED if report.undecided else CLEAN


if __name__ == "__main__":
    sys.exit(main())
