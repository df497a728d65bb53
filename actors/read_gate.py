"""Holds linearizable queries until this node has applied enough to answer them."""

from __future__ import annotations

import heapq
import itertools
import time
from typing import TypeAlias

from felix.proto.ids import Index
from felix.transport.rpc_server import Incoming

_Read: TypeAlias = tuple[float, Incoming]
"""A query and its deadline."""


class ReadGate:
    """Queries wait first for a read index, then until it is applied.

    One read index is asked for at a time; every query that arrives meanwhile shares the next one.
    A query never shares one that was asked for before it arrived.
    """

    def __init__(self) -> None:
        self._context = 0
        self._asked = False
        self._gathering: list[_Read] = []
        self._under_way: list[_Read] = []
        self._unapplied: list[tuple[Index, int, _Read]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        """Count the queries that wait."""
        return len(self._gathering) + len(self._under_way) + len(self._unapplied)

    def add(self, incoming: Incoming) -> None:
        """Let a query wait."""
        deadline = time.monotonic() + incoming.request.timeout_ms / 1000
        self._gathering.append((deadline, incoming))

    def next_context(self) -> int | None:
        """Start the next read index if one is needed now: the context to ask RAFT with."""
        if self._asked or not self._gathering:
            return None
        self._asked = True
        self._context += 1
        self._under_way, self._gathering = self._gathering, []
        return self._context

    def released(self, context: int, index: Index | None) -> list[tuple[Incoming, float]]:
        """Take in a read index.

        Returns the queries that have none, as there is no leader, and the seconds each has left.
        """
        if not self._asked or context != self._context:
            return []
        self._asked = False
        queries, self._under_way = self._under_way, []
        if index is None:
            now = time.monotonic()
            return [(incoming, deadline - now) for deadline, incoming in queries]
        for query in queries:
            heapq.heappush(self._unapplied, (index, next(self._order), query))
        return []

    def due(self, applied: Index) -> list[Incoming]:
        """Take out the queries that may be answered at this point of the log."""
        due = []
        while self._unapplied and self._unapplied[0][0] <= applied:
            due.append(heapq.heappop(self._unapplied)[2][1])
        return due

    def overdue(self, now: float) -> list[Incoming]:
        """Take out the queries whose deadline has passed; `now` is monotonic."""
        everyone = [*self._gathering, *self._under_way, *(one[2] for one in self._unapplied)]
        late = [incoming for deadline, incoming in everyone if deadline <= now]
        if late:
            self._gathering = [one for one in self._gathering if one[0] > now]
            self._under_way = [one for one in self._under_way if one[0] > now]
            self._unapplied = [one for one in self._unapplied if one[2][0] > now]
            heapq.heapify(self._unapplied)
        return late
