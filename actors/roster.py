"""Describes the members of the cluster as one node sees them."""

from __future__ import annotations

import msgspec

from felix.core.raft import membership as memberships
from felix.core.raft.core import RaftCore
from felix.proto.ids import Index, NodeId
from felix.proto.queries import MemberRole, MemberStatus
from felix.proto.raft import Member


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """How many take part."""

    voters: int
    learners: int
    active: int
    """Voters heard from within the last election timeout; known to the leader only, else 0."""
    lag: int
    """Entries that the voter furthest behind has still to get; known to the leader only, else 0."""


class Roster:
    """Reads the core; used by the thread that runs it."""

    def __init__(self, core: RaftCore, me: Member, *, is_founder: bool) -> None:
        """`me` is how this node describes itself as long as it is no member."""
        self._core = core
        self._me = me
        self._is_founder = is_founder

    def members(self) -> list[MemberStatus]:
        """Describe every member as this node sees it; a node that is none describes itself."""
        members = self._core.membership.members
        if members:
            return [self._member_status(member) for member in members]
        return [
            MemberStatus(
                id=self._me.id,
                name=self._me.name,
                role="founder" if self._is_founder else "outsider",
                addresses=msgspec.structs.asdict(self._me.addresses),
                level=self._me.level,
            )
        ]

    def census(self) -> Census:
        """Count the members."""
        membership = self._core.membership
        voters = [one for one in self.members() if one.voter] if self._core.is_leader else []
        return Census(
            voters=len(membership.voters),
            learners=len(membership.learners),
            active=sum(one.active is True for one in voters),
            lag=max((one.lag or 0 for one in voters), default=0),
        )

    def _member_status(self, member: Member) -> MemberStatus:
        core, node_id = self._core, member.id
        match: Index | None = None
        active: bool | None = None
        if core.leader is not None and node_id in core.leader.followers:
            match = core.leader.followers[node_id].match
            active = core.leader.followers[node_id].is_active
        elif node_id == core.id:
            match, active = core.log.persisted, True
        knows_last = core.is_leader or node_id == core.id
        return MemberStatus(
            id=node_id,
            name=member.name,
            role=self._role_of(node_id),
            addresses=msgspec.structs.asdict(member.addresses),
            match_index=match,
            lag=core.log.last_index - match if match is not None and knows_last else None,
            active=active,
            voter=memberships.has_say(core.membership, node_id),
            leaving=memberships.is_joint(core.membership)
            and node_id not in core.membership.voters
            and node_id in core.membership.outgoing,
            replaces=member.replaces,
            level=member.level,
        )

    def _role_of(self, node_id: NodeId) -> MemberRole:
        core = self._core
        if node_id == core.leader_id:
            return "leader"
        if node_id in core.membership.learners:
            return "learner"
        if node_id == core.id:
            return "follower" if core.role.value == "follower" else "candidate"
        return "follower" if core.leader_id is not None else "unknown"
