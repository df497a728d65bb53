"""The RaftNode actor: carries out what the consensus core decides.

It owns the peer sockets and the journal. Everything that is queued when it gets to work goes into
one batch: one message to each follower, one write to the disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from felix.actors.leader_contact import LeaderContact
from felix.actors.messages import (
    ActorRef,
    ClusterDescribed,
    Committed,
    DescribeCluster,
    GetStatistics,
    LeadershipChanged,
    Propose,
    ReadIndex,
    ReadReleased,
    Rejected,
    RestoreFrom,
    SnapshotPrune,
    SnapshotSkipped,
    SnapshotTaken,
    TakeSnapshot,
)
from felix.actors.proposals import Proposals
from felix.core.histogram import Histogram, HistogramValues
from felix.core.raft.core import RaftCore
from felix.core.raft.ready import Ready
from felix.proto.errors import NotLeader
from felix.proto.ids import Index, NodeId, Term
from felix.proto.queries import MemberRole, MemberStatus
from felix.proto.raft import InstallSnapshot
from felix.storage.ports import Journal, SnapshotStore
from felix.transport.peers import Peers
from felix.transport.socket_actor import SocketActor, handles

TICK_S = 0.01
TICKS_AT_ONCE_MAX = 10
"""A node that was stopped for longer lived through no more than this: it first hears what its
peers have to say before it takes their silence for death."""


class _Tick(msgspec.Struct, frozen=True):
    """Time passes."""


class _Flush(msgspec.Struct, frozen=True):
    """Carry out what has come together."""


class Member(msgspec.Struct, frozen=True):
    """What is known of a member besides its part in consensus."""

    name: str
    addresses: dict[str, str]


class RaftStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """RaftNode's numbers at one moment."""

    role: str
    term: Term
    leader_id: NodeId | None
    hears_a_leader: bool
    leader_changes: int
    commit_index: Index
    handed_to_apply: Index
    first_index: Index
    last_index: Index
    snapshot_index: Index
    proposals: int
    fsync_seconds: HistogramValues
    commit_seconds: HistogramValues
    peer_messages_dropped: int
    peer_messages_refused: int


