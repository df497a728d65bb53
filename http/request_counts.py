"""How many requests the HTTP processes answered, and how fast, where the node process can read it.

The node process makes a file in memory with a slot of counters for each worker, and some to spare.
A worker takes a slot that is free, by a lock that ends with it however it ends, and goes on
counting where the one before it stopped: no sum ever falls, and nothing grows with the number of
workers that there have been. Each number is one aligned word with one writer, so that nobody waits
for anybody.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import operator
import os
import struct
import threading
import time
import zlib
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

import msgspec
import structlog

from felix.http.errors import STATUS_BY_CODE
from felix.http.identity_routes import BOOTSTRAP
from felix.http.routes import ROUTES

OTHER: Final = "other"
"""Route and method of what is none of the table's doors, or was refused before that was known."""
STATUSES: Final = ("2xx", "3xx", "4xx", "5xx")
BOUNDS_S: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
CODES: Final = (*STATUS_BY_CODE, "not_applied", "gone", "unknown")
"""All that the envelope of a refusal can say."""
DOORS: Final = ((OTHER, OTHER), *((one.path, one.method) for one in (*ROUTES, BOOTSTRAP)))

_CODES_AT: Final = 1  # the first word of a slot is its workers' processor time
_DOORS_AT: Final = _CODES_AT + len(CODES)
_DOOR_WORDS: Final = len(STATUSES) + len(BOUNDS_S) + 1 + 1
_SUM_AT: Final = _DOOR_WORDS - 1
_SLOT_WORDS: Final = _DOORS_AT + len(DOORS) * _DOOR_WORDS
_WORD_BYTES: Final = 8
_FLOCK: Final = struct.Struct("hhqqi4x")
"""`struct flock` of Linux on 64 bits."""
_LAYOUT: Final = zlib.crc32(repr((STATUSES, BOUNDS_S, CODES, DOORS)).encode())
"""The first word of the file: a worker of another build would count in the wrong places."""


class DoorTotals(msgspec.Struct, frozen=True):
    """One door's requests since the node process began."""

    statuses: tuple[int, ...]
    """As many as there are `STATUSES`."""
    buckets: tuple[int, ...]
    """By duration; one more than there are `BOUNDS_S`: the last counts what lies above them all."""
    seconds: float


class RequestTotals(msgspec.Struct, frozen=True):
    """What all workers, those that are gone too, have done since the node process began."""

    doors: dict[tuple[str, str], DoorTotals]
    """By route and method, those that were ever asked."""
    codes: dict[str, int]
    """Refusals by the code of their envelope."""
    cpu_seconds: float
    workers: tuple[int, ...]
    """Processes that count now."""
    resident_bytes: int
    """Of these processes."""


class CountsFile:
    """The file in memory, in the process that reads it."""

    def __init__(self, workers: int) -> None:
        """Have room for so many, twice: one that ends may still be there when the next begins."""
        self._slots = 2 * workers + 2
        self.descriptor = os.memfd_create(
            "felix-http-counts", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        )
        os.truncate(self.descriptor, _WORD_BYTES * (1 + self._slots * _SLOT_WORDS))
        os.pwrite(self.descriptor, struct.pack("Q", _LAYOUT), 0)
        # A worker that could make it shorter could kill us while we read.
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, seals)

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)

    def totals(self) -> RequestTotals:
        """Add up all slots."""
        sums = [0] * _SLOT_WORDS
        for slot in range(self._slots):
            data = os.pread(self.descriptor, _WORD_BYTES * _SLOT_WORDS, _offset(slot))
            sums = list(map(operator.add, sums, struct.unpack(f"{_SLOT_WORDS}Q", data)))
        workers = tuple(self._workers())
        return RequestTotals(
            doors=dict(_asked_doors(sums)),
            codes=dict(zip(CODES, sums[_CODES_AT:_DOORS_AT], strict=True)),
            cpu_seconds=sums[0] / 1e6,
            workers=workers,
            resident_bytes=sum(map(_resident_bytes, workers)),
        )

    def _workers(self) -> Iterator[int]:
        """Ask the kernel who holds a slot."""
        for slot in range(self._slots):
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, slot, 1, 0)
            kind, _, _, _, pid = _FLOCK.unpack(
                fcntl.fcntl(self.descriptor, fcntl.F_GETLK, asked),
            )
            if kind != fcntl.F_UNLCK:
                yield pid


class RequestCounter:
    """A worker's slot. Any thread may count; each worker makes one, after the fork."""

    def __init__(self, descriptor: int) -> None:
        """Take a slot of the file; where there is none, nothing is counted, and a line says so."""
        self._lock = threading.Lock()
        self._index = {door: number for number, door in enumerate(DOORS)}
        self._code_index = {code: number for number, code in enumerate(CODES)}
        self._file = mmap.mmap(descriptor, 0)
        slot = self._take_slot(descriptor)
        if slot is None:
            structlog.get_logger(__name__).warning("requests_not_counted")
            self._file.close()
            self._file = mmap.mmap(-1, _WORD_BYTES * (1 + _SLOT_WORDS))
            slot = 0
        self._words = memoryview(self._file).cast("Q")
        self._at = 1 + slot * _SLOT_WORDS
        self._cpu_before = self._words[self._at]

    def _take_slot(self, descriptor: int) -> int | None:
        (layout,) = struct.unpack_from("Q", self._file, 0)
        if layout != _LAYOUT:
            return None
        for slot in range((len(self._file) // _WORD_BYTES - 1) // _SLOT_WORDS):
            with contextlib.suppress(BlockingIOError):
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
                return slot
        return None

    def add(self, route: str, method: str, status: int, code: str, seconds: float) -> None:
        """Count an answer; `route` is a path of the table, `code` that of a refusal or empty."""
        door = self._at + _DOORS_AT + self._index.get((route, method), 0) * _DOOR_WORDS
        words, code_number = self._words, self._code_index.get(code)
        family = min(max(status // 100 - 2, 0), len(STATUSES) - 1)
        with self._lock:
            words[door + family] += 1
            words[door + len(STATUSES) + bisect_left(BOUNDS_S, seconds)] += 1
            words[door + _SUM_AT] += int(seconds * 1e6)
            if code_number is not None:
                words[self._at + _CODES_AT + code_number] += 1
            words[self._at] = self._cpu_before + time.process_time_ns() // 1000


def _offset(slot: int) -> int:
    return _WORD_BYTES * (1 + slot * _SLOT_WORDS)


def _asked_doors(sums: list[int]) -> Iterator[tuple[tuple[str, str], DoorTotals]]:
    for number, door in enumerate(DOORS):
        start = _DOORS_AT + number * _DOOR_WORDS
        words = sums[start : start + _DOOR_WORDS]
        if any(words):
            first, last = len(STATUSES), _SUM_AT
            yield (
                door,
                DoorTotals(tuple(words[:first]), tuple(words[first:last]), words[last] / 1e6),
            )


def _resident_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * mmap.PAGESIZE
    except OSError:  # it has ended
        return 0
