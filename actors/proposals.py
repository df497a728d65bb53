"""The proposals of this node that are in the log and not committed yet."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

import msgspec

from felix.proto.ids import Index, Term
from felix.proto.raft import Entry


class _Waiting(msgspec.Struct, frozen=True, gc=False):
    index: Index
    term: Term
    token: int
    since: float


class Outcome(msgspec.Struct, frozen=True):
    """What became of proposals when entries were committed."""

    tokens: dict[Index, int]
    """Committed, by index."""
    seconds: list[float]
    """How long each of them took from its batch to its commit."""
    overwritten: tuple[int, ...]
    """Replaced by entries of another term: they had no effect and will have none."""


class Proposals:
    """Matches committed entries with who proposed them, by index *and* term."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()

    def __len__(self) -> int:
        """Count what waits."""
        return len(self._waiting)

    def add(self, first: Index, term: Term, tokens: Sequence[int]) -> tuple[int, ...]:
        """Note a batch that went into the log at `first`; return tokens that had no effect.

        Those are of entries that another leader cut off: had one been committed, this node could
        not lead now without having it.
        """
        now = time.perf_counter()
        cut_off = []
        while self._waiting and self._waiting[-1].index >= first:
            cut_off.append(self._waiting.pop().token)
        self._waiting.extend(
            _Waiting(Index(first + n), term, token, now) for n, token in enumerate(tokens)
        )
        return tuple(cut_off)

    def committed(self, entries: Sequence[Entry]) -> Outcome:
        """Take out what these entries decide."""
        tokens: dict[Index, int] = {}
        seconds: list[float] = []
        overwritten: list[int] = []
        if self._waiting:
            now = time.perf_counter()
            first, last = entries[0].index, entries[-1].index
            while self._waiting and self._waiting[0].index <= last:
                one = self._waiting.popleft()
                if one.index < first:
                    continue  # a snapshot jumped over it
                if entries[one.index - first].term == one.term:
                    tokens[one.index] = one.token
                    seconds.append(now - one.since)
                else:
                    overwritten.append(one.token)
        return Outcome(tokens, seconds, tuple(overwritten))
