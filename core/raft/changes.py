"""What is asked of the membership, turned into the next one, or refused with a reason."""

from __future__ import annotations

from collections.abc import Callable

from felix.core.raft import membership as memberships
from felix.core.raft import quorum
from felix.proto.addresses import wrong_listener
from felix.proto.cluster import AddMember, RemoveMember, UpdateMember
from felix.proto.errors import MembershipRefused, NotFound
from felix.proto.ids import NodeId
from felix.proto.raft import Addresses, Member, Membership

IsActive = Callable[[NodeId], bool]
"""Whether the leader heard from a member lately; true of the leader itself."""


def adding(membership: Membership, command: AddMember, is_active: IsActive) -> Membership | None:
    """Work out the membership with a new learner; None if it is a member.

    Raises: MembershipRefused.
    """
    _refuse_wrong_address(command.addresses)
    node_id = NodeId(command.member_id)
    if memberships.was_removed(membership, node_id):
        raise _refused("was_removed", f"{node_id} was removed and can never take part again")
    present = memberships.member(membership, node_id)
    if present is not None:
        if present.name != command.name:
            raise _refused("name_differs", f"{node_id} is a member named {present.name!r}")
        return None
    namesakes = [one for one in membership.members if one.name == command.name]
    replaced = _replaced(membership, command, namesakes, is_active)
    member = Member(node_id, command.name, command.addresses, command.level, replaced)
    base = membership
    for one in namesakes:
        if one.id in membership.learners:  # an earlier try to replace the same voter
            base = memberships.removing(base, one.id)
    return memberships.with_learner(base, member)


def _replaced(
    membership: Membership, command: AddMember, namesakes: list[Member], is_active: IsActive
) -> NodeId | None:
    alive = [one for one in namesakes if is_active(one.id)]
    if alive:
        raise _refused("alive", f"{command.name!r} is a member and alive ({alive[0].id})")
    if namesakes and not command.replace:
        raise _refused(
            "name_taken",
            f"{command.name!r} is a member that is not heard from: add it with 'replace'",
        )
    voters = [one.id for one in namesakes if one.id in membership.voters]
    return voters[0] if voters else None


def updating(membership: Membership, command: UpdateMember) -> Membership | None:
    """Work out the membership with a member's new addresses; None if nothing changes.

    Raises: MembershipRefused.
    """
    _refuse_wrong_address(command.addresses)
    node_id = NodeId(command.member_id)
    present = memberships.member(membership, node_id)
    if present is None:
        raise _refused("no_member", f"{node_id} is not a member")
    if (present.addresses, present.level) == (command.addresses, command.level):
        return None
    return memberships.with_addresses(membership, node_id, command.addresses, command.level)


def removing(membership: Membership, command: RemoveMember) -> Membership | None:
    """Work out the first half of a removal; None if it has left already.

    Raises: NotFound, MembershipRefused.
    """
    if any(command.member in {one.id, one.name} for one in membership.removed) and not any(
        command.member in {one.id, one.name} for one in membership.members
    ):
        return None
    node_id = find(membership, command.member)
    if membership.voters == (node_id,):
        raise _refused("last_voter", "the last voter cannot leave")
    return memberships.removing(membership, node_id)


def find(membership: Membership, word: str) -> NodeId:
    """Look up a member by identity, or by a name that only one has.

    Raises: NotFound, MembershipRefused.
    """
    found = [one.id for one in membership.members if word in {one.id, one.name}]
    if not found:
        raise NotFound(f"there is no member {word!r}")
    if len(found) > 1:
        raise _refused("ambiguous", f"{word!r} names {len(found)} members: give the identity")
    return found[0]


def refuse_if_unhealthy(new: Membership, is_active: IsActive) -> None:
    """Refuse a change after which a quorum could not be reached. Raises: MembershipRefused."""
    healthy = sum(map(is_active, new.voters))
    needed = quorum.majority(new.voters)
    if healthy < needed:
        raise _refused(
            "would_lose_quorum",
            f"of the new voters {healthy} are heard from, and {needed} are needed",
        )


def refuse_if_busy(*, under_way: bool, leader_is_new: bool) -> None:
    """Refuse a change while another goes on, or before a new leader may judge (section 4.1).

    Raises: MembershipRefused.
    """
    if under_way:
        raise _refused("change_under_way", "another change of the membership is not finished")
    if leader_is_new:
        raise _refused("leader_is_new", "the leader has not committed in its own term yet")


def _refuse_wrong_address(addresses: Addresses) -> None:
    listener = wrong_listener(addresses)
    if listener is not None:
        address = getattr(addresses, listener)
        raise _refused("no_address", f"{listener}: {address!r} is not host:port")


def _refused(reason: str, message: str) -> MembershipRefused:
    retry_after_ms = 200 if reason in {"change_under_way", "leader_is_new"} else None
    return MembershipRefused(message, retry_after_ms=retry_after_ms, details={"reason": reason})
