"""RAFT's own records: log entries, hard state, and the messages between peers.

Section numbers are those of Ongaro's dissertation, "Consensus: Bridging Theory and Practice".
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

import msgspec

from felix.proto.ids import Index, NodeId, Term


class EntryKind(IntEnum):
    """What an entry's data is."""

    NOOP = 0
    """Proposed by a new leader to commit what earlier terms left behind (section 3.6.2)."""
    COMMAND = 1
    """An encoded `Proposal` for the state machine."""
    MEMBERSHIP = 2
    """An encoded `Membership`: in force from the moment it is in a node's log (section 4.1)."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One position of the log."""

    index: Index
    term: Term
    kind: EntryKind
    data: bytes


class HardState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a node must remember over a restart before it answers anyone (section 3.8)."""

    term: Term = Term(0)
    vote: NodeId | None = None


class Addresses(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a member can be reached, by listener: `host:port` each; empty where it cannot be."""

    peers: str
    rpc: str
    watch: str = ""
    http: str = ""
    metrics: str = ""


class Member(msgspec.Struct, frozen=True, array_like=True):
    """Somebody who takes part, with what others must know to reach it."""

    id: NodeId
    name: str
    addresses: Addresses
    level: int = 1
    """The feature level of the build it runs."""
    replaces: NodeId | None = None
    """Of a learner: the voter that leaves when it is promoted."""


class RemovedMember(msgspec.Struct, frozen=True, array_like=True):
    """Somebody who took part and never will again."""

    id: NodeId
    name: str
    peers: str
    """Where it may still be listening (`host:port`), to be told."""


class Membership(msgspec.Struct, frozen=True, array_like=True):
    """Who takes part, at one point of the log (chapter 4)."""

    voters: tuple[NodeId, ...]
    """Sorted. Empty: this node has not been taken in by any cluster."""
    outgoing: tuple[NodeId, ...] = ()
    """Sorted. Not empty: two majorities are needed, of these and of `voters` (section 4.3)."""
    learners: tuple[NodeId, ...] = ()
    """Sorted. They get the log and have no say; the leader promotes them once they keep up."""
    members: tuple[Member, ...] = ()
    """Everyone in the three lists, sorted by identity."""
    removed: tuple[RemovedMember, ...] = ()
    """The last ones that left, oldest first."""


class Checkpoint(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Proof of a state machine at one point of the log."""

    index: Index
    digest: str


class SnapshotMeta(msgspec.Struct, frozen=True, array_like=True):
    """Which prefix of the log a snapshot file stands for, and how to know the file is whole."""

    index: Index
    term: Term
    membership: Membership
    size_bytes: int
    checksum: str
    """BLAKE2b-256 of the file, hex."""


class PeerMessage(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Base of what peers say to each other."""

    sender: NodeId
    to: NodeId
    term: Term


class PreVote(PeerMessage, frozen=True, array_like=True, tag=True, gc=False):
    """Would you vote for me in `term`? Changes nobody's state (section 9.6)."""

    last_index: Index
    last_term: Term


class PreVoteReply(PeerMessage, frozen=True, array_like=True, tag=True, gc=False):
    """Answer to `PreVote`; `term` is the one asked for when granted, else the sender's own."""

    granted: bool


class RequestVote(PeerMessage, frozen=True, array_like=True, tag=True, gc=False):
    """Vote for me (section 3.4)."""

    last_index: Index
    last_term: Term
    by_transfer: bool = False
    """The leader itself asked for this: having heard from it lately is no reason to refuse."""


class VoteReply(PeerMessage, frozen=True, array_like=True, tag=True, gc=False):
    """Answer to `RequestVote`, sent after the vote is on disk."""

    granted: bool


class AppendEntries(PeerMessage, frozen=True, array_like=True, tag=True, gc=False):
    """Replicate entries, and carry the commit index (section 3.5)."""

    prev_index: Index
    prev_term: Term
    commit: Index
    entries: tuple[Entry, ...]


class AppendReply(PeerMessage, frozen=True, array_like=True, tag=True, gc=False):
    """Answer to `AppendEntries`, sent after the entries are on disk.

    Accepted: `index` is the last entry known to match. Rejected: `index` and `hint_term` say where
    the logs may still agree, so that the leader steps back a whole term at a time.
    """

    accepted: bool
    index: Index
    hint_term: Term = Term(0)
    rejected_prev: Index = Index(0)
    """The `prev_index` that did not match, so that a late answer is recognised."""


class Heartbeat(PeerMessage, frozen=True, array_like=True, tag=True, gc=False):
    """I lead. Also how the commit index travels when there is nothing to append."""

    commit: Index
    """Never more than what the receiver is known to have."""
    round: int
    """Answered with the same number, for ReadIndex (section 6.4); 0 wants no answer."""
    stamp: int = 0
    """The sender's clock, in ticks; comes back in the answer."""
    echo: int | None = None
    """The stamp of the last answer that the sender has had from the receiver."""
    age_ticks: int = 0
    """How long ago a quorum was known to follow the sender."""
    leader_commit: Index = Index(0)
    """All that is committed, whether the receiver has it or not."""


class HeartbeatReply(PeerMessage, frozen=True, array_like=True, tag=True, gc=False):
    """Answer to `Heartbeat`."""

    round: int
    stamp: int = 0
    """The sender's clock, in ticks; comes back in a later beat."""
    echo: int = 0
    """The stamp of the beat."""
    checkpoint: Checkpoint | None = None
    """The newest the sender has, for the leader to hold against those of others."""


class InstallSnapshot(PeerMessage, frozen=True, array_like=True, tag=True, gc=False):
    """One chunk of the leader's snapshot (section 5.1)."""

    meta: SnapshotMeta
    offset: int
    data: bytes
    """Filled in by whoever has the file; the core decides which piece to send."""


class SnapshotReply(PeerMessage, frozen=True, array_like=True, tag=True, gc=False):
    """Answer to `InstallSnapshot`: the next byte wanted, or that the snapshot is in place."""

    index: Index
    """Of the snapshot."""
    offset: int
    installed: bool


class ReadIndexRequest(PeerMessage, frozen=True, array_like=True, tag=True, gc=False):
    """A follower asks up to which index it must have applied to answer a read (section 6.4)."""

    context: int


class ReadIndexReply(PeerMessage, frozen=True, array_like=True, tag=True, gc=False):
    """Answer to `ReadIndexRequest`; index 0 is a refusal: ask again later."""

    context: int
    index: Index


class TimeoutNow(PeerMessage, frozen=True, array_like=True, tag=True, gc=False):
    """From the leader to its successor: stand for election at once (section 3.10)."""


class Dismissal(PeerMessage, frozen=True, array_like=True, tag=True, gc=False):
    """To a node that stands for election and was removed: you do not take part any more."""

    index: Index
    """Of the entry that removed it, or of a later one."""


class Divergence(PeerMessage, frozen=True, array_like=True, tag=True, gc=False):
    """From the leader: your state machine is not that of the majority."""

    checkpoint: Checkpoint
    """What the majority has where the receiver has something else."""


AnyPeerMessage: TypeAlias = (
    PreVote
    | PreVoteReply
    | RequestVote
    | VoteReply
    | AppendEntries
    | AppendReply
    | Heartbeat
    | HeartbeatReply
    | InstallSnapshot
    | SnapshotReply
    | ReadIndexRequest
    | ReadIndexReply
    | TimeoutNow
    | Dismissal
    | Divergence
)


class PeerFrame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The envelope of a peer message."""

    protocol: int
    cluster_id: str
    message: AnyPeerMessage
