"""The log as a node sees it: in memory from the last trim on, all of it on disk or on its way."""

from __future__ import annotations

from collections.abc import Sequence

from felix.proto.ids import Index, Term
from felix.proto.raft import Entry, SnapshotMeta


class RaftLog:
    """Entries `first..last`, and the term of the one before them.

    `handed` is the last entry given out to be written, `persisted` the last known to be on disk:
    `persisted <= handed <= last`.
    """

    def __init__(self, snapshot: SnapshotMeta | None, entries: Sequence[Entry]) -> None:
        """Take up what a journal recovered; entries may start before the snapshot's end."""
        start = snapshot.index if snapshot else Index(0)
        self._before_index = start
        self._before_term = snapshot.term if snapshot else Term(0)
        self._entries: list[Entry] = []
        if entries and entries[-1].index >= start:
            if entries[0].index > start + 1:
                raise ValueError(f"the log starts at {entries[0].index}, after a hole")
            if entries[0].index <= start:  # the tail kept before the snapshot's end
                self._before_index, self._before_term = entries[0].index, entries[0].term
                entries = entries[1:]
            self._entries = list(entries)
        self.handed = self.persisted = self.last_index

    @property
    def first_index(self) -> Index:
        """The oldest entry still here."""
        return Index(self._before_index + 1)

    @property
    def last_index(self) -> Index:
        """The newest entry."""
        return Index(self._before_index + len(self._entries))

    @property
    def last_term(self) -> Term:
        """The newest entry's term."""
        return self._entries[-1].term if self._entries else self._before_term

    def term_at(self, index: Index) -> Term | None:
        """Look up an entry's term; None where the log does not reach."""
        position = index - self._before_index
        if position == 0:
            return self._before_term
        if 0 < position <= len(self._entries):
            return self._entries[position - 1].term
        return None

    def slice(self, low: Index, high: Index) -> list[Entry]:
        """List the entries `low..high`, both included."""
        before = self._before_index
        return self._entries[low - before - 1 : high - before]

    def slice_bytes(self, low: Index, bytes_max: int) -> tuple[tuple[Entry, ...], int]:
        """List entries from `low` on up to a size in bytes, at least one; and their size."""
        total = 0
        taken: list[Entry] = []
        start = low - self._before_index - 1
        for entry in self._entries[start : start + 4096]:
            total += len(entry.data) + 16
            if taken and total > bytes_max:
                total -= len(entry.data) + 16
                break
            taken.append(entry)
        return tuple(taken), total

    def is_up_to_date(self, last_index: Index, last_term: Term) -> bool:
        """Say whether a candidate's log may win over this one (section 3.6.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries at the end; they must follow it."""
        assert not entries or entries[0].index == self.last_index + 1
        self._entries.extend(entries)

    def merge(self, entries: Sequence[Entry], committed: Index) -> Sequence[Entry]:
        """Add what a leader sent behind a matching entry, dropping what contradicts it.

        Entries that are here already stay: a late message must never shorten the log
        (section 3.5). Returns those that were added.
        """
        for position, entry in enumerate(entries):
            if self.term_at(entry.index) != entry.term:
                assert entry.index > committed, "a leader contradicts what is committed"
                self._truncate_from(entry.index)
                self.append(entries[position:])
                return entries[position:]
        return ()

    def last_possible_match(self, index: Index, term: Term) -> tuple[Index, Term]:
        """Find the last entry up to `index` whose term is at most `term`.

        Both sides use it to step back over a whole term at once after a mismatch (section 3.5).
        The term is 0 where the log no longer reaches.
        """
        while True:
            ours = self.term_at(index)
            if ours is None:
                return index, Term(0)
            if ours <= term:
                return index, ours
            index = Index(index - 1)

    def trim(self, first_kept: Index) -> None:
        """Forget the entries before `first_kept`."""
        if first_kept <= self.first_index:
            return
        assert first_kept <= self.persisted + 1
        position = first_kept - self._before_index
        self._before_term = self._entries[position - 2].term
        del self._entries[: position - 1]
        self._before_index = Index(first_kept - 1)

    def restart_after(self, snapshot: SnapshotMeta) -> None:
        """Forget everything: the log goes on after a snapshot."""
        self._entries.clear()
        self._before_index, self._before_term = snapshot.index, snapshot.term
        self.handed = self.persisted = snapshot.index

    def _truncate_from(self, index: Index) -> None:
        if index > self.last_index:
            return
        del self._entries[index - self._before_index - 1 :]
        self.handed = min(self.handed, self.last_index)
        self.persisted = min(self.persisted, self.last_index)
