"""The RaftNode actor: runs consensus and the state machine of one node in one thread.

Both in one thread on purpose: a write crosses no thread between its arrival on the RPC socket and
its answer (`docs/decisions/0003-one-thread-for-the-commit-path.md`). Each is a plain object of its
own; this actor owns their sockets, their clock, and the order in which they get to work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec
import zmq

from felix.actors.consensus import TICK_S, Consensus, Leadership, MustStop, RaftStatistics
from felix.actors.describing import CatalogStatistics
from felix.actors.messages import (
    ActorRef,
    Attach,
    BrokerAnswer,
    FoundCluster,
    GetStatistics,
    HandOver,
    KeysChanged,
    LocalAnswer,
    MeetMembers,
    Propose,
    RaiseAlarms,
    ReadCatalog,
    ReadWork,
    SnapshotLoaded,
    SnapshotPrune,
    SnapshotTaken,
    TurnAway,
    tell_if_alive,
)
from felix.actors.replica import Replica
from felix.actors.service import Service
from felix.actors.watchdog import Pulse
from felix.proto.errors import NotApplied
from felix.proto.ids import Index
from felix.proto.raft import Entry, Membership, SnapshotMeta
from felix.transport.peers import Peers
from felix.transport.rpc_server import RpcServer
from felix.transport.socket_actor import SocketActor, handles

TICKS_AT_ONCE_MAX = 10
"""A node that was stopped for longer lived through no more than this: it first hears what its
peers have to say before it takes their silence for death."""
TICKS_ASLEEP_MAX = 3
"""A node that hears nothing looks at its clock this often, or when something is due: what it hears
may seem so many ticks older than it is, never younger."""
REOPEN_S = 0.01
REOPEN_WITHIN_S = 5.0
"""A port is free a moment after its socket was closed."""
DUMP_PAUSE_S = 0.002
"""Between two slices of a snapshot that is written down: commits go on meanwhile."""


class _Tick(msgspec.Struct, frozen=True):
    """Time passes."""


class _Reopen(msgspec.Struct, frozen=True):
    """Try to open the socket that peers send to again."""


class _Slice(msgspec.Struct, frozen=True):
    """Go on with a long piece of work."""


class RaftNodeStatistics(msgspec.Struct, frozen=True):
    """RaftNode's numbers at one moment."""

    raft: RaftStatistics
    catalog: CatalogStatistics


class RaftNodeParts(msgspec.Struct, frozen=True):
    """What a RaftNode runs, made in its own thread because sockets belong to one."""

    consensus: Consensus
    replica: Replica
    service: Service
    peers: Peers
    rpc: RpcServer
    pulse: Pulse


