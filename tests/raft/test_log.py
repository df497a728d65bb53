"""The log in memory."""

from __future__ import annotations

from random import Random

import pytest

from felix.core.raft.log import RaftLog
from felix.proto.ids import Index, Term
from felix.proto.raft import Entry, Membership, SnapshotMeta
from tests.raft.group import A, entries, entry


def log_of(*terms: int) -> RaftLog:
    return RaftLog(None, entries(*terms))


def terms_of(log: RaftLog) -> list[int]:
    return [one.term for one in log.slice(log.first_index, log.last_index)]


def snapshot_at(index: int, term: int) -> SnapshotMeta:
    return SnapshotMeta(Index(index), Term(term), Membership((A,)), 1, "")


def test_an_empty_log_ends_at_zero() -> None:
    log = RaftLog(None, [])
    assert (log.first_index, log.last_index, log.last_term) == (1, 0, 0)
    assert log.term_at(Index(0)) == 0
    assert log.term_at(Index(1)) is None


def test_what_is_recovered_counts_as_durable() -> None:
    log = log_of(1, 1, 2)
    assert log.persisted == log.handed == log.last_index == 3


def test_a_merge_adds_what_is_missing() -> None:
    log = log_of(1, 1)
    log.merge([entry(2, 1), entry(3, 2)], Index(0))
    assert terms_of(log) == [1, 1, 2]
    assert log.persisted == 2


def test_a_merge_drops_what_contradicts_the_leader_and_all_behind_it() -> None:
    log = log_of(1, 1, 2, 2, 2)
    log.merge([entry(3, 3)], Index(2))
    assert terms_of(log) == [1, 1, 3]
    assert log.handed == log.persisted == 2, "the new entry has to be written"


def test_a_late_message_never_shortens_the_log() -> None:
    log = log_of(1, 1, 2, 2)
    log.merge([entry(1, 1), entry(2, 1)], Index(0))
    log.merge([], Index(0))
    assert terms_of(log) == [1, 1, 2, 2]


def test_a_leader_that_contradicts_what_is_committed_ends_the_process() -> None:
    log = log_of(1, 1, 2)
    with pytest.raises(AssertionError, match="contradicts what is committed"):
        log.merge([entry(2, 3)], Index(2))


def test_entries_must_follow_the_last_one() -> None:
    with pytest.raises(AssertionError):
        log_of(1, 1).append([entry(4, 1)])


def test_a_log_with_the_higher_last_term_is_up_to_date_however_short() -> None:
    log = log_of(1, 2, 2)
    assert log.is_up_to_date(Index(1), Term(3))
    assert log.is_up_to_date(Index(3), Term(2))
    assert not log.is_up_to_date(Index(2), Term(2))
    assert not log.is_up_to_date(Index(99), Term(1))


def test_a_step_back_passes_over_a_whole_term() -> None:
    log = log_of(1, 1, 4, 4, 4, 4)
    assert log.last_possible_match(Index(6), Term(3)) == (2, 1)
    assert log.last_possible_match(Index(6), Term(4)) == (6, 4)
    assert log.last_possible_match(Index(6), Term(0)) == (0, 0)


def test_a_step_back_ends_where_the_log_was_trimmed() -> None:
    log = log_of(1, 1, 4, 4, 4, 4)
    log.trim(Index(4))
    assert log.last_possible_match(Index(6), Term(3)) == (2, 0)


def test_a_trimmed_log_still_knows_the_term_before_its_first_entry() -> None:
    log = log_of(1, 1, 2, 2, 3)
    log.trim(Index(4))
    assert (log.first_index, log.last_index) == (4, 5)
    assert log.term_at(Index(3)) == 2
    assert log.term_at(Index(2)) is None
    log.trim(Index(2))
    assert log.first_index == 4, "what is gone stays gone"


def test_a_log_trimmed_to_its_end_goes_on_there() -> None:
    log = log_of(1, 1, 2)
    log.trim(Index(4))
    assert (log.first_index, log.last_index, log.last_term) == (4, 3, 2)
    log.append([entry(4, 5)])
    assert log.last_term == 5


def test_a_slice_by_size_holds_one_entry_even_if_it_is_too_large() -> None:
    log = RaftLog(None, [entry(1, 1, b"x" * 100), entry(2, 1, b"y" * 10), entry(3, 1, b"z" * 10)])
    taken, size = log.slice_bytes(Index(1), 50)
    assert ([one.index for one in taken], size) == ([1], 116)
    taken, size = log.slice_bytes(Index(2), 52)
    assert ([one.index for one in taken], size) == ([2, 3], 52)
    assert log.slice_bytes(Index(4), 50) == ((), 0)


def test_after_a_snapshot_of_the_leader_nothing_of_the_old_log_is_left() -> None:
    log = log_of(1, 1, 2, 2)
    log.restart_after(snapshot_at(3, 5))
    assert (log.first_index, log.last_index, log.last_term) == (4, 3, 5)
    assert log.persisted == log.handed == 3


@pytest.mark.parametrize("first", [1, 2, 3, 4])
def test_a_tail_from_before_the_snapshot_is_kept_when_recovered(first: int) -> None:
    tail = entries(1, 1, 2, 2, 3)[first - 1 :]
    log = RaftLog(snapshot_at(3, 2), tail)
    assert log.last_index == 5
    assert log.first_index <= max(first + 1, 4)
    assert log.term_at(Index(3)) == 2
    assert log.term_at(Index(4)) == 2


def test_entries_that_a_snapshot_covers_wholly_are_left_aside() -> None:
    log = RaftLog(snapshot_at(7, 3), entries(1, 1, 2))
    assert (log.first_index, log.last_index, log.last_term) == (8, 7, 3)


def test_a_hole_after_the_snapshot_is_an_error() -> None:
    with pytest.raises(ValueError, match="after a hole"):
        RaftLog(snapshot_at(3, 1), [entry(5, 1)])
    with pytest.raises(ValueError, match="after a hole"):
        RaftLog(None, [entry(2, 1)])


def test_a_log_behaves_like_a_plain_list_of_entries() -> None:
    """Random merges, trims and writes, compared with a list that does the same."""
    for seed in range(200):
        random = Random(seed)
        log, model = RaftLog(None, []), list[Entry]()
        committed, term = 0, 1
        for _ in range(30):
            if random.random() < 0.3:
                term += 1
            start = random.randint(committed, len(model))
            common = random.randint(start, len(model))
            new = [
                *model[start:common],
                *(entry(common + n, term) for n in range(1, random.randint(1, 4))),
            ]
            log.merge(new, Index(committed))
            if any(
                position >= len(model) or model[position] != one
                for position, one in enumerate(new, start=start)
            ):
                model = model[:start] + new
            log.handed = log.persisted = log.last_index
            committed = random.randint(committed, len(model))
            if random.random() < 0.2:
                log.trim(Index(random.randint(1, committed + 1)))
            kept = model[log.first_index - 1 :]
            assert log.slice(log.first_index, log.last_index) == kept, f"seed {seed}"
            assert log.last_index == len(model), f"seed {seed}"
