"""The audit trail in a file: a record a line, JSON, oldest first, each chained to the one before.

A line is what `/v1/audit` shows of a record, and the hash of the record before it. Whoever has the
file can compute every hash from it, with no cluster.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from felix.cli.admin.errors import Refused
from felix.core.catalog.audit import GENESIS, hash_of
from felix.http.audit_views import AuditPageView, AuditRecordView, record_of, record_view
from felix.proto.codec import encode

PAGE_SIZE: Final = 150
LINE_BYTES_MAX: Final = 1 << 20
FILE_MODE: Final = 0o600
ANOTHER_FILE: Final = "keep this file, and begin another one: felix-admin audit export --out FILE"


class Line(AuditRecordView, frozen=True, kw_only=True):
    """A record, and where it continues."""

    previous_hash: str


class Head(msgspec.Struct, frozen=True):
    """How far a chain reaches."""

    sequence: int
    hash: str

    def __str__(self) -> str:
        """Write it as `--head` reads it."""
        return f"{self.sequence}:{self.hash}"


class Found(msgspec.Struct, frozen=True):
    """What an unbroken file holds."""

    first: int
    head: Head
    is_head_seen: bool
    """The head that was asked for is in it."""


class BrokenFile(Refused):
    """The file is not what was written."""


Ask = Callable[[int, int], AuditPageView]
"""Asks for `page_size` records below `before`, newest first."""

_BEGINNING: Final = b'{"sequence":'
_decoder: Final = msgspec.json.Decoder(Line)


def verify(path: Path, wanted: Head | None = None) -> Found:
    """Compute the whole chain again. Raises: BrokenFile for the first line that is wrong, OSError.

    With `wanted` the record of that sequence must have that hash, if it is there.
    """
    first = last = None
    is_seen = False
    with path.open("rb") as file:
        for number, data in _lines(file):
            line = _read(number, data)
            _check_place(path, number, line, last)
            _check_hash(number, line)
            if wanted is not None and line.sequence == wanted.sequence:
                if line.hash != wanted.hash:
                    raise BrokenFile(
                        f"line {number}: record {line.sequence} has another hash than the head: "
                        "this file, or the start of it, was made up or is of another cluster",
                        "compare it with an export from the cluster",
                    )
                is_seen = True
            first, last = first or line, line
    if first is None or last is None:
        raise BrokenFile("there is no record in it", "export the trail: felix-admin audit export")
    return Found(first.sequence, Head(last.sequence, last.hash), is_seen)


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    number = 0
    while data := file.readline(LINE_BYTES_MAX):
        number += 1
        if not data.endswith(b"\n"):
            raise _broken(number, "is cut off")
        yield number, data[:-1]


def _read(number: int, data: bytes) -> Line:
    """Read a line that is written just as we write it."""
    try:
        line = _decoder.decode(data)
        record = record_of(line)
        hash_ = bytes.fromhex(line.hash)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        raise _broken(number, "was changed: it is no record any more") from None
    if msgspec.json.encode(_line(record_view(record, hash_), line.previous_hash)) != data:
        raise _broken(number, f"was changed: record {line.sequence} is spelled in another way")
    return line


def _check_place(path: Path, number: int, line: Line, last: Line | None) -> None:
    """Check that a line continues the one before it."""
    if last is None:
        if line.sequence == 1 and line.previous_hash != GENESIS.hex():
            raise _broken(number, "was changed: something would stand before record 1")
        return
    expected = last.sequence + 1
    if line.sequence <= last.sequence:
        raise _broken(
            number, f"is repeated, inserted or out of order: record {line.sequence} behind "
            f"record {last.sequence}"
        )  # fmt: skip
    if line.sequence > expected:
        elsewhere = _line_of(path, expected)
        if elsewhere:
            raise _broken(
                number, f"is out of order: record {expected} should be here, and is on line "
                f"{elsewhere}"
            )  # fmt: skip
        missing = f"{expected}" if expected == line.sequence - 1 else (
            f"{expected} to {line.sequence - 1}"
        )  # fmt: skip
        raise _broken(number, f"does not follow line {number - 1}: missing is record {missing}")
    if line.previous_hash != last.hash:
        raise _broken(
            number, f"does not follow line {number - 1}: one of the two was changed, inserted or "
            "made up"
        )  # fmt: skip


def _check_hash(number: int, line: Line) -> None:
    try:
        computed = hash_of(bytes.fromhex(line.previous_hash), encode(record_of(line)))
    except ValueError:
        raise _broken(number, "was changed: its previous hash is none") from None
    if computed.hex() != line.hash:
        raise _broken(number, f"was changed: record {line.sequence} has not this hash")


def _line_of(path: Path, sequence: int) -> int:
    """Find the line of a record, if there is one; else 0."""
    mark = _BEGINNING + b"%d," % sequence
    with path.open("rb") as file:
        return next((number for number, data in enumerate(file, 1) if data.startswith(mark)), 0)


def _broken(number: int, what: str) -> BrokenFile:
    return BrokenFile(
        f"line {number} {what}", "compare it with another copy, or with the cluster's own trail"
    )


def _line(view: AuditRecordView, previous_hash: str) -> Line:
    members = {name: getattr(view, name) for name in view.__struct_fields__}
    members.pop("previous_hash", None)
    return Line(**members, previous_hash=previous_hash)


# --- writing ------------------------------------------------------------------------------------


def export(ask: Ask, path: Path, say: Callable[[str], None]) -> tuple[int, Head]:
    """Write what is not in a file yet behind what is; give how much, and how far it reaches now.

    Raises: Refused where the cluster's trail does not continue the file; OSError.
    """
    _cut_torn_line(path, say)
    newest = ask(0, 1)
    head = Head(newest.first_sequence - 1, "")
    if path.exists() and path.stat().st_size:
        head = verify(path).head
        _check_continues(ask, newest, head)
    written = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, FILE_MODE)
    with os.fdopen(descriptor, "ab") as file:
        while head.sequence < newest.last_sequence:
            lines = _following(ask, head, newest.last_sequence)
            file.write(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
            written += len(lines)
            head = Head(lines[-1].sequence, lines[-1].hash)
        file.flush()
        os.fsync(file.fileno())
    return written, head


def _following(ask: Ask, head: Head, last_sequence: int) -> list[Line]:
    """Fetch the next records and check that they continue the chain."""
    count = min(PAGE_SIZE, last_sequence - head.sequence)
    before = head.sequence + count + 1
    found: list[AuditRecordView] = []
    previous_hash = ""
    while before > head.sequence + 1:
        page = ask(before, before - head.sequence - 1)
        found += page.items
        if not page.items or page.items[0].sequence != before - 1:
            raise Refused(
                f"record {before - 1} is not there, or not for you to see",
                "the whole trail is shown to those who may view the cluster; and if the oldest "
                "records went meanwhile: " + ANOTHER_FILE,
            )
        before, previous_hash = page.items[-1].sequence, page.previous_hash
    lines = []
    for view in reversed(found):
        line = _line(view, previous_hash)
        _check_hash(0, line)
        lines.append(line)
        previous_hash = line.hash
    if head.hash and lines[0].previous_hash != head.hash:
        raise _another_trail(head)
    return lines


def _check_continues(ask: Ask, newest: AuditPageView, head: Head) -> None:
    if newest.first_sequence > head.sequence + 1:
        raise Refused(
            f"the file ends with record {head.sequence}, and the cluster has only those from "
            f"{newest.first_sequence} on: what was between them is gone",
            ANOTHER_FILE,
        )
    if newest.last_sequence < head.sequence:
        raise _another_trail(head)
    if newest.first_sequence <= head.sequence:
        items = ask(head.sequence + 1, 1).items
        if not items or (items[0].sequence, items[0].hash) != (head.sequence, head.hash):
            raise _another_trail(head)


def _another_trail(head: Head) -> Refused:
    return Refused(
        f"the cluster's trail does not continue record {head.sequence} of the file: it is of "
        "another cluster, or of this one before it was restored from a backup",
        ANOTHER_FILE,
    )


def _cut_torn_line(path: Path, say: Callable[[str], None]) -> None:
    """Take the start of a line away that an export left behind when it was interrupted."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        start = max(0, end - LINE_BYTES_MAX)
        file.seek(start)
        rest = file.read()
        whole = rest.rfind(b"\n") + 1
        torn = rest[whole:]
        if torn and _BEGINNING.startswith(torn[: len(_BEGINNING)]) and (whole or not start):
            file.truncate(start + whole)
            say("the last line was cut off, and is written anew")
