"""A cluster inside the test's own process: the real rules of membership, no log and no sockets.

Time passes when somebody looks: with every `GetCluster` a step that was begun is committed,
learners come nearer, and one that has caught up is promoted.
"""

from __future__ import annotations

import threading
import uuid
from typing import Final

import msgspec

from felix.core.raft import changes, transfer
from felix.core.raft import membership as memberships
from felix.proto.cluster import AddMember, AnyOperation, RemoveMember, TransferLeadership
from felix.proto.control_plane import Answered, Call
from felix.proto.errors import NoLeader
from felix.proto.ids import NodeId
from felix.proto.queries import ClusterStatus, GetCluster, MemberRole, MemberStatus
from felix.proto.raft import Addresses, Member, Membership
from felix.proto.rpc import AnyRequest
from tests.support.local_control_plane import LocalControlPlane

LISTENERS: Final = ("http", "rpc", "watch", "metrics", "peers")
LAST_INDEX: Final = 5000


class LocalCluster:
    """A `felix.proto.control_plane.ControlPlane` with members; any thread may ask."""

    def __init__(self, *names: str, learner_lag: int = 1000, catch_up: int = 400) -> None:
        """The first one leads. A learner begins `learner_lag` entries behind and comes `catch_up`
        nearer with every look."""
        founders = [
            Member(identity_of(name), name, addresses_of(number))
            for number, name in enumerate(names)
        ]
        self.cluster_id = identity_of("cluster")
        self.has_quorum = True
        self.time_passes = True
        self.membership = Membership(
            voters=tuple(sorted(one.id for one in founders)),
            members=tuple(sorted(founders, key=lambda one: one.id)),
        )
        self._term = 3
        self._leader = founders[0].id
        self._dead: set[NodeId] = set()
        self._lag: dict[NodeId, int] = {}
        self._learner_lag = learner_lag
        self._catch_up = catch_up
        self._catalog = LocalControlPlane()
        self._lock = threading.Lock()

    def ask(self, message: AnyRequest, call: Call = Call()) -> Answered:  # noqa: B008 - immutable
        """Ask and get the answer at once. Raises: any `felix.proto.errors.FelixError`."""
        with self._lock:
            match message:
                case GetCluster():
                    if self.time_passes:
                        self._pass_time()
                case AddMember() | RemoveMember() | TransferLeadership():
                    self._operate(message)
                case _:
                    return self._catalog.ask(message, call)
            return Answered(self._status(), 0)

    def kill(self, name: str) -> None:
        """Let a voter that does not lead be silent from now on."""
        self._dead.add(changes.find(self.membership, name))

    def _operate(self, operation: AnyOperation) -> None:
        if not self.has_quorum:
            raise NoLeader("there is no leader")
        match operation:
            case AddMember():
                self._refuse_if_busy()
                new = changes.adding(self.membership, operation, self._is_alive)
                if new is not None:
                    self.membership = new
                    self._lag[NodeId(operation.member_id)] = self._learner_lag
            case RemoveMember():
                self._refuse_if_busy()
                new = changes.removing(self.membership, operation)
                if new is not None:
                    changes.refuse_if_unhealthy(new, self._is_alive)
                    self._settle(new)
            case TransferLeadership():
                self._transfer(operation.target)

    def _transfer(self, target: str) -> None:
        wanted = changes.find(self.membership, target) if target else None
        others = [one for one in self.membership.voters if one != self._leader]
        if wanted is None:
            wanted = next(filter(self._is_alive, others), None)
        if wanted is None:
            raise transfer.refused("no_successor", "no other voter is alive and keeps up")
        if wanted == self._leader:
            return
        if wanted not in others:
            raise transfer.refused("not_a_voter", "the target is not another voter")
        if not self._is_alive(wanted):
            raise transfer.refused("not_alive", "the target cannot take over: not_alive")
        self._lead(wanted)

    def _pass_time(self) -> None:
        if memberships.is_joint(self.membership):
            self._settle(self.membership)
        for learner in self.membership.learners:
            if self._lag[learner]:
                self._lag[learner] = max(0, self._lag[learner] - self._catch_up)
            elif not memberships.is_joint(self.membership):
                self.membership = memberships.promoting(self.membership, learner)

    def _settle(self, joint: Membership) -> None:
        self.membership = memberships.settled(joint)
        if self._leader not in self.membership.voters:
            self._lead(next(filter(self._is_alive, self.membership.voters)))

    def _lead(self, node_id: NodeId) -> None:
        self._leader = node_id
        self._term += 1

    def _refuse_if_busy(self) -> None:
        changes.refuse_if_busy(under_way=memberships.is_joint(self.membership), leader_is_new=False)

    def _is_alive(self, node_id: NodeId) -> bool:
        return node_id not in self._dead

    def _status(self) -> ClusterStatus:
        return ClusterStatus(
            cluster_id=self.cluster_id,
            node_id=self.membership.voters[0],
            leader_id=self._leader if self.has_quorum else None,
            term=self._term,
            commit_index=LAST_INDEX,
            applied_index=LAST_INDEX,
            version=0,
            epoch=1,
            digest="",
            members=[self._member(one) for one in self.membership.members],
            change_under_way=memberships.is_joint(self.membership),
            removed=[one.id for one in self.membership.removed],
            alarms=[
                f"{one.name} is not heard from"
                for one in self.membership.members
                if not self._is_alive(one.id)
            ],
        )

    def _member(self, one: Member) -> MemberStatus:
        lag = self._lag.get(one.id, 0)
        return MemberStatus(
            id=one.id,
            name=one.name,
            role=self._role(one.id),
            addresses=msgspec.to_builtins(one.addresses),
            match_index=LAST_INDEX - lag if self.has_quorum else None,
            lag=lag if self.has_quorum else None,
            active=self._is_alive(one.id) if self.has_quorum else None,
            voter=memberships.has_say(self.membership, one.id),
            leaving=bool(self.membership.outgoing) and one.id not in self.membership.voters,
            replaces=one.replaces,
            level=one.level,
        )

    def _role(self, node_id: NodeId) -> MemberRole:
        if node_id in self.membership.learners:
            return "learner"
        return "leader" if self.has_quorum and node_id == self._leader else "follower"


class LocalOutsider:
    """A node that no cluster has taken in: it describes itself and knows nobody else."""

    def __init__(self, name: str, cluster_id: str, *, number: int = 9, level: int = 1) -> None:
        self.id = identity_of(f"{name}, outside")
        self._status = ClusterStatus(
            cluster_id=cluster_id,
            node_id=self.id,
            leader_id=None,
            term=0,
            commit_index=0,
            applied_index=0,
            version=0,
            epoch=1,
            digest="",
            members=[
                MemberStatus(
                    id=self.id,
                    name=name,
                    role="outsider",
                    addresses=msgspec.to_builtins(addresses_of(number)),
                    level=level,
                )
            ],
        )

    def ask(self, message: AnyRequest, call: Call = Call()) -> Answered:  # noqa: B008 - immutable
        """Say who it is. Raises: NoLeader for everything else."""
        if isinstance(message, GetCluster):
            return Answered(self._status, 0)
        raise NoLeader("no cluster has taken this node in")


def identity_of(name: str) -> NodeId:
    """Make the same identity from the same name."""
    return NodeId(uuid.uuid5(uuid.NAMESPACE_DNS, name).hex)


def addresses_of(number: int) -> Addresses:
    """Make up where a node listens."""
    ports = {name: f"127.0.0.1:{17000 + 10 * number + n}" for n, name in enumerate(LISTENERS)}
    return Addresses(**ports)
