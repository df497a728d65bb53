"""What only a real disk shows: kills, flipped bytes, torn files, locks, foreign directories."""

from __future__ import annotations

import errno
import io
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from felix.proto.ids import Index, Term
from felix.proto.raft import Entry, EntryKind, HardState, Membership, SnapshotMeta
from felix.storage.data_dir import IDENTITY, JOURNAL, LOCK, DataDir, read_identity, set_aside
from felix.storage.errors import Damaged, DiskFailed, ForeignDirectory, Locked, StorageError
from felix.storage.journal import SqliteJournal
from felix.storage.ports import Identity, Owner, Recovered
from felix.storage.snapshots import SnapshotFiles
from tests.storage import journal_writer

pytestmark = pytest.mark.slow

KILLS = 10
LATER = SnapshotMeta(Index(99), Term(1), Membership(()), 0, "")
OWNER = Owner("felix", "alice")
MINE = Identity("c" * 32, "a" * 32, "alice", "felix")
HOLD_THE_LOCK = """
import sys; from pathlib import Path
from felix.storage.data_dir import DataDir; from felix.storage.ports import Identity, Owner
mine = Identity("c" * 32, "a" * 32, "alice", "felix")
held = DataDir.open(Path(sys.argv[1]), Owner("felix", "alice"), lambda: mine)
print("held", flush=True); sys.stdin.read(); held.close()
"""


@contextmanager
def process(*arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def open_mine(path: Path, *, may_create: bool = True) -> DataDir:
    return DataDir.open(path, OWNER, (lambda: MINE) if may_create else None)


def contents(folder: Path) -> dict[str, bytes]:
    """Read every file; who holds the lock does not matter."""
    files = (path for path in folder.iterdir() if path.is_file() and path.name != LOCK)
    return {path.name: path.read_bytes() for path in files}


def write_snapshot(files: SnapshotFiles, index: int = 5) -> SnapshotMeta:
    writer = files.begin(Index(index), Term(1))
    for chunk in (b"one" * 100, b"two" * 100):
        writer.write(chunk)
    return writer.finish(Membership(()))


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_nothing_acknowledged_is_missing_after_a_kill(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    path = tmp_path / "journal.db"
    acknowledged = 0
    for _ in range(KILLS):
        with process(journal_writer.__file__, path) as writer:
            assert writer.stdout is not None
            for _ in range(chance.randint(1, 150)):
                acknowledged = int(writer.stdout.readline())
            writer.kill()
            for line in writer.stdout.read().splitlines(keepends=True):
                if line.endswith(b"\n"):
                    acknowledged = int(line)
        journal = SqliteJournal(path)
        found = journal.recover().entries
        journal.close()
        assert len(found) >= acknowledged
        assert len(found) % journal_writer.BATCH == 0, "an append is whole or absent"
        assert all(
            (entry.index, entry.data) == (index, journal_writer.data_of(index))
            for index, entry in enumerate(found, 1)
        )


def test_a_flipped_byte_in_an_entry_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    data = bytes(range(1, 200))
    journal = SqliteJournal(path)
    journal.recover()
    journal.append(None, [Entry(Index(1), Term(1), EntryKind.COMMAND, data)])
    journal.close()
    whole = path.read_bytes()
    start = whole.index(data)
    for offset in range(start, start + len(data)):
        damaged = bytearray(whole)
        damaged[offset] ^= 1
        path.write_bytes(damaged)
        journal = SqliteJournal(path)
        with pytest.raises(Damaged, match="entry 1 "):
            journal.recover()
        journal.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"not a database at all, but long enough to look at" * 100)
    with pytest.raises(Damaged):
        SqliteJournal(path)


@pytest.mark.parametrize("content", ["missing", "empty", "zeros", "another", "a folder"])
def test_what_is_not_the_snapshot_is_refused_before_its_first_chunk(
    tmp_path: Path, content: str
) -> None:
    files = SnapshotFiles(tmp_path)
    meta = write_snapshot(files)
    path = only_file(tmp_path)
    whole = path.read_bytes()
    path.unlink()
    if content == "a folder":
        path.mkdir()
    elif content == "another":
        write_snapshot(files, index=6)
        only_file(tmp_path).rename(path)
    elif content != "missing":
        path.write_bytes(b"" if content == "empty" else bytes(len(whole)))
    with pytest.raises(Damaged):
        next(iter(files.chunks(meta)))
    assert files.older(LATER) == []


def test_a_snapshot_cut_anywhere_is_refused_before_its_first_chunk(tmp_path: Path) -> None:
    files = SnapshotFiles(tmp_path)
    meta = write_snapshot(files)
    path = only_file(tmp_path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(Damaged):
            next(iter(files.chunks(meta)))
        assert files.older(LATER) == []


def test_every_flipped_byte_of_a_snapshot_is_noticed(tmp_path: Path) -> None:
    files = SnapshotFiles(tmp_path)
    meta = write_snapshot(files)
    path = only_file(tmp_path)
    whole = path.read_bytes()
    for offset in range(len(whole)):
        damaged = bytearray(whole)
        damaged[offset] ^= 0x80
        path.write_bytes(damaged)
        with pytest.raises(Damaged):
            next(iter(files.chunks(meta)))
        assert files.older(LATER) == []


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE, errno.EIO])
@pytest.mark.parametrize("where", ["open", "read"])
def test_a_snapshot_that_the_system_does_not_let_us_read_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, where: str
) -> None:
    files = SnapshotFiles(tmp_path)
    meta = write_snapshot(files)

    class Refusing(io.FileIO):
        def read(self, *_: object) -> bytes:
            raise OSError(code, os.strerror(code))

    def refuse(path: Path, mode: str) -> Refusing:
        if where == "open":
            raise OSError(code, os.strerror(code), str(path))
        return Refusing(path, mode)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        for look in (
            lambda: next(iter(files.chunks(meta))),
            lambda: files.older(LATER),
            lambda: files.read(meta, 0, 1),
        ):
            with pytest.raises(DiskFailed, match=f"cannot be read: .*{os.strerror(code)}"):
                look()
    assert files.older(LATER) == [meta]