class RaftNode(SocketActor):
    """Feeds consensus and the state machine, and lets each carry out what the other decides."""

    def __init__(
        self,
        failed: Callable[[SocketActor, BaseException], None],
        make_parts: Callable[[RaftNode], RaftNodeParts],
        snapshots: ActorRef,
        must_stop: Callable[[MustStop], None],
    ) -> None:
        """`make_parts` opens the sockets; both are called in the actor's thread."""
        super().__init__(failed)
        self._make_parts = make_parts
        self._snapshots = snapshots
        self._must_stop = must_stop
        self._flush_due = self._slice_told = False
        self._last_tick = 0.0
        self._peers_closed_at: float | None = None
        """Monotonic; None: the socket that peers send to is open."""

    def acquire(self) -> None:
        """Open the sockets and start the clocks."""
        parts = self._make_parts(self)
        self._consensus = parts.consensus
        self._replica = parts.replica
        self._service = parts.service
        self._pulse = parts.pulse
        self._consensus.attach(self)
        self._peers = parts.peers
        self._rpc = parts.rpc
        self._listen_to_peers()
        self.listen(self._rpc.socket, self._hear_request)
        if self._rpc.secured is not None and self._rpc.guard is not None:
            self.listen_whole(self._rpc.secured, self._hear_foreign_request)
            self.listen(self._rpc.guard.monitor, self._rpc.guard.hear)
        self._last_tick = time.monotonic()
        self.after(TICK_S, _Tick())

    def release(self) -> None:
        """Close the sockets."""
        self._service.close()
        self._consensus.close()

    # --- inputs -------------------------------------------------------------------------------

    def _hear_peer(self, frames: list[bytes]) -> None:
        self._consensus.hear(frames)
        self._flush_due = True

    def _hear_request(self, frames: list[bytes]) -> None:
        self._service.hear_request(self._rpc.take(frames))
        self._flush_due = True

    def _hear_foreign_request(self, frames: list[zmq.Frame]) -> None:
        self._service.hear_foreign_request(self._rpc.take_secured(frames))
        self._flush_due = True

    def hear_forwarded(self, frames: list[bytes]) -> None:
        """Take in a reply of the leader; listened to once a request is passed on."""
        self._service.hear_forwarded(frames)

    @handles(_Tick)
    def _tick(self, message: _Tick) -> None:
        self._pulse.beats += 1
        now = time.monotonic()
        passed = int((now - self._last_tick) / TICK_S)
        self._last_tick += passed * TICK_S
        self._consensus.tick(
            min(passed, TICKS_AT_ONCE_MAX),
            self._replica.catalog.applied_index,
            stood_still=passed > TICKS_AT_ONCE_MAX,
            inbox_is_empty=self._peers_closed_at is None and not self._peers.inbox.poll(0),
        )
        self._replica.tell_age(self._consensus.age_s)
        self._service.sweep()
        asleep = min(TICKS_ASLEEP_MAX, self._consensus.ticks_until_due)
        self.after(max(0.0, self._last_tick + asleep * TICK_S - now), message)
        self._flush_due = True

    @handles(FoundCluster)
    def _found(self, message: FoundCluster) -> None:
        self._consensus.found(message.membership)
        self._flush_due = True

    @handles(MeetMembers)
    def _meet(self, message: MeetMembers) -> None:
        self._consensus.meet(message.members)
        self._service.membership_changed()

    @handles(KeysChanged)
    def _keys_changed(self, message: KeysChanged) -> None:
        self._consensus.reach()
        self._service.keys_changed(message.change)
        if "node" in message.change.lost and self._peers_closed_at is None:
            self._unlisten_to_peers()
            self._peers.close_inbox()
            self._peers_closed_at = time.monotonic()
            self.after(REOPEN_S, _Reopen())

    @handles(_Reopen)
    def _reopen(self, message: _Reopen) -> None:
        """Go on until libzmq has let go of the port. Raises: OSError, in the end."""
        assert self._peers_closed_at is not None
        try:
            self._peers.open_inbox()
        except OSError:
            if time.monotonic() - self._peers_closed_at > REOPEN_WITHIN_S:
                raise
            self.after(REOPEN_S, message)
        else:
            self._peers_closed_at = None
            self._listen_to_peers()

    def _listen_to_peers(self) -> None:
        self.listen(self._peers.inbox, self._hear_peer)
        if self._peers.guard is not None:
            self.listen(self._peers.guard.monitor, self._peers.guard.hear)

    def _unlisten_to_peers(self) -> None:
        self.unlisten(self._peers.inbox)
        if self._peers.guard is not None:
            self.unlisten(self._peers.guard.monitor)

    @handles(HandOver)
    def _hand_over(self, _: HandOver) -> bool:
        self._flush_due = True
        return self._service.hand_over()

    @handles(TurnAway)
    def _turn_away(self, _: TurnAway) -> int:
        return self._service.turn_away()

    @handles(Attach)
    def _attach(self, message: Attach) -> None:
        self._snapshots = message.snapshots
        self._replica.attach(message.fanout, message.snapshots)
        self._service.local.attach(message.idp_keys)
        self._service.brokers.attach(message.heartbeat_monitor, message.placement_planner)
        self._consensus.snapshot_skipped()

    @handles(LocalAnswer)
    def _answered_locally(self, message: LocalAnswer) -> None:
        self._service.local.answered(message, self._replica.catalog.version)

    @handles(BrokerAnswer)
    def _answered_about_brokers(self, message: BrokerAnswer) -> None:
        self._service.brokers.answered(message)

    @handles(ReadCatalog)
    def _read_catalog(self, message: ReadCatalog) -> None:
        tell_if_alive(message.reply_to, self._service.brokers.read(message))

    @handles(ReadWork)
    def _read_work(self, message: ReadWork) -> None:
        tell_if_alive(message.reply_to, self._service.brokers.work(message))

    @handles(Propose)
    def _propose(self, message: Propose) -> None:
        self._service.propose_own(message)
        self._flush_due = True

    @handles(RaiseAlarms)
    def _alarm(self, message: RaiseAlarms) -> None:
        self._service.alarms[message.source] = message.alarms

    # --- outputs ------------------------------------------------------------------------------

    def end_turn(self) -> None:
        """Carry out what the turn brought: what came together goes into one batch."""
        while self._flush_due:
            self._flush_due = False
            if self._consensus.flush():
                self._slice_soon()
        if self._service.is_rendering or self._replica.is_behind:
            self._slice_soon()

    def _slice_soon(self, pause_s: float = 0.0) -> None:
        if not self._slice_told:
            self._slice_told = True
            self.after(pause_s, _Slice())  # a timer: the sockets are looked at in between

    @handles(_Slice)
    def _slice(self, _: _Slice) -> None:
        self._slice_told = False
        self._flush_due = True
        if self._replica.is_behind:
            self._service.catch_up()
        if self._service.is_rendering:
            self._service.render_slice()
        if self._replica.dump_slice():
            self._slice_soon(0.0 if self._service.is_rendering else DUMP_PAUSE_S)

    # --- what consensus says (felix.actors.consensus.StateMachine) -----------------------------

    def committed(self, entries: Sequence[Entry], tokens: dict[Index, int]) -> None:
        """See `StateMachine`."""
        self._service.committed(entries, tokens)

    def rejected(self, tokens: Sequence[int], error: NotApplied) -> None:
        """See `StateMachine`."""
        self._service.rejected(tokens, error)

    def read_released(self, context: int, index: Index | None) -> None:
        """See `StateMachine`."""
        self._service.read_released(context, index)
        self._flush_due = True

    def leadership_changed(self, leadership: Leadership) -> None:
        """See `StateMachine`."""
        self._service.leadership_changed(leadership)
        self._flush_due = True  # what waited for a leader may have been proposed
        self._replica.tell_standing(knows_leader=leadership.leader_id is not None)

    def take_snapshot(self) -> None:
        """See `StateMachine`."""
        index = self._replica.catalog.applied_index
        if self._replica.begin_dump(self._consensus.core.membership_at(index)):
            self._slice_soon()
        else:
            self._consensus.snapshot_skipped()

    def membership_changed(self, membership: Membership) -> None:
        """See `StateMachine`."""
        self._service.membership_changed()

    def must_stop(self, why: MustStop) -> None:
        """See `StateMachine`."""
        self._must_stop(why)

    def weight(self) -> int:
        """See `StateMachine`."""
        return self._replica.rows_kept

    def restore_from(self, snapshot: SnapshotMeta) -> None:
        """See `StateMachine`."""
        if self._replica.begin_load(snapshot):
            self._consensus.snapshot_skipped()
        self._prune_snapshots(self._consensus.snapshots_needed())

    # --- what the snapshots' actor says -------------------------------------------------------

    @handles(SnapshotTaken)
    def _snapshot_taken(self, message: SnapshotTaken) -> None:
        self._prune_snapshots(self._consensus.snapshot_taken(message.snapshot))

    @handles(SnapshotLoaded)
    def _snapshot_loaded(self, message: SnapshotLoaded) -> None:
        if self._replica.loaded(message.snapshot, message.catalog):
            self._service.catalog_replaced()
            self._flush_due = True

    def _prune_snapshots(self, needed: tuple[SnapshotMeta, ...]) -> None:
        tell_if_alive(self._snapshots, SnapshotPrune(needed))

    @handles(GetStatistics)
    def _statistics(self, _: GetStatistics) -> RaftNodeStatistics:
        return RaftNodeStatistics(self._consensus.statistics(), self._service.statistics())
