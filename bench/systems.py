"""What every system under test can do: the same verbs for ours and for its peers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

import msgspec

from bench.errors import BenchError

VALUE_CHARS = 256
"""Size of every value that is written, in bytes (all are ASCII)."""

NODES = 3
HEALTH_TIMEOUT_S = 60.0
HEALTH_POLL_S = 0.05
REPLY_TIMEOUT_S = 10.0
"""The longest a load waits for a single answer."""


class Work(msgspec.Struct, frozen=True):
    """A series of creations of unique names: `<prefix>-00000000` and on."""

    prefix: str
    count: int
    kind: Literal["value", "stream", "full_stream", "replicated_stream", "change"] = "value"
    """`value`: an object with 256 characters of text. `stream`: a stream with its defaults, in
    systems that know streams; `full_stream`: one with nothing left at its default;
    `replicated_stream`: one for brokers to serve. `change`: the same object is given another text
    of 256 characters each time (ours only)."""

    shards: int = 4
    """Of each `replicated_stream`."""

    def name(self, number: int) -> str:
        """Name the object of that number, 0 to `count - 1`."""
        return f"{self.prefix}-{number:08d}"


class Acknowledged(msgspec.Struct, frozen=True, gc=False):
    """One write that is known to be durable."""

    number: int
    mark: int
    """The position, from 0, under which subscribers of this system see the write."""


class Pipe(Protocol):
    """One connection that writes; requests are encoded before the clock starts."""

    def send(self, numbers: Sequence[int]) -> None:
        """Start these writes of the work."""

    def receive(self) -> list[Acknowledged]:
        """Wait for at least one answer. Raises: RefusedError."""

    def close(self) -> None:
        """Release the connection."""


class Subscription(Protocol):
    """One connection that hears of every write."""

    ready: bool
    """Nothing written from now on can be missed."""
    arrived_at: list[float]
    """By mark: the monotonic time of arrival in seconds, 0.0 for what has not come yet."""
    received: int

    def fileno(self) -> int:
        """Give the descriptor that becomes readable when there is something to drain."""

    def drain(self) -> None:
        """Read all there is. Raises: BenchError, when something is missing or came twice."""

    def close(self) -> None:
        """Release the connection."""


class Writer(Protocol):
    """A client that writes one object at a time to the node it is told."""

    def write(self, node: int, name: str, timeout_s: float) -> bool:
        """Say whether the write was acknowledged in time."""

    def close(self) -> None:
        """Release the connections."""


class Target(Protocol):
    """How to reach a running cluster. Can be pickled: workers get one."""

    @property
    def system(self) -> str:
        """`felix` or the peer's name."""

    def leader(self) -> int | None:
        """Number of the node that leads, None while that is not known."""

    def healthy(self) -> bool:
        """Say whether all nodes answer, agree on the leader and have everything committed."""

    def prepare(self) -> None:
        """Create what the works live in."""

    def position(self) -> int:
        """Give the mark base: the newest version, before a fan-out begins."""

    def pipe(self, node: int, work: Work, base: int) -> Pipe:
        """Open a connection that writes."""

    def subscribe(self, node: int, prefix: str, base: int, count: int) -> Subscription:
        """Open a connection that hears of `count` writes under the prefix, after `base`."""

    def writer(self) -> Writer:
        """Make a client that can be told which node to use."""

    def names(self, prefix: str) -> set[str]:
        """Read back, linearizably, the names of all values under a prefix."""

    def snapshot(self, node: int, prefix: str) -> int:
        """Fetch and decode everything over a fresh connection; give the number of objects."""


class Cluster(Protocol):
    """Three node processes on this machine, with real disks."""

    @property
    def target(self) -> Target:
        """How to reach it."""

    def pids(self) -> list[int]:
        """Process ids of the nodes, by number."""

    def kill(self, node: int) -> float:
        """Kill -9 a node; give the monotonic time just before."""

    def terminate(self, node: int) -> float:
        """Tell a node to stop; give the monotonic time just before."""

    def restart(self, node: int) -> None:
        """Start a node that was killed or told to stop again, on what is on its disk."""


class Launch(Protocol):
    """Starts a fresh cluster in an empty folder, ended when the context is left."""

    def __call__(self, folder: str) -> AbstractContextManager[Cluster]:
        """Give the cluster once all its nodes are up."""


def wait_healthy(target: Target) -> int:
    """Wait until all nodes are well and give the leader's number. Raises: BenchError."""
    deadline = time.monotonic() + HEALTH_TIMEOUT_S
    while time.monotonic() < deadline:
        leader = target.leader()
        if leader is not None and target.healthy():
            return leader
        time.sleep(HEALTH_POLL_S)
    raise BenchError(f"{target.system}: not all nodes healthy within {HEALTH_TIMEOUT_S} s")


def spread(subscribers: int, processes: int) -> Iterable[list[int]]:
    """Deal subscribers out: for each process the nodes its subscribers connect to."""
    nodes = [number % NODES for number in range(subscribers)]
    return [dealt for start in range(processes) if (dealt := nodes[start::processes])]
