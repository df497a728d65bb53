"""Runs `felix-controlplane` with a disk that fails when it is told to: `python -m` this.

A file named `hang` or `eio` beside the data directory says so. Once it has failed with `eio` the
disk works again, as disks do, and `used-again` tells that somebody tried.
"""

from __future__ import annotations

import functools
import sqlite3
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from felix.cli.server import main
from felix.storage import data_dir
from felix.storage.journal import SqliteJournal

HANG, EIO, USED_AGAIN = "hang", "eio", "used-again"


class FaultyConnection(sqlite3.Connection):
    """A connection to a database whose disk is told what to do."""

    faults: Path
    has_failed = False

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """Run a statement, unless the disk has other plans."""
        return self._on_disk(super().execute, arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        """The same."""
        return self._on_disk(super().executemany, arguments)

    def _on_disk(
        self, method: Callable[..., sqlite3.Cursor], arguments: Iterable[Any]
    ) -> sqlite3.Cursor:
        if self.has_failed:
            (self.faults / USED_AGAIN).touch()
        if (self.faults / HANG).exists():
            threading.Event().wait()
        if (self.faults / EIO).exists():
            (self.faults / EIO).unlink()
            self.has_failed = True
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error
        return method(*arguments)


def connect(path: Path) -> FaultyConnection:
    """Open a database on the faulty disk."""
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, factory=FaultyConnection
    )
    connection.faults = path.parent.parent
    return connection


if __name__ == "__main__":
    vars(data_dir)["SqliteJournal"] = functools.partial(SqliteJournal, connect=connect)
    main()
