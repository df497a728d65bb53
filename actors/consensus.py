"""Carries out what the consensus core decides: peers, journal, and the order of things.

A plain object; `felix.actors.raft_node` runs it. Everything that came together since the last
`flush` goes into one batch: one message to each follower, one write to the disk.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from felix.actors.freshness import AGE_S_MAX, Freshness
from felix.actors.proposals import Proposals
from felix.actors.roster import Census, Roster
from felix.core.commit_times import CommitTimes
from felix.core.histogram import Histogram, HistogramValues
from felix.core.raft.core import COMMITTED_PER_READY_MAX, RaftCore
from felix.core.raft.ready import Ready
from felix.core.raft.retention import retained
from felix.proto.errors import NotApplied, NotLeader
from felix.proto.ids import Index, NodeId, Term
from felix.proto.queries import CommitWindow, MemberStatus
from felix.proto.raft import (
    Checkpoint,
    Entry,
    InstallSnapshot,
    Member,
    Membership,
    SnapshotMeta,
)
from felix.storage.ports import Journal, SnapshotStore
from felix.transport.node_curve import Place
from felix.transport.peers import Peers

TICK_S = 0.01


class Leadership(msgspec.Struct, frozen=True):
    """Who leads, as far as this node knows."""

    term: Term
    leader_id: NodeId | None
    is_leader: bool


class StateMachine(Protocol):
    """What consensus is for; called in the thread that runs consensus."""

    def committed(self, entries: Sequence[Entry], tokens: dict[Index, int]) -> None:
        """Apply entries in order; `tokens` says which of them were proposed here."""
        ...

    def rejected(self, tokens: Sequence[int], error: NotApplied) -> None:
        """Hear of proposals that had no effect and will have none."""
        ...

    def read_released(self, context: int, index: Index | None) -> None:
        """Answer the reads of this context once `index` is applied; None: there is no leader."""
        ...

    def leadership_changed(self, leadership: Leadership) -> None:
        """Hear who leads now."""
        ...

    def restore_from(self, snapshot: SnapshotMeta) -> None:
        """Go on from a snapshot that came from the leader."""
        ...

    def take_snapshot(self) -> None:
        """Write down the state as it is: the log has grown long."""
        ...

    def membership_changed(self, membership: Membership) -> None:
        """Hear who takes part now."""
        ...

    def must_stop(self, why: MustStop) -> None:
        """Hear that this node cannot go on."""
        ...

    def weight(self) -> int:
        """Count the records that the newest snapshot holds."""
        ...


class MustStop(msgspec.Struct, frozen=True):
    """Why a node cannot go on."""

    cause: Literal["removed", "foreign", "diverged", "too_old", "config"]
    message: str


class RaftStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Consensus' numbers at one moment."""

    role: str
    term: Term
    leader_id: NodeId | None
    hears_a_leader: bool
    knows_its_age: bool
    """Whether there is a bound on how old its stale reads are."""
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
    snapshot_bytes_sent: int
    """To followers that needed what was trimmed."""
    snapshots_installed: int
    heartbeats_missed: int
    """Silences of two heartbeat intervals: of the leader here, or of a follower at the leader."""
    age_s: float
    """Seconds since a moment of which this node has everything; at most a day."""
    members: Census


