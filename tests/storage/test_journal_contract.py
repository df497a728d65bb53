"""What every journal promises; run over the one on disk and its twin in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import Entry, EntryKind, HardState, Membership, SnapshotMeta
from felix.storage.journal import SqliteJournal
from felix.storage.memory import MemoryJournal
from felix.storage.ports import Journal, Recovered

Restart = Callable[[], Journal]


@pytest.fixture(params=["memory", pytest.param("disk", marks=pytest.mark.slow)])
def restart(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Restart]:
    """Close the journal of the node that ran before, if any, and open it as the next one would."""
    kept = MemoryJournal()
    opened: list[Journal] = []

    def open_again() -> Journal:
        while opened:
            opened.pop().close()
        on_disk = request.param == "disk"
        opened.append(SqliteJournal(tmp_path / "journal.db") if on_disk else kept)
        return opened[-1]

    yield open_again
    while opened:
        opened.pop().close()


def entries(first: int, last: int, term: int = 1) -> list[Entry]:
    return [
        Entry(Index(index), Term(term), EntryKind.COMMAND, b"%d in %d" % (index, term))
        for index in range(first, last + 1)
    ]


def snapshot_at(index: int) -> SnapshotMeta:
    return SnapshotMeta(Index(index), Term(1), Membership((NodeId("a"),)), 10, "ab" * 32)


def recovered_after(restart: Restart) -> Recovered:
    return restart().recover()


def test_a_new_journal_is_empty(restart: Restart) -> None:
    assert recovered_after(restart) == Recovered(HardState(), None, ())


def test_hard_state_and_entries_survive_a_restart(restart: Restart) -> None:
    journal = restart()
    journal.recover()
    vote = HardState(Term(7), NodeId("b"))
    journal.append(vote, entries(1, 3))
    assert recovered_after(restart) == Recovered(vote, None, tuple(entries(1, 3)))


def test_hard_state_stays_when_only_entries_are_appended(restart: Restart) -> None:
    journal = restart()
    journal.recover()
    journal.append(HardState(Term(2), NodeId("c")), [])
    journal.append(None, entries(1, 1))
    assert recovered_after(restart).hard_state == HardState(Term(2), NodeId("c"))


def test_entries_replace_what_stands_at_and_after_the_first_of_them(restart: Restart) -> None:
    journal = restart()
    journal.recover()
    journal.append(None, entries(1, 10))
    journal.append(None, entries(4, 5, term=2))
    assert recovered_after(restart).entries == (*entries(1, 3), *entries(4, 5, term=2))


def test_entries_replace_what_an_earlier_run_wrote(restart: Restart) -> None:
    journal = restart()
    journal.recover()
    journal.append(None, entries(1, 10))
    journal = restart()
    journal.recover()
    journal.append(None, entries(6, 6, term=2))
    assert recovered_after(restart).entries == (*entries(1, 5), *entries(6, 6, term=2))


def test_compaction_keeps_the_tail_before_the_snapshot(restart: Restart) -> None:
    journal = restart()
    journal.recover()
    journal.append(None, entries(1, 10))
    journal.compact(snapshot_at(8), Index(5))
    found = recovered_after(restart)
    assert found.snapshot == snapshot_at(8)
    assert found.entries == tuple(entries(5, 10))


def test_appending_goes_on_after_compaction(restart: Restart) -> None:
    journal = restart()
    journal.recover()
    journal.append(None, entries(1, 10))
    journal.compact(snapshot_at(10), Index(11))
    journal.append(None, entries(11, 12))
    assert recovered_after(restart).entries == tuple(entries(11, 12))


def test_an_installed_snapshot_replaces_all_entries_and_no_vote(restart: Restart) -> None:
    journal = restart()
    journal.recover()
    vote = HardState(Term(3), NodeId("b"))
    journal.append(vote, entries(1, 10))
    journal.install(snapshot_at(50))
    assert recovered_after(restart) == Recovered(vote, snapshot_at(50), ())


def test_appending_goes_on_after_an_installed_snapshot(restart: Restart) -> None:
    journal = restart()
    journal.recover()
    journal.append(None, entries(1, 60))
    journal.install(snapshot_at(50))
    journal.append(None, entries(51, 52, term=2))
    assert recovered_after(restart).entries == tuple(entries(51, 52, term=2))


def test_data_of_any_bytes_and_length_comes_back(restart: Restart) -> None:
    journal = restart()
    journal.recover()
    written = [
        Entry(Index(1), Term(1), EntryKind.NOOP, b""),
        Entry(Index(2), Term(1), EntryKind.COMMAND, bytes(range(256))),
        Entry(Index(3), Term(1), EntryKind.COMMAND, b"\x00" * (1 << 20)),
    ]
    journal.append(None, written)
    assert recovered_after(restart).entries == tuple(written)
