"""One run: a cluster, its clients and watchers, the nemesis, and the judgement."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec
import structlog

from felix.proto.queries import ClusterStatus
from tests.cluster.follower import Follower
from tests.nemesis.clients import Clients
from tests.nemesis.history import History, Operation
from tests.nemesis.judge import Report, judge
from tests.nemesis.machines import Machine, make_machines
from tests.nemesis.namespaces import Namespaces, is_inside
from tests.nemesis.nemesis import FAULTS, Nemesis
from tests.nemesis.network import Network, ProxyNetwork
from tests.support.cluster import Cluster
from tests.support.waiting import eventually

WRITES_AGAIN_S: Final = 15.0
"""After everything is healed a write has to succeed within this time."""
CONVERGED_S: Final = 60.0
CALM_S: Final = 1.0
"""At the beginning, and at the end after the first write."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do."""

    seed: int
    seconds: float = 60.0
    nodes: int = 3
    faults: tuple[str, ...] = tuple(FAULTS)
    clients: int = 10
    trust_stale_reads: bool = False
    """Break the clients, to see that it is noticed."""
    folder: Path
    """For what is left of a run that failed."""

    def command(self) -> str:
        """Give what does it again."""
        words = [
            "python -m tests.nemesis",
            f"--seed {self.seed}",
            f"--seconds {self.seconds:g}",
            f"--nodes {self.nodes}",
            f"--clients {self.clients}",
            f"--network {'namespaces' if is_inside() else 'proxy'}",
        ]
        if self.faults != tuple(FAULTS):
            words.append(f"--faults {','.join(self.faults)}")
        if self.trust_stale_reads:
            words.append("--trust-stale-reads")
        return " ".join(words)


class Result(msgspec.Struct, frozen=True):
    """What came of it."""

    report: Report
    wrong: list[str]
    """What was wrong besides the history: nodes that ended, that did not come back, watchers."""
    coverage: dict[str, int]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return self.report.is_clean and not self.wrong


def speak(text: str) -> None:
    """Say what happens, while it happens."""
    print(text, flush=True)


def run(plan: Plan) -> Result:
    """Do all of it; what is needed to look into a failure is in `plan.folder` afterwards."""
    # That they lose their nodes is what a watcher has to say in such a run, and it says it often.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    shutil.rmtree(plan.folder, ignore_errors=True)
    history, wrong = History(), []
    with _machines(plan) as (cluster, machines, network), ExitStack() as stack:
        cluster.start()
        cluster.make_namespace()
        cluster.wait_converged()
        watchers = [stack.enter_context(Follower([machine])) for machine in machines]
        watchers.append(stack.enter_context(Follower(machines)))
        clients = Clients(
            machines,
            history,
            seed=plan.seed,
            count=plan.clients,
            trust_stale_reads=plan.trust_stale_reads,
        )
        nemesis = Nemesis(machines, network, plan.seed, plan.faults)
        status = None
        with clients:
            try:
                nemesis.rage(time.monotonic() + plan.seconds, speak)
                healed_at = time.monotonic()
                nemesis.wait_alive()
                eventually(lambda: clients.acknowledged_at > healed_at, WRITES_AGAIN_S)
                speak(f"writes go on {clients.acknowledged_at - healed_at:.2f} s after the healing")
                clients.stop()
                status = cluster.wait_converged(CONVERGED_S)
            except AssertionError as error:
                last = time.monotonic() - clients.acknowledged_at
                views = "\n".join(f"{one.name}: {one.status()}" for one in machines)
                wrong.append(f"it did not recover: {error}; last write {last:.1f} s ago\n{views}")
        wrong += nemesis.deaths
        if status is not None:
            wrong += _faults_of(watchers, status)
        report = judge(history.operations)
        coverage = _coverage(nemesis, history.operations, watchers, status)
        result = Result(report, wrong, coverage)
        if not result.is_clean or report.undecided:
            _keep(plan, result, history, nemesis, machines)
    return result


@contextmanager
def _machines(plan: Plan) -> Iterator[tuple[Cluster, list[Machine], Network]]:
    folder = Path(tempfile.mkdtemp(prefix="felix-nemesis-"))
    try:
        with closing(Namespaces() if is_inside() else ProxyNetwork()) as backend:
            network = Network(backend)
            # Mounts are made only where the kernel takes them down with the process.
            cluster, machines = make_machines(folder, plan.nodes, network, own_disks=is_inside())
            try:
                yield cluster, machines, network
            except BaseException:
                cluster.print_logs()
                raise
            finally:
                for machine in machines:
                    machine.release()
    finally:
        shutil.rmtree(folder)


def _faults_of(watchers: Sequence[Follower], status: ClusterStatus) -> list[str]:
    found = []
    for number, watcher in enumerate(watchers, 1):
        try:
            watcher.assert_in_step_with(status)
        except AssertionError as error:
            found.append(f"watcher {number}: {error} {watcher.faults} against {status}")
    return found


def _coverage(
    nemesis: Nemesis,
    operations: Sequence[Operation],
    watchers: Sequence[Follower],
    status: ClusterStatus | None,
) -> dict[str, int]:
    found = {f"fault: {name}": nemesis.counts[name] for name in FAULTS}
    found["faults in pairs"] = nemesis.pairs
    found["terms"] = status.term if status is not None else 0
    told: Counter[str] = Counter()
    for one in operations:
        kind = "stale read" if one.consistency == "stale" else one.kind
        told[f"{kind}: answered" if one.told is not None else f"{kind}: not answered"] += 1
        told["writes whose outcome is unknown"] += one.told is None and one.may_have_happened
        told["preconditions that failed"] += any(
            attempt.code == "precondition_failed" for attempt in one.attempts
        )
        told["writes sent again under their key"] += len(one.attempts) > 1
    found.update(sorted(told.items()))
    found["updates heard by watchers"] = sum(one.heard for one in watchers)
    found["gaps that watchers filled"] = sum(one.client.statistics().gaps_found for one in watchers)
    found["snapshots that watchers took"] = sum(len(one.snapshots) for one in watchers)
    return found


def _keep(
    plan: Plan, result: Result, history: History, nemesis: Nemesis, machines: Sequence[Machine]
) -> None:
    """Write down everything that may help."""
    plan.folder.mkdir(parents=True)
    history.save(plan.folder / "history.jsonl")
    lines = [msgspec.json.encode(one) for one in nemesis.log]
    (plan.folder / "faults.jsonl").write_bytes(b"\n".join(lines))
    texts = [finding.text(len(finding.calls)) for finding in result.report.findings]
    texts += [f"undecided: {key}" for key in result.report.undecided]
    (plan.folder / "findings.txt").write_text(
        "\n\n".join([plan.command(), *result.wrong, *result.report.broken, *texts]) + "\n"
    )
    for machine in machines:
        shutil.copy(machine.log, plan.folder / f"{machine.name}.log")
