"""The journal: one SQLite database holding the log, the hard state and the snapshot pointer.

Write-ahead logging with `synchronous=FULL`, one connection in exclusive mode: a transaction is one
`fdatasync`, and SQLite answers for torn writes.
"""

from __future__ import annotations

import itertools
import sqlite3
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from felix.proto import codec
from felix.proto.errors import FelixError
from felix.proto.ids import Index, Term
from felix.proto.levels import entry_kind
from felix.proto.raft import Entry, HardState, SnapshotMeta
from felix.storage.errors import Damaged
from felix.storage.ports import Recovered

FORMAT: Final = b"1"
PAGE_BYTES: Final = 4096
TRIM_ROWS_AT_ONCE: Final = 500
TRIM_ROWS_PER_APPEND: Final = 100
_HEAD: Final = struct.Struct(">QQB")
CHECKPOINT_PAGES: Final = 1000
"""The write-ahead file is used again from its start after this many pages (about 4 MB): writing
over blocks that exist is cheaper to sync than growing a file."""

_INSERT: Final = "insert into log(idx, term, kind, data, crc) values(?,?,?,?,?)"
SCHEMA: Final = (
    "create table log("
    " idx integer primary key, term integer not null, kind integer not null,"
    " data blob not null, crc integer not null)",
    "create table meta(key text primary key, value blob not null, crc integer not null)"
    " without rowid",
)


