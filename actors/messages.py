"""What the actors of one node tell each other."""

from __future__ import annotations

from typing import Any

import msgspec
import pykka

from felix.core.auth.idp_cache import KeySource
from felix.core.brokers.heartbeats import BrokerSeen
from felix.core.brokers.reports import DrainedShard, Shard
from felix.core.catalog.catalog import Catalog
from felix.core.catalog.planning import Places, Whole, Work
from felix.proto.brokers import AppliedBy, BrokersHealth, HealthAck, PlacementPlan
from felix.proto.commands import AnyCommand
from felix.proto.errors import FelixError
from felix.proto.identity import IssuerProbe, Jwks
from felix.proto.ids import Epoch, Index, NodeId, Term
from felix.proto.queries import (
    GetBrokersHealth,
    GetPlacementPlan,
    PlanRebalance,
    ProbeIssuer,
    WaitForBrokers,
)
from felix.proto.raft import Member, Membership, SnapshotMeta
from felix.proto.reports import AnyReport
from felix.proto.resources import Key, ShardPlacement
from felix.proto.updates import RawUpdate
from felix.transport.allow_list import KeyChange

ActorRef = pykka.ActorRef[Any]


def tell_if_alive(actor: ActorRef, message: object) -> bool:
    """Tell an actor that may have failed; say whether it lives.

    One that has failed is started anew in a moment, and `Attach` says so.
    """
    try:
        actor.tell(message)
    except pykka.ActorDeadError:
        return False
    return True


class Attach(msgspec.Struct, frozen=True):
    """To RaftNode, from Node: actors that were started anew."""

    fanout: ActorRef
    snapshots: ActorRef
    idp_keys: ActorRef
    heartbeat_monitor: ActorRef
    placement_planner: ActorRef


class KeysChanged(msgspec.Struct, frozen=True):
    """To RaftNode and WatchFanout, from whoever changed the allow-list: act on it.

    Whoever lost a key must not stay connected, and libzmq cannot hang up on one alone: the socket
    is closed and opened anew, and the others come back.
    """

    change: KeyChange


# --- Enrolment -> RaftNode ----------------------------------------------------------------------


class FoundCluster(msgspec.Struct, frozen=True):
    """Begin a new cluster: all founders were heard of."""

    membership: Membership


class MeetMembers(msgspec.Struct, frozen=True):
    """Members are there, whatever the log says of them up to now."""

    members: dict[NodeId, Member]


# --- RaftNode <-> IdpKeys -----------------------------------------------------------------------


class FindIssuerKeys(msgspec.Struct, frozen=True):
    """From RaftNode: the keys of an identity provider; `reply_to` gets `LocalAnswer`."""

    token: int
    source: KeySource
    missing_kid: str
    patience_s: float
    reply_to: ActorRef


class ProbeProvider(msgspec.Struct, frozen=True):
    """From RaftNode: ask a provider who it is; `reply_to` gets `LocalAnswer`."""

    token: int
    query: ProbeIssuer
    patience_s: float
    reply_to: ActorRef


class LocalAnswer(msgspec.Struct, frozen=True):
    """To RaftNode: the answer to one of these."""

    token: int
    result: Jwks | IssuerProbe | FelixError


# --- RaftNode <-> HeartbeatMonitor --------------------------------------------------------------


class Leading(msgspec.Struct, frozen=True):
    """From RaftNode: it leads since now, or does not lead any more."""

    term: Term
    is_leader: bool
    raft: ActorRef


class Reported(msgspec.Struct, frozen=True):
    """From RaftNode: a report of a boot that is the broker's latest; it gets `BrokerAnswer`."""

    token: int
    report: AnyReport
    seen: BrokerSeen
    epoch: int
    """Of the catalog."""
    digest: str
    """Of the metadata at the version that the report names; "" where it is not known any more."""
    holds: frozenset[Shard]
    """Those of the copies it speaks of that the broker has in the catalog."""


class ReadCatalog(msgspec.Struct, frozen=True):
    """To RaftNode: what of the catalog is about brokers; `reply_to` gets `CatalogRead`."""

    since: int
    """Only what has changed after this version; -1: everything."""
    streams: tuple[Key, ...]
    """Whose placements are wanted whether they have changed or not."""
    reply_to: ActorRef


class CatalogRead(msgspec.Struct, frozen=True):
    """From RaftNode: the catalog's brokers and placements."""

    version: int
    brokers: tuple[BrokerSeen, ...] | None
    """All of them; None: nothing about them has changed."""
    placements: dict[Key, ShardPlacement | None]
    """Those asked for, and those that have changed; None: there is none."""
    is_whole: bool
    """Nobody knows which placements have changed: look at all."""


class HealthAsked(msgspec.Struct, frozen=True):
    """From RaftNode: a query; it gets `BrokerAnswer`."""

    token: int
    query: GetBrokersHealth
    catalog: CatalogRead


