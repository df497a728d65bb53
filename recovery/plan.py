"""What to do when a quorum is lost for good: decided from surveys of data directories, purely.

Which log is the most advanced is RAFT's election rule (section 3.6.1). What nobody can decide is
what the directories that are missing hold; the plan says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from felix.core.raft.quorum import has_quorum
from felix.proto import codec
from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import HardState, Membership
from felix.storage.ports import Identity


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What one data directory holds, as far as it is whole."""

    path: str
    identity: Identity | None
    is_set_aside: bool
    """Of a node that gave this identity up: it never votes under it again."""
    hard_state: HardState | None
    first_index: Index
    """Of the log; 0 if it has no entries."""
    last_index: Index
    last_term: Term
    runs: tuple[tuple[Index, Term], ...]
    """Where each term of the log begins."""
    snapshot_index: Index
    snapshot_term: Term
    membership: Membership | None
    """The newest in it; None if it holds none."""
    membership_index: Index
    damage: tuple[str, ...]
    is_usable: bool
    """A state machine can be built from it, up to `last_index`."""

    @property
    def position(self) -> tuple[Term, Index]:
        """What elections compare."""
        return self.last_term, self.last_index

    @property
    def node_id(self) -> NodeId | None:
        """Whose it is."""
        return NodeId(self.identity.node_id) if self.identity else None

    @property
    def may_vote(self) -> bool:
        """Whether its node can be started and believed as it is."""
        return not self.damage and not self.is_set_aside

    def term_at(self, index: int) -> Term | None:
        """Find the term of an entry; None if neither log nor snapshot say it."""
        if index == self.snapshot_index:
            return self.snapshot_term
        if not self.runs or not self.first_index <= index <= self.last_index:
            return None
        return max((begin, term) for begin, term in self.runs if begin <= index)[1]


class Comparison(msgspec.Struct, frozen=True):
    """Another directory beside the chosen one."""

    survey: Survey
    agreed: Index
    """Both logs are the same up to here, at least."""
    behind: int
    """Entries of the chosen log that this one does not have."""
    dropped: int
    """Entries that only this one has: they were never committed, unless the missing say else."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the directories allow."""

    chosen: Survey | None
    """The most advanced of those that can be used."""
    others: tuple[Comparison, ...] = ()
    missing: tuple[NodeId, ...] = ()
    """Voters of whom there is no directory that may vote."""
    has_quorum: bool = False
    """Enough are whole: start them, nothing is to be recovered."""
    committed: Index = Index(0)
    """Up to here entries are known to be committed: somebody has a snapshot of them."""
    alone_from: Index = Index(0)
    """From here on entries are in the chosen directory only; 0: there are none."""


def make_plan(surveys: Sequence[Survey]) -> Plan:
    """Choose the log to go on from, and say what that means."""
    usable = [one for one in surveys if one.is_usable]
    if not usable:
        return Plan(chosen=None)
    chosen = max(usable, key=lambda one: (one.position, one.may_vote))
    membership = chosen.membership
    voting = {one.node_id for one in surveys if one.may_vote and one.node_id is not None}
    others = tuple(_compare(chosen, one) for one in surveys if one is not chosen)
    elsewhere = max((one.agreed for one in others if one.survey.is_usable), default=Index(0))
    return Plan(
        chosen=chosen,
        others=others,
        missing=_missing(membership, voting) if membership else (),
        has_quorum=membership is not None and has_quorum(membership, lambda one: one in voting),
        committed=Index(
            max(min(one.snapshot_index, chosen.last_index) for one in surveys if one.is_usable)
        ),
        alone_from=Index(elsewhere + 1) if elsewhere < chosen.last_index else Index(0),
    )


def clusters_of(surveys: Sequence[Survey]) -> set[str]:
    """List the clusters that the directories belong to."""
    return {one.identity.cluster_id for one in surveys if one.identity is not None}


def plan_id(survey: Survey) -> str:
    """Name what was found in a directory, so that nothing else is recovered by mistake."""
    found = msgspec.structs.replace(survey, path="", is_set_aside=False, damage=())
    return hashlib.blake2b(codec.encode(found), digest_size=6).hexdigest()


def _missing(membership: Membership, voting: set[NodeId]) -> tuple[NodeId, ...]:
    everyone = dict.fromkeys((*membership.voters, *membership.outgoing))
    return tuple(voter for voter in everyone if voter not in voting)


def _compare(chosen: Survey, other: Survey) -> Comparison:
    agreed = _agreed(chosen, other)
    return Comparison(other, agreed, chosen.last_index - agreed, other.last_index - agreed)


def _agreed(one: Survey, other: Survey) -> Index:
    """Find how far two logs are the same: where an entry agrees, so do all before (section 3.5).

    Where one of them has only a snapshot left, they are taken to agree.
    """
    low = min(one.snapshot_index, other.snapshot_index)
    for index in range(min(one.last_index, other.last_index), low, -1):
        here, there = one.term_at(index), other.term_at(index)
        if here is None or there is None or here == there:
            return Index(index)
    return low
