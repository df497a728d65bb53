"""Snapshot files: written in chunks to a temporary name, durable and checked before they count.

A file is `MAGIC`, the chunks (each behind its length and CRC), what the snapshot is (`About`), and
the length and CRC of that. So a file says by itself what it stands for, and its name has the
beginning of its checksum.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import structlog

from felix.proto import codec
from felix.proto.errors import FelixError
from felix.proto.ids import Index, Term
from felix.proto.raft import Membership, SnapshotMeta
from felix.storage.errors import Damaged, DiskFailed
from felix.storage.files import DiskOperations, FileOperations
from felix.storage.formats import check_format

FORMAT: Final = 2
MAGIC: Final = b"felix-snapshot-%d\n" % FORMAT
_ANY_MAGIC: Final = re.compile(rb"felix-snapshot-([0-9]{1,4})\n")
_MAGIC_BYTES_MAX: Final = len(MAGIC) + 3
SUFFIX: Final = ".snapshot"
_FRAME: Final = struct.Struct(">II")
"""Length and CRC."""
_READ_BYTES: Final = 1 << 20
SYNC_BYTES: Final = 1 << 20
"""A growing file is synced this often. Had the disk all of it to write at the end, commits would
wait for it: their syncs queue behind."""
_PARTIAL: Final = ".partial"
_CHECKSUM_DIGITS: Final = 16
"""Of the checksum, in a file's name."""

log = structlog.get_logger("felix.snapshots")


class About(msgspec.Struct, frozen=True, array_like=True):
    """What a snapshot file says about itself."""

    index: Index
    term: Term
    membership: Membership


_abouts: Final[codec.Decoder[About]] = codec.Decoder(About)


class SnapshotFiles:
    """See `felix.storage.ports.SnapshotStore`: one folder, one file for each snapshot."""

    def __init__(self, folder: Path, operations: FileOperations | None = None) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._operations = operations or DiskOperations()
        self._receiving: _Partial | None = None

    def begin(self, index: Index, term: Term) -> SnapshotFileWriter:
        """Start writing the snapshot of the state after `index`."""
        return SnapshotFileWriter(self._folder, self._operations, index, term)

    def read(self, meta: SnapshotMeta, offset: int, length: int) -> bytes:
        """Read raw bytes of a snapshot's file. Raises: Damaged, DiskFailed."""
        path = self._path(meta)
        with _reading(path), path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def chunks(self, meta: SnapshotMeta) -> Iterator[bytes]:
        """Read the chunks as written, after checking the whole file.

        Raises: Damaged, DiskFailed; TooOld or StorageError for another format.
        """
        path = self._path(meta)
        with _reading(path):
            size, checksum = path.stat().st_size, _checksum(path)
            if size != meta.size_bytes or checksum != meta.checksum:
                raise Damaged(f"the snapshot {path} does not match its checksum")
            with path.open("rb") as file:
                about, end = _read_about(path, file, size)
                if about != About(meta.index, meta.term, meta.membership):
                    raise Damaged(f"{path} is another snapshot: {about}")
                file.seek(len(MAGIC))
                while file.tell() < end:
                    length, crc = _FRAME.unpack(file.read(_FRAME.size))
                    chunk = file.read(length)
                    if zlib.crc32(chunk) != crc:
                        raise Damaged(f"a chunk of {path} does not match its CRC")
                    yield chunk

    def older(self, than: SnapshotMeta) -> list[SnapshotMeta]:
        """List the whole snapshots that stand for less, the newest first.

        Raises: DiskFailed; TooOld or StorageError for another format.
        """
        found = []
        with _reading(self._folder):  # not `glob`, which passes over what it may not read
            paths = [path for path in self._folder.iterdir() if path.suffix == SUFFIX]
        for path in sorted(paths, reverse=True):
            try:
                with _reading(path):
                    meta = _meta_of(path)
            except Damaged as error:
                log.warning("a snapshot is damaged", path=str(path), reason=str(error))
                continue
            if meta.index < than.index:
                found.append(meta)
        return found

    def receive(self, meta: SnapshotMeta, offset: int, data: bytes) -> int:
        """Put down a piece of a snapshot that a peer sends; return the next offset wanted.

        What came over an earlier connection, or in an earlier life of the node, is not wanted
        again; whether it is what was sent shows in the end, with the whole file's checksum.
        """
        path = self._partial(meta)
        with _writing(path):
            if self._receiving is None or self._receiving.path != path:
                self.close()
                for other in self._folder.glob("*" + _PARTIAL):
                    if other != path:
                        self._operations.delete(other)
                self._receiving = _Partial(self._operations, path)
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
        with _writing(path):
            if (receiving.size, receiving.finish()) != (meta.size_bytes, meta.checksum):
                self._operations.delete(path)
                return False
            self._operations.rename(path, self._path(meta))
            self._operations.sync_folder(self._folder)
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
        with _writing(self._folder):
            for path in self._folder.iterdir():
                # Newer ones were accepted and are about to be pointed to; what is being received
                # or written carries the name it will have once it is whole.
                if path.name.removesuffix(_PARTIAL).removesuffix(".writing") < newest and (
                    path.name not in kept
                ):
                    self._operations.delete(path)

    def _path(self, meta: SnapshotMeta) -> Path:
        return self._folder / _name(meta.index, meta.term, meta.checksum)

    def _partial(self, meta: SnapshotMeta) -> Path:
        path = self._path(meta)
        return path.with_name(path.name + _PARTIAL)


