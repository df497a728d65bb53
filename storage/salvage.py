"""Reads what can be read of a journal, without changing it: for those who decide what to keep."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import zlib
from pathlib import Path
from typing import TypeVar

import msgspec

from felix.proto import codec
from felix.proto.errors import FelixError
from felix.proto.ids import Index, Term
from felix.proto.raft import Entry, EntryKind, HardState, SnapshotMeta
from felix.storage.journal import FORMAT, SCHEMA, crc_of

T = TypeVar("T")

_UNREADABLE = (sqlite3.DatabaseError, FelixError, TypeError, ValueError)


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
        stored = _meta(db, "format")
    except _UNREADABLE as error:
        return Salvaged(None, None, (), (f"{journal} cannot be read: {error}",))
    if stored != FORMAT:
        return Salvaged(None, None, (), (f"{journal} has format {stored!r}",))
    damage += _structure(db)
    hard_state = _decoded(db, "hard_state", HardState, damage)
    if hard_state is None:
        damage.append("term and vote are missing")
    snapshot = _decoded(db, "snapshot", SnapshotMeta, damage)
    reached = snapshot.index if snapshot else Index(0)
    behind = _entries(db, Index(reached + 1), damage)
    if behind and behind[0].index > reached + 1:
        damage.append(f"entry {reached + 1} is missing")
        behind = []
    # What is left of the log before the snapshot's end is wanted only as far as it joins on.
    before = _entries(db, Index(0), damage, until=reached)
    if not before or before[-1].index != reached:
        before = []
    return Salvaged(hard_state, snapshot, (*before, *behind), tuple(damage))


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


def _entries(
    db: sqlite3.Connection, since: Index, damage: list[str], until: int = 1 << 62
) -> list[Entry]:
    entries: list[Entry] = []
    try:
        for index, term, kind, data, crc in db.execute(
            "select idx, term, kind, data, crc from log where idx between ? and ? order by idx",
            (since, until),
        ):
            entry = Entry(Index(index), Term(term), EntryKind(kind), data)
            if crc_of(entry) != crc:
                damage.append(f"entry {index} does not match its CRC")
                break
            if entries and index != entries[-1].index + 1:
                damage.append(f"entry {entries[-1].index + 1} is missing")
                break
            entries.append(entry)
    except _UNREADABLE as error:
        where = entries[-1].index if entries else max(0, since - 1)
        damage.append(f"the log cannot be read after entry {where}: {error}")
    return entries


def _decoded(db: sqlite3.Connection, key: str, kind: type[T], damage: list[str]) -> T | None:
    try:
        value = _meta(db, key)
        return codec.Decoder[T](kind).decode(value) if value is not None else None
    except _UNREADABLE as error:
        damage.append(f"{key} cannot be read: {error}")
        return None


def _meta(db: sqlite3.Connection, key: str) -> bytes | None:
    row = db.execute("select value, crc from meta where key = ?", (key,)).fetchone()
    if row is None:
        return None
    value, crc = row
    if zlib.crc32(value) != crc:
        raise ValueError("it does not match its CRC")
    return bytes(value)
