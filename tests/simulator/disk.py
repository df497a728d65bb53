"""What one node finds again after a crash: the twins in memory, and a look inside for invariants.

Every call takes effect whole or, after a crash, not at all. How long a write takes, and whether a
crash overtakes it, is the node's business.
"""

from __future__ import annotations

import msgspec

from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import Entry, HardState, SnapshotMeta
from felix.storage.memory import MemoryJournal, MemorySnapshots


class TransparentJournal(MemoryJournal):
    """A journal that can be asked what it holds."""

    @property
    def hard_state(self) -> HardState:
        """Term and vote."""
        return self._hard_state

    @property
    def snapshot(self) -> SnapshotMeta | None:
        """The snapshot it points to."""
        return self._snapshot

    @property
    def last_index(self) -> Index:
        """The newest entry."""
        if self._entries:
            return self._entries[-1].index
        return self._snapshot.index if self._snapshot else Index(0)

    @property
    def beginning(self) -> Index:
        """The entry before the oldest that a restart would see."""
        if not self._entries:
            return self._snapshot.index if self._snapshot else Index(0)
        oldest = Index(self._entries[0].index - 1)
        return min(oldest, self._snapshot.index) if self._snapshot else oldest

    def entry(self, index: Index) -> Entry | None:
        """Look up an entry."""
        position = index - self._entries[0].index if self._entries else -1
        return self._entries[position] if 0 <= position < len(self._entries) else None

    def has(self, index: Index, term: Term) -> bool:
        """Say whether an entry is here, by itself or in the snapshot."""
        if self._snapshot is not None and index <= self._snapshot.index:
            return True
        entry = self.entry(index)
        return entry is not None and entry.term == term

    def term_at(self, index: Index) -> Term | None:
        """Look up the term of an entry, or of the snapshot that ends with it."""
        entry = self.entry(index)
        if entry is not None:
            return entry.term
        if self._snapshot is not None and self._snapshot.index == index:
            return self._snapshot.term
        return Term(0) if index == 0 else None


class TornSnapshots(MemorySnapshots):
    """Snapshot files of which the one being received suffers when its node dies."""

    def __init__(self) -> None:
        super().__init__()
        self._deaths = 0

    def restart(self) -> None:
        """Lose half of what was being received; every third time, find a wrong bit in the rest."""
        if self._partial is None:
            return
        received = self._partial[1]
        del received[len(received) // 2 :]
        self._deaths += 1
        if received and self._deaths % 3 == 0:
            received[-1] ^= 1


class Disk(msgspec.Struct, frozen=True):
    """The disk of one node, which carries the node's identity."""

    node_id: NodeId
    journal: TransparentJournal
    snapshots: TornSnapshots


def empty_disk(node_id: NodeId) -> Disk:
    """Make the disk of a new node."""
    return Disk(node_id, TransparentJournal(), TornSnapshots())
