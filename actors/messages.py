"""What the actors of one node tell each other."""

from __future__ import annotations

from typing import Any

import msgspec
import pykka

from felix.proto.errors import NotApplied
from felix.proto.ids import Epoch, Index, NodeId, Term, Version
from felix.proto.queries import MemberStatus
from felix.proto.raft import Entry, SnapshotMeta
from felix.proto.updates import RawUpdate

ActorRef = pykka.ActorRef[Any]


class Attach(msgspec.Struct, frozen=True):
    """To CatalogActor, from Node: the actors it talks to; again when one was started anew."""

    raft: ActorRef
    fanout: ActorRef
    snapshots: ActorRef


# --- CatalogActor -> RaftNode -------------------------------------------------------------------


class Propose(msgspec.Struct, frozen=True, gc=False):
    """Commit this. Answered by the token in `Committed`, or by `Rejected`."""

    token: int
    data: bytes


class ReadIndex(msgspec.Struct, frozen=True, gc=False):
    """Up to where must be applied to answer a linearizable read? Answered by `ReadReleased`."""

    context: int


class DescribeCluster(msgspec.Struct, frozen=True):
    """How does RAFT stand? Answered by `ClusterDescribed`."""

    token: int


# --- RaftNode -> CatalogActor -------------------------------------------------------------------


class Committed(msgspec.Struct, frozen=True):
    """Apply these, in order. `tokens` says which of them this node proposed: index -> token."""

    entries: tuple[Entry, ...]
    tokens: dict[Index, int]


class Rejected(msgspec.Struct, frozen=True):
    """These proposals had no effect and will have none."""

    tokens: tuple[int, ...]
    error: NotApplied


class ReadReleased(msgspec.Struct, frozen=True):
    """Reads of this context may be answered once `index` is applied; None: there is no leader."""

    context: int
    index: Index | None


class LeadershipChanged(msgspec.Struct, frozen=True):
    """Who leads now, as far as this node knows."""

    term: Term
    leader_id: NodeId | None
    is_leader: bool


class ClusterDescribed(msgspec.Struct, frozen=True):
    """How RAFT stands on this node."""

    token: int
    term: Term
    leader_id: NodeId | None
    commit_index: Index
    members: tuple[MemberStatus, ...]


class RestoreFrom(msgspec.Struct, frozen=True):
    """Replace the state machine by this snapshot, which came from the leader."""

    snapshot: SnapshotMeta


class TakeSnapshot(msgspec.Struct, frozen=True):
    """The log has grown long: write down the state machine as it is.

    RaftNode hears `SnapshotTaken` from the writer, or `SnapshotSkipped` from the catalog.
    """


# --- CatalogActor -> WatchFanout ----------------------------------------------------------------


class Publish(msgspec.Struct, frozen=True):
    """Tell the brokers. The updates have consecutive versions; there is at least one."""

    epoch: Epoch
    updates: tuple[RawUpdate, ...]
    digest: str
    """After the last of them."""


class Restart(msgspec.Struct, frozen=True):
    """The catalog jumped: it was restored, or has just been read from disk."""

    epoch: Epoch
    version: Version
    digest: str


# --- SnapshotWriter -----------------------------------------------------------------------------


class SnapshotBegin(msgspec.Struct, frozen=True):
    """From CatalogActor: a snapshot of the state after this entry follows in chunks."""

    index: Index
    term: Term


class SnapshotChunkWritten(msgspec.Struct, frozen=True):
    """From CatalogActor: the next chunk."""

    data: bytes


class SnapshotEnd(msgspec.Struct, frozen=True):
    """From CatalogActor: that was all; `reply_to` gets `SnapshotTaken`."""

    reply_to: ActorRef


class SnapshotPrune(msgspec.Struct, frozen=True):
    """From RaftNode: only these snapshots are needed."""

    keep: tuple[SnapshotMeta, ...]


class SnapshotSkipped(msgspec.Struct, frozen=True):
    """To RaftNode: no snapshot came of it, because a newer one from the leader replaced it."""


class SnapshotTaken(msgspec.Struct, frozen=True):
    """To RaftNode: this snapshot is durable."""

    snapshot: SnapshotMeta


# --- asked by the edges -------------------------------------------------------------------------


class GetStatistics(msgspec.Struct, frozen=True):
    """To any actor, by `ask`: its numbers, as an immutable record."""
