"""How long a herd of brokers needs that all reconnect at once, while commits go on."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection

import msgspec

from bench.cluster import FelixTarget
from bench.errors import BenchError
from bench.herd_client import Book, HerdSubscriber
from bench.loads import Load, Order, clock, write
from bench.machine import cpu_s, foreign_percent, resident_mib, spent
from bench.measure import Round, figures
from bench.replicas import Rejoined, rejoin
from bench.stage import LOAD_TIMEOUT_S, READY_TIMEOUT_S, Plan, Stage, in_turns, run_load
from bench.systems import Work, spread, wait_healthy
from bench.workers import Worker
from felix.transport.client import Node

STREAMS = 10_000
COMMITS = 100
COMMITS_PER_S = 10
PROCESSES = 2
_LOAD_WINDOW = 64
_LOOK_S = 0.05
"""How often refused questions are asked again."""


class Flock(msgspec.Struct, frozen=True):
    """The subscribers of one process."""

    nodes: list[Node]
    """For each subscriber the node it connects to."""
    timeout_s: float


class Gathered(msgspec.Struct, frozen=True):
    """What became of them."""

    current_at: list[float]
    """For each the monotonic time at which a digest proved it current."""
    places: list[tuple[int, str]]
    """For each its version and digest in the end."""
    gaps: int
    refusals: int
    cpu_s: float


def run(plan: Plan) -> list[Round]:
    """Let as many subscribers as the largest fan-out has come back to 10,000 streams."""

    def turn(stage: Stage) -> list[Round]:
        return [herd(stage, stage.node(plan.via), max(plan.subscribers), STREAMS, COMMITS)]

    ours = msgspec.structs.replace(plan, systems=[one for one in plan.systems if one == "felix"])
    return in_turns(ours, plan.rounds, turn)


def herd(stage: Stage, node: int, subscribers: int, streams: int, commits: int) -> Round:
    """Fill the cluster, let all subscribers leave and come back at once, and prove them right.

    Raises: BenchError, also when there was an election.
    """
    target = stage.target
    assert isinstance(target, FelixTarget)
    work = Work("herd-stream", streams, "stream")
    run_load(target, Order(node, work, target.position(), window=_LOAD_WINDOW))
    wait_healthy(target)
    term, pids = target.term(), stage.cluster.pids()
    order = Order(node, Work("herd-write", commits), target.position(), pace_s=1 / COMMITS_PER_S)
    with ExitStack() as stack:
        flocks = [
            stack.enter_context(Worker(gather, Flock(nodes, LOAD_TIMEOUT_S)))
            for nodes in (
                [target.broker_nodes[one] for one in dealt]
                for dealt in spread(subscribers, PROCESSES)
            )
        ]
        replicas = stack.enter_context(Worker(rejoin, target.broker_nodes, LOAD_TIMEOUT_S))
        writer = stack.enter_context(Worker(write, target, order))
        for worker in (*flocks, replicas, writer):
            worker.receive(str, READY_TIMEOUT_S)
        before, nodes_before_s, left_at = spent(), cpu_s(pids), clock()
        for worker in (writer, *flocks, replicas):
            worker.send("go")
        load = writer.receive(Load, LOAD_TIMEOUT_S)
        rejoined = replicas.receive(Rejoined, LOAD_TIMEOUT_S)
        foreign, nodes_s = foreign_percent(before, spent()), cpu_s(pids) - nodes_before_s
        wait_healthy(target)
        for worker in flocks:
            worker.send(target.position())
        found = [worker.receive(Gathered, LOAD_TIMEOUT_S) for worker in flocks]
    check(target, term, found)
    current_at = [at for one in found for at in one.current_at]
    latencies = figures(stage.system, "", 0.0, load.latencies_s)
    notes = {
        "all_current_s": round(max(current_at) - left_at, 3),
        "broker_clients_current_s": round(rejoined.all_at - left_at, 3),
        "gaps": float(sum(one.gaps for one in found)),
        "refusals": float(sum(one.refusals for one in found)),
        "commit_p50_ms": latencies.p50_ms,
        "commit_p99_ms": latencies.p99_ms,
        "commit_max_ms": latencies.max_ms,
        "node_mib": round(max(resident_mib(pids)), 1),
        "nodes_cpu_s": round(nodes_s, 2),
        "client_cpu_s": round(sum(one.cpu_s for one in found), 2),
        "foreign_cpu_percent": round(foreign, 1),
    }
    times_s = [at - left_at for at in current_at]
    per_second = len(times_s) / max(times_s)
    return Round(figures(stage.system, f"herd={subscribers}x{streams}", per_second, times_s), notes)


def check(target: FelixTarget, term: int, found: Sequence[Gathered]) -> None:
    """Compare everybody with the leader. Raises: BenchError."""
    places = {place for one in found for place in one.places}
    truth = target.place()
    if places != {truth}:
        raise BenchError(f"subscribers ended at {sorted(places)}, the leader is at {truth}")
    if target.term() != term:
        raise BenchError("the herd has cost the cluster its leader")


def gather(link: Connection, flock: Flock) -> None:
    """Task: have all current, say "ready"; told to, let all begin anew; told a version, have it.

    Sends `Gathered` in the end.
    """
    book = Book()
    subscribers = [HerdSubscriber(node, book) for node in flock.nodes]
    try:
        _serve(subscribers, lambda one: one.current_at is not None, flock.timeout_s)
        link.send("ready")
        link.recv()
        cpu_before_s = time.process_time()
        for one in subscribers:
            one.reconnect()
        _serve(subscribers, lambda one: one.current_at is not None, flock.timeout_s)
        cpu_s = time.process_time() - cpu_before_s
        version = link.recv()
        _serve(subscribers, lambda one: one.version >= version, flock.timeout_s)
        link.send(
            Gathered(
                current_at=[one.current_at for one in subscribers if one.current_at is not None],
                places=[(one.version, one.digest) for one in subscribers],
                gaps=sum(one.gaps for one in subscribers),
                refusals=sum(one.refusals for one in subscribers),
                cpu_s=cpu_s,
            )
        )
    finally:
        for one in subscribers:
            one.close()


def _serve(
    subscribers: Sequence[HerdSubscriber],
    enough: Callable[[HerdSubscriber], bool],
    timeout_s: float,
) -> None:
    """Read and answer until each has enough. Raises: BenchError."""
    deadline = clock() + timeout_s
    by_descriptor = {number: one for one in subscribers for number in one.filenos()}
    with select.epoll() as poll:
        for descriptor in by_descriptor:
            poll.register(descriptor, select.EPOLLIN)
        for one in subscribers:
            one.drain()
        while waiting := [one for one in subscribers if not enough(one)]:
            if clock() > deadline:
                raise BenchError(f"{len(waiting)} of the herd are late")
            ends_at = clock() + _LOOK_S
            while (left_s := ends_at - clock()) > 0:
                for descriptor, _ in poll.poll(left_s):
                    by_descriptor[descriptor].drain()
            for one in waiting:
                if one.retry_at is not None and one.retry_at <= clock():
                    one.retry()
