"""Clients that read, write, compare and set, and repeat themselves, and write everything down."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Final

import pykka

from felix.proto.commands import CreateCache, DeleteCache, Deleted, UpdateCache
from felix.proto.control_plane import Answered, Call
from felix.proto.errors import DeadlineExceeded, FelixError
from felix.proto.queries import GetCache
from felix.proto.resources import Cache
from felix.proto.rpc import AnyRequest, Consistency
from felix.transport.rpc_client import PATIENCE_S, RpcClient
from tests.nemesis.history import Attempt, History, Operation
from tests.nemesis.model import Kind
from tests.support.cluster import NAMESPACE, TENANT, RunningNode

KEYS: Final = 5
ROUND_S: Final = 8.0
"""After so long the clients turn to new objects, so that no object's history grows too long."""
TIMEOUT_S: Final = (0.2, 0.9)
TRIES_MAX: Final = 5
"""Of an operation with an idempotency key."""
WEIGHTS: Final = {"read": 40, "stale": 12, "set": 22, "write": 8, "keyed": 14, "delete": 4}


class Clients:
    """Threads that go on whatever happens, until told to stop."""

    def __init__(
        self,
        nodes: Sequence[RunningNode],
        history: History,
        *,
        seed: int,
        count: int = 10,
        pause_s: float = 0.01,
        trust_stale_reads: bool = False,
    ) -> None:
        """`pause_s` between two operations of a client keeps the machine from being the limit.

        `trust_stale_reads` writes stale reads down as linearizable: a client that is wrong, which
        the checker must notice.
        """
        self.history = history
        self.acknowledged_at = 0.0
        """When the last write that was acknowledged began; monotonic."""
        self._connections = {node.name: RpcClient(node.rpc) for node in nodes}
        self._pause_s = pause_s
        self._trust_stale_reads = trust_stale_reads
        self._begun = time.monotonic()
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._guard, args=(_Client(self, f"c{n}", f"{seed}/{n}"),))
            for n in range(count)
        ]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        for connection in self._connections.values():
            connection.close()
        if error is None and self._failures:
            raise self._failures[0]

    def stop(self) -> None:
        """Let each finish what it does."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _guard(self, client: _Client) -> None:
        try:
            while not self._stop.wait(self._pause_s):
                client.do_something()
        except BaseException as error:
            self._failures.append(error)
            raise


class _Client:
    """One of them: does one thing at a time."""

    def __init__(self, crowd: Clients, name: str, seed: str) -> None:
        self._crowd = crowd
        self._name = name
        self._chaos = random.Random(seed)
        self._nodes = sorted(crowd._connections)
        self._values = 0
        self._versions: dict[str, int | None] = {}
        """The version that each object had when this client last heard of it; None: not there."""

    def do_something(self) -> None:
        """Choose, do it, write it down."""
        chaos = self._chaos
        elapsed_s = time.monotonic() - self._crowd._begun
        key = f"k{chaos.randrange(KEYS)}-{int(elapsed_s / ROUND_S)}"
        what = chaos.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        if what in {"read", "stale"}:
            self._read(key, stale=what == "stale")
        elif self._versions.get(key) is None:
            self._change("create", key, keyed=chaos.random() < 0.3)
        elif what == "delete":
            self._change("delete", key, keyed=chaos.random() < 0.5, conditional=True)
        else:
            self._change("write", key, keyed=what == "keyed", conditional=what != "write")

    def _read(self, key: str, *, stale: bool) -> None:
        consistency: Consistency = "stale" if stale else "linearizable"
        query = GetCache(tenant_id=TENANT, namespace=NAMESPACE, cache=key)
        node = self._chaos.choice(self._nodes)
        attempt = self._try(query, node, Call(consistency=consistency))
        if self._crowd._trust_stale_reads:
            consistency = "linearizable"
        self._note("read", key, (attempt,), consistency=consistency)

    def _change(self, kind: Kind, key: str, *, keyed: bool, conditional: bool = False) -> None:
        self._values += 1
        value = "" if kind == "delete" else f"{self._name}.{self._values}"
        expected = self._versions.get(key) if conditional else None
        place = {"tenant_id": TENANT, "namespace": NAMESPACE, "cache": key}
        command: AnyRequest
        if kind == "create":
            command = CreateCache(**place, display_name=value)
        elif kind == "delete":
            command = DeleteCache(**place, expected_version=expected)
        else:
            command = UpdateCache(**place, display_name=value, expected_version=expected)
        if not keyed:
            attempts: tuple[Attempt, ...] = (self._try(command, self._chaos.choice(self._nodes)),)
            self._note(kind, key, attempts, value=value, expected=expected)
            return
        idempotency_key = f"{self._name}-{self._values}"
        attempts = self._insist(command, Call(idempotency_key=idempotency_key))
        self._note(
            kind, key, attempts, value=value, expected=expected, idempotency_key=idempotency_key
        )

    def _insist(self, command: AnyRequest, call: Call) -> tuple[Attempt, ...]:
        """Send a command with its key until somebody says what happened; perhaps to two at once."""
        attempts: list[Attempt] = []
        nodes = self._chaos.sample(self._nodes, len(self._nodes))
        if self._chaos.random() < 0.3:
            answers = [self._send(command, node, call) for node in nodes[:2]]
            attempts += [answer() for answer in answers]
        again = self._chaos.random() < 0.4
        for number in range(TRIES_MAX):
            if any(one.code == "ok" for one in attempts) and not again:
                break
            again = again and not any(one.code == "ok" for one in attempts)
            attempts.append(self._try(command, nodes[number % len(nodes)], call))
        return tuple(sorted(attempts, key=lambda one: one.begun))

    def _try(self, message: AnyRequest, node: str, call: Call = Call()) -> Attempt:  # noqa: B008 - immutable
        return self._send(message, node, call)()

    def _send(self, message: AnyRequest, node: str, call: Call) -> partial[Attempt]:
        """Ask a node, and give what waits for its answer."""
        timeout_s = self._chaos.uniform(*TIMEOUT_S)
        call = Call(
            timeout_s=timeout_s,
            consistency=call.consistency,
            idempotency_key=call.idempotency_key,
        )
        begun = time.monotonic()
        future = self._crowd._connections[node].submit(message, call)
        return partial(_answer_to, future, node, begun, timeout_s + PATIENCE_S)

    def _note(
        self,
        kind: Kind,
        key: str,
        attempts: tuple[Attempt, ...],
        *,
        value: str = "",
        expected: int | None = None,
        consistency: Consistency = "linearizable",
        idempotency_key: str | None = None,
    ) -> None:
        operation = Operation(
            client=self._name,
            key=key,
            kind=kind,
            value=value,
            expected=expected,
            consistency=consistency,
            idempotency_key=idempotency_key,
            attempts=attempts,
        )
        self._crowd.history.add(operation)
        told = operation.told
        if told is None:
            return
        if told.code == "ok":
            self._versions[key] = None if kind == "delete" else told.version
            if kind != "read":
                self._crowd.acknowledged_at = max(self._crowd.acknowledged_at, operation.begun)
        elif told.code == "not_found":
            self._versions[key] = None
        elif told.code == "conflict":
            self._versions[key] = 1  # it is there: the next precondition fails, or a read tells


def _answer_to(
    future: pykka.ThreadingFuture[Answered], node: str, begun: float, timeout_s: float
) -> Attempt:
    try:
        answered = future.get(timeout=timeout_s)
    except pykka.Timeout:
        late = DeadlineExceeded
        return Attempt(
            node=node, begun=begun, ended=time.monotonic(), code=late.code, outcome=late.outcome
        )
    except FelixError as error:
        return Attempt(
            node=node, begun=begun, ended=time.monotonic(), code=error.code, outcome=error.outcome
        )
    ended = time.monotonic()
    result = answered.result
    assert isinstance(result, Cache | Deleted)
    return Attempt(
        node=node,
        begun=begun,
        ended=ended,
        value=result.display_name if isinstance(result, Cache) else "",
        version=result.version,
        catalog_version=answered.version,
        age_ms=answered.age_ms,
    )