class BrokersAwaited(msgspec.Struct, frozen=True):
    """From RaftNode: a query that may have to wait; it gets `BrokerAnswer` within its patience."""

    token: int
    query: WaitForBrokers
    patience_s: float
    catalog: CatalogRead


class PlanAsked(msgspec.Struct, frozen=True):
    """From RaftNode: a query about placement; it gets `BrokerAnswer`."""

    token: int
    query: GetPlacementPlan | PlanRebalance
    seen: Work | Whole


class ReadWork(msgspec.Struct, frozen=True):
    """To RaftNode: what placement there is to be done; `reply_to` gets `WorkRead`."""

    reply_to: ActorRef
    after: Places
    dead: tuple[str, ...]
    """Brokers that are not waited for any more. See `work_of`."""


class WorkRead(msgspec.Struct, frozen=True):
    """From RaftNode: what there is to be done."""

    work: Work


class BrokerAnswer(msgspec.Struct, frozen=True):
    """To RaftNode: the answer to one of these."""

    token: int
    result: HealthAck | BrokersHealth | AppliedBy | PlacementPlan | FelixError


class GetReports(msgspec.Struct, frozen=True):
    """To HeartbeatMonitor, by `ask`: what placement must know; answered with `ReportsSeen`."""


class ReportsSeen(msgspec.Struct, frozen=True):
    """From HeartbeatMonitor: what brokers report that bears on where shards go."""

    term: Term
    """0: this node does not lead, and knows nothing."""
    unwell: tuple[str, ...]
    """Brokers that are to get no shards, sorted."""
    drained: tuple[DrainedShard, ...]


# --- proposals of a node's own ------------------------------------------------------------------


class Propose(msgspec.Struct, frozen=True):
    """To RaftNode: commit what was decided in a term, if this node leads in it still.

    `reply_to` gets `Proposed`, unless leadership is lost meanwhile.
    """

    number: int
    term: Term
    commands: tuple[AnyCommand, ...]
    principal: str
    reply_to: ActorRef


class Proposed(msgspec.Struct, frozen=True):
    """From RaftNode: all of them are applied, or refused."""

    number: int
    errors: tuple[str, ...]
    """Of those that were refused, in words."""


# --- KeyManager -> RaftNode ---------------------------------------------------------------------


class RaiseAlarms(msgspec.Struct, frozen=True):
    """What an operator should look at, in words; in place of what the same source said before."""

    source: str
    alarms: tuple[str, ...]


# --- from the edges -----------------------------------------------------------------------------


class HandOver(msgspec.Struct, frozen=True):
    """To RaftNode, by `ask`: another is to lead; answered with whether that has begun."""


class TurnAway(msgspec.Struct, frozen=True):
    """To RaftNode, by `ask`: take no more requests; answered with how many are under way."""


# --- RaftNode -> WatchFanout --------------------------------------------------------------------


class Publish(msgspec.Struct, frozen=True):
    """Tell the brokers. The updates have consecutive versions; there is at least one."""

    epoch: Epoch
    updates: tuple[RawUpdate, ...]
    digest: str
    """After the last of them."""
    time_us: int
    """When they were committed, by this node's clock."""
    wants_acks: bool = False
    """Somebody waits for brokers: they report at once that they have the last of them."""


# --- SnapshotWriter -----------------------------------------------------------------------------


class SnapshotBegin(msgspec.Struct, frozen=True):
    """From RaftNode: a snapshot of the state after this entry follows in chunks."""

    index: Index
    term: Term
    membership: Membership


class SnapshotChunkWritten(msgspec.Struct, frozen=True):
    """From RaftNode: the next chunk."""

    data: bytes


class SnapshotEnd(msgspec.Struct, frozen=True):
    """From RaftNode: that was all; `reply_to` gets `SnapshotTaken`."""

    reply_to: ActorRef


class SnapshotPrune(msgspec.Struct, frozen=True):
    """From RaftNode: only these snapshots are needed."""

    keep: tuple[SnapshotMeta, ...]


class SnapshotTaken(msgspec.Struct, frozen=True):
    """To RaftNode: this snapshot is durable."""

    snapshot: SnapshotMeta


class SnapshotLoad(msgspec.Struct, frozen=True):
    """From RaftNode: read this snapshot, which came from the leader; `reply_to` gets it."""

    snapshot: SnapshotMeta
    reply_to: ActorRef


class SnapshotLoaded(msgspec.Struct, frozen=True):
    """To RaftNode: the catalog of a snapshot."""

    snapshot: SnapshotMeta
    catalog: Catalog


# --- asked by the edges -------------------------------------------------------------------------


class GetStatistics(msgspec.Struct, frozen=True):
    """To any actor, by `ask`: its numbers, as an immutable record."""
