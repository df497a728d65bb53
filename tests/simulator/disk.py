"""What one node finds again after a crash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from felix.proto.ids import Index, Term
from felix.proto.raft import Entry, HardState, Membership, SnapshotMeta
from felix.storage.ports import Recovered


class Disk:
    """A journal and snapshot files. Every method takes effect whole or, after a crash, not at all.

    How long a write takes, and whether a crash overtakes it, is the node's business. Entries are
    found by their index in no time, because invariants ask for them all the time.
    """

    def __init__(self) -> None:
        self.hard_state = HardState()
        self.snapshot: SnapshotMeta | None = None
        self.entries: list[Entry] = []
        self._files: dict[SnapshotMeta, bytes] = {}
        self._receiving: tuple[SnapshotMeta, bytes] | None = None

    # --- journal ------------------------------------------------------------------------------

    def recover(self) -> Recovered:
        """Read everything after a restart; what was being received is gone."""
        self._receiving = None
        return Recovered(self.hard_state, self.snapshot, tuple(self.entries))

    def append(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """Write in one step; entries replace what is at and after the first one's index."""
        if hard_state is not None:
            self.hard_state = hard_state
        if entries:
            start = self.entries[0].index if self.entries else entries[0].index
            assert start <= entries[0].index <= self.last_index + 1, "a hole in the journal"
            del self.entries[entries[0].index - start :]
            self.entries.extend(entries)

    def compact(self, snapshot: SnapshotMeta, first_kept: Index) -> None:
        """Point to a snapshot and forget the entries before `first_kept`."""
        self.snapshot = snapshot
        self.entries = [entry for entry in self.entries if entry.index >= first_kept]

    def install(self, snapshot: SnapshotMeta) -> None:
        """Point to a snapshot of the leader and forget all entries."""
        self.snapshot = snapshot
        self.entries = []

    # --- snapshot files -----------------------------------------------------------------------

    def store(self, index: Index, term: Term, membership: Membership, data: bytes) -> SnapshotMeta:
        """Write a snapshot file."""
        meta = SnapshotMeta(index, term, membership, len(data), _checksum(data))
        self._files[meta] = data
        return meta

    def read(self, meta: SnapshotMeta) -> bytes:
        """Read a snapshot file."""
        return self._files[meta]

    def receive(self, meta: SnapshotMeta, offset: int, data: bytes) -> int:
        """Put down a piece of a snapshot; return the next offset wanted."""
        received = b""
        if self._receiving is not None and self._receiving[0] == meta and offset != 0:
            received = self._receiving[1]
        if offset == len(received):
            received += data
        self._receiving = (meta, received)
        return len(received)

    def accept(self, meta: SnapshotMeta) -> bool:
        """Keep what was received as a snapshot file; False if it is damaged."""
        assert self._receiving is not None
        data = self._receiving[1]
        self._receiving = None
        if _checksum(data) != meta.checksum:
            return False
        self._files[meta] = data
        return True

    def prune(self, keep: Iterable[SnapshotMeta]) -> None:
        """Delete every older snapshot file."""
        kept = list(keep)
        newest = max(meta.index for meta in kept)
        self._files = {
            meta: data for meta, data in self._files.items() if meta in kept or meta.index > newest
        }

    # --- for invariants -----------------------------------------------------------------------

    @property
    def last_index(self) -> Index:
        """The newest entry."""
        if self.entries:
            return self.entries[-1].index
        return self.snapshot.index if self.snapshot else Index(0)

    def has(self, index: Index, term: Term) -> bool:
        """Say whether an entry is here, by itself or in the snapshot."""
        if self.snapshot is not None and index <= self.snapshot.index:
            return True
        position = index - self.entries[0].index if self.entries else -1
        return 0 <= position < len(self.entries) and self.entries[position].term == term


def _checksum(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=32).hexdigest()
