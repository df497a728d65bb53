"""Runs systems one after the other, each in a fresh cluster of its own."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from bench import cluster as felix
from bench.loads import Load, Order, write
from bench.machine import Spent, foreign_percent, spent
from bench.measure import Round
from bench.peers import etcd
from bench.systems import NODES, Cluster, Launch, Target, wait_healthy
from bench.workers import Worker

LAUNCHERS: dict[str, Launch] = {"felix": felix.launch, "etcd": etcd.launch}
READY_TIMEOUT_S = 60.0
"""For a worker to connect, encode its requests and warm up."""
LOAD_TIMEOUT_S = 300.0
"""For a load; every single answer has its own, shorter limit."""
_SETTLE_S = 0.5


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to run."""

    systems: Sequence[str]
    """In the order of their turns."""
    data_dir: Path
    rounds: int
    count: int
    """Writes in sequence."""
    seconds: float
    """Length of a load with a window."""
    trials: int
    """Kills of a leader, fetches of a snapshot."""
    subscribers: Sequence[int]
    """Of the fan-out, one case after the other."""
    brokers: int
    """Simulated ones."""
    streams: int
    """That they serve."""
    via: Literal["leader", "follower"]
    say: Callable[[str], None]


class Stage(msgspec.Struct, frozen=True):
    """A cluster that is up and healthy."""

    system: str
    cluster: Cluster
    leader: int

    @property
    def target(self) -> Target:
        """How to reach it."""
        return self.cluster.target

    def node(self, via: Literal["leader", "follower"]) -> int:
        """Choose the node to write to."""
        return self.leader if via == "leader" else (self.leader + 1) % NODES


@contextmanager
def fresh_folder(parent: Path) -> Iterator[str]:
    """Make an empty folder, removed with everything in it in the end."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="bench-", dir=parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def staged(system: str, data_dir: Path) -> Iterator[Stage]:
    """Run a fresh cluster of a system, with nothing else of this program beside it."""
    with fresh_folder(data_dir) as folder, LAUNCHERS[system](folder) as cluster:
        leader = wait_healthy(cluster.target)
        cluster.target.prepare()
        time.sleep(_SETTLE_S)
        yield Stage(system, cluster, leader)


def in_turns(plan: Plan, rounds: int, turn: Callable[[Stage], list[Round]]) -> list[Round]:
    """Give every system a turn in every round: A B A B."""
    done = []
    for number in range(rounds):
        for system in plan.systems:
            if system in LAUNCHERS:
                plan.say(f"round {number + 1} of {rounds}: {system}")
                with staged(system, plan.data_dir) as stage:
                    done += turn(stage)
    return done


class Measured(msgspec.Struct, frozen=True):
    """A load, and what else the machine did meanwhile."""

    load: Load
    foreign_percent: float

    def notes(self) -> dict[str, float]:
        """Say what a reader should know beside the figures."""
        return {
            "client_cpu_percent": round(100 * self.load.cpu_share, 1),
            "foreign_cpu_percent": round(self.foreign_percent, 1),
        }


def run_load(target: Target, order: Order) -> Measured:
    """Run one writer in a process of its own. Raises: BenchError."""
    with Worker(write, target, order) as worker:
        worker.receive(str, READY_TIMEOUT_S)
        before: Spent = spent()
        worker.send("go")
        load = worker.receive(Load, LOAD_TIMEOUT_S)
        return Measured(load, foreign_percent(before, spent()))
