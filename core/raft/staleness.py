"""Up to which moment a node's state is known to hold everything that was committed.

A node knows nothing of messages that are on their way. So a beat of the leader brings back the
stamp of the last answer that the leader had from this node: everything in the beat was known after
that answer left, however long either took. With it come the leader's commit index, which the node
must have applied for its state to be as new as that, and how old the leader's own knowledge was.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from felix.proto.ids import Index

TOLD_MAX: Final = 64
"""Beats that wait for their entries; those that come while so many wait are passed over."""


class Staleness:
    """Moments are ticks of this node."""

    def __init__(self) -> None:
        self._as_of: int | None = None
        self._told: deque[tuple[int, Index]] = deque()

    def note(self, tick: int, commit: Index) -> None:
        """Take in that nothing beyond `commit` was committed at a moment."""
        if self._told and self._told[-1][1] == commit:
            self._told[-1] = (max(tick, self._told[-1][0]), commit)
        elif len(self._told) < TOLD_MAX:
            self._told.append((tick, commit))

    def as_of(self, applied: Index) -> int | None:
        """Find the last moment whose commits are all applied; None if there is none yet."""
        while self._told and self._told[0][1] <= applied:
            tick, _ = self._told.popleft()
            self._as_of = tick if self._as_of is None else max(tick, self._as_of)
        return self._as_of
