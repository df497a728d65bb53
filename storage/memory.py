"""The twins in memory of the journal and the snapshot files.

What a call was given is durable when it returns: keep the objects, call `recover` again, and the
node has restarted.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from felix.proto.ids import Index, Term
from felix.proto.raft import Entry, HardState, Membership, SnapshotMeta
from felix.storage.errors import Damaged
from felix.storage.ports import Recovered

_LENGTH: Final = struct.Struct(">I")


class MemoryJournal:
    """See `felix.storage.ports.Journal`."""

    def __init__(self) -> None:
        self._hard_state = HardState()
        self._snapshot: SnapshotMeta | None = None
        self._entries: list[Entry] = []

    def recover(self) -> Recovered:
        """Say what is held."""
        return Recovered(self._hard_state, self._snapshot, tuple(self._entries))

    def append(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """Take both in one step."""
        if entries and self._entries:
            start = entries[0].index - self._entries[0].index
            assert 0 <= start <= len(self._entries), "entries follow or replace what is there"
            del self._entries[start:]
        self._entries.extend(entries)
        if hard_state is not None:
            self._hard_state = hard_state

    def compact(self, snapshot: SnapshotMeta, first_kept: Index) -> None:
        """Point to a snapshot and forget the entries before `first_kept`."""
        self._snapshot = snapshot
        self._entries = [entry for entry in self._entries if entry.index >= first_kept]

    def install(self, snapshot: SnapshotMeta) -> None:
        """Point to a snapshot and forget all entries."""
        self._snapshot = snapshot
        self._entries = []

    def close(self) -> None:
        """Do nothing: what was appended outlives the node."""


class MemorySnapshots:
    """See `felix.storage.ports.SnapshotStore`."""

    def __init__(self) -> None:
        self._files: dict[SnapshotMeta, bytes] = {}
        self._partial: tuple[SnapshotMeta, bytearray] | None = None
        """As far as it has been received; it outlives the node too."""

    def begin(self, index: Index, term: Term) -> MemorySnapshotWriter:
        """Start writing the snapshot of the state after `index`."""
        return MemorySnapshotWriter(self._files, index, term)

    def read(self, meta: SnapshotMeta, offset: int, length: int) -> bytes:
        """Read raw bytes."""
        return self._files[meta][offset : offset + length]

    def chunks(self, meta: SnapshotMeta) -> Iterator[bytes]:
        """Read the chunks as written. Raises: Damaged."""
        data = self._files.get(meta)
        if data is None or not _is_whole(meta, data):
            raise Damaged(f"the snapshot at {meta.index} is missing or not what was written")
        position = 0
        while position < len(data):
            (length,) = _LENGTH.unpack_from(data, position)
            position += _LENGTH.size
            yield data[position : position + length]
            position += length

    def older(self, than: SnapshotMeta) -> list[SnapshotMeta]:
        """List the snapshots that are still there and stand for less, the newest first."""
        whole = [meta for meta, data in self._files.items() if _is_whole(meta, data)]
        older = [meta for meta in whole if meta.index < than.index]
        return sorted(older, key=lambda meta: meta.index, reverse=True)

    def receive(self, meta: SnapshotMeta, offset: int, data: bytes) -> int:
        """Put down a piece of a snapshot; return the next offset wanted."""
        if self._partial is None or self._partial[0] != meta:
            self._partial = (meta, bytearray())
        received = self._partial[1]
        if offset == len(received):
            received += data
        return len(received)

    def accept(self, meta: SnapshotMeta) -> bool:
        """Keep what was received; False if it is damaged."""
        assert self._partial is not None
        assert self._partial[0] == meta
        data = bytes(self._partial[1])
        self._partial = None
        if not _is_whole(meta, data):
            return False
        self._files[meta] = data
        return True

    def prune(self, keep: Iterable[SnapshotMeta]) -> None:
        """Delete the snapshots that are older than the newest kept one, and not kept."""
        kept = set(keep)
        newest = max((meta.index for meta in kept), default=Index(0))
        for meta in list(self._files):
            if meta not in kept and meta.index < newest:
                del self._files[meta]


class MemorySnapshotWriter:
    """See `felix.storage.ports.SnapshotWriter`."""

    def __init__(self, files: dict[SnapshotMeta, bytes], index: Index, term: Term) -> None:
        self._files = files
        self._index = index
        self._term = term
        self._data = bytearray()

    def write(self, chunk: bytes) -> None:
        """Append one chunk."""
        self._data += _LENGTH.pack(len(chunk)) + chunk

    def finish(self, membership: Membership) -> SnapshotMeta:
        """Make it one of the files."""
        data = bytes(self._data)
        meta = SnapshotMeta(self._index, self._term, membership, len(data), _checksum(data))
        self._files[meta] = data
        return meta

    def abandon(self) -> None:
        """Throw it away."""
        self._data.clear()


def _is_whole(meta: SnapshotMeta, data: bytes) -> bool:
    return len(data) == meta.size_bytes and _checksum(data) == meta.checksum


def _checksum(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=32).hexdigest()
