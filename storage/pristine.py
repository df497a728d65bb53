"""Tells a journal into which nothing was ever written, as a crash in the first start leaves it."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from felix.proto.raft import HardState
from felix.storage.errors import Damaged, ForeignDirectory
from felix.storage.journal import PAD, SqliteJournal, connect, meta_of, tables_of
from felix.storage.ports import Recovered


def is_pristine(journal: Path) -> bool:
    """Say whether no node has ever voted or acknowledged anything with a journal, if there is one.

    Then it does not matter whose it was. What cannot be read is not pristine. It is looked at in a
    copy: SQLite writes to what it opens. Raises: OSError, TooOld, StorageError (another format).
    """
    if not journal.exists():
        return _has_no_mark(journal)
    if journal.stat().st_size == 0:
        log = journal.with_name(journal.name + "-wal")
        return _has_no_mark(journal) and not (log.exists() and log.stat().st_size)
    with tempfile.TemporaryDirectory(prefix="felix-journal-") as folder:
        for file in journal.parent.glob(journal.name + "*"):
            shutil.copyfile(file, Path(folder) / file.name)
        copy = Path(folder) / journal.name
        try:
            with closing(connect(copy)) as db:
                if tables_of(db) <= {PAD}:
                    return _has_no_mark(journal)
                owner = meta_of(db, "owner").decode()
            with closing(SqliteJournal(copy, owner)) as whole:
                return whole.recover() == Recovered(HardState(), None, ()) and whole.is_uncut
        except (sqlite3.Error, Damaged, ForeignDirectory, UnicodeDecodeError):
            return False


def delete_pristine(journal: Path) -> None:
    """Delete such a journal; after a crash in between it still is one."""
    for end in ("-mark", "", "-wal", "-journal", "-shm"):
        journal.with_name(journal.name + end).unlink(missing_ok=True)


def _has_no_mark(journal: Path) -> bool:
    try:
        return not any(journal.with_name(journal.name + "-mark").read_bytes())
    except FileNotFoundError:
        return True
