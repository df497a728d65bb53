"""Reads what can be read of a journal, without changing it: for those who decide what to keep."""

from __future__ import annotations

import shutil
import sqlite3
import struct
import tempfile
from pathlib import Path
from typing import TypeVar

import msgspec

from felix.proto import codec
from felix.proto.errors import FelixError
from felix.proto.ids import Index, Term
from felix.proto.raft import Entry, EntryKind, HardState, SnapshotMeta
from felix.storage.errors import Damaged
from felix.storage.journal import FORMAT, SCHEMA, base_of, meta_of, total_of
from felix.storage.mark import HighWaterMark

T = TypeVar("T")

_UNREADABLE = (sqlite3.DatabaseError, Damaged, FelixError, TypeError, ValueError, struct.error)


class Salvaged(msgspec.Struct, frozen=True):
    """What a journal holds, as far as it is whole."""

    hard_state: HardState | None
    snapshot: SnapshotMeta | None
    entries: tuple[Entry, ...]
    """Contiguous; up to the first that is damaged or missing."""
    damage: tuple[str, ...]


def salvage(journal: Path) -> Salvaged:
    """Read a journal and its write-ahead file. Raises: OSError.

    From a copy: SQLite writes to what it opens, if only to bring the two files together.
    """
    if not journal.exists() or journal.stat().st_size == 0:
        return Salvaged(None, None, (), (f"{journal} is missing or empty",))
    with tempfile.TemporaryDirectory(prefix="felix-salvage-") as folder:
        copy = Path(folder) / journal.name
        shutil.copyfile(journal, copy)
        log = journal.with_name(journal.name + "-wal")
        if log.exists():
            shutil.copyfile(log, copy.with_name(log.name))
        db = sqlite3.connect(copy, isolation_level=None)
        try:
            return _read(db, journal)
        finally:
            db.close()


def _read(db: sqlite3.Connection, journal: Path) -> Salvaged:
    damage: list[str] = []
    try:
        stored = meta_of(db, "format")
    except _UNREADABLE as error:
        return Salvaged(None, None, (), (f"{journal} cannot be read: {error}",))
    if stored != FORMAT:
        return Salvaged(None, None, (), (f"{journal} has format {stored!r}",))
    damage += _structure(db)
    hard_state = _decoded(db, "hard_state", HardState, damage)
    snapshot = _decoded(db, "snapshot", SnapshotMeta, damage)
    reached = snapshot.index if snapshot else 0
    entries = _entries(db, reached, damage)
    if entries and entries[0].index > reached + 1:
        damage.append(f"entry {reached + 1} is missing")
        entries = []
    if entries and entries[-1].index < reached:
        entries = []  # they do not reach what the snapshot stands for
    damage += _lost_by_the_mark(db, journal, entries[-1].index if entries else reached)
    return Salvaged(hard_state, snapshot, tuple(entries), tuple(damage))


def _lost_by_the_mark(db: sqlite3.Connection, journal: Path, last: int) -> list[str]:
    """Hold what is there against the mark that the node kept beside its journal."""
    file = journal.with_name(journal.name + "-mark")
    if not file.exists():
        return []
    try:
        owner, (era,) = meta_of(db, "owner").decode(), struct.unpack(">Q", meta_of(db, "era"))
    except _UNREADABLE as error:
        return [f"its mark cannot be held against it: {error}"]
    with tempfile.TemporaryDirectory(prefix="felix-salvage-") as folder:
        mark = HighWaterMark(Path(shutil.copy(file, folder)), owner)
        found = mark.read()
        mark.close()
    if found is None or found.era < era:
        return []
    if found.era > era:
        return ["the last time that its log was cut is missing"]
    if found.last_index > last:
        return [f"entries {last + 1} to {found.last_index} are missing"]
    return []


def _structure(db: sqlite3.Connection) -> list[str]:
    """Look for damage by which a table may have lost rows without a trace.

    Pages that lead nowhere, and a schema that is not ours: one wrong letter in the text of a table
    makes SQLite see other columns, or none.
    """
    try:
        tables = {str(sql).lower() for (sql,) in db.execute("select sql from sqlite_master")}
        if tables != set(SCHEMA):
            return ["its schema is not that of a journal"]
        found = [text for (text,) in db.execute("pragma integrity_check(3)")]
    except _UNREADABLE as error:
        return [f"its structure cannot be checked: {error}"]
    return [] if found == ["ok"] else [f"its structure is damaged: {text}" for text in found]


def _entries(db: sqlite3.Connection, reached: int, damage: list[str]) -> list[Entry]:
    """Read the log up to the first entry that is damaged or missing.

    What a snapshot stands for, up to `reached`, is not needed: the log begins behind damage there.
    """
    entries: list[Entry] = []
    try:
        first, total = base_of(db)
        for expected, row in enumerate(
            db.execute("select idx, term, kind, data, crc from log order by idx"), start=first
        ):
            index, term, kind, data, crc = row
            if index != expected:
                damage.append(f"entry {expected} is missing")
                break
            total, before = crc, total
            if total_of(index, term, kind, data, before) == crc:
                entries.append(Entry(Index(index), Term(term), EntryKind(kind), data))
                continue
            damage.append(f"entry {index} does not match its CRC")
            if index > reached:
                break
            entries.clear()
    except _UNREADABLE as error:
        where = entries[-1].index if entries else 0
        damage.append(f"the log cannot be read after entry {where}: {error}")
    return entries


def _decoded(db: sqlite3.Connection, key: str, kind: type[T], damage: list[str]) -> T | None:
    try:
        value = meta_of(db, key)
        return codec.Decoder[T](kind).decode(value) if value else None
    except _UNREADABLE as error:
        damage.append(f"{key} cannot be read: {error}")
        return None
