"""Real broker clients among the subscribers: what is applied, not only delivered.

A thousand of them do not fit on two cores beside the nodes. So there is one at each node, in the
audience of thin subscribers, and shares their fate.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection

import msgspec

from bench.errors import BenchError
from bench.loads import clock
from felix.proto.updates import MetadataUpdate
from felix.transport.client import BrokerClient, Node
from felix.transport.sync_records import UpdateInfo


class Applied(msgspec.Struct, frozen=True):
    """When each write was in force at a replica."""

    applied_at: array[float]
    """By mark: monotonic seconds."""


class Rejoined(msgspec.Struct, frozen=True):
    """Replicas that had begun with nothing have been proven current, by a digest."""

    all_at: float
    """Monotonic seconds."""


class _Notes:
    """What one replica applied, as its callback hears of it."""

    def __init__(self, base: int, count: int) -> None:
        self.applied_at = array("d", [0.0]) * count
        self.has_last = threading.Event()
        self._base = base

    def note(self, update: MetadataUpdate, _: UpdateInfo) -> None:
        mark = update.version - self._base - 1
        if 0 <= mark < len(self.applied_at):
            self.applied_at[mark] = clock()
            if mark == len(self.applied_at) - 1:
                self.has_last.set()


def apply(link: Connection, node: Node, base: int, count: int, timeout_s: float) -> None:
    """Task: keep a replica of a node, say "ready", apply all writes, send `Applied`."""
    notes = _Notes(base, count)
    with BrokerClient([node], on_update=notes.note) as client:
        _wait_current([client], timeout_s)
        link.send("ready")
        if not notes.has_last.wait(timeout_s):
            raise BenchError(f"a broker client is at version {client.version} still")
    if not all(notes.applied_at):
        raise BenchError("a broker client had to fetch a snapshot in the middle of the load")
    link.send(Applied(notes.applied_at))


def rejoin(link: Connection, nodes: Sequence[Node], timeout_s: float) -> None:
    """Task: be current at each node, say "ready"; told to, begin anew, and send `Rejoined`."""
    with ExitStack() as stack:
        _wait_current(_started(stack, nodes), timeout_s)
        link.send("ready")
        link.recv()
        stack.close()
        _wait_current(_started(stack, nodes), timeout_s)
        link.send(Rejoined(clock()))


def _started(stack: ExitStack, nodes: Sequence[Node]) -> list[BrokerClient]:
    return [stack.enter_context(BrokerClient([node])) for node in nodes]


def _wait_current(clients: Sequence[BrokerClient], timeout_s: float) -> None:
    for client in clients:
        if not client.wait_current(timeout_s):
            raise BenchError(f"a broker client was not current within {timeout_s} s")
