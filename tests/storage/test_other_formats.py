"""What another build wrote, whole: it is refused by name and left as it is."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from felix.proto.ids import Index, Term
from felix.proto.levels import TooOld
from felix.proto.raft import HardState, Membership, SnapshotMeta
from felix.storage import snapshots
from felix.storage.data_dir import IDENTITY, JOURNAL, DataDir, write_identity
from felix.storage.errors import Damaged, StorageError
from felix.storage.ports import Identity, Owner
from felix.storage.snapshots import SnapshotFiles

pytestmark = pytest.mark.slow

OWNER = Owner("felix", "alice")
MINE = Identity("c" * 32, "a" * 32, "alice", "felix")
LATER = SnapshotMeta(Index(99), Term(1), Membership(()), 0, "")


def lived(folder: Path) -> Path:
    """Make a directory of a node that has voted, as a kill leaves it."""
    data = DataDir.open(folder / "lived", OWNER, lambda: MINE)
    data.journal.append(HardState(Term(7), None), [])
    place = folder / "killed"
    place.mkdir()
    for file in (folder / "lived").iterdir():
        if file.is_file():
            (place / file.name).write_bytes(file.read_bytes())
    data.close()
    return place


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and path.name != "lock"
    }


def set_format(value: bytes) -> Callable[[Path], None]:
    """Give a journal another format, with the checksum that goes with it."""

    def change(folder: Path) -> None:
        crc = zlib.crc32(value, zlib.crc32(b"format"))
        with closing(sqlite3.connect(folder / JOURNAL, isolation_level=None)) as database:
            database.execute(
                "update meta set value = ?, crc = ? where key = 'format'", (value, crc)
            )
            # So that there is a write-ahead file: it may not be carried over either.
            files = contents(folder)
        for name, data in files.items():
            if not name.endswith("-shm"):  # a node's journal has none
                (folder / name).write_bytes(data)

    return change


def assert_refused(folder: Path, kind: type[Exception], words: str) -> None:
    before = contents(folder)
    for _ in range(2):
        with pytest.raises(kind, match=words) as refusal:
            DataDir.open(folder, OWNER)
        assert not isinstance(refusal.value, Damaged)
        assert contents(folder) == before


NEWER, OLDER = (TooOld, "a newer build"), (StorageError, "an older build")


@pytest.mark.parametrize(
    ("value", "refusal"), [(b"3", NEWER), (b"10", NEWER), (b"1", OLDER)], ids=["3", "10", "1"]
)
@pytest.mark.parametrize("has_mark", [True, False])
def test_a_journal_of_another_format_is_no_damage_and_not_touched(
    tmp_path: Path, value: bytes, refusal: tuple[type[Exception], str], has_mark: bool
) -> None:
    folder = lived(tmp_path)
    set_format(value)(folder)
    assert (folder / "journal.db-wal").stat().st_size > 0
    if not has_mark:
        (folder / "journal.db-mark").write_bytes(b"of another length")
    assert_refused(folder, *refusal)


def test_a_format_that_does_not_match_its_checksum_is_damage(tmp_path: Path) -> None:
    folder = lived(tmp_path)
    with closing(sqlite3.connect(folder / JOURNAL, isolation_level=None)) as database:
        database.execute("update meta set value = x'33' where key = 'format'")
    with pytest.raises(Damaged, match="format does not match its CRC"):
        DataDir.open(folder, OWNER)


@pytest.mark.parametrize(("number", "refusal"), [(3, NEWER), (1, OLDER)])
def test_an_identity_of_another_format_is_no_damage_and_not_touched(
    tmp_path: Path, number: int, refusal: tuple[type[Exception], str]
) -> None:
    folder = lived(tmp_path)
    write_identity(folder, msgspec.structs.replace(MINE, format=number))
    assert_refused(folder, *refusal)


def test_an_identity_of_a_newer_format_may_have_other_members(tmp_path: Path) -> None:
    folder = lived(tmp_path)
    (folder / IDENTITY).write_bytes(b'{"format": 3, "who": ["alice"]}')
    assert_refused(folder, *NEWER)


@pytest.mark.parametrize(("number", "refusal"), [(3, NEWER), (12, NEWER), (1, OLDER)])
def test_a_snapshot_of_another_format_is_no_damage_and_not_touched(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    refusal: tuple[type[Exception], str],
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(snapshots, "MAGIC", b"felix-snapshot-%d\n" % number)
        writer = SnapshotFiles(tmp_path).begin(Index(5), Term(1))
        writer.write(b"what only another build can read")
        meta = writer.finish(Membership(()))
    before = contents(tmp_path)
    files = SnapshotFiles(tmp_path)
    kind, words = refusal
    for look in (lambda: next(iter(files.chunks(meta))), lambda: files.older(LATER)):
        with pytest.raises(kind, match=words) as raised:
            look()
        assert not isinstance(raised.value, Damaged)
    assert contents(tmp_path) == before
    damaged = before[only := next(iter(before))].replace(b"what", b"whet")
    (tmp_path / only).write_bytes(damaged)
    with pytest.raises(Damaged):
        next(iter(files.chunks(meta)))
    assert files.older(LATER) == [], "a checksum that is wrong counts first"
