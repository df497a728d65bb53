"""Arithmetic of majorities, of one set of voters or of both halves of a change (section 4.3)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

from felix.proto.ids import NodeId
from felix.proto.raft import Membership

VoteResult = Literal["won", "lost", "pending"]


def majority(voters: Collection[NodeId]) -> int:
    """Count the voters that make a quorum."""
    return len(voters) // 2 + 1


def agreed(membership: Membership, number_of: Callable[[NodeId], int]) -> int:
    """Find the highest number that a quorum has reached: of match indexes, the committed one."""
    reached = _agreed(membership.voters, number_of)
    if membership.outgoing:
        return min(reached, _agreed(membership.outgoing, number_of))
    return reached


def _agreed(voters: tuple[NodeId, ...], number_of: Callable[[NodeId], int]) -> int:
    reached = sorted(map(number_of, voters), reverse=True)
    return reached[len(voters) // 2]


def has_quorum(membership: Membership, is_in: Callable[[NodeId], bool]) -> bool:
    """Say whether those for whom `is_in` holds are a quorum."""
    return all(
        sum(map(is_in, voters)) >= majority(voters)
        for voters in (membership.voters, membership.outgoing)
        if voters
    )


def count_votes(membership: Membership, votes: dict[NodeId, bool]) -> VoteResult:
    """Judge an election by the votes so far."""
    results = {
        _count_votes(voters, votes) for voters in (membership.voters, membership.outgoing) if voters
    }
    if "lost" in results:
        return "lost"
    return "pending" if "pending" in results else "won"


def _count_votes(voters: tuple[NodeId, ...], votes: dict[NodeId, bool]) -> VoteResult:
    granted = sum(1 for voter in voters if votes.get(voter) is True)
    refused = sum(1 for voter in voters if votes.get(voter) is False)
    needed = majority(voters)
    if granted >= needed:
        return "won"
    if refused > len(voters) - needed:
        return "lost"
    return "pending"
