"""The journal: one SQLite database holding the log, the hard state and the snapshot pointer.

Write-ahead logging with `synchronous=FULL`, one connection in exclusive mode: a transaction is one
`fdatasync`, and SQLite answers for torn writes. A row that was once committed may have been
acknowledged, so one that is wrong or missing is never dropped: the journal is `Damaged`. Entries
are chained by their checksums, and `felix.storage.mark` says where the chain had ended.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import structlog

from felix.proto import codec
from felix.proto.errors import FelixError
from felix.proto.ids import Index, Term
from felix.proto.levels import entry_kind
from felix.proto.raft import Entry, HardState, SnapshotMeta
from felix.storage.errors import Damaged, DiskFailed, ForeignDirectory, StorageError
from felix.storage.formats import check_format
from felix.storage.mark import NO_VOTE, HighWaterMark, Mark, digest_of, what_is_lost
from felix.storage.ports import Recovered
from felix.storage.wal import frames_written

FORMAT: Final = b"2"
PAD: Final = "pad"
"""A table that is there while a journal is created, and has nothing to say."""
PAGE_BYTES: Final = 4096
TRIM_ROWS_AT_ONCE: Final = 500
TRIM_ROWS_PER_APPEND: Final = 100
CHECKPOINT_PAGES: Final = 1000
"""The write-ahead file is used again from its start after about this many pages (4 MB): writing
over blocks that exist is cheaper to sync than growing a file."""

_HEAD: Final = struct.Struct(">QQBI")
"""Index, term and kind of an entry, and the checksum of the entry before it."""
_BASE: Final = struct.Struct(">QI")
"""The index of the first entry stored, and the checksum of the one before it."""
_ERA: Final = struct.Struct(">Q")
_INSERT: Final = "insert into log(idx, term, kind, data, crc) values(?,?,?,?,?)"
SCHEMA: Final = (
    "create table log("
    " idx integer primary key, term integer not null, kind integer not null,"
    " data blob not null, crc integer not null)",
    "create table meta(key text primary key, value blob not null, crc integer not null)"
    " without rowid",
)
_OF_THE_SYSTEM: Final = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM,
}  # fmt: skip
"""Codes that say nothing about what is stored. Every other error does."""

_UNREADABLE: Final = (sqlite3.Error, FelixError, TypeError, ValueError, struct.error)
"""What bytes that are not what was written may lead to."""

Connect = Callable[[Path], sqlite3.Connection]
Row = tuple[int, int, int, bytes, int]

log = structlog.get_logger("felix.journal")


def connect(path: Path) -> sqlite3.Connection:
    """Open the database; a transaction begins when it is begun."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def total_of(index: int, term: int, kind: int, data: bytes, before: int) -> int:
    """Compute the checksum of an entry and all before it, whose own is `before`."""
    return zlib.crc32(data, zlib.crc32(_HEAD.pack(index, term, kind, before)))


def meta_of(db: sqlite3.Connection, key: str) -> bytes:
    """Look up what a journal holds besides its log. Raises: Damaged, sqlite3.Error."""
    row = db.execute("select value, crc from meta where key = ?", (key,)).fetchone()
    if row is None:
        raise Damaged(f"{key} is missing")
    value, crc = row
    if zlib.crc32(value, zlib.crc32(key.encode())) != crc:
        raise Damaged(f"{key} does not match its CRC")
    return bytes(value)


def base_of(db: sqlite3.Connection) -> tuple[int, int]:
    """Look up the index of the first entry, and the checksum of the one before it.

    Raises: Damaged, sqlite3.Error, struct.error.
    """
    first, total = _BASE.unpack(meta_of(db, "base"))
    return first, total


def tables_of(db: sqlite3.Connection) -> set[str]:
    """List what a database has. Raises: sqlite3.Error."""
    return {str(name) for (name,) in db.execute("select name from sqlite_master")}


