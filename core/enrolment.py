"""How a node comes to take part: by founding a cluster, by being taken in, or in its own place.

A pure decision over what the node and those it can ask say of themselves. A node draws its
identity when its data directory is made, so one with an empty disk is nobody's member, whatever it
is called: it has no vote until a cluster has taken it in and it has caught up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from felix.proto.cluster import AddMember, UpdateMember
from felix.proto.ids import NodeId
from felix.proto.queries import ClusterStatus, MemberStatus
from felix.proto.raft import Addresses, Member, Membership


class Newcomer(msgspec.Struct, frozen=True):
    """Who a node is, and what it may do."""

    id: NodeId
    name: str
    addresses: Addresses
    level: int
    cluster_id: str
    is_founder: bool
    """It may found a cluster."""
    founders: tuple[str, ...]
    """The names of all who found it together, this one included."""


class Wait(msgspec.Struct, frozen=True):
    """Nothing can be done now."""

    why: str


class Settled(msgspec.Struct, frozen=True):
    """This node takes part, and the cluster knows where it is."""


class Found(msgspec.Struct, frozen=True):
    """Begin a new cluster; all founders come to the same membership."""

    membership: Membership


class Ask(msgspec.Struct, frozen=True):
    """Ask the cluster for this."""

    operation: AddMember | UpdateMember


class Leave(msgspec.Struct, frozen=True):
    """This node cannot go on."""

    cause: Literal["removed", "foreign", "too_old"]
    why: str


Decision: TypeAlias = Wait | Settled | Found | Ask | Leave


def decide(me: Newcomer, mine: ClusterStatus, others: Mapping[str, ClusterStatus]) -> Decision:
    """Decide what to do next.

    `mine` is what this node says of the cluster, `others` what others say, by their names.
    """
    listed = next((one for one in mine.members if one.id == me.id), None)
    if listed is not None and not is_outsider(mine):
        return _as_member(me, listed)
    if me.id in mine.removed:
        return Leave("removed", "it was removed from the cluster")
    clusters = [status for status in others.values() if not is_outsider(status)]
    if clusters:
        return _before_a_cluster(me, clusters)
    if me.is_founder and is_outsider(mine):
        return _before_founding(me, mine, others)
    return Wait("no member of the cluster answers")


def is_listed(me: Newcomer, mine: ClusterStatus) -> bool:
    """Say whether this node's own log has it among the members.

    Where it has not, the entry may be yet to come, or may have been cut off: others must be asked.
    """
    return not is_outsider(mine) and any(one.id == me.id for one in mine.members)


def is_outsider(status: ClusterStatus) -> bool:
    """Say whether the node that says this has not been taken in by any cluster."""
    return any(one.role in {"founder", "outsider"} for one in status.members)


def addresses_of(member: MemberStatus) -> Addresses:
    """Read where a member is."""
    return Addresses(**member.addresses)


def _as_member(me: Newcomer, listed: MemberStatus) -> Decision:
    if (addresses_of(listed), listed.level) != (me.addresses, me.level):
        return Ask(UpdateMember(member_id=me.id, addresses=me.addresses, level=me.level))
    return Settled()


def _before_a_cluster(me: Newcomer, clusters: Sequence[ClusterStatus]) -> Decision:
    newest = max(clusters, key=lambda one: (one.commit_index, one.term))
    if newest.cluster_id != me.cluster_id:
        return Leave(
            "foreign",
            f"the nodes it is configured with are cluster {newest.cluster_id}, "
            f"and its data directory belongs to cluster {me.cluster_id}",
        )
    if me.id in newest.removed:
        return Leave("removed", "it was removed from the cluster")
    if newest.feature_level > me.level:
        return Leave(
            "too_old",
            f"the cluster needs feature level {newest.feature_level}, this build has {me.level}",
        )
    listed = next((one for one in newest.members if one.id == me.id), None)
    if listed is not None:
        decision = _as_member(me, listed)
        waiting = Wait("the cluster has taken this node in and will send it the log")
        return decision if isinstance(decision, Ask) else waiting
    if any(one.name == me.name for one in newest.members):
        return Ask(
            AddMember(
                member_id=me.id,
                name=me.name,
                addresses=me.addresses,
                level=me.level,
                replace=True,
            )
        )
    return Wait(
        f"the cluster does not know this node: felix-admin cluster add {me.name} "
        f"--node {me.addresses.http or me.addresses.rpc}"
    )


def _before_founding(
    me: Newcomer, mine: ClusterStatus, others: Mapping[str, ClusterStatus]
) -> Decision:
    missing = sorted({*me.founders} - {me.name} - others.keys())
    if missing:
        return Wait(f"to found the cluster, {', '.join(missing)} must answer too")
    partners = {name: others[name] for name in me.founders if name != me.name}
    for name, status in partners.items():
        if status.cluster_id != me.cluster_id:
            return Leave("foreign", f"{name} is to found another cluster")
        if not any(one.role == "founder" for one in status.members):
            return Wait(f"{name} has set data aside or is to join: it founds no cluster")
    selves = [mine, *partners.values()]
    members = sorted((_self_of(status) for status in selves), key=lambda one: one.id)
    return Found(Membership(tuple(one.id for one in members), members=tuple(members)))


def _self_of(status: ClusterStatus) -> Member:
    (listed,) = (one for one in status.members if one.id == status.node_id)
    return Member(NodeId(listed.id), listed.name, addresses_of(listed), listed.level)