def test_snapshots_in_a_folder_that_cannot_be_listed_are_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = SnapshotFiles(tmp_path)
    write_snapshot(files)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        patch.setattr(os, "listdir", refuse)
        with pytest.raises(DiskFailed):
            files.older(LATER)


def test_a_snapshot_half_written_by_a_crash_is_pruned(tmp_path: Path) -> None:
    (tmp_path / f"{3:020d}-{1:020d}-.snapshot.writing").write_bytes(b"half")
    files = SnapshotFiles(tmp_path)
    meta = write_snapshot(files)
    files.prune([meta])
    assert only_file(tmp_path).suffix == ".snapshot"


def test_a_directory_in_use_is_refused_and_says_by_whom(tmp_path: Path) -> None:
    with process("-c", HOLD_THE_LOCK, tmp_path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Locked, match=f"{tmp_path}.*process {holder.pid}"):
            open_mine(tmp_path)
        holder.kill()
        holder.wait()
        open_mine(tmp_path).close()


def test_only_the_opening_that_creates_a_directory_is_fresh(tmp_path: Path) -> None:
    first = open_mine(tmp_path / "new")
    first.close()
    second = open_mine(tmp_path / "new", may_create=False)
    second.close()
    assert (first.fresh, second.fresh) == (True, False)
    assert (first.identity, second.identity) == (MINE, MINE)


