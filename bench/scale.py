"""What the benches of a cluster with 100,000 streams share: the load, and a look at one node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from bench.cluster import FelixCluster, Node, launch
from bench.errors import BenchError, RefusedError
from bench.felix_client import NAMESPACE, TENANT, ask_once
from bench.loads import Load, Order
from bench.measure import Round
from bench.stage import Measured, Plan, fresh_folder, run_load
from bench.systems import NODES, Work, wait_healthy
from felix.proto.queries import GetStream

STREAMS = 100_000
PREFIX = "stream"
WINDOW = 64
PATIENCE_S = 120.0
_POLL_S = 0.005
_SETTLE_S = 0.5


class Scene(msgspec.Struct, frozen=True):
    """Our cluster, up and healthy, and who leads it."""

    cluster: FelixCluster
    leader: int

    @property
    def nodes(self) -> list[Node]:
        """All nodes, by number."""
        return self.cluster.target.nodes

    def create_streams(self) -> Measured:
        """Create 100,000 streams with nothing left at its default."""
        return self._write(Work(PREFIX, STREAMS, "full_stream"))

    def change(self, prefix: str, count: int) -> Measured:
        """Write entries that do not add to the state."""
        return self._write(Work(prefix, count, "change"))

    def _write(self, work: Work) -> Measured:
        order = Order(self.leader, work, self.cluster.target.position(), window=WINDOW)
        return run_load(self.cluster.target, order)

    def answers_read(self, node: int) -> bool:
        """Say whether a node answers a linearizable read of the stream created last."""
        name = Work(PREFIX, STREAMS).name(STREAMS - 1)
        query = GetStream(tenant_id=TENANT, namespace=NAMESPACE, stream=name)
        try:
            return ask_once(self.nodes[node].rpc, query, timeout_s=1.0).error is None
        except RefusedError:
            return False


def each_round(plan: Plan, turn: Callable[[Scene], list[Round]]) -> list[Round]:
    """Give our own system a turn in every round; the peers have no such benches."""
    done = []
    for number in range(plan.rounds if "felix" in plan.systems else 0):
        plan.say(f"round {number + 1} of {plan.rounds}: felix")
        with scene(plan) as one:
            done += turn(one)
    return done


@contextmanager
def scene(plan: Plan) -> Iterator[Scene]:
    """Run a fresh cluster."""
    with fresh_folder(plan.data_dir) as folder, launch(folder) as cluster:
        leader = wait_healthy(cluster.target)
        cluster.target.prepare()
        time.sleep(_SETTLE_S)
        yield Scene(cluster, leader)


def wait_until(what: str, holds: Callable[[], bool], poll_s: float = _POLL_S) -> float:
    """Wait for something; give the monotonic time at which it held. Raises: BenchError."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise BenchError(f"not within {PATIENCE_S} s: {what}")
        time.sleep(poll_s)
    return time.monotonic()


def between(load: Load, spans: list[tuple[float, float]], *, inside: bool) -> list[float]:
    """Pick the latencies of the writes under way within some spans of time, or of all others."""
    return [
        latency
        for latency, ended in zip(load.latencies_s, load.acknowledged_at, strict=True)
        if inside == any(begin <= ended and ended - latency <= end for begin, end in spans)
    ]


class Pulse(msgspec.Struct, frozen=True):
    """What all nodes together say about the peace of the cluster."""

    term: float
    leader_changes: float
    heartbeats_missed: float


def pulse(scene: Scene, numbers: range | list[int] = range(NODES)) -> Pulse:
    """Ask some nodes (default: all)."""
    samples = [scene.nodes[number].samples() for number in numbers]
    return Pulse(
        max(one["felix_raft_term"] for one in samples),
        sum(one["felix_raft_leader_changes_total"] for one in samples),
        sum(one["felix_raft_heartbeats_missed_total"] for one in samples),
    )