class RaftNode(SocketActor):
    """Runs consensus on one node."""

    def __init__(
        self,
        failed: Callable[[SocketActor, BaseException], None],
        *,
        core: RaftCore,
        journal: Journal,
        snapshots: SnapshotStore,
        open_peers: Callable[[], Peers],
        members: dict[NodeId, Member],
        catalog: ActorRef,
        snapshot_writer: ActorRef,
        contact: LeaderContact,
        snapshot_entries: int,
        trail_entries: int,
    ) -> None:
        """A snapshot is taken every `snapshot_entries`; `trail_entries` stay in the log."""
        super().__init__(failed)
        self._core = core
        self._journal = journal
        self._snapshots = snapshots
        self._open_peers = open_peers
        self._members = members
        self._catalog = catalog
        self._snapshot_writer = snapshot_writer
        self._contact = contact
        self._snapshot_entries = snapshot_entries
        self._trail_entries = trail_entries
        self._snapshot_under_way = False
        self._proposals = Proposals()
        self._batch: list[Propose] = []
        self._flush_told = False
        self._last_tick = 0.0
        self._leadership: LeadershipChanged | None = None
        self._leader_changes = 0
        self._fsync_seconds = Histogram()
        self._commit_seconds = Histogram()

    def acquire(self) -> None:
        """Open the peer sockets and start the clock."""
        self._peers = self._open_peers()
        self.listen(self._peers.inbox, self._hear_peer)
        self._last_tick = time.monotonic()
        self.after(TICK_S, _Tick())
        self._flush_soon()

    def release(self) -> None:
        """Close the peer sockets and the journal."""
        self._peers.close()
        self._journal.close()

    # --- inputs -------------------------------------------------------------------------------

    def _hear_peer(self, frames: list[bytes]) -> None:
        message = self._peers.receive(frames)
        if message is not None:
            self._core.step(message)
            self._flush_soon()

    @handles(Propose)
    def _propose(self, message: Propose) -> None:
        self._batch.append(message)
        self._flush_soon()

    @handles(ReadIndex)
    def _read_index(self, message: ReadIndex) -> None:
        self._core.read_index(message.context)
        self._flush_soon()

    @handles(_Tick)
    def _tick(self, message: _Tick) -> None:
        now = time.monotonic()
        passed = int((now - self._last_tick) / TICK_S)
        self._last_tick += passed * TICK_S
        for _ in range(min(passed, TICKS_AT_ONCE_MAX)):
            self._core.tick()
        silence = self._core.ticks_since_leader
        if silence is not None:
            self._contact.made(silence * TICK_S)
        self.after(max(0.0, self._last_tick + TICK_S - now), message)
        self._flush_soon()

    @handles(SnapshotSkipped)
    def _snapshot_skipped(self, _: SnapshotSkipped) -> None:
        self._snapshot_under_way = False

    @handles(SnapshotTaken)
    def _snapshot_taken(self, message: SnapshotTaken) -> None:
        self._snapshot_under_way = False
        snapshot = message.snapshot
        if self._core.snapshot and snapshot.index <= self._core.snapshot.index:
            return  # one that the leader sent has overtaken it
        first_kept = Index(max(1, snapshot.index + 1 - self._trail_entries))
        self._journal.compact(snapshot, first_kept)
        self._core.compact(snapshot, first_kept)
        self._prune_snapshots()

    # --- carrying out -------------------------------------------------------------------------

    def _flush_soon(self) -> None:
        if not self._flush_told:
            self._flush_told = True
            self.actor_ref.tell(_Flush())

    @handles(_Flush)
    def _flush(self, _: _Flush) -> None:
        self._flush_told = False
        self._append_batch()
        while (ready := self._core.ready()) is not None:
            self._carry_out(ready)
            self._core.persisted()
        self._tell_leadership()

    def _append_batch(self) -> None:
        if not self._batch:
            return
        batch, self._batch = self._batch, []
        try:
            first = self._core.propose([one.data for one in batch])
        except NotLeader as error:
            self._catalog.tell(Rejected(tuple(one.token for one in batch), error))
            return
        self._reject(self._proposals.add(first, self._core.term, [one.token for one in batch]))

    def _carry_out(self, ready: Ready) -> None:
        if ready.committed:
            self._deliver(ready)
        for message in ready.messages:
            if type(message) is InstallSnapshot:
                message = self._with_data(message)  # noqa: PLW2901 - the same message, filled in
            self._peers.send(message)
        if ready.entries or ready.hard_state is not None:
            started = time.perf_counter()
            self._journal.append(ready.hard_state, ready.entries)
            self._fsync_seconds.add(time.perf_counter() - started)
        for message in ready.replies:
            self._peers.send(message)
        for chunk in ready.chunks:
            self._put_down(chunk)
        for read in ready.reads:
            self._catalog.tell(ReadReleased(read.context, read.index))

    def _deliver(self, ready: Ready) -> None:
        done = self._proposals.committed(ready.committed)
        self._catalog.tell(Committed(ready.committed, done.tokens))
        for seconds in done.seconds:
            self._commit_seconds.add(seconds)
        self._reject(done.overwritten)
        applied = ready.committed[-1].index
        since = self._core.snapshot.index if self._core.snapshot else 0
        if applied - since >= self._snapshot_entries and not self._snapshot_under_way:
            self._snapshot_under_way = True
            self._catalog.tell(TakeSnapshot())

    def _reject(self, tokens: tuple[int, ...]) -> None:
        if tokens:
            error = NotLeader("leadership was lost before the write could commit")
            self._catalog.tell(Rejected(tokens, error))

    # --- snapshots between nodes --------------------------------------------------------------

    def _with_data(self, message: InstallSnapshot) -> InstallSnapshot:
        size = self._core.config.snapshot_chunk_bytes
        data = self._snapshots.read(message.meta, message.offset, size)
        return msgspec.structs.replace(message, data=data)

    def _put_down(self, chunk: InstallSnapshot) -> None:
        meta = chunk.meta
        if not self._core.wants_snapshot(meta):
            return
        next_offset = self._snapshots.receive(meta, chunk.offset, chunk.data)
        if next_offset < meta.size_bytes:
            self._core.snapshot_received(chunk, next_offset)
        elif self._snapshots.accept(meta):
            self._journal.install(meta)
            self._core.snapshot_installed(chunk)
            self._catalog.tell(RestoreFrom(meta))
            self._prune_snapshots()
        else:
            self._core.snapshot_received(chunk, 0)

    def _prune_snapshots(self) -> None:
        leader = self._core.leader
        in_use = leader.snapshots_in_use() if leader else []
        assert self._core.snapshot is not None
        self._snapshot_writer.tell(SnapshotPrune((self._core.snapshot, *in_use)))

    # --- reports ------------------------------------------------------------------------------

    def _tell_leadership(self) -> None:
        core = self._core
        now = LeadershipChanged(core.term, core.leader_id, core.is_leader)
        if now == self._leadership:
            return
        before = self._leadership.leader_id if self._leadership else None
        if now.leader_id is not None and now.leader_id != before:
            self._leader_changes += 1
        self._leadership = now
        self._catalog.tell(now)

    @handles(DescribeCluster)
    def _describe(self, message: DescribeCluster) -> None:
        core = self._core
        self._catalog.tell(
            ClusterDescribed(
                message.token,
                core.term,
                core.leader_id,
                core.commit,
                tuple(self._member_status(node_id) for node_id in sorted(self._members)),
            )
        )

    def _member_status(self, node_id: NodeId) -> MemberStatus:
        core = self._core
        member = self._members[node_id]
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
            addresses=member.addresses,
            match_index=match,
            lag=core.log.last_index - match if match is not None and knows_last else None,
            active=active,
        )

    def _role_of(self, node_id: NodeId) -> MemberRole:
        core = self._core
        if node_id == core.leader_id:
            return "leader"
        if node_id == core.id:
            return "follower" if core.role.value == "follower" else "candidate"
        return "follower" if core.leader_id is not None else "unknown"

    @handles(GetStatistics)
    def _statistics(self, _: GetStatistics) -> RaftStatistics:
        core = self._core
        return RaftStatistics(
            role=core.role.value,
            term=core.term,
            leader_id=core.leader_id,
            hears_a_leader=core.hears_a_leader,
            leader_changes=self._leader_changes,
            commit_index=core.commit,
            handed_to_apply=core.applied,
            first_index=core.log.first_index,
            last_index=core.log.last_index,
            snapshot_index=core.snapshot.index if core.snapshot else Index(0),
            proposals=len(self._proposals),
            fsync_seconds=self._fsync_seconds.values(),
            commit_seconds=self._commit_seconds.values(),
            peer_messages_dropped=self._peers.dropped,
            peer_messages_refused=self._peers.refused,
        )
