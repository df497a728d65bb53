"""The Enrolment actor: sees to it that this node takes part, under its present addresses.

It asks this node and the others over RPC what they see, lets `felix.core.enrolment` decide, and
carries that out. Once the node takes part it looks again now and then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import structlog

from felix.actors.consensus import MustStop
from felix.actors.messages import ActorRef, FoundCluster, GetStatistics, MeetMembers
from felix.core import enrolment
from felix.core.enrolment import Newcomer
from felix.proto.control_plane import Call
from felix.proto.errors import FelixError
from felix.proto.ids import NodeId
from felix.proto.queries import ClusterStatus, GetCluster
from felix.proto.raft import Addresses, Member
from felix.transport.contacts import Contacts
from felix.transport.socket_actor import SocketActor, handles

LOOK_S_MIN: Final = 0.05
LOOK_S_MAX: Final = 2.0
"""Between two looks while the node does not take part; doubled each time."""
LOOK_SETTLED_S: Final = 5.0
ASK_S: Final = 0.5
CHANGE_S: Final = 5.0

log = structlog.get_logger("felix.enrolment")


class _Look(msgspec.Struct, frozen=True):
    """Look how things stand."""


class EnrolmentStatistics(msgspec.Struct, frozen=True):
    """Enrolment's numbers at one moment."""

    is_settled: bool
    waits_for: str


class Enrolment(SocketActor):
    """Asks, decides, carries out, and asks again."""

    def __init__(
        self,
        failed: Callable[[SocketActor, BaseException], None],
        contacts: Contacts,
        newcomer: Newcomer,
        own_endpoint: str,
        seeds: Mapping[str, Addresses],
        raft: ActorRef,
        must_stop: Callable[[MustStop], None],
    ) -> None:
        """`seeds` says where other members are by the configuration, by their names.

        `contacts` are the caller's to close, before it stops this actor.
        """
        super().__init__(failed)
        self._contacts = contacts
        self._newcomer = newcomer
        self._own_endpoint = own_endpoint
        self._seeds = dict(seeds)
        self._raft = raft
        self._must_stop = must_stop
        self._known: dict[str, str] = {}
        """Every endpoint to ask, by the name of its node."""
        self._endpoints: dict[str, str] = {}
        """Those that may know a leader; this node's own has no name."""
        self._pause_s = LOOK_S_MIN
        self._is_settled = False
        self._waits_for = ""

    def acquire(self) -> None:
        """Look at once."""
        self.after(0, _Look())

    @handles(_Look)
    def _look(self, message: _Look) -> None:
        mine = self._ask(self._own_endpoint)
        if mine is None:
            self._wait("this node does not answer itself")
        else:
            is_member = enrolment.is_listed(self._newcomer, mine)
            knows_way = is_member and mine.leader_id is not None
            others = {} if knows_way else self._ask_others(mine)
            self._introduce(mine, others)
            self._endpoints = {"": self._own_endpoint} if knows_way else self._known
            self._carry_out(enrolment.decide(self._newcomer, mine, others))
        self.after(self._pause_s, message)
        self._pause_s = min(2 * self._pause_s, LOOK_S_MAX)
        if self._is_settled:
            self._pause_s = LOOK_SETTLED_S

    def _introduce(self, mine: ClusterStatus, others: Mapping[str, ClusterStatus]) -> None:
        """Let a node that knows no leader know where members are.

        An outsider has nothing else to go by. And where all members have moved at once, what the
        log says of them is wrong for all: but one that answers where the configuration says is
        there.
        """
        met = {
            NodeId(member.id): Member(
                NodeId(member.id), member.name, enrolment.addresses_of(member)
            )
            for status in others.values()
            if status.cluster_id == mine.cluster_id
            for member in status.members
            if not enrolment.is_listed(self._newcomer, mine) and member.id != mine.node_id
        }
        met |= {
            NodeId(status.node_id): Member(NodeId(status.node_id), name, self._seeds[name])
            for name, status in others.items()
            if name in self._seeds and status.cluster_id == mine.cluster_id
        }
        if met:
            self._raft.tell(MeetMembers(met))

    def _carry_out(self, decision: enrolment.Decision) -> None:
        self._is_settled = isinstance(decision, enrolment.Settled)
        match decision:
            case enrolment.Settled():
                self._waits_for = ""
                self._contacts.keep_only(self._own_endpoint)
            case enrolment.Wait():
                self._wait(decision.why)
            case enrolment.Found():
                log.info("founding the cluster", members=len(decision.membership.voters))
                self._raft.tell(FoundCluster(decision.membership))
            case enrolment.Ask():
                self._ask_for(decision)
            case enrolment.Leave():
                self._must_stop(MustStop(decision.cause, decision.why))

    def _ask_for(self, decision: enrolment.Ask) -> None:
        operation = decision.operation
        log.info("asking the cluster", operation=type(operation).__name__)
        for name, endpoint in self._endpoints.items():
            try:
                self._contacts.ask(endpoint, operation, Call(timeout_s=CHANGE_S), name)
            except FelixError as error:
                self._wait(f"the cluster says: {error.message}")
                if error.outcome == "not_applied" and error.code == "membership_refused":
                    return
            else:
                self._pause_s = LOOK_S_MIN
                return

    def _wait(self, why: str) -> None:
        if why != self._waits_for:
            self._waits_for = why
            log.warning("this node does not take part yet", name=self._newcomer.name, because=why)

    def _ask_others(self, mine: ClusterStatus) -> dict[str, ClusterStatus]:
        """Ask everyone known: those configured, and those that the log names."""
        self._known = {name: f"tcp://{there.rpc}" for name, there in self._seeds.items()}
        for member in mine.members:
            if member.id != mine.node_id and member.name not in self._known:
                self._known[member.name] = f"tcp://{member.addresses['rpc']}"
        found = {name: self._ask(endpoint, name) for name, endpoint in self._known.items()}
        return {name: status for name, status in found.items() if status is not None}

    def _ask(self, endpoint: str, name: str = "") -> ClusterStatus | None:
        try:
            call = Call(timeout_s=ASK_S, consistency="stale")
            status = self._contacts.ask(endpoint, GetCluster(), call, name).result
        except FelixError:
            return None
        assert isinstance(status, ClusterStatus)
        return status

    @handles(GetStatistics)
    def _statistics(self, _: GetStatistics) -> EnrolmentStatistics:
        return EnrolmentStatistics(self._is_settled, self._waits_for)
