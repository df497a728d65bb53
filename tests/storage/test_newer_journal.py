"""A journal that a newer build has written into."""

from __future__ import annotations

import sqlite3
import struct
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from felix.proto.ids import Index, Term
from felix.proto.levels import TooOld
from felix.proto.raft import Entry, EntryKind
from felix.storage.journal import SqliteJournal

pytestmark = pytest.mark.slow


def test_an_entry_of_an_unknown_kind_is_no_damage_and_not_passed_over(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal.db")
    journal.recover()
    journal.append(None, [Entry(Index(1), Term(1), EntryKind.COMMAND, b"data")])
    journal.close()
    crc = zlib.crc32(b"data", zlib.crc32(struct.pack(">QQBI", 1, 1, 77, 0)))
    with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as database:
        database.execute("update log set kind = 77, crc = ? where idx = 1", (crc,))
    journal = SqliteJournal(tmp_path / "journal.db")
    with closing(journal), pytest.raises(TooOld, match=r"entry 1 .* entries of kind 77"):
        journal.recover()
