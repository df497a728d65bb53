"""Runs `felix-controlplane` with a disk that fails when it is told to: `python -m` this.

A file named `hang` or `eio` beside the data directory says so. Once it has failed with `eio` the
disk works again, as disks do, and `used-again` tells that somebody tried. With `no-room` there is
room for the journal, and none for a snapshot.
"""

from __future__ import annotations

import errno
import functools
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from felix.cli.server import main
from felix.storage import data_dir
from felix.storage.files import DiskOperations
from felix.storage.journal import SqliteJournal
from felix.storage.snapshots import SnapshotFiles

HANG, EIO, USED_AGAIN, NO_ROOM = "hang", "eio", "used-again", "no-room"


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


class FaultyOperations(DiskOperations):
    """File operations on a disk that has room for little."""

    def write(self, file: BinaryIO, data: bytes) -> None:
        """Add to a file, if there is room."""
        if (Path(file.name).parent.parent.parent / NO_ROOM).exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write(file, data)


if __name__ == "__main__":
    vars(data_dir)["SqliteJournal"] = functools.partial(SqliteJournal, connect=connect)
    vars(data_dir)["SnapshotFiles"] = functools.partial(
        SnapshotFiles, operations=FaultyOperations()
    )
    main()
