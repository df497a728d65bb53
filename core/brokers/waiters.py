"""Callers who wait until brokers have a version of the metadata in force."""

from __future__ import annotations

from typing import Final

import msgspec

from felix.core.brokers.reports import Reports
from felix.proto.brokers import AppliedBy
from felix.proto.errors import Overloaded
from felix.proto.queries import WaitForBrokers

RETRY_AFTER_MS: Final = 1_000


class _Waiter(msgspec.Struct):
    query: WaitForBrokers
    deadline: float
    late: set[str]
    """Brokers that are up and have not got there; never iterated."""


class Waiters:
    """Who waits, and for how many brokers; used by one thread."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._waiting: dict[int, _Waiter] = {}
        self._up: list[str] = []

    def __len__(self) -> int:
        """Count them."""
        return len(self._waiting)

    def add(
        self, token: int, query: WaitForBrokers, deadline: float, reports: Reports
    ) -> AppliedBy | None:
        """Answer at once, or let it wait. Raises: Overloaded."""
        waiter = _Waiter(query, deadline, self._late(query, reports))
        if self._is_reached(waiter):
            return self._answer(waiter, reports)
        if len(self._waiting) >= self._at_most:
            raise Overloaded(
                f"{self._at_most} requests wait for brokers already (limits.broker_waiters_max): "
                "ask again in a moment, or without waiting",
                retry_after_ms=RETRY_AFTER_MS,
            )
        self._waiting[token] = waiter
        return None

    def heard(self, broker_id: str, reports: Reports) -> list[tuple[int, AppliedBy]]:
        """Take out those to whom this broker's news was the last that they waited for."""
        version = reports.version_of(broker_id)
        for waiter in self._waiting.values():
            if version >= waiter.query.version:
                waiter.late.discard(broker_id)
            elif broker_id in self._up:
                waiter.late.add(broker_id)  # it had got there, and begins anew
        return self._take_reached(reports)

    def brokers_changed(self, up: list[str], reports: Reports) -> list[tuple[int, AppliedBy]]:
        """Hear which brokers are up; take out those whom the others are enough for."""
        if up == self._up:
            return []
        self._up = up
        for waiter in self._waiting.values():
            waiter.late = self._late(waiter.query, reports)
        return self._take_reached(reports)

    def overdue(self, now: float, reports: Reports) -> list[tuple[int, AppliedBy]]:
        """Take out those whose time is over."""
        late = [token for token, one in self._waiting.items() if one.deadline <= now]
        return [(token, self._answer(self._waiting.pop(token), reports)) for token in late]

    def _late(self, query: WaitForBrokers, reports: Reports) -> set[str]:
        return {one for one in self._up if reports.version_of(one) < query.version}

    def _is_reached(self, waiter: _Waiter) -> bool:
        wanted = waiter.query.brokers or len(self._up)
        return len(self._up) - len(waiter.late) >= wanted

    def _take_reached(self, reports: Reports) -> list[tuple[int, AppliedBy]]:
        reached = [token for token, one in self._waiting.items() if self._is_reached(one)]
        return [(token, self._answer(self._waiting.pop(token), reports)) for token in reached]

    def _answer(self, waiter: _Waiter, reports: Reports) -> AppliedBy:
        query = waiter.query
        return reports.applied_by(query.version, self._up, query.brokers)
