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
        """By index."""
        self._cut_off: list[_Waiting] = []
        """No longer in this node's log, but maybe in that of another, which may yet lead."""

    def __len__(self) -> int:
        """Count what waits."""
        return len(self._waiting) + len(self._cut_off)

    def add(self, first: Index, term: Term, tokens: Sequence[int]) -> None:
        """Note a batch that went into the log at `first`.

        Entries there that another leader cut off are not lost for good: a third node may have
        them, and commit them in a later term. Only what is committed at their index decides.
        """
        now = time.perf_counter()
        while self._waiting and self._waiting[-1].index >= first:
            self._cut_off.append(self._waiting.pop())
        self._waiting.extend(
            _Waiting(Index(first + n), term, token, now) for n, token in enumerate(tokens)
        )

    def committed(self, entries: Sequence[Entry]) -> Outcome:
        """Take out what these entries decide."""
        tokens: dict[Index, int] = {}
        seconds: list[float] = []
        overwritten: list[int] = []
        if self._waiting or self._cut_off:
            now = time.perf_counter()
            first = entries[0].index
            for one in self._take_up_to(entries[-1].index):
                if one.index < first:
                    continue  # a snapshot jumped over it
                if entries[one.index - first].term == one.term:
                    tokens[one.index] = one.token
                    seconds.append(now - one.since)
                else:
                    overwritten.append(one.token)
        return Outcome(tokens, seconds, tuple(overwritten))

    def _take_up_to(self, last: Index) -> list[_Waiting]:
        taken = [one for one in self._cut_off if one.index <= last]
        if taken:
            self._cut_off = [one for one in self._cut_off if one.index > last]
        while self._waiting and self._waiting[0].index <= last:
            taken.append(self._waiting.popleft())
        return taken
