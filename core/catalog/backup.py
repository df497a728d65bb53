"""A backup: the whole state machine at one moment as a file that explains and proves itself.

The file is a line that names the format, then frames: their length, a CRC-32 of kind and content,
their kind, their content. The first is a `BackupHeader`, then come the chunks of a dump
(`felix.core.catalog.dump`), the last is a `BackupTrailer`, whose checksum covers every byte before.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from felix.core.catalog.catalog import Catalog, CatalogLimits
from felix.core.catalog.dump import BadDump, Dump, restore
from felix.proto import codec
from felix.proto.errors import FelixError
from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import Membership

MAGIC: Final = b"felix-backup-1\n"
FORMAT: Final = 1
CHECKSUM_BYTES: Final = 32
CONTENT_BYTES_MAX: Final = 256 << 20
"""Of one frame: a length beyond it is damage, not a reason to take so much memory."""

_FRAME: Final = struct.Struct(">IIc")
_HEADER: Final = b"H"
_DUMP: Final = b"D"
_TRAILER: Final = b"T"


class BadBackup(Exception):
    """This is not a whole backup."""


class BackupHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is of."""

    format: int = FORMAT
    cluster_id: str
    epoch: int
    version: int
    digest: str
    applied_index: Index
    applied_term: Term
    created_at_ms: int
    """Unix milliseconds, by the clock of the node that made it."""
    node_id: NodeId
    membership: Membership
    """At that moment, for information: a restored cluster begins with a new one."""
    feature_level: int = 1


class BackupTrailer(msgspec.Struct, frozen=True):
    """The end."""

    checksum: bytes
    """BLAKE2b-256 of all bytes before this frame."""


class BackupWriter:
    """Hands out the bytes of a backup piece by piece, as the catalog was when this was made."""

    def __init__(self, header: BackupHeader, dump: Dump) -> None:
        """`dump` was just begun; it is closed at the end, or by `close`."""
        self._header: BackupHeader | None = header
        self._dump = dump
        self._hash = hashlib.blake2b(digest_size=CHECKSUM_BYTES)
        self.is_complete = False

    @property
    def held(self) -> int:
        """How many rows of the past are kept for it."""
        return self._dump.held

    def next(self, records_max: int) -> bytes:
        """Give the next piece of the file; not to be called once it is complete."""
        assert not self.is_complete
        if self._header is not None:
            piece = MAGIC + _frame(_HEADER, codec.encode(self._header))
            self._header = None
        elif (chunk := self._dump.step(records_max)) is not None:
            piece = _frame(_DUMP, chunk)
        else:
            self.is_complete = True
            return _frame(_TRAILER, codec.encode(BackupTrailer(self._hash.digest())))
        self._hash.update(piece)
        return piece

    def close(self) -> None:
        """Stop before the end."""
        self._dump.close()


class ReadBackup(msgspec.Struct, frozen=True):
    """A backup that was read to its end and found whole."""

    header: BackupHeader
    catalog: Catalog
    checksum: str
    """Of the whole file, hex."""
    size_bytes: int


def read_backup(read: Callable[[int], bytes], limits: CatalogLimits) -> ReadBackup:
    """Read a backup, believing nothing: `read(n)` gives up to `n` bytes, fewer only at the end.

    Raises: BadBackup, TooOld (it is whole, a newer build wrote it), and whatever `read` raises.
    """
    frames = _Frames(read)
    try:
        header = codec.Decoder[BackupHeader](BackupHeader).decode(frames.first())
        if header.format != FORMAT:
            raise BadBackup(f"format {header.format}, this build reads {FORMAT}")
        catalog = restore(frames.dump(), limits)
    except (BadDump, FelixError) as error:
        raise BadBackup(str(error)) from error
    said = (
        header.cluster_id,
        header.epoch,
        header.version,
        header.digest,
        header.applied_index,
        header.feature_level,
    )
    found = (
        catalog.cluster_id,
        catalog.epoch,
        catalog.version,
        catalog.digest,
        catalog.applied_index,
        catalog.feature_level,
    )
    if said != found:
        raise BadBackup(f"the header says {said}, inside is {found}")
    return ReadBackup(header, catalog, frames.checksum, frames.size_bytes)


class _Frames:
    """Takes a backup apart, checking every byte."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._hash = hashlib.blake2b(digest_size=CHECKSUM_BYTES)
        self.size_bytes = 0
        self.checksum = ""

    def first(self) -> bytes:
        """Read up to the header."""
        if self._take(len(MAGIC)) != MAGIC:
            raise BadBackup("this is not a backup, or not of a format that this build reads")
        kind, content = self._next()
        if kind != _HEADER:
            raise BadBackup("it does not begin with a header")
        return content

    def dump(self) -> Iterator[bytes]:
        """Read the chunks of the dump, and the trailer."""
        while True:
            before = self._hash.digest()
            kind, content = self._next()
            if kind != _DUMP:
                break
            yield content
        trailer = codec.Decoder[BackupTrailer](BackupTrailer).decode(content)
        if kind != _TRAILER or trailer.checksum != before:
            raise BadBackup("its content does not match its checksum")
        if self._read(1):
            raise BadBackup("there is something behind its end")
        self.checksum = self._hash.hexdigest()

    def _next(self) -> tuple[bytes, bytes]:
        length, crc, kind = _FRAME.unpack(self._take(_FRAME.size))
        if length > CONTENT_BYTES_MAX:
            raise BadBackup(f"a frame of {length} bytes")
        content = self._take(length)
        if zlib.crc32(content, zlib.crc32(kind)) != crc:
            raise BadBackup(f"the frame before byte {self.size_bytes} does not match its CRC")
        return kind, content

    def _take(self, count: int) -> bytes:
        data = self._read(count)
        self.size_bytes += len(data)
        if len(data) != count:
            raise BadBackup(f"it is cut off after {self.size_bytes} bytes")
        self._hash.update(data)
        return data


def _frame(kind: bytes, content: bytes) -> bytes:
    return _FRAME.pack(len(content), zlib.crc32(content, zlib.crc32(kind)), kind) + content
