"""What a node may tell those who proposed something."""

from __future__ import annotations

from felix.actors.proposals import Proposals
from felix.proto.ids import Index, Term
from tests.raft.group import entry


def test_a_proposal_is_done_when_its_own_entry_is_committed() -> None:
    proposals = Proposals()
    proposals.add(Index(5), Term(2), [70, 71])
    outcome = proposals.committed([entry(5, 2), entry(6, 2)])
    assert outcome.tokens == {5: 70, 6: 71}
    assert outcome.overwritten == ()
    assert len(proposals) == 0


def test_a_proposal_is_refused_when_another_entry_is_committed_in_its_place() -> None:
    proposals = Proposals()
    proposals.add(Index(5), Term(2), [70])
    assert proposals.committed([entry(4, 2)]).overwritten == ()
    assert proposals.committed([entry(5, 3)]).overwritten == (70,)


def test_a_proposal_that_was_cut_off_may_yet_be_committed() -> None:
    """Node 1 proposes in term 2 and reaches only node 2; node 3 leads in term 3 and cuts it off;
    node 1 leads again in term 4 and proposes there; node 2 wins term 5 with what it still has.
    """
    proposals = Proposals()
    proposals.add(Index(5), Term(2), [70])
    proposals.add(Index(5), Term(4), [80])
    assert len(proposals) == 2
    outcome = proposals.committed([entry(5, 2)])
    assert outcome.tokens == {5: 70}
    assert outcome.overwritten == (80,)


def test_a_proposal_that_was_cut_off_is_refused_once_its_place_is_taken() -> None:
    proposals = Proposals()
    proposals.add(Index(5), Term(2), [70, 71])
    proposals.add(Index(5), Term(4), [80])
    outcome = proposals.committed([entry(5, 4)])
    assert (outcome.tokens, outcome.overwritten) == ({5: 80}, (70,))
    assert proposals.committed([entry(6, 4)]).overwritten == (71,)


def test_nothing_is_said_of_a_proposal_that_a_snapshot_jumped_over() -> None:
    proposals = Proposals()
    proposals.add(Index(5), Term(2), [70])
    outcome = proposals.committed([entry(9, 2)])
    assert (outcome.tokens, outcome.overwritten) == ({}, ())
    assert len(proposals) == 0
