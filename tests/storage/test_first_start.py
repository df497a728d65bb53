"""A crash or a full disk in the very first start: nothing was voted yet, so nothing is lost."""

from __future__ import annotations

import functools
import itertools
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from felix.proto.raft import HardState
from felix.storage import data_dir
from felix.storage.data_dir import IDENTITY, JOURNAL, DataDir, read_identity
from felix.storage.errors import DiskFailed
from felix.storage.journal import SqliteJournal
from felix.storage.ports import Identity, Owner, Recovered
from tests.storage.crashes import Countdown, Crash, CrashingConnection, CrashingOperations
from tests.storage.damage import OWNER as OWNER_ID
from tests.storage.damage import PAGE_BYTES, WAL_PAGES, opened

pytestmark = pytest.mark.slow

OWNER = Owner("felix", "alice")


def founder(number: int) -> Identity:
    """Draw an identity; every draw gives another one."""
    return Identity("c" * 32, f"{number:032x}", "alice", "felix", founder=True)


def cut_at(
    step: int, life: Path, wreck: Path, identity: Identity, patched: pytest.MonkeyPatch
) -> bool:
    """Open a directory and crash at this step; say whether there was one.

    What the kernel then has is in `wreck`.
    """
    countdown = Countdown(step)

    def connect(path: Path) -> CrashingConnection:
        made = CrashingConnection(path, isolation_level=None, check_same_thread=False)
        made.watch(countdown, life, wreck)
        return made

    with patched.context() as patch:
        small = functools.partial(
            SqliteJournal, page_bytes=PAGE_BYTES, wal_pages=WAL_PAGES, connect=connect
        )
        patch.setattr(data_dir, "SqliteJournal", small)
        try:
            DataDir.open(life, OWNER, lambda: identity, CrashingOperations(countdown)).close()
        except Crash:
            if not wreck.exists():
                shutil.copytree(life, wreck)
            return True
    return False


def starts_as_founder(folder: Path, identity: Identity) -> None:
    """Open for good, and once more."""
    written = read_identity(folder)
    expected = written or identity
    for _ in range(2):
        with closing(DataDir.open(folder, OWNER, lambda: identity)) as data:
            assert data.identity == expected
            assert data.identity.founder
            assert data.journal.recover() == Recovered(HardState(), None, ())


def test_a_first_start_that_was_cut_at_any_step_is_done_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in itertools.count():
        life, wreck = folder / f"life-{step}", folder / f"wreck-{step}"
        if not cut_at(step, life, wreck, founder(1), monkeypatch):
            break
        starts_as_founder(wreck, founder(2))
    print(step, "crashes")
    assert step >= 60


@pytest.mark.parametrize("first", range(0, 60, 7))
def test_a_second_start_that_is_cut_too_is_done_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    start = folder / "start"
    assert cut_at(first, folder / "life", start, founder(1), monkeypatch)
    for step in itertools.count():
        life, wreck = folder / f"life-{step}", folder / f"wreck-{step}"
        shutil.copytree(start, life)
        if not cut_at(step, life, wreck, founder(2), monkeypatch):
            break
        starts_as_founder(wreck, founder(3))
        shutil.rmtree(wreck)
        shutil.rmtree(life)


def test_a_first_start_on_a_full_disk_is_done_again_once_there_is_space(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(sqlite3.Connection):
        def execute(self, *arguments: object) -> sqlite3.Cursor:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    def connect(path: Path) -> sqlite3.Connection:
        path.touch()
        return Full(path)

    with monkeypatch.context() as patch:
        patch.setattr(data_dir, "SqliteJournal", functools.partial(SqliteJournal, connect=connect))
        with pytest.raises(DiskFailed):
            DataDir.open(folder, OWNER, lambda: founder(1))
    assert (folder / JOURNAL).stat().st_size == 0
    assert not (folder / IDENTITY).exists()
    starts_as_founder(folder, founder(2))


def test_a_journal_whose_creation_was_cut_at_any_step_is_created_again(folder: Path) -> None:
    """As when data was set aside: the identity is there before the journal."""
    for step in itertools.count():
        wreck = folder / f"wreck-{step}"
        if not created_until(step, folder / f"life-{step}", wreck):
            break
        with opened(wreck) as journal:
            assert journal.recover() == Recovered(HardState(), None, ())
    assert step >= 40


def created_until(step: int, life: Path, wreck: Path) -> bool:
    """Create a journal and crash at this step; say whether there was one."""
    life.mkdir()

    def connect(path: Path) -> CrashingConnection:
        made = CrashingConnection(path, isolation_level=None, check_same_thread=False)
        made.watch(Countdown(step), life, wreck)
        return made

    try:
        SqliteJournal(
            life / JOURNAL, OWNER_ID, page_bytes=PAGE_BYTES, wal_pages=WAL_PAGES, connect=connect
        ).close()
    except Crash:
        return True
    return False
