"""ReadIndex with batching: one round of heartbeats confirms every read that waits (section 6.4)."""

from __future__ import annotations

from collections import deque

import msgspec

from felix.proto.ids import Index, NodeId

READS_WAITING_MAX = 100_000


class ReadRequest(msgspec.Struct, frozen=True):
    """Who wants to read."""

    requester: NodeId
    context: int


class ReadRounds:
    """A leader's reads: those that wait for a round, and the round that is under way.

    Only one round is under way at a time; whatever arrives meanwhile shares the next one.
    """

    def __init__(self) -> None:
        self.round = 1
        """The number of the last round started. Every heartbeat carries it, so that the answer to
        one sent before a round began never confirms that round."""
        self._waiting: deque[ReadRequest] = deque()
        self._under_way: list[ReadRequest] = []
        self._index = Index(0)

    @property
    def round_is_under_way(self) -> bool:
        """Whether reads wait for answers to the current round."""
        return bool(self._under_way)

    def add(self, request: ReadRequest) -> bool:
        """Queue a read; False when too many wait."""
        if len(self._waiting) >= READS_WAITING_MAX:
            return False
        self._waiting.append(request)
        return True

    def start(self, commit: Index) -> bool:
        """Start a round for all that wait, if none is under way; say whether one started.

        `commit` is the read index: it was committed before the round began, so it covers every
        write acknowledged before any of these reads was asked for.
        """
        if self._under_way or not self._waiting:
            return False
        self.round += 1
        self._under_way = list(self._waiting)
        self._waiting.clear()
        self._index = commit
        return True

    def confirmed(self, round_: int) -> list[tuple[ReadRequest, Index]]:
        """Release the reads of the round, once a quorum has answered it."""
        if not self._under_way or round_ < self.round:
            return []
        released = [(request, self._index) for request in self._under_way]
        self._under_way = []
        return released

    def drain(self) -> list[ReadRequest]:
        """Give up all reads: leadership is lost."""
        given_up = [*self._under_way, *self._waiting]
        self._under_way = []
        self._waiting.clear()
        return given_up
