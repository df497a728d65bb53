"""Majorities."""

from __future__ import annotations

import pytest

from felix.core.raft.quorum import agreed, count_votes, has_quorum, majority
from felix.proto.ids import NodeId
from felix.proto.raft import Membership
from tests.raft.group import A, B, C, D, E

FIVE = Membership((A, B, C, D, E))


@pytest.mark.parametrize(("voters", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)])
def test_a_majority_is_more_than_half(voters: int, needed: int) -> None:
    assert majority([NodeId(str(number)) for number in range(voters)]) == needed


@pytest.mark.parametrize(
    ("reached", "expected"),
    [
        ((9, 0, 0, 0, 0), 0),
        ((9, 9, 0, 0, 0), 0),
        ((9, 9, 3, 0, 0), 3),
        ((1, 2, 3, 4, 5), 3),
        ((5, 5, 5, 5, 5), 5),
    ],
)
def test_what_a_quorum_has_reached_is_the_middle_number(
    reached: tuple[int, ...], expected: int
) -> None:
    assert agreed(FIVE, dict(zip(FIVE.voters, reached, strict=True)).__getitem__) == expected


def test_two_of_five_are_no_quorum() -> None:
    assert not has_quorum(FIVE, lambda voter: voter in (A, B))
    assert has_quorum(FIVE, lambda voter: voter in (A, B, E))


def test_an_election_is_pending_until_a_majority_has_said_yes_or_no() -> None:
    votes = {A: True, B: False}
    assert count_votes(FIVE, votes) == "pending"
    assert count_votes(FIVE, {**votes, C: True, D: True}) == "won"
    assert count_votes(FIVE, {**votes, C: False, D: False}) == "lost"


def test_of_four_voters_two_refusals_decide() -> None:
    four = Membership((A, B, C, D))
    assert count_votes(four, {A: True, B: False, C: False}) == "lost"
    assert count_votes(four, {A: True, B: True, C: False}) == "pending"


def test_votes_of_strangers_do_not_count() -> None:
    assert count_votes(Membership((A, B, C)), {A: True, D: True, E: True}) == "pending"