class Consensus:
    """One node's part in consensus, with its disk and its peers. Used by one thread."""

    def __init__(
        self,
        *,
        core: RaftCore,
        journal: Journal,
        snapshots: SnapshotStore,
        peers: Peers,
        me: Member,
        is_founder: bool,
        snapshot_entries: int,
        trail_entries: int,
    ) -> None:
        """A snapshot is taken every `snapshot_entries`; `trail_entries` stay in the log.

        `me` is how this node describes itself as long as it is no member.
        """
        self.core = core
        self._journal = journal
        self._snapshots = snapshots
        self._peers = peers
        self._roster = Roster(core, me, is_founder=is_founder)
        self._met: dict[NodeId, Member] = {}
        self._membership = Membership(())
        self._has_told_to_stop = False
        self._snapshot_entries = snapshot_entries
        self._trail_entries = trail_entries
        self._snapshot_under_way = False
        self._older: SnapshotMeta | None = None
        """The snapshot before the one that was taken last, while the log reaches back to it."""
        self._proposals = Proposals()
        self._batch: list[tuple[int, bytes]] = []
        self._freshness = Freshness()
        self._leadership: Leadership | None = None
        self._leader_changes = 0
        self._heartbeats_missed = 0
        self._snapshot_bytes_sent = self._snapshots_installed = 0
        self._fsync_seconds = Histogram()
        self._commit_seconds = Histogram()
        self._commit_times = CommitTimes()

    def attach(self, state_machine: StateMachine) -> None:
        """Say what the committed entries are for."""
        self._state_machine = state_machine

    def close(self) -> None:
        """Close the peer sockets; the journal is its opener's."""
        self._peers.close()

    # --- inputs: they take effect with the next flush -----------------------------------------

    def hear(self, frames: list[bytes]) -> None:
        """Take in what arrived from a peer."""
        message = self._peers.receive(frames)
        if message is not None:
            self.core.step(message)

    def tick(self, ticks: int, applied: Index, *, stood_still: bool, inbox_is_empty: bool) -> None:
        """Let ticks pass; a node that `stood_still` is given fewer than there were.

        `applied` is the last entry that the state machine has.
        """
        for _ in range(ticks):
            self.core.tick()
            if not stood_still:
                self._heartbeats_missed += self._silences_begun()
        age = self.core.ticks_since_current(applied)
        self._freshness.observe(
            time.monotonic(),
            None if age is None else age * TICK_S,
            stood_still=stood_still,
            inbox_is_empty=inbox_is_empty,
        )

    def _silences_begun(self) -> int:
        """Count who has just been silent for two heartbeat intervals."""
        core = self.core
        limit = 2 * core.config.heartbeat_ticks
        if core.leader is not None:
            return sum(one.silent_ticks == limit for one in core.leader.followers.values())
        return int(core.ticks_since_heard == limit)

    @property
    def age_s(self) -> float:
        """Seconds since a moment of which this node has everything; at most a day."""
        return self._freshness.age_s(time.monotonic())

    def propose(self, token: int, data: bytes) -> None:
        """Commit this; `committed` or `rejected` brings the token back, if anything does."""
        self._batch.append((token, data))

    def read_index(self, context: int) -> None:
        """Ask for a read index; `read_released` brings it."""
        self.core.read_index(context)

    def found(self, membership: Membership) -> None:
        """Begin a new cluster."""
        self.core.found(membership)

    def meet(self, members: Mapping[NodeId, Member]) -> None:
        """Learn where members are, whatever the log says of them up to now."""
        self._met.update(members)
        self.reach()

    def snapshot_skipped(self) -> None:
        """Hear that no snapshot came of `take_snapshot`: a newer one has replaced it."""
        self._snapshot_under_way = False

    def snapshot_taken(self, snapshot: SnapshotMeta) -> tuple[SnapshotMeta, ...]:
        """Trim the log behind a durable snapshot; return the snapshots that are still needed."""
        self._snapshot_under_way = False
        before = self.core.snapshot
        if before is None or snapshot.index > before.index:
            first_kept, self._older = retained(
                snapshot, before, self._snapshot_entries, self._trail_entries
            )
            self._journal.compact(snapshot, first_kept)
            self.core.compact(snapshot, first_kept)
        return self.snapshots_needed()

    def snapshots_needed(self) -> tuple[SnapshotMeta, ...]:
        """List the snapshots whose files must stay."""
        in_use = self.core.leader.snapshots_in_use() if self.core.leader else []
        own = (self.core.snapshot, self._older)
        return (*(one for one in own if one is not None), *in_use)

    # --- carrying out -------------------------------------------------------------------------

    def flush(self) -> bool:
        """Carry out what has come together.

        Says whether there may be more: whoever applies a long log hears its peers in between.
        """
        self._append_batch()
        applied = 0
        while applied < COMMITTED_PER_READY_MAX and (ready := self.core.ready()) is not None:
            self._carry_out(ready)
            self.core.persisted()
            applied += len(ready.committed)
        if self.core.membership is not self._membership:
            self._take_membership(self.core.membership)
        self._tell_leadership()
        if self.core.dismissed_at is not None or self.core.diverged_at is not None:
            self._tell_to_stop()
        return applied >= COMMITTED_PER_READY_MAX

    @property
    def ticks_until_due(self) -> int:
        """Ticks until something is to be done if nothing is heard."""
        return self.core.ticks_until_due

    def _append_batch(self) -> None:
        if not self._batch or self.core.is_transferring:
            return
        batch, self._batch = self._batch, []
        try:
            first = self.core.propose([data for _, data in batch])
        except NotLeader as error:
            self._state_machine.rejected([token for token, _ in batch], error)
            return
        self._proposals.add(first, self.core.term, [token for token, _ in batch])

    def _carry_out(self, ready: Ready) -> None:
        # Whoever waits for an answer comes first; but new entries leave before this node applies,
        # so that the followers' disks work meanwhile, and a follower answers before it applies.
        leads = self.core.is_leader
        if leads and not ready.entries:
            self._deliver(ready)
        self._send_all(ready)
        if leads and ready.entries:
            self._deliver(ready)
        self._write(ready)
        if not leads:
            self._deliver(ready)
        for chunk in ready.chunks:
            self._put_down(chunk)
        for read in ready.reads:
            self._state_machine.read_released(read.context, read.index)

    def _send_all(self, ready: Ready) -> None:
        for message in ready.messages:
            if type(message) is InstallSnapshot:
                message = self._with_data(message)  # noqa: PLW2901 - the same message, filled in
            self._peers.send(message)

    def _write(self, ready: Ready) -> None:
        """Make durable what must be, and only then say what depends on it."""
        if ready.entries or ready.hard_state is not None:
            started = time.perf_counter()
            self._journal.append(ready.hard_state, ready.entries)
            self._fsync_seconds.add(time.perf_counter() - started)
        for message in ready.replies:
            self._peers.send(message)

    def _deliver(self, ready: Ready) -> None:
        if not ready.committed:
            return
        done = self._proposals.committed(ready.committed)
        self._state_machine.committed(ready.committed, done.tokens)
        now = time.monotonic()
        for seconds in done.seconds:
            self._commit_seconds.add(seconds)
            self._commit_times.add(seconds, now)
        self._reject(done.overwritten)
        applied = ready.committed[-1].index
        since = self.core.snapshot.index if self.core.snapshot else 0
        # A snapshot costs in proportion to what it holds, so the next one is taken after three
        # quarters as many entries. As many as the last one holds, not as there are now: an entry
        # may bring several records, and what grows faster than the log would never be due again.
        due = max(self._snapshot_entries, self._state_machine.weight() * 3 // 4)
        if applied - since >= due and not self._snapshot_under_way:
            self._snapshot_under_way = True
            self._state_machine.take_snapshot()

    def checkpoint(self, index: Index, digest: str) -> None:
        """Hear what the state machine is after an entry, now and then."""
        self.core.checkpoints.add(Checkpoint(index, digest))

    def _reject(self, tokens: tuple[int, ...]) -> None:
        if tokens:
            error = NotLeader("leadership was lost before the write could commit")
            self._state_machine.rejected(tokens, error)

    # --- snapshots between nodes --------------------------------------------------------------

    def _with_data(self, message: InstallSnapshot) -> InstallSnapshot:
        size = self.core.config.snapshot_chunk_bytes
        data = self._snapshots.read(message.meta, message.offset, size)
        self._snapshot_bytes_sent += len(data)
        return msgspec.structs.replace(message, data=data)

    def _put_down(self, chunk: InstallSnapshot) -> None:
        meta = chunk.meta
        if not self.core.wants_snapshot(meta):
            return
        next_offset = self._snapshots.receive(meta, chunk.offset, chunk.data)
        if next_offset < meta.size_bytes:
            self.core.snapshot_received(chunk, next_offset)
        elif self._snapshots.accept(meta):
            self._journal.install(meta)
            self._older = None
            self.core.snapshot_installed(chunk)
            self._snapshots_installed += 1
            self._state_machine.restore_from(meta)
        else:
            self.core.snapshot_received(chunk, 0)

    # --- reports ------------------------------------------------------------------------------

    def _tell_leadership(self) -> None:
        core = self.core
        now = Leadership(core.term, core.leader_id, core.is_leader)
        if now == self._leadership:
            return
        before = self._leadership.leader_id if self._leadership else None
        if now.leader_id is not None and now.leader_id != before:
            self._leader_changes += 1
        self._leadership = now
        self._state_machine.leadership_changed(now)

    def _tell_to_stop(self) -> None:
        if self._has_told_to_stop:
            return
        self._has_told_to_stop = True
        core = self.core
        if core.dismissed_at is not None:
            why = MustStop(
                "removed", f"this node was removed from the cluster at entry {core.dismissed_at}"
            )
        else:
            assert core.diverged_at is not None
            why = MustStop(
                "diverged",
                f"after entry {core.diverged_at.index} its state is not that of the majority",
            )
        self._state_machine.must_stop(why)

    def _take_membership(self, membership: Membership) -> None:
        known = {one.id: one.addresses for one in self._membership.members}
        for one in membership.members:
            if known.get(one.id, one.addresses) != one.addresses:
                self._met.pop(one.id, None)  # the log has news of it
        self._membership = membership
        self.reach()
        self._state_machine.membership_changed(membership)

    def reach(self) -> None:
        """Be connected to whoever takes part, and to those that may still have to be told."""
        membership = self.core.membership
        places = {gone.id: Place(gone.name, gone.peers) for gone in membership.removed}
        places |= {one.id: Place(one.name, one.addresses.peers) for one in membership.members}
        places |= {met.id: Place(met.name, met.addresses.peers) for met in self._met.values()}
        self._peers.reach(places)

    def rpc_places(self) -> dict[NodeId, Place]:
        """List where the other members take requests."""
        return {
            one.id: Place(one.name, self._met.get(one.id, one).addresses.rpc)
            for one in self.core.membership.members
            if one.id != self.core.id
        }

    def members(self) -> list[MemberStatus]:
        """Describe every member as this node sees it; a node that is none describes itself."""
        return self._roster.members()

    def commit_windows(self) -> list[CommitWindow]:
        """Say how long commits took lately that were proposed here."""
        return self._commit_times.windows(time.monotonic())

    def statistics(self) -> RaftStatistics:
        """Read the numbers."""
        core = self.core
        return RaftStatistics(
            role=core.role.value,
            term=core.term,
            leader_id=core.leader_id,
            hears_a_leader=core.hears_a_leader,
            knows_its_age=self.age_s < AGE_S_MAX,
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
            snapshot_bytes_sent=self._snapshot_bytes_sent,
            snapshots_installed=self._snapshots_installed,
            heartbeats_missed=self._heartbeats_missed,
            age_s=self.age_s,
            members=self._roster.census(),
        )
