"""How far the journal had come: a small file beside it that shows what the journal lost.

SQLite drops its write-ahead file from the first damaged frame on, as it must: it cannot tell damage
from a write that a crash cut short. The mark can: it says what had been synced.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from felix.proto.ids import Index, NodeId

VOTE_BYTES: Final = 8
NO_VOTE: Final = bytes(VOTE_BYTES)
SLOT_BYTES: Final = 512
"""A disk writes a sector whole or not at all: a slot that is torn leaves the other one alone."""
FILE_BYTES: Final = 2 * SLOT_BYTES
_BODY: Final = struct.Struct(f">QQQQIQ{VOTE_BYTES}s")
_CRC: Final = struct.Struct(">I")
_USED_BYTES: Final = _BODY.size + _CRC.size


class Mark(NamedTuple):
    """What was in the journal when this was written."""

    sequence: int
    era: int
    """Counts what changes a journal otherwise than by adding to its end."""
    last_index: int
    """Of the last entry, or of the snapshot that stands for everything."""
    last_term: int
    total: int
    """The last entry's checksum, over itself and every entry before it."""
    hard_term: int
    vote: bytes
    """`digest_of` the node that was voted for in `hard_term`."""


class HighWaterMark:
    """The file, mapped into memory; used by one thread.

    It is written after the journal's sync and is not synced itself. The kernel has it when the
    process is killed. After a power cut it may say less than the journal holds, never more, and
    damage to what it does not know of yet cannot be told from a write that was cut short.
    """

    def __init__(self, path: Path, owner: str) -> None:
        """Open it, or make an empty one. Raises: OSError.

        A file of another `owner` is as good as a damaged one.
        """
        self.existed = path.exists()
        self._seed = zlib.crc32(owner.encode())
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size != FILE_BYTES:
                # Written, not only made longer: a page without a block would be an error of the
                # memory, not of the file, once the disk is full.
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, bytes(FILE_BYTES), 0)
                os.fsync(descriptor)
            self._map = mmap.mmap(descriptor, FILE_BYTES)
        finally:
            os.close(descriptor)
        found = self.read()
        self._sequence = found.sequence if found else 0

    def read(self) -> Mark | None:
        """Give what was written last; None if neither slot can be believed."""
        slots = [self._slot(number * SLOT_BYTES) for number in (0, 1)]
        return max((one for one in slots if one is not None), default=None)

    def put(self, era: int, index: int, term: int, total: int, hard_term: int, vote: bytes) -> None:
        """Say how far the journal has come; see `Mark`."""
        self._sequence = sequence = self._sequence + 1
        body = _BODY.pack(sequence, era, index, term, total, hard_term, vote)
        start = SLOT_BYTES if sequence & 1 else 0
        self._map[start : start + _USED_BYTES] = body + _CRC.pack(zlib.crc32(body, self._seed))

    def close(self) -> None:
        """Hand it to the kernel."""
        self._map.close()

    def _slot(self, start: int) -> Mark | None:
        body = self._map[start : start + _BODY.size]
        (crc,) = _CRC.unpack_from(self._map, start + _BODY.size)
        mark = Mark(*_BODY.unpack(body))
        return mark if mark.sequence and zlib.crc32(body, self._seed) == crc else None


def digest_of(vote: NodeId | None) -> bytes:
    """Make a vote as short as a mark needs it."""
    if vote is None:
        return NO_VOTE
    return hashlib.blake2b(vote.encode(), digest_size=VOTE_BYTES).digest()


def what_is_lost(
    mark: Mark,
    era: int,
    hard_term: int,
    vote: bytes,
    last: int,
    total_at: Callable[[Index], int | None],
) -> str | None:
    """Say what a journal had when its mark was written and has no more; None if nothing.

    The rest is the journal as it is read; `total_at` gives the checksum that an entry up to `last`
    is stored with, None for one that it has forgotten.
    """
    if mark.era > era:
        return "the last time that its log was cut is missing"
    if mark.hard_term > hard_term or (
        mark.hard_term == hard_term and mark.vote not in {NO_VOTE, vote}
    ):
        return (
            f"the vote in term {mark.hard_term} is missing, "
            f"term and vote are those of term {hard_term}"
        )
    if mark.era < era:
        return None  # a power cut held the mark back; the journal has moved on
    if mark.last_index > last:
        return (
            f"entries {last + 1} to {mark.last_index} are missing, "
            f"the last of them of term {mark.last_term}"
        )
    if total_at(Index(mark.last_index)) not in {None, mark.total}:
        return f"entry {mark.last_index} is not the one that was written"
    return None
