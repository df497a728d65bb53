"""A crash between any two steps of what is done to a disk; then the next life looks at it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import Membership, SnapshotMeta
from felix.storage.journal import SqliteJournal
from felix.storage.memory import MemoryJournal
from felix.storage.ports import Journal, Recovered
from felix.storage.snapshots import SnapshotFiles
from tests.storage.crashes import Countdown, Crash, CrashingConnection, CrashingOperations
from tests.storage.damage import FILES, OWNER, PAGE_BYTES, WAL_PAGES, entry, opened, steps

pytestmark = pytest.mark.slow

MEMBERSHIP = Membership((NodeId("a"), NodeId("b")))
INSTALLED = SnapshotMeta(Index(40), Term(3), MEMBERSHIP, 10, "cd" * 32)


def whole_life() -> list[Callable[[Journal], None]]:
    """What may happen to a journal, an installed snapshot and an append behind it included."""
    return [
        *steps(),
        lambda journal: journal.install(INSTALLED),
        lambda journal: journal.append(None, [entry(41, 3), entry(42, 3)]),
        lambda journal: journal.append(None, [entry(42, 3)]),
    ]


def states() -> list[Recovered]:
    """What must be found after each step: what the twin in memory says."""
    twin = MemoryJournal()
    found = [twin.recover()]
    for step in whole_life():
        step(twin)
        found.append(twin.recover())
    return found


def live_until_crash(folder: Path, steps_left: int | None, wreck: Path) -> tuple[int, bool]:
    """Live; say how many steps returned, and whether the countdown ended it."""
    folder.mkdir()
    made: list[CrashingConnection] = []

    def connect(path: Path) -> CrashingConnection:
        made.append(CrashingConnection(path, isolation_level=None, check_same_thread=False))
        return made[-1]

    journal = SqliteJournal(
        folder / FILES[0], OWNER, page_bytes=PAGE_BYTES, wal_pages=WAL_PAGES, connect=connect
    )
    returned = 0
    try:
        journal.recover()
        made[0].watch(Countdown(steps_left), folder, wreck)
        for step in whole_life():
            step(journal)
            returned += 1
    except Crash:
        return returned, True
    finally:
        journal.close()
    return returned, False


def test_after_a_crash_at_any_step_of_the_journal_an_operation_is_whole_or_absent(
    folder: Path,
) -> None:
    expected = states()
    for number in itertools.count():
        wreck = folder / f"wreck-{number}"
        returned, crashed = live_until_crash(folder / f"life-{number}", number, wreck)
        if not crashed:
            break
        with opened(wreck) as journal:
            found = journal.recover()
        assert found in expected[returned : returned + 2], f"step {number}, {returned} returned"
    print(number, "crashes")
    assert number >= 100


def write(files: SnapshotFiles, index: int) -> SnapshotMeta:
    writer = files.begin(Index(index), Term(1))
    for chunk in chunks_of(index):
        writer.write(chunk)
    return writer.finish(MEMBERSHIP)


def chunks_of(index: int) -> list[bytes]:
    return [b"%d" % index * 100, b"", b"the end"]


def receive(files: SnapshotFiles, meta: SnapshotMeta, data: bytes) -> bool:
    offset = 0
    while offset < len(data):
        offset = files.receive(meta, offset, data[offset : offset + 100])
    return files.accept(meta)


@pytest.mark.parametrize("kind", ["written", "received"])
@pytest.mark.parametrize("end", ["kill", "power cut"])
def test_after_a_crash_at_any_step_every_finished_snapshot_is_whole(
    folder: Path, kind: str, end: str
) -> None:
    sent = SnapshotFiles(folder / "leader")
    theirs = write(sent, 20)
    data = sent.read(theirs, 0, theirs.size_bytes)
    for number in itertools.count():
        own = folder / f"life-{number}"
        countdown = Countdown()
        operations = CrashingOperations(countdown)
        files = SnapshotFiles(own, operations)
        finished = [write(files, 10)]
        countdown.steps, countdown.steps_left = 0, number
        try:
            if kind == "written":
                finished.append(write(files, 20))
            else:
                assert receive(files, theirs, data)
                finished.append(theirs)
            files.prune(finished[1:])
        except Crash:
            operations.kill() if end == "kill" else operations.power_cut(own)
            assert_whole_or_absent(own, finished, theirs)
        else:
            break
    print(number, "crashes")
    assert number > 10


def assert_whole_or_absent(
    folder: Path, finished: list[SnapshotMeta], theirs: SnapshotMeta
) -> None:
    """What was finished last is whole; the other may be there, and then it is whole too."""
    files = SnapshotFiles(folder)
    last = finished[-1]
    assert list(files.chunks(last)) == chunks_of(last.index)
    if files._path(theirs).exists():
        assert list(files.chunks(theirs)) == chunks_of(theirs.index)
    else:
        assert last != theirs
    again = write(files, 30)
    files.prune([again])
    assert [path.suffix for path in folder.iterdir()] == [".snapshot"], "nothing is left behind"
