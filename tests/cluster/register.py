"""A register in the cluster, and the history of who wrote and read what, when.

Values only grow, so a history is linearizable when no read returns less than what was known, by an
acknowledged write or by another read, before that read began.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType

import msgspec

from felix.proto.commands import CreateCache, UpdateCache
from felix.proto.control_plane import Answered, Call
from felix.proto.errors import FelixError, PreconditionFailed
from felix.proto.queries import GetCache
from felix.proto.resources import Cache
from felix.transport.rpc_client import RpcClient
from tests.support.cluster import NAMESPACE, TENANT, RunningNode

REGISTER = GetCache(tenant_id=TENANT, namespace=NAMESPACE, cache="register")
READ_TIMEOUT_S = 6.0
WRITE_TIMEOUT_S = 0.5


class Read(msgspec.Struct, frozen=True):
    """A read that was answered."""

    node: str
    begun: float
    ended: float
    floor: int
    """What was known before it began."""
    value: int
    age_s: float
    """As the answer says; 0 when it was linearizable."""


class Register:
    """One writer and, for each node, one reader that asks nobody else."""

    def __init__(self, nodes: Sequence[RunningNode]) -> None:
        self.reads: list[Read] = []
        self.known_at: dict[int, float] = {0: time.monotonic()}
        """When each value was first known to be in the register: acknowledged, or read."""
        self.attempted = 0
        self.read_errors = 0
        self._floor = 0
        self._nodes = list(nodes)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        runs = [self._write_on, *(partial(self._read_on, node) for node in nodes)]
        self._threads = [threading.Thread(target=self._guard, args=(run,)) for run in runs]

    def __enter__(self) -> Register:
        command = CreateCache(
            tenant_id=TENANT, namespace=NAMESPACE, cache="register", display_name="0"
        )
        self._version = self._nodes[0].ask(command).version
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if error is None and self._failures:
            raise self._failures[0]

    @property
    def floor(self) -> int:
        """The greatest value that is known to be in the register by now."""
        return self._floor

    def count_of(self, node: RunningNode) -> int:
        """How many reads this node has answered."""
        return sum(read.node == node.name for read in tuple(self.reads))

    def note(self, node: RunningNode, begun: float, floor: int, answered: Answered) -> Read:
        """Write a read down; one that is linearizable tells everybody what is known now."""
        read = Read(
            node.name, begun, time.monotonic(), floor, value_of(answered), answered.age_ms / 1000
        )
        self.reads.append(read)
        return read

    def learn(self, value: int) -> None:
        """Take note that the register has reached a value."""
        with self._lock:
            if value > self._floor:
                self._floor = value
                self.known_at[value] = time.monotonic()

    def outdated_since(self, value: int) -> float | None:
        """Tell when it was first known that the register has moved on from a value."""
        return min((at for known, at in self.known_at.items() if known > value), default=None)

    def stale_reads(self) -> list[Read]:
        """List the reads that prove that the history is not linearizable."""
        return [read for read in self.reads if not read.floor <= read.value <= self.attempted]

    def _write_on(self) -> None:
        clients = [RpcClient(node.rpc) for node in self._nodes]
        try:
            while not self._stop.wait(0.002):
                self.attempted += 1
                if not self._write(clients[0], self.attempted):
                    clients.append(clients.pop(0))
        finally:
            for client in clients:
                client.close()

    def _write(self, client: RpcClient, value: int) -> bool:
        """Write a value, or find out where the register is; False if this node is of no use."""
        command = UpdateCache(
            tenant_id=TENANT,
            namespace=NAMESPACE,
            cache="register",
            display_name=str(value),
            expected_version=self._version,
        )
        try:
            self._version = client.ask(command, Call(timeout_s=WRITE_TIMEOUT_S)).version
        except PreconditionFailed:  # an earlier write took effect after it had been given up
            return self._look(client)
        except FelixError:
            return False
        self.learn(value)
        return True

    def _look(self, client: RpcClient) -> bool:
        try:
            answered = client.ask(REGISTER, Call(timeout_s=WRITE_TIMEOUT_S))
        except FelixError:
            return False
        assert isinstance(answered.result, Cache)
        self._version = answered.result.version
        self.learn(value_of(answered))
        return True

    def _read_on(self, node: RunningNode) -> None:
        client = RpcClient(node.rpc)
        try:
            while not self._stop.wait(0.002):
                begun, floor = time.monotonic(), self.floor
                try:
                    answered = client.ask(REGISTER, Call(timeout_s=READ_TIMEOUT_S))
                except FelixError:
                    self.read_errors += 1
                else:
                    self.learn(self.note(node, begun, floor, answered).value)
        finally:
            client.close()

    def _guard(self, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:
            self._failures.append(error)
            raise


def value_of(answered: Answered) -> int:
    """Read the register's value from an answer."""
    assert isinstance(answered.result, Cache)
    return int(answered.result.display_name)
