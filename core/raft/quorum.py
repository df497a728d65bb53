"""Arithmetic of majorities (dissertation, section 3.4 and 3.5)."""

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
    reached = sorted(map(number_of, membership.voters), reverse=True)
    return reached[majority(membership.voters) - 1]


def has_quorum(membership: Membership, is_in: Callable[[NodeId], bool]) -> bool:
    """Say whether those for whom `is_in` holds are a quorum."""
    return sum(map(is_in, membership.voters)) >= majority(membership.voters)


def count_votes(membership: Membership, votes: dict[NodeId, bool]) -> VoteResult:
    """Judge an election by the votes so far."""
    granted = sum(1 for voter in membership.voters if votes.get(voter) is True)
    refused = sum(1 for voter in membership.voters if votes.get(voter) is False)
    needed = majority(membership.voters)
    if granted >= needed:
        return "won"
    if refused > len(membership.voters) - needed:
        return "lost"
    return "pending"
