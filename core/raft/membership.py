"""Who takes part, along the log, and how one membership becomes the next (chapter 4)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeAlias

import msgspec

from felix.proto import codec
from felix.proto.ids import Index, NodeId
from felix.proto.raft import Addresses, Entry, EntryKind, Member, Membership, RemovedMember

REMOVED_MAX: Final = 16
"""So many of those that left are remembered, to be told when they turn up again."""

_Test: TypeAlias = Callable[[Member], bool]

_decoder = codec.Decoder[Membership](Membership)


def decode(entry: Entry) -> Membership:
    """Read a membership entry."""
    return _decoder.decode(entry.data)


def everyone(membership: Membership) -> tuple[NodeId, ...]:
    """List all that get the log, sorted."""
    return _sorted({*membership.voters, *membership.outgoing, *membership.learners})


def is_joint(membership: Membership) -> bool:
    """Say whether a change is half done: two majorities are needed (section 4.3)."""
    return bool(membership.outgoing)


def has_say(membership: Membership, node_id: NodeId) -> bool:
    """Say whether a node's vote counts."""
    return node_id in membership.voters or node_id in membership.outgoing


def member(membership: Membership, node_id: NodeId) -> Member | None:
    """Look up a member."""
    return next((one for one in membership.members if one.id == node_id), None)


def was_removed(membership: Membership, node_id: NodeId) -> bool:
    """Say whether a node is known to have left."""
    return any(one.id == node_id for one in membership.removed)


# --- from one to the next -----------------------------------------------------------------------


def with_learner(membership: Membership, new: Member) -> Membership:
    """Take a node in without a say."""
    return msgspec.structs.replace(
        membership,
        learners=_sorted({*membership.learners, new.id}),
        members=_by_id([*membership.members, new]),
    )


def with_addresses(
    membership: Membership, node_id: NodeId, addresses: Addresses, level: int
) -> Membership:
    """Note where a member is now, and what it can do."""
    members = [
        msgspec.structs.replace(one, addresses=addresses, level=level) if one.id == node_id else one
        for one in membership.members
    ]
    return msgspec.structs.replace(membership, members=tuple(members))


def promoting(membership: Membership, learner: NodeId) -> Membership:
    """Begin to make a learner a voter, and to let the one it replaces leave."""
    promoted = member(membership, learner)
    replaced = promoted.replaces if promoted is not None else None
    return msgspec.structs.replace(
        membership,
        voters=_sorted(({*membership.voters} - {replaced}) | {learner}),
        outgoing=membership.voters,
        learners=tuple(one for one in membership.learners if one != learner),
        members=_without_claim(membership.members, lambda one: one.id == learner),
    )


def removing(membership: Membership, node_id: NodeId) -> Membership:
    """Let a learner go, or begin to let a voter go."""
    rest = msgspec.structs.replace(
        membership,
        members=_without_claim(membership.members, lambda one: one.replaces == node_id),
    )
    if node_id in membership.learners:
        learners = tuple(one for one in membership.learners if one != node_id)
        return _with_the_rest_removed(msgspec.structs.replace(rest, learners=learners))
    voters = tuple(one for one in membership.voters if one != node_id)
    return msgspec.structs.replace(rest, voters=voters, outgoing=membership.voters)


def settled(membership: Membership) -> Membership:
    """Finish a change: the old half goes."""
    return _with_the_rest_removed(msgspec.structs.replace(membership, outgoing=()))


def _with_the_rest_removed(membership: Membership) -> Membership:
    staying = set(everyone(membership))
    gone = [
        RemovedMember(one.id, one.name, one.addresses.peers)
        for one in membership.members
        if one.id not in staying
    ]
    return msgspec.structs.replace(
        membership,
        members=tuple(one for one in membership.members if one.id in staying),
        removed=(*membership.removed, *gone)[-REMOVED_MAX:],
    )


def _without_claim(members: Collection[Member], where: _Test) -> tuple[Member, ...]:
    return tuple(
        msgspec.structs.replace(one, replaces=None) if where(one) else one for one in members
    )


def _sorted(ids: Collection[NodeId]) -> tuple[NodeId, ...]:
    return tuple(sorted(ids))


def _by_id(members: Collection[Member]) -> tuple[Member, ...]:
    return tuple(sorted(members, key=lambda one: one.id))


# --- along the log ------------------------------------------------------------------------------


class Memberships:
    """The memberships in a log: the newest counts, committed or not (section 4.1)."""

    def __init__(self, index: Index, base: Membership) -> None:
        """`base` is in force from `index` on."""
        self._known: list[tuple[Index, Membership]] = [(index, base)]

    @property
    def current(self) -> Membership:
        """The one in force."""
        return self._known[-1][1]

    @property
    def index(self) -> Index:
        """Where the one in force stands."""
        return self._known[-1][0]

    def at(self, index: Index) -> Membership:
        """Look up the one in force once `index` was the last entry; else the oldest known."""
        oldest = self._known[0][1]
        return next((one for start, one in reversed(self._known) if start <= index), oldest)

    def since(self, index: Index) -> list[Membership]:
        """List those in force at `index` and after it."""
        later = [one for start, one in self._known if start > index]
        return [self.at(index), *later]

    def take(self, entries: Sequence[Entry]) -> bool:
        """Note what entries at the end of the log say; say whether anything changed.

        What they replaced is forgotten, so a membership that another leader cut off is no longer
        in force.
        """
        before = self.current
        if entries:
            while self.index >= entries[0].index:
                self._known.pop()
        self._known += [
            (entry.index, decode(entry)) for entry in entries if entry.kind is EntryKind.MEMBERSHIP
        ]
        return self.current is not before

    def forget_before(self, index: Index) -> None:
        """Keep only what is needed from `index` on."""
        while len(self._known) > 1 and self._known[1][0] <= index:
            del self._known[0]
