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
from felix.proto.levels import entry_kind
from felix.proto.raft import Entry, HardState, SnapshotMeta
from felix.storage.errors import Damaged
from felix.storage.journal import FORMAT, SCHEMA, base_of, meta_of, total_of
from felix.storage.mark import HighWaterMark, digest_of, what_is_lost

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
    """Read a journal and its write-ahead file. Raises: OSError, TooOld.

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
    damage += _gap(db, reached, entries)
    if entries and not entries[0].index - 1 <= reached <= entries[-1].index:
        entries = []  # they do not go on from what the snapshot stands for, or do not reach it
    damage += _lost_by_the_mark(db, journal, hard_state or HardState(), reached, entries)
    return Salvaged(hard_state, snapshot, tuple(entries), tuple(damage))


def _gap(db: sqlite3.Connection, reached: int, entries: list[Entry]) -> list[str]:
    """Find what is missing between a snapshot and its log, or at the end of the log before it."""
    try:
        first, _ = base_of(db)
    except _UNREADABLE:
        return []  # told of by whoever wanted to read the log
    if entries:
        first = entries[0].index
    last = entries[-1].index if entries else first - 1
    if first > reached + 1:
        return [f"entry {reached + 1} is missing"]
    return [f"it ends before its snapshot, with entry {last}"] if last < reached else []


def _lost_by_the_mark(
    db: sqlite3.Connection,
    journal: Path,
    hard_state: HardState,
    reached: int,
    entries: list[Entry],
) -> list[str]:
    """Hold what is there against the mark that the node kept beside its journal."""
    file = journal.with_name(journal.name + "-mark")
    if not file.exists():
        return []

    def total_at(index: Index) -> int | None:
        if not entries or index < entries[0].index:
            return None
        return int(db.execute("select crc from log where idx = ?", (index,)).fetchone()[0])

    last = entries[-1].index if entries else reached
    vote = digest_of(hard_state.vote)
    try:
        owner, (era,) = meta_of(db, "owner").decode(), struct.unpack(">Q", meta_of(db, "era"))
        with tempfile.TemporaryDirectory(prefix="felix-salvage-") as folder:
            mark = HighWaterMark(Path(shutil.copy(file, folder)), owner)
            found = mark.read()
            mark.close()
        if found is None:
            return []
        lost = what_is_lost(found, era, hard_state.term, vote, last, total_at)
    except _UNREADABLE as error:
        return [f"its mark cannot be held against it: {error}"]
    return [] if lost is None else [lost]


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
                entries.append(Entry(Index(index), Term(term), entry_kind(index, kind), data))
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