class _SyncedFile:
    """A file that grows, its checksum at hand, little of it not yet on the disk."""

    def __init__(self, operations: FileOperations, file: BinaryIO) -> None:
        self._operations = operations
        self._file = file
        self._hash = hashlib.blake2b(digest_size=32)
        self._unsynced = 0
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append; every `SYNC_BYTES` wait for the disk."""
        self._operations.write(self._file, data)
        self._count(data)
        self._unsynced += len(data)
        if self._unsynced >= SYNC_BYTES:
            self._sync()

    def _count(self, data: bytes) -> None:
        self._hash.update(data)
        self.size += len(data)

    def finish(self) -> str:
        """Make all of it durable; give its checksum."""
        with self._file:
            self._sync()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Leave it as it is."""
        self._file.close()

    def _sync(self) -> None:
        self._unsynced = 0
        self._operations.sync(self._file)


class _Partial(_SyncedFile):
    """A snapshot as far as it has been received."""

    def __init__(self, operations: FileOperations, path: Path) -> None:
        """Go on with what is there."""
        super().__init__(operations, operations.go_on(path))
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

    def __init__(self, folder: Path, operations: FileOperations, index: Index, term: Term) -> None:
        self._folder = folder
        self._operations = operations
        self._index = index
        self._term = term
        self._path = folder / (_name(index, term, "") + ".writing")
        with _writing(self._path):
            self._file = _SyncedFile(operations, operations.create(self._path))
            self._file.write(MAGIC)

    def write(self, chunk: bytes) -> None:
        """Append one chunk."""
        with _writing(self._path):
            self._file.write(_FRAME.pack(len(chunk), zlib.crc32(chunk)))
            self._file.write(chunk)

    def finish(self, membership: Membership) -> SnapshotMeta:
        """Make it durable and say what it is."""
        about = codec.encode(About(self._index, self._term, membership))
        with _writing(self._path):
            self._file.write(about)
            self._file.write(_FRAME.pack(len(about), zlib.crc32(about)))
            checksum = self._file.finish()
            name = _name(self._index, self._term, checksum)
            self._operations.rename(self._path, self._folder / name)
            self._operations.sync_folder(self._folder)
        return SnapshotMeta(self._index, self._term, membership, self._file.size, checksum)

    def abandon(self) -> None:
        """Throw it away."""
        with _writing(self._path):
            self._file.close()
            self._operations.delete(self._path)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tell what is not there, or no file, from what the system would not let us read.

    Only the former is damage: a node that is out of descriptors has lost nothing. Raises: Damaged,
    DiskFailed.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise Damaged(f"the snapshot {path} is missing") from error
    except IsADirectoryError as error:
        raise Damaged(f"the snapshot {path} is a folder") from error
    except OSError as error:
        raise DiskFailed(f"the snapshot {path} cannot be read: {error}") from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say what the disk refused. Raises: DiskFailed."""
    try:
        yield
    except OSError as error:
        raise DiskFailed(f"the snapshot {path} cannot be written: {error}") from error


def _name(index: Index, term: Term, checksum: str) -> str:
    return f"{index:020d}-{term:020d}-{checksum[:_CHECKSUM_DIGITS]}{SUFFIX}"


def _checksum(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=32)
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _meta_of(path: Path) -> SnapshotMeta:
    """Read what a file says it is. Raises: Damaged, OSError; TooOld, StorageError (its format)."""
    size, checksum = path.stat().st_size, _checksum(path)
    if not path.name.endswith(f"-{checksum[:_CHECKSUM_DIGITS]}{SUFFIX}"):
        raise Damaged(f"{path} does not match the checksum in its name")
    with path.open("rb") as file:
        about, _ = _read_about(path, file, size)
    if path.name != _name(about.index, about.term, checksum):
        raise Damaged(f"{path} is another snapshot than its name says")
    return SnapshotMeta(about.index, about.term, about.membership, size, checksum)


def _read_about(path: Path, file: BinaryIO, size: int) -> tuple[About, int]:
    """Read what stands behind the chunks, and where they end.

    The file's checksum must be known to be right: then another format is no damage. Raises:
    Damaged, TooOld, StorageError.
    """
    found = _ANY_MAGIC.match(file.read(_MAGIC_BYTES_MAX))
    if found is None:
        raise Damaged(f"{path} is not a snapshot")
    check_format(f"the snapshot {path}", int(found[1]), FORMAT)
    end = size - _FRAME.size
    if end < len(MAGIC):
        raise Damaged(f"{path} is cut short")
    file.seek(end)
    length, crc = _FRAME.unpack(file.read(_FRAME.size))
    start = end - length
    if start < len(MAGIC):
        raise Damaged(f"{path} is cut short")
    file.seek(start)
    about = file.read(length)
    if zlib.crc32(about) != crc:
        raise Damaged(f"the end of {path} does not match its CRC")
    try:
        return _abouts.decode(about), start
    except FelixError as error:
        raise Damaged(f"the end of {path} cannot be read: {error}") from error