class SqliteJournal:
    """See `felix.storage.ports.Journal`; used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create the database. Raises: Damaged."""
        self._path = path
        self._last = Index(0)
        self._first = self._first_kept = Index(1)
        """The oldest entry stored, and the oldest that is still wanted."""
        self._hard_state: codec.Decoder[HardState] = codec.Decoder(HardState)
        self._snapshot: codec.Decoder[SnapshotMeta] = codec.Decoder(SnapshotMeta)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            for pragma in (
                "locking_mode=exclusive",
                "journal_mode=wal",
                "synchronous=full",
                f"wal_autocheckpoint={CHECKPOINT_PAGES}",
            ):
                self._db.execute(f"pragma {pragma}")
            self._create_or_check()
        except sqlite3.OperationalError as error:  # the disk or the system, not what is stored
            self._db.close()
            raise OSError(f"the journal {path} cannot be opened: {error}") from error
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise Damaged(f"{path} is not a journal: {error}") from error

    def recover(self) -> Recovered:
        """Read everything, checking every entry. Raises: Damaged, TooOld."""
        try:
            hard_state = self._get_meta("hard_state")
            if hard_state is None:
                raise Damaged(f"{self._path}: term and vote are missing")
            snapshot = self._get_meta("snapshot")
            entries = tuple(
                self._checked(*row)
                for row in self._db.execute(
                    "select idx, term, kind, data, crc from log order by idx"
                )
            )
            recovered = Recovered(
                self._hard_state.decode(hard_state),
                self._snapshot.decode(snapshot) if snapshot else None,
                entries,
            )
        except (sqlite3.DatabaseError, FelixError, TypeError, ValueError) as error:
            raise Damaged(f"{self._path} cannot be read: {error}") from error
        self._check_complete(recovered)
        self._last = entries[-1].index if entries else Index(0)
        reached = recovered.snapshot.index if recovered.snapshot else 0
        self._first = entries[0].index if entries else Index(reached + 1)
        self._first_kept = self._first
        return recovered

    def append(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """Make both durable in one transaction; see the port."""
        db = self._db
        is_one_new = len(entries) == 1 and hard_state is None and entries[0].index > self._last
        if is_one_new and self._first_kept <= self._first:
            (entry,) = entries  # a statement alone is a transaction, at half the cost
            db.execute(_INSERT, _row(entry))
            self._last = entry.index
            return
        db.execute("begin immediate")
        self._trim(TRIM_ROWS_PER_APPEND)
        if entries:
            first = entries[0].index
            if first <= self._last:
                db.execute("delete from log where idx >= ?", (first,))
            db.executemany(_INSERT, map(_row, entries))
        if hard_state is not None:
            self._put_meta("hard_state", codec.encode(hard_state))
        db.execute("commit")
        if entries:
            self._last = entries[-1].index

    def compact(self, snapshot: SnapshotMeta, first_kept: Index) -> None:
        """Point to a durable snapshot and forget the entries before `first_kept`.

        Many are forgotten little by little, with the appends that follow: deleting ten thousand
        takes as long as a hundred commits.
        """
        self._db.execute("begin immediate")
        self._put_meta("snapshot", codec.encode(snapshot))
        self._first_kept = first_kept
        self._trim(TRIM_ROWS_AT_ONCE)
        self._db.execute("commit")

    def install(self, snapshot: SnapshotMeta) -> None:
        """Point to a durable snapshot received from the leader and forget all entries."""
        self._db.execute("begin immediate")
        self._put_meta("snapshot", codec.encode(snapshot))
        self._db.execute("delete from log")
        self._db.execute("commit")
        self._last = Index(0)
        self._first = self._first_kept = Index(snapshot.index + 1)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _checked(self, index: int, term: int, kind: int, data: bytes, crc: int) -> Entry:
        if _crc(index, term, kind, data) != crc:
            raise Damaged(f"{self._path}: entry {index} does not match its CRC")
        return Entry(Index(index), Term(term), entry_kind(index, kind), data)

    def _trim(self, rows_max: int) -> None:
        """Forget some of what is not wanted any more, within the present transaction."""
        if self._first < self._first_kept:
            self._first = Index(min(self._first_kept, self._first + rows_max))
            self._db.execute("delete from log where idx < ?", (self._first,))

    def _check_complete(self, recovered: Recovered) -> None:
        entries = recovered.entries
        reached = recovered.snapshot.index if recovered.snapshot else 0
        if entries and entries[0].index > reached + 1:
            raise Damaged(f"{self._path}: entry {reached + 1} is missing")
        for before, after in itertools.pairwise(entries):
            if after.index != before.index + 1:
                raise Damaged(f"{self._path}: entry {before.index + 1} is missing")

    def _create_or_check(self) -> None:
        if self._db.execute("select count(*) from sqlite_master").fetchone()[0]:
            stored = self._get_meta("format")
            if stored != FORMAT:
                raise Damaged(f"{self._path} has format {stored!r}, this build reads {FORMAT!r}")
            return
        self._preallocate()
        self._db.execute("begin immediate")
        for statement in SCHEMA:
            self._db.execute(statement)
        self._put_meta("format", FORMAT)
        self._put_meta("hard_state", codec.encode(HardState()))
        self._db.execute("commit")

    def _preallocate(self) -> None:
        """Grow the write-ahead file to its working size once, so that no commit has to.

        Syncing a write over blocks that exist takes two thirds of syncing one that grows the file.
        """
        self._db.execute("create table pad(data blob)")
        self._db.execute("insert into pad values(zeroblob(?))", (PAGE_BYTES * CHECKPOINT_PAGES,))
        self._db.execute("drop table pad")
        self._db.execute("pragma wal_checkpoint(restart)").fetchall()

    def _get_meta(self, key: str) -> bytes | None:
        row = self._db.execute("select value, crc from meta where key = ?", (key,)).fetchone()
        if row is None:
            return None
        value, crc = row
        if zlib.crc32(value) != crc:
            raise Damaged(f"{self._path}: {key} does not match its CRC")
        return bytes(value)

    def _put_meta(self, key: str, value: bytes) -> None:
        self._db.execute(
            "insert or replace into meta(key, value, crc) values(?,?,?)",
            (key, value, zlib.crc32(value)),
        )


def _row(entry: Entry) -> tuple[int, int, int, bytes, int]:
    return entry.index, entry.term, int(entry.kind), entry.data, crc_of(entry)


def crc_of(entry: Entry) -> int:
    """Compute an entry's checksum over all that it says."""
    return _crc(entry.index, entry.term, entry.kind, entry.data)


def _crc(index: int, term: int, kind: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(_HEAD.pack(index, term, kind)))