def test_an_empty_directory_is_refused_unless_a_cluster_is_being_formed(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is empty"):
        open_mine(tmp_path, may_create=False)


@pytest.mark.parametrize("stranger", [Owner("other", "alice"), Owner("felix", "bob")])
def test_a_directory_of_somebody_else_is_refused_with_both_names(
    tmp_path: Path, stranger: Owner
) -> None:
    open_mine(tmp_path).close()
    with pytest.raises(ForeignDirectory) as refusal:
        DataDir.open(tmp_path, stranger)
    mine, theirs = next(
        pair
        for pair in (("felix", stranger.cluster_name), ("alice", stranger.name))
        if pair[0] != pair[1]
    )
    assert mine in str(refusal.value)
    assert theirs in str(refusal.value)


def test_what_is_set_aside_is_kept_and_the_node_is_somebody_new(tmp_path: Path) -> None:
    opened = open_mine(tmp_path)
    opened.journal.append(HardState(Term(7), None), [_entry(1)])
    opened.close()
    aside = set_aside(tmp_path, OWNER, "b" * 32)
    new = open_mine(tmp_path, may_create=False)
    with closing(new):
        assert new.identity.node_id == "b" * 32
        assert new.identity.replaces == MINE.node_id
        assert not new.identity.founder
        assert new.journal.recover().hard_state == HardState()
    old = SqliteJournal(aside / JOURNAL, MINE.node_id)
    with closing(old):
        assert old.recover().hard_state.term == 7
    assert read_identity(aside) == MINE


def test_setting_aside_twice_keeps_both(tmp_path: Path) -> None:
    open_mine(tmp_path).close()
    first = set_aside(tmp_path, OWNER, "b" * 32)
    second = set_aside(tmp_path, OWNER, "d" * 32)
    assert first != second
    assert read_identity(first) == MINE
    assert (second / JOURNAL).exists()


def test_what_others_have_put_beside_what_was_set_aside_is_not_counted(tmp_path: Path) -> None:
    open_mine(tmp_path).close()
    for name in ("set-aside-1.aside-0123abcd", "set-aside-", "set-aside-old", "set-aside-7"):
        (tmp_path / name).mkdir()
    assert set_aside(tmp_path, OWNER, "b" * 32).name == "set-aside-8"


@pytest.mark.parametrize("emptied", [True, False], ids=["emptied", "deleted"])
def test_a_node_that_lost_its_journal_does_not_start_as_new(tmp_path: Path, emptied: bool) -> None:
    open_mine(tmp_path).close()
    journal = tmp_path / JOURNAL
    journal.write_bytes(b"") if emptied else journal.unlink()
    with pytest.raises(Damaged, match="missing or empty"):
        open_mine(tmp_path)


@pytest.mark.parametrize("lost", [(), ("journal.db-mark",)], ids=["", "and its mark"])
@pytest.mark.parametrize(
    "content",
    [
        lambda journal: journal.append(HardState(Term(1), None), []),
        lambda journal: journal.append(None, [_entry(1)]),
        lambda journal: journal.install(LATER),
    ],
    ids=["a vote", "an entry", "a snapshot"],
)
def test_a_journal_with_something_in_it_and_no_identity_is_refused(
    tmp_path: Path, content: Callable[[SqliteJournal], None], lost: tuple[str, ...]
) -> None:
    opened = open_mine(tmp_path)
    content(opened.journal)
    opened.close()
    for name in (IDENTITY, *lost):
        (tmp_path / name).unlink()
    before = contents(tmp_path)
    for _ in range(2):
        with pytest.raises(Damaged, match="whose it is"):
            open_mine(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("cut", ["emptied", "only the pad"])
def test_a_journal_that_lost_everything_but_its_mark_is_refused_without_an_identity(
    tmp_path: Path, cut: str
) -> None:
    opened = open_mine(tmp_path)
    opened.journal.append(HardState(Term(1), None), [_entry(1)])
    opened.close()
    (tmp_path / IDENTITY).unlink()
    (tmp_path / JOURNAL).write_bytes(b"")
    if cut == "only the pad":
        with closing(sqlite3.connect(tmp_path / JOURNAL)) as database:
            database.execute("create table pad(data blob)")
    with pytest.raises(Damaged, match="whose it is"):
        open_mine(tmp_path)


def test_a_journal_in_which_nothing_ever_was_is_taken_over_by_somebody_else(tmp_path: Path) -> None:
    open_mine(tmp_path).close()
    (tmp_path / IDENTITY).unlink()
    other = msgspec.structs.replace(MINE, node_id="b" * 32, founder=True)
    for _ in range(2):
        opened = DataDir.open(tmp_path, OWNER, lambda: other)
        with closing(opened):
            assert opened.identity == other
            assert opened.journal.recover() == Recovered(HardState(), None, ())


def test_a_refused_directory_is_not_left_locked(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        open_mine(tmp_path, may_create=False)
    open_mine(tmp_path).close()


def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    # A kill loses nothing that the kernel has; only a power cut would show this.
    journal = SqliteJournal(tmp_path / "journal.db")
    settings = [
        journal._db.execute(f"pragma {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "locking_mode")
    ]
    journal.close()
    assert settings == ["wal", 2, "exclusive"]


@pytest.mark.parametrize(
    "damage",
    [
        "delete from meta where key = 'hard_state'",
        "update meta set value = x'9205c0' where key = 'hard_state'",
        "update log set kind = 77 where idx = 2",
        "update log set data = 'text' where idx = 2",
        "update meta set key = 'snapsho' where key = 'snapshot'",
        "delete from log where idx = 1",
        "delete from log where idx = 2",
        "delete from log where idx = 3",
    ],
)
def test_whatever_is_missing_or_changed_in_the_journal_is_noticed(
    tmp_path: Path, damage: str
) -> None:
    journal = SqliteJournal(tmp_path / "journal.db")
    journal.recover()
    journal.append(
        None, [Entry(Index(n), Term(1), EntryKind.COMMAND, b"data") for n in range(1, 4)]
    )
    journal.close()
    with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as database:
        database.execute(damage)
    journal = SqliteJournal(tmp_path / "journal.db")
    with closing(journal), pytest.raises(Damaged):
        journal.recover()


def test_an_entry_that_a_leader_had_replaced_and_that_is_back_is_noticed(tmp_path: Path) -> None:
    """As when the database is newer than what is left of the write-ahead file."""
    path = tmp_path / "journal.db"
    journal = SqliteJournal(path)
    journal.recover()
    journal.append(None, [_entry(n) for n in range(1, 6)])
    (replaced,) = journal._db.execute("select * from log where idx = 3").fetchall()
    journal.append(
        None, [Entry(Index(n), Term(2), EntryKind.COMMAND, b"other") for n in range(3, 8)]
    )
    journal.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("replace into log values(?,?,?,?,?)", replaced)
    journal = SqliteJournal(path)
    with closing(journal), pytest.raises(Damaged, match="entry 4 "):
        journal.recover()


def test_many_entries_are_forgotten_little_by_little_and_none_too_many(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal.db")
    journal.recover()
    journal.append(None, [_entry(n) for n in range(1, 3001)])
    snapshot = SnapshotMeta(Index(2900), Term(1), Membership(()), 1, "")
    journal.compact(snapshot, Index(2501))
    for n in range(3001, 3031):
        journal.append(None, [_entry(n)])
    journal.close()
    journal = SqliteJournal(tmp_path / "journal.db")
    with closing(journal):
        entries = journal.recover().entries
    assert entries[0].index == 2501
    assert entries[-1].index == 3030


def _entry(index: int) -> Entry:
    return Entry(Index(index), Term(1), EntryKind.COMMAND, b"data")
