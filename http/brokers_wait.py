"""`?wait_brokers=`: a write is answered once brokers have it in force."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import falcon
import msgspec

from felix.proto import commands
from felix.proto.brokers import AppliedBy
from felix.proto.command import Command
from felix.proto.errors import Overloaded

AWAITABLE: Final[tuple[type[Command], ...]] = (
    commands.CreateTenant,
    commands.UpdateTenant,
    commands.DeleteTenant,
    commands.CreateNamespace,
    commands.UpdateNamespace,
    commands.DeleteNamespace,
    commands.CreateStream,
    commands.UpdateStream,
    commands.DeleteStream,
    commands.CreateCache,
    commands.UpdateCache,
    commands.DeleteCache,
)
WAIT_MS_DEFAULT: Final = 10_000
WAIT_MS_MAX: Final = 60_000
WAIT_MS_MIN: Final = 100
"""Time for the question itself."""
BROKERS_MAX: Final = 100_000
APPLIED: Final = "X-Felix-Brokers-Applied"
LAGGING: Final = "X-Felix-Brokers-Lagging"
UNKNOWN: Final = "unknown"
"""What `APPLIED` says where the leader could not be asked: the write itself is done."""


class Wanted(msgspec.Struct, frozen=True):
    """How many brokers a caller waits for, and for how long."""

    brokers: int
    """0: all that are not down."""
    wait_ms: int


class BrokerWaits:
    """How many requests of this process wait for brokers: each holds a thread."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._free = threading.BoundedSemaphore(at_most)

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count as waiting. Raises: Overloaded."""
        if not self._free.acquire(blocking=False):
            raise Overloaded(
                f"{self._at_most} writes wait for brokers in this worker already "
                "(http.broker_waiters_max), and this one was not made: ask again in a moment, or "
                "without wait_brokers",
                retry_after_ms=1000,
            )
        try:
            yield
        finally:
            self._free.release()


def say(resp: falcon.Response, applied: AppliedBy | None) -> None:
    """Put into the headers who has the write; None: nobody could be asked."""
    if applied is None:
        resp.set_header(APPLIED, UNKNOWN)
        return
    resp.set_header(APPLIED, f"{applied.applied}/{applied.expected}")
    if not applied.is_reached:
        resp.set_header(LAGGING, ",".join(applied.laggards))
