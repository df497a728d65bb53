"""Snapshot files: written in chunks to a temporary name, durable and checked before they count."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from felix.proto.ids import Index, Term
from felix.proto.raft import Membership, SnapshotMeta
from felix.storage.errors import Damaged

MAGIC: Final = b"felix-snapshot-1\n"
_FRAME: Final = struct.Struct(">II")
_READ_BYTES: Final = 1 << 20
SYNC_BYTES: Final = 1 << 20
"""A growing file is synced this often. Had the disk all of it to write at the end, commits would
wait for it: their syncs queue behind."""
_PARTIAL: Final = ".partial"


class SnapshotFiles:
    """See `felix.storage.ports.SnapshotStore`: one folder, one file for each snapshot."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._receiving: _Partial | None = None

    def begin(self, index: Index, term: Term) -> SnapshotFileWriter:
        """Start writing the snapshot of the state after `index`."""
        return SnapshotFileWriter(self._folder, index, term)

    def read(self, meta: SnapshotMeta, offset: int, length: int) -> bytes:
        """Read raw bytes of a snapshot's file."""
        with self._path(meta).open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def chunks(self, meta: SnapshotMeta) -> Iterator[bytes]:
        """Read the chunks as written, after checking the whole file. Raises: Damaged."""
        path = self._path(meta)
        if not path.exists():
            raise Damaged(f"the snapshot {path} is missing")
        if _checksum(path) != meta.checksum:
            raise Damaged(f"the snapshot {path} does not match its checksum")
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise Damaged(f"{path} is not a snapshot")
            while frame := file.read(_FRAME.size):
                length, crc = _FRAME.unpack(frame)
                chunk = file.read(length)
                if zlib.crc32(chunk) != crc:
                    raise Damaged(f"a chunk of {path} does not match its CRC")
                yield chunk

    def receive(self, meta: SnapshotMeta, offset: int, data: bytes) -> int:
        """Put down a piece of a snapshot that a peer sends; return the next offset wanted.

        What came over an earlier connection, or in an earlier life of the node, is not wanted
        again; whether it is what was sent shows in the end, with the whole file's checksum.
        """
        path = self._partial(meta)
        if self._receiving is None or self._receiving.path != path:
            self.close()
            for other in self._folder.glob("*" + _PARTIAL):
                if other != path:
                    other.unlink(missing_ok=True)
            self._receiving = _Partial(path)
        receiving = self._receiving
        if offset == receiving.size:
            receiving.write(data)
        return receiving.size

    def accept(self, meta: SnapshotMeta) -> bool:
        """Verify a completely received snapshot and make it durable; False if it is damaged."""
        assert self._receiving is not None
        receiving, self._receiving = self._receiving, None
        path = receiving.path
        assert path == self._partial(meta)
        if (receiving.size, receiving.finish()) != (meta.size_bytes, meta.checksum):
            path.unlink()
            return False
        path.rename(self._path(meta))
        _sync_folder(self._folder)
        return True

    def close(self) -> None:
        """Let go of what is being received; the next run goes on with it."""
        if self._receiving is not None:
            self._receiving.close()
            self._receiving = None

    def prune(self, keep: Iterable[SnapshotMeta]) -> None:
        """Delete every other snapshot and whatever a crash left behind."""
        kept = {self._path(meta).name for meta in keep}
        newest = max(kept, default="")
        for path in self._folder.iterdir():
            # Newer ones were accepted and are about to be pointed to; what is being received or
            # written carries the name it will have once it is whole.
            if path.name.removesuffix(_PARTIAL).removesuffix(".writing") < newest and (
                path.name not in kept
            ):
                path.unlink(missing_ok=True)

    def _path(self, meta: SnapshotMeta) -> Path:
        return self._folder / _name(meta.index, meta.term, meta.checksum)

    def _partial(self, meta: SnapshotMeta) -> Path:
        path = self._path(meta)
        return path.with_name(path.name + _PARTIAL)


class _SyncedFile:
    """A file that grows, its checksum at hand, little of it not yet on the disk."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.blake2b(digest_size=32)
        self._unsynced = 0
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append; every `SYNC_BYTES` wait for the disk."""
        self._file.write(data)
        self._count(data)
        self._unsynced += len(data)
        if self._unsynced >= SYNC_BYTES:
            self._sync()

    def _count(self, data: bytes) -> None:
        self._hash.update(data)
        self.size += len(data)

    def finish(self) -> str:
        """Make all of it durable; give its checksum."""
        self._sync()
        self._file.close()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Leave it as it is."""
        self._file.close()

    def _sync(self) -> None:
        self._unsynced = 0
        self._file.flush()
        os.fsync(self._file.fileno())


class _Partial(_SyncedFile):
    """A snapshot as far as it has been received."""

    def __init__(self, path: Path) -> None:
        """Go on with what is there."""
        super().__init__(path.open("a+b"))
        self.path = path
        self._file.seek(0)
        while block := self._file.read(_READ_BYTES):
            self._count(block)

    def write(self, data: bytes) -> None:
        """Append so that it is not lost with the process."""
        super().write(data)
        self._file.flush()


class SnapshotFileWriter:
    """See `felix.storage.ports.SnapshotWriter`."""

    def __init__(self, folder: Path, index: Index, term: Term) -> None:
        self._folder = folder
        self._index = index
        self._term = term
        self._path = folder / (_name(index, term, "") + ".writing")
        self._file = _SyncedFile(self._path.open("wb"))
        self._file.write(MAGIC)

    def write(self, chunk: bytes) -> None:
        """Append one chunk."""
        self._file.write(_FRAME.pack(len(chunk), zlib.crc32(chunk)))
        self._file.write(chunk)

    def finish(self, membership: Membership) -> SnapshotMeta:
        """Make it durable and say what it is."""
        checksum = self._file.finish()
        self._path.rename(self._folder / _name(self._index, self._term, checksum))
        _sync_folder(self._folder)
        return SnapshotMeta(self._index, self._term, membership, self._file.size, checksum)

    def abandon(self) -> None:
        """Throw it away."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _name(index: Index, term: Term, checksum: str) -> str:
    return f"{index:020d}-{term:020d}-{checksum[:16]}.snapshot"


def _checksum(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=32)
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
