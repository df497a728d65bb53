"""Writers that go on whatever happens, and remember what they were told."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from types import TracebackType

from felix.proto.commands import CreateCache
from felix.proto.control_plane import Call
from felix.proto.errors import FelixError
from felix.proto.queries import PAGE_SIZE_MAX, ListCaches, Listing
from felix.proto.resources import Cache
from felix.transport.curve import ClientCurve
from felix.transport.rpc_client import RpcClient
from tests.support.cluster import NAMESPACE, TENANT, RunningNode

CALL_TIMEOUT_S = 3.0


class Load:
    """Threads that create caches, one after the other, under names that are never used twice.

    Every other writer sends an idempotency key, and so may repeat what has an unknown outcome.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        writers: int = 4,
        pause_s: float = 0.002,
        curve: ClientCurve | None = None,
    ) -> None:
        """`pause_s` between two writes of one writer keeps the machine from being the limit;
        `curve` has the keys of the endpoints in their order.
        """
        self.acknowledged: dict[str, int] = {}
        """The version at which each took effect."""
        self.refused: dict[str, FelixError] = {}
        """Those that had no effect, says the cluster."""
        self.unknown: set[str] = set()
        self.spans: list[tuple[float, float]] = []
        """When each acknowledged write began and ended; monotonic."""
        self._endpoints = list(endpoints)
        self._curve = curve
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"writer-{number}")
            for number in range(writers)
        ]

    def __enter__(self) -> Load:
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
    def count(self) -> int:
        """How many writes were acknowledged so far."""
        return len(self.spans)

    def _run(self, number: int) -> None:
        first = number % len(self._endpoints)
        curve = self._curve
        if curve is not None:
            turned = curve.server_keys[first:] + curve.server_keys[:first]
            curve = ClientCurve(curve.own, turned)
        client = RpcClient(self._endpoints[first:] + self._endpoints[:first], curve=curve)
        try:
            for turn in itertools.count():
                if self._stop.wait(self._pause_s):
                    return
                self._write(client, f"w{number}-{turn}", keyed=number % 2 == 1)
        except BaseException as error:
            self._failures.append(error)
            raise
        finally:
            client.close()

    def _write(self, client: RpcClient, name: str, *, keyed: bool) -> None:
        command = CreateCache(tenant_id=TENANT, namespace=NAMESPACE, cache=name)
        call = Call(timeout_s=CALL_TIMEOUT_S, idempotency_key=f"key-{name}" if keyed else None)
        begun = time.monotonic()
        try:
            answered = client.ask(command, call)
        except FelixError as error:
            if error.outcome == "unknown":
                self.unknown.add(name)
            else:
                self.refused[name] = error
        else:
            self.acknowledged[name] = answered.version
            self.spans.append((begun, time.monotonic()))


def caches_on(node: RunningNode) -> dict[str, int]:
    """List the caches a node knows, with their versions, in a linearizable read of that node."""
    found: dict[str, int] = {}
    token = ""
    while True:
        query = ListCaches(
            tenant_id=TENANT, namespace=NAMESPACE, page_size=PAGE_SIZE_MAX, page_token=token
        )
        page = node.ask(query, Call(timeout_s=20)).result
        assert isinstance(page, Listing)
        for item in page.items:
            assert isinstance(item, Cache)
            found[item.cache] = item.version
        token = page.next_page_token
        if not token:
            return found


def assert_nothing_is_lost(load: Load, node: RunningNode) -> None:
    """Hold what the writers were told against what a node has."""
    present = caches_on(node)
    told = load.acknowledged
    lost = {name: version for name, version in told.items() if present.get(name) != version}
    assert not lost, f"{node.name} lost or moved {len(lost)} acknowledged writes: {lost}"
    ghosts = {name: error for name, error in load.refused.items() if name in present}
    assert not ghosts, f"{node.name} has writes that were refused: {ghosts}"
    strangers = present.keys() - told.keys() - load.unknown
    assert not strangers, f"{node.name} has writes that nobody made: {strangers}"
