"""Who proposed what was committed."""

from __future__ import annotations

from felix.actors.proposals import Proposals
from felix.proto.ids import Index, Term
from felix.proto.raft import Entry, EntryKind


def entries(first: int, *terms: int) -> list[Entry]:
    return [
        Entry(Index(first + n), Term(term), EntryKind.COMMAND, b"") for n, term in enumerate(terms)
    ]


def test_what_is_committed_as_it_was_proposed_belongs_to_its_proposer() -> None:
    proposals = Proposals()
    proposals.add(Index(5), Term(2), [50, 60, 70])
    done = proposals.committed(entries(4, 2, 2, 2))
    assert done.tokens == {5: 50, 6: 60}
    assert len(done.seconds) == 2
    assert min(done.seconds) >= 0
    assert done.overwritten == ()
    assert len(proposals) == 1
    assert proposals.committed(entries(7, 2)).tokens == {7: 70}
    assert len(proposals) == 0


def test_an_entry_of_another_term_at_its_index_means_that_a_proposal_had_no_effect() -> None:
    proposals = Proposals()
    proposals.add(Index(5), Term(2), [50, 60])
    done = proposals.committed(entries(5, 2, 3))
    assert done.tokens == {5: 50}
    assert done.overwritten == (60,)


def test_entries_of_others_are_nobodys() -> None:
    proposals = Proposals()
    done = proposals.committed(entries(1, 1, 1))
    assert (done.tokens, done.seconds, done.overwritten) == ({}, [], ())


def test_what_was_cut_off_may_still_be_committed_by_a_node_that_kept_it() -> None:
    proposals = Proposals()
    proposals.add(Index(5), Term(2), [50, 60])
    proposals.add(Index(5), Term(4), [51])
    assert len(proposals) == 3
    done = proposals.committed(entries(5, 2, 2))
    assert done.tokens == {5: 50, 6: 60}
    assert done.overwritten == (51,)
    assert len(proposals) == 0


def test_what_was_cut_off_had_no_effect_once_another_entry_is_committed_in_its_place() -> None:
    proposals = Proposals()
    proposals.add(Index(5), Term(2), [50, 60])
    proposals.add(Index(5), Term(4), [51])
    done = proposals.committed(entries(5, 4))
    assert done.tokens == {5: 51}
    assert done.overwritten == (50,)
    assert len(proposals) == 1, "nothing is known of index 6 yet"


def test_a_proposal_that_a_snapshot_jumped_over_is_decided_neither_way() -> None:
    proposals = Proposals()
    proposals.add(Index(5), Term(2), [50])
    done = proposals.committed(entries(9, 3))
    assert (done.tokens, done.overwritten) == ({}, ())
    assert len(proposals) == 0
