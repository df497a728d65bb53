"""A small journal with a full life behind it, as a kill -9 leaves it, to be damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import Entry, EntryKind, HardState, Membership, SnapshotMeta
from felix.storage.errors import StorageError
from felix.storage.journal import SqliteJournal
from felix.storage.ports import Journal, Recovered
from felix.storage.wal import frames_written

PAGE_BYTES = 512
WAL_PAGES = 12
OWNER = "a" * 32
SNAPSHOT = SnapshotMeta(Index(9), Term(1), Membership((NodeId("a"), NodeId("b"))), 10, "ab" * 32)
FILES = ("journal.db", "journal.db-wal", "journal.db-mark")


class Life(msgspec.Struct, frozen=True):
    """A journal as a kill left it, and what had been acknowledged."""

    files: dict[str, bytes]
    acknowledged: Recovered

    def put(self, folder: Path) -> None:
        """Lay its files down in a folder."""
        for name in FILES:
            path = folder / name
            if name in self.files:
                path.write_bytes(self.files[name])
            else:
                path.unlink(missing_ok=True)

    def but(self, name: str, data: bytes | None) -> Life:
        """Give the same with one file changed, or gone."""
        files = {key: value for key, value in self.files.items() if key != name}
        return Life(files if data is None else files | {name: data}, self.acknowledged)


def entry(index: int, term: int, kind: EntryKind = EntryKind.COMMAND) -> Entry:
    """Make an entry with data of its own."""
    return Entry(Index(index), Term(term), kind, b"%d in %d;" % (index, term) * 4)


@contextmanager
def opened(folder: Path, owner: str = OWNER) -> Iterator[SqliteJournal]:
    """Open the journal of a folder."""
    with closing(
        SqliteJournal(folder / FILES[0], owner, page_bytes=PAGE_BYTES, wal_pages=WAL_PAGES)
    ) as journal:
        yield journal


def steps() -> list[Callable[[Journal], None]]:
    """Vote, append, be cut by a new leader, compact, go on, be sent a snapshot, and go on."""
    return [
        lambda journal: journal.append(HardState(Term(1), NodeId("a")), []),
        lambda journal: journal.append(None, [entry(1, 1, EntryKind.MEMBERSHIP)]),
        lambda journal: journal.append(None, [entry(index, 1) for index in range(2, 13)]),
        lambda journal: journal.append(HardState(Term(3), None), []),
        lambda journal: journal.append(None, [entry(index, 2) for index in range(10, 12)]),
        lambda journal: journal.append(
            HardState(Term(3), NodeId("b")), [entry(12, 3, EntryKind.NOOP)]
        ),
        lambda journal: journal.compact(SNAPSHOT, Index(6)),
        *[
            lambda journal, index=index: journal.append(None, [entry(index, 3)])
            for index in range(13, 18)
        ],
    ]


def live(journal: Journal, steps_max: int | None = None) -> None:
    """Take some or all of the steps."""
    for step in steps()[:steps_max]:
        step(journal)


def lives(scratch: Path) -> dict[str, Life]:
    """Live once, and be killed three times: with a used write-ahead file, with one that was
    carried over and not used again yet, and with one that was used again; then be closed.
    """
    folder = scratch / "lived"
    folder.mkdir()
    found = {}
    with opened(folder) as journal:
        journal.recover()
        live(journal)
        found["used"] = killed(folder)
        journal._checkpoint()
        found["carried over"] = killed(folder)
        journal.append(HardState(Term(4), NodeId("a")), [entry(18, 4), entry(19, 4)])
        journal.append(None, [entry(19, 4, EntryKind.NOOP), entry(20, 4)])
        found["used again"] = killed(folder)
    found["closed"] = killed(folder)
    return found


def killed(folder: Path) -> Life:
    """Look at the files as the kernel has them, which is what a kill leaves."""
    copy = folder.with_name(folder.name + "-copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    files = {name: (copy / name).read_bytes() for name in FILES if (copy / name).exists()}
    # What the write-ahead file had grown to once is left out: it is not read.
    wal = copy / FILES[1]
    used = 32 + frames_written(wal) * (24 + PAGE_BYTES)
    if FILES[1] in files:
        files[FILES[1]] = files[FILES[1]][:used].ljust(used + 24 + PAGE_BYTES, b"\0")
    with opened(copy) as journal:
        return Life(files, journal.recover())


def outcome(life: Life, folder: Path) -> str:
    """Start from these files: `whole` (and it goes on), or refused with the reason.

    Less than what was acknowledged, and any other exception, fails the test.
    """
    life.put(folder)
    try:
        with opened(folder) as journal:
            found = journal.recover()
            assert found == life.acknowledged, "something is silently missing"
            last = found.entries[-1].index if found.entries else 0
            goes_on_from(journal, last)
    except StorageError as error:
        return str(error)
    return "whole"


def goes_on_from(journal: SqliteJournal, last: int) -> None:
    """Append and be cut; damage would have had to be found before."""
    try:
        journal.append(None, [entry(last + 1, 9), entry(last + 2, 9)])
        journal.append(None, [entry(last + 2, 10)])
    except StorageError as error:
        raise AssertionError("damage was found too late") from error