class SqliteJournal:
    """See `felix.storage.ports.Journal`; used by one thread at a time."""

    _first: Index
    """The oldest entry stored."""
    _first_kept: Index
    """The oldest that is still wanted."""
    _last: Index
    _last_term: Term
    _total: int
    """The checksum of the last entry, over itself and every entry before it."""
    _total_before: int
    """The checksum of the entry before the first."""

    def __init__(
        self,
        path: Path,
        owner: str = "",
        *,
        page_bytes: int = PAGE_BYTES,
        wal_pages: int = CHECKPOINT_PAGES,
        connect: Connect = connect,
    ) -> None:
        """Open or create the database of a node, the `owner`.

        Raises: Damaged, ForeignDirectory, DiskFailed; TooOld or StorageError for another format,
        which is left as it is.
        """
        _refuse_other_format(path)
        self._path = path
        self._owner = owner
        self._page_bytes = page_bytes
        self._wal_pages = wal_pages
        self._hard_states: codec.Decoder[HardState] = codec.Decoder(HardState)
        self._snapshots: codec.Decoder[SnapshotMeta] = codec.Decoder(SnapshotMeta)
        self._start_over(Index(1), Term(0))
        self._era = 0
        self._hard_term = Term(0)
        self._vote = NO_VOTE
        self._pages = 0
        self._torn = frames_written(path.with_name(path.name + "-wal"))
        self._mark = self._open_mark()
        try:
            self._db = connect(path)
        except sqlite3.Error as error:
            self._mark.close()
            raise self._failure(error) from error
        try:
            self._set_up()
        except _UNREADABLE as error:
            self.close()
            raise self._failure(error) from error
        except BaseException:
            self.close()
            raise

    @property
    def is_uncut(self) -> bool:
        """Whether nothing but entries was ever added; known after `recover`."""
        return self._era == 0

    # --- reading ------------------------------------------------------------------------------

    def recover(self) -> Recovered:
        """Read everything, checking all of it. Raises: Damaged, DiskFailed, TooOld."""
        try:
            self._check_soundness()
            self._read_meta()
            hard_state = self._hard_states.decode(self._get_meta("hard_state"))
            pointer = self._get_meta("snapshot")
            snapshot = self._snapshots.decode(pointer) if pointer else None
            entries = tuple(self._read_log())
        except _UNREADABLE as error:
            raise self._failure(error) from error
        reached = snapshot.index if snapshot else 0
        if self._first > reached + 1:
            raise Damaged(f"{self._path}: entry {reached + 1} is missing")
        self._hard_term, self._vote = hard_state.term, digest_of(hard_state.vote)
        if self._last < reached:
            raise Damaged(f"{self._path}: it ends before its snapshot, with entry {self._last}")
        self._hold_against_mark()
        self._tell_mark()
        self._checkpoint()
        self._warn_of_torn_tail()
        return Recovered(hard_state, snapshot, entries)

    def _check_soundness(self) -> None:
        """Find what SQLite itself would find damaged, only later: in the middle of a write."""
        self._db.execute("begin immediate")
        self._db.execute("update meta set crc = crc")  # a bit of the header forbids writing
        self._db.execute("rollback")
        (sound,) = self._db.execute("pragma integrity_check(1)").fetchone()
        if sound != "ok":
            raise Damaged(f"{self._path} is not sound: {sound}")

    def _read_meta(self) -> None:
        first, total = base_of(self._db)
        self._start_over(Index(first), Term(0), total)
        (self._era,) = _ERA.unpack(self._get_meta("era"))

    def _read_log(self) -> Iterator[Entry]:
        """Give the entries in order; they must follow each other, and their checksums too."""
        for row in self._db.execute("select idx, term, kind, data, crc from log order by idx"):
            index, term, kind, data, crc = row
            expected = self._last + 1
            if index != expected:
                raise Damaged(f"{self._path}: entry {expected} is missing")
            self._total = total_of(index, term, kind, data, self._total)
            if crc != self._total:
                raise Damaged(f"{self._path}: entry {index} does not match its CRC")
            entry = Entry(Index(index), Term(term), entry_kind(index, kind), data)
            self._last, self._last_term = entry.index, entry.term
            yield entry

    def _hold_against_mark(self) -> None:
        """Notice what the journal had and has no more. Raises: Damaged."""
        mark = self._found
        if mark is None:
            if self._mark.existed or self._last or self._hard_term:
                log.warning(
                    "the journal's high-water mark is missing or damaged: what the journal may "
                    "have lost at its end cannot be told this time",
                    journal=str(self._path),
                )
            return
        lost = what_is_lost(
            mark,
            self._era,
            self._hard_term,
            self._vote,
            self._last,
            lambda index: self._total_at(index) if index >= self._first else None,
        )
        if lost is not None:
            raise Damaged(f"{self._path}: {lost}")

    def _warn_of_torn_tail(self) -> None:
        if self._torn > self._frames:
            log.warning(
                "the journal ended with a write that a crash cut short: it was not acknowledged "
                "and is dropped",
                journal=str(self._path),
                pages=self._torn - self._frames,
                last_index=self._last,
            )
        self._torn = 0

    # --- writing ------------------------------------------------------------------------------

    def append(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """Make both durable in one transaction; see the port. Raises: DiskFailed, Damaged."""
        try:
            if (
                len(entries) == 1
                and hard_state is None
                and entries[0].index == self._last + 1
                and self._first_kept <= self._first
            ):
                self._append_one(entries[0])
            else:
                self._append_all(hard_state, entries)
            self._tell_mark()
            if self._pages >= self._wal_pages:
                self._checkpoint()
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _append_one(self, entry: Entry) -> None:
        """Do with one statement, which is a transaction at half the cost."""
        index, term, kind, data = entry.index, entry.term, int(entry.kind), entry.data
        total = zlib.crc32(data, zlib.crc32(_HEAD.pack(index, term, kind, self._total)))
        self._db.execute(_INSERT, (index, term, kind, data, total))
        self._last, self._last_term, self._total = index, term, total
        self._pages += 1 + len(data) // self._page_bytes

    def _append_all(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        db = self._db
        db.execute("begin immediate")
        self._trim(TRIM_ROWS_PER_APPEND)
        if entries:
            self._cut(entries[0].index)
            db.executemany(_INSERT, self._rows(entries))
            self._last, self._last_term = entries[-1].index, entries[-1].term
        if hard_state is not None:
            self._put_meta("hard_state", codec.encode(hard_state))
            self._hard_term, self._vote = hard_state.term, digest_of(hard_state.vote)
        db.execute("commit")
        self._pages += 2

    def _rows(self, entries: Iterable[Entry]) -> Iterator[Row]:
        """Make the rows of entries that follow the last one, each with the checksum before it."""
        total, size = self._total, 0
        pack, crc32 = _HEAD.pack, zlib.crc32
        for entry in entries:
            index, term, kind, data = entry.index, entry.term, int(entry.kind), entry.data
            total = crc32(data, crc32(pack(index, term, kind, total)))
            size += len(data) + _HEAD.size
            yield index, term, kind, data, total
        self._total = total
        self._pages += size // self._page_bytes

    def _cut(self, first: Index) -> None:
        """Make room for an entry at `first`, within the present transaction."""
        assert self._first <= first <= self._last + 1, "entries follow or replace what is there"
        if first > self._last:
            return
        self._total = self._total_at(Index(first - 1))
        self._db.execute("delete from log where idx >= ?", (first,))
        self._begin_era()

    def compact(self, snapshot: SnapshotMeta, first_kept: Index) -> None:
        """Point to a durable snapshot and forget the entries before `first_kept`.

        Many are forgotten little by little, with the appends that follow: deleting ten thousand
        takes as long as a hundred commits. Raises: DiskFailed, Damaged.
        """
        assert first_kept <= self._last + 1, "what is not there yet cannot be forgotten"
        try:
            self._db.execute("begin immediate")
            self._put_meta("snapshot", codec.encode(snapshot))
            self._first_kept = first_kept
            self._trim(TRIM_ROWS_AT_ONCE)
            self._begin_era()
            self._db.execute("commit")
            self._tell_mark()
            self._checkpoint()
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def install(self, snapshot: SnapshotMeta) -> None:
        """Point to a durable snapshot received from the leader and forget all entries.

        Raises: DiskFailed, Damaged.
        """
        try:
            self._db.execute("begin immediate")
            self._put_meta("snapshot", codec.encode(snapshot))
            self._db.execute("delete from log")
            self._start_over(Index(snapshot.index + 1), snapshot.term)
            self._put_base()
            self._begin_era()
            self._db.execute("commit")
            self._tell_mark()
            self._checkpoint()
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Close the database."""
        self._db.close()
        self._mark.close()

    def _trim(self, rows_max: int) -> None:
        """Forget some of what is not wanted any more, within the present transaction."""
        if self._first >= self._first_kept:
            return
        first = Index(min(self._first_kept, self._first + rows_max))
        self._total_before = self._total_at(Index(first - 1))
        self._first = first
        self._db.execute("delete from log where idx < ?", (first,))
        self._put_base()
        self._pages += rows_max // 10

    def _total_at(self, index: Index) -> int:
        """Look up the checksum of an entry that is stored, or was the last to be forgotten."""
        if index == self._first - 1:
            return self._total_before
        if index == self._last:
            return self._total
        row = self._db.execute("select crc from log where idx = ?", (index,)).fetchone()
        return int(row[0])

    def _start_over(self, first: Index, last_term: Term, total: int = 0) -> None:
        """Have no entries: the next is `first`, and `last_term` and `total` are what it follows."""
        self._first = self._first_kept = first
        self._last, self._last_term = Index(first - 1), last_term
        self._total = self._total_before = total

    def _begin_era(self) -> None:
        self._era += 1
        self._put_meta("era", _ERA.pack(self._era))

    def _put_base(self) -> None:
        self._put_meta("base", _BASE.pack(self._first, self._total_before))

    def _tell_mark(self) -> None:
        self._mark.put(
            self._era, self._last, self._last_term, self._total, self._hard_term, self._vote
        )

    def _checkpoint(self) -> None:
        """Carry the write-ahead file over into the database.

        Not left to SQLite: what goes wrong in a checkpoint of its own it keeps to itself.
        """
        _, self._frames, _ = self._db.execute("pragma wal_checkpoint(passive)").fetchone()
        self._pages = 0

    # --- opening ------------------------------------------------------------------------------

    def _open_mark(self) -> HighWaterMark:
        path = self._path
        try:
            mark = HighWaterMark(path.with_name(path.name + "-mark"), self._owner)
        except OSError as error:
            raise DiskFailed(f"the mark beside {path} cannot be opened: {error}") from error
        self._found: Mark | None = mark.read()
        if self._found is not None and not (path.exists() and path.stat().st_size):
            mark.close()
            raise Damaged(f"{path} is missing or empty, and entries had been written to it")
        return mark

    def _set_up(self) -> None:
        for pragma in (
            f"page_size={self._page_bytes}",
            "locking_mode=exclusive",
            "journal_mode=wal",
            "synchronous=full",
            "wal_autocheckpoint=0",
        ):
            self._db.execute(f"pragma {pragma}")
        if not tables_of(self._db) <= {PAD}:  # a crash may have left the pad, and nothing else
            self._check_owner()
        elif self._found is not None:
            raise Damaged(f"{self._path} holds nothing, and entries had been written to it")
        else:
            self._create()

    def _check_owner(self) -> None:
        _check_format(self._path, self._get_meta("format"))
        owner = self._get_meta("owner").decode()
        if owner != self._owner:
            raise ForeignDirectory(f"{self._path} is the journal of {owner!r}, not {self._owner!r}")

    def _create(self) -> None:
        self._preallocate()
        self._db.execute("begin immediate")
        for statement in SCHEMA:
            self._db.execute(statement)
        self._put_meta("format", FORMAT)
        self._put_meta("owner", self._owner.encode())
        self._put_meta("era", _ERA.pack(self._era))
        self._put_base()
        self._put_meta("hard_state", codec.encode(HardState()))
        self._put_meta("snapshot", b"")
        self._db.execute("commit")
        self._tell_mark()
        self._found = self._mark.read()

    def _preallocate(self) -> None:
        """Grow the write-ahead file to its working size once, so that no commit has to.

        Syncing a write over blocks that exist takes two thirds of syncing one that grows the file.
        """
        self._db.execute(f"drop table if exists {PAD}")
        self._db.execute(f"create table {PAD}(data blob)")
        size = self._page_bytes * self._wal_pages
        self._db.execute(f"insert into {PAD} values(zeroblob(?))", (size,))
        self._db.execute(f"drop table {PAD}")
        self._db.execute("pragma wal_checkpoint(restart)").fetchall()

    def _get_meta(self, key: str) -> bytes:
        return meta_of(self._db, key)

    def _put_meta(self, key: str, value: bytes) -> None:
        self._db.execute(
            "insert or replace into meta(key, value, crc) values(?,?,?)",
            (key, value, zlib.crc32(value, zlib.crc32(key.encode()))),
        )

    def _failure(self, error: Exception) -> StorageError:
        """Say whose fault an error is: the disk's or the system's, or that of what is stored."""
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None
        if primary in _OF_THE_SYSTEM or (
            primary == sqlite3.SQLITE_READONLY and not os.access(self._path, os.W_OK)
        ):
            return DiskFailed(f"the journal {self._path} cannot be used: {error}")
        return Damaged(f"{self._path} is damaged: {error}")


def _refuse_other_format(path: Path) -> None:
    """Look at a journal's format before anything is written: not even the log is carried over.

    Where it cannot be read that way, whoever opens the journal says why. Raises: TooOld,
    StorageError.
    """
    if not path.exists() or path.stat().st_size == 0:
        return
    beside = [path.with_name(path.name + end) for end in ("-shm", "-wal")]
    made = [file for file in beside if not file.exists()]
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as db:
            stored = meta_of(db, "format")
    except (*_UNREADABLE, Damaged):
        return
    finally:
        for file in made:
            file.unlink(missing_ok=True)
    _check_format(path, stored)


def _check_format(path: Path, stored: bytes) -> None:
    if not stored.isdigit():
        raise Damaged(f"{path} has format {stored!r}, this build reads {FORMAT!r}")
    check_format(f"the journal {path}", int(stored), int(FORMAT))
