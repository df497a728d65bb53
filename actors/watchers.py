"""Callers of `WatchUpdates` that wait for the next update."""

from __future__ import annotations

import time

from felix.proto.errors import Overloaded
from felix.proto.queries import WatchUpdates
from felix.transport.rpc_server import Incoming

WATCHERS_MAX = 10_000


class Watchers:
    """Requests parked until something happens or they have waited long enough."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, Incoming]] = []

    def __len__(self) -> int:
        """Count those who wait."""
        return len(self._waiting)

    def park(self, incoming: Incoming, query: WatchUpdates) -> None:
        """Let a request wait, no longer than it wants and its deadline allows.

        Raises: Overloaded.
        """
        if len(self._waiting) >= WATCHERS_MAX:
            raise Overloaded("too many requests wait for updates", retry_after_ms=1000)
        wait_ms = min(query.wait_ms, int(incoming.request.timeout_ms * 0.9))
        self._waiting.append((time.monotonic() + wait_ms / 1000, incoming))

    def take_all(self) -> list[Incoming]:
        """Take out everybody: there is news."""
        waiting, self._waiting = self._waiting, []
        return [incoming for _, incoming in waiting]

    def take_overdue(self) -> list[Incoming]:
        """Take out those who have waited long enough."""
        now = time.monotonic()
        overdue = [incoming for due, incoming in self._waiting if due <= now]
        if overdue:
            self._waiting = [one for one in self._waiting if one[0] > now]
        return overdue
