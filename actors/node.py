"""One node's actors: started in order, supervised, stopped in reverse."""

from __future__ import annotations

import contextlib
import gc
import queue
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from random import SystemRandom

import pykka
import structlog
import zmq

from felix.actors.broker_relay import BrokerRelay
from felix.actors.brokers_heard import BrokersHeard
from felix.actors.consensus import TICK_S, Consensus, MustStop, RaftStatistics
from felix.actors.disk_space import DiskSpace
from felix.actors.ending import end_failed
from felix.actors.enrolment import Enrolment
from felix.actors.heartbeat_monitor import HeartbeatMonitor
from felix.actors.idp_keys import IdpKeys
from felix.actors.key_guard import KeyGuard
from felix.actors.key_manager import KeyHealth, KeyManager
from felix.actors.local_queries import LocalQueries
from felix.actors.messages import (
    ActorRef,
    Attach,
    GetStatistics,
    HandOver,
    KeysChanged,
    TurnAway,
    tell_if_alive,
)
from felix.actors.node_settings import NodeSettings, NodeStatistics
from felix.actors.placement_planner import PlacementPlanner
from felix.actors.raft_node import RaftNode, RaftNodeParts
from felix.actors.refusals import Refusals
from felix.actors.replica import Replica
from felix.actors.restoring import older_of, restored
from felix.actors.service import Service
from felix.actors.snapshot_writer import (
    SnapshotWriterActor,
    without_collector,
)
from felix.actors.stamping import Stamping
from felix.actors.watch_fanout import WatchFanout
from felix.actors.watch_position import WatchPosition
from felix.actors.watchdog import Pulse, Watchdog
from felix.core.catalog.catalog import Catalog
from felix.core.raft.core import RaftCore
from felix.core.refusals import RefusalQueue
from felix.proto.identity import BrokerCredentials, Refusal
from felix.proto.ids import Term
from felix.proto.levels import TooOld, check_entries
from felix.proto.queries import ListBrokerCredentials
from felix.proto.raft import Member, Membership
from felix.storage.data_dir import DataDir
from felix.storage.errors import StorageError
from felix.storage.ports import Recovered
from felix.storage.sealed import Sealer
from felix.transport.allow_list import KeyChange
from felix.transport.contacts import Contacts
from felix.transport.forwarder import Forwarder
from felix.transport.node_curve import NodeCurve
from felix.transport.outbound import Outbound
from felix.transport.peers import Peers
from felix.transport.publisher import Publisher
from felix.transport.rpc_client import RpcClient
from felix.transport.rpc_server import RpcServer
from felix.transport.socket_actor import SocketActor

SWITCH_INTERVAL_S = 0.0005
"""How long a thread that computes may keep the interpreter from the others."""
GC_ALLOCATIONS = 50_000
"""How many containers are made before the collector looks at the young ones."""
RESTARTS_MAX = 5
GUARD_CHECK_S = 1.0
RESTART_WINDOW_S = 60.0
ASK_TIMEOUT_S = 2.0
STOP_TIMEOUT_S = 3.0
FINISH_TIMEOUT_S = 1.0
LOOK_AGAIN_S = 0.005
STALL_TIMEOUTS = 2
"""Consensus may stand still for as many of the longest election timeouts."""

log = structlog.get_logger("felix.node")


class Node:
    """The actors of one node. `fatal` hears why the node cannot go on; by default it ends the
    process at once: a node that is half alive is worse than a dead one.
    """

    def __init__(
        self,
        settings: NodeSettings,
        data: DataDir,
        fatal: Callable[[str, BaseException], None] | None = None,
        must_stop: Callable[[MustStop], None] = lambda _: None,
        curve: NodeCurve | None = None,
        sealer: Sealer | None = None,
    ) -> None:
        """`must_stop` hears, in an actor's thread, that this node was removed or went wrong.

        Without `curve` the sockets are open to whoever reaches them. Without a `sealer`, which
        needs a key-encryption key, this node makes no tenants.
        """
        self._settings = settings
        self._data = data
        self._fatal = fatal or end_failed
        self._must_stop = must_stop
        self._sealer = sealer
        self._key_health = KeyHealth()
        self._outbound = Outbound(private_addresses=settings.idp_private_addresses)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._curve = curve
        self._contacts = Contacts(curve)
        self._watch_position = WatchPosition()
        self._brokers_heard = BrokersHeard()
        self._own_socket = RpcClient(settings.rpc_local)
        self._waiting_refusals = RefusalQueue(settings.newcomer.name)
        self._disk_space = DiskSpace(data.path, settings.disk_free_min_mb)
        self._pulse = Pulse()
        self._watchdog = Watchdog(
            self._pulse, STALL_TIMEOUTS * settings.raft.election_ticks_max * TICK_S
        )
        self._failures: queue.SimpleQueue[tuple[str, BaseException]] = queue.SimpleQueue()
        self._restarts: list[float] = []
        self._stopping = False

    def start(self) -> None:
        """Start the actors, each after the ones it tells.

        Raises: OSError when a port is taken, TooOld when a newer build has left its marks.
        """
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._start_errors: list[BaseException] = []
        with without_collector():
            journaled = self._data.journal.recover()
            check_entries(journaled.entries)
            recovered, catalog = restored(
                journaled,
                self._data.snapshots,
                self._settings.newcomer.cluster_id,
                self._settings.catalog,
            )
        self._disk_space.start()
        if recovered.snapshot:
            older = older_of(recovered, self._data.snapshots)
            self._data.snapshots.prune([recovered.snapshot, *([older] if older else [])])
        self._guard = self._start_guard()
        self._fanout = self._start_fanout()
        self._snapshots = self._start_snapshots()
        self._refusals = self._start_refusals()
        self._idp_keys = self._start_idp_keys()
        self._heartbeat_monitor = self._start_heartbeat_monitor()
        self._placement_planner = self._start_placement_planner()
        self._raft = self._start_raft(recovered, catalog)
        self._enrolment = self._start_enrolment()
        self._key_manager = self._start_key_manager()
        threading.Thread(target=self._supervise, name="supervisor", daemon=True).start()
        self._watchdog.start()
        # What was loaded stays; records are not tracked. The collector finds little, so seldom.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_ALLOCATIONS)

    def drain(self) -> None:
        """Say that this node is about to stop, and let another lead if this one does.

        It goes on to answer, by passing requests on. Returns once another node leads, or after
        one election timeout.
        """
        self._stopping = True
        deadline = time.monotonic() + self._settings.raft.election_ticks_min * TICK_S
        with contextlib.suppress(pykka.Timeout, pykka.ActorDeadError):
            if not self._raft.ask(HandOver(), timeout=ASK_TIMEOUT_S):
                return
            while time.monotonic() < deadline:
                raft = self.statistics().raft
                if raft.leader_id not in {None, self._settings.newcomer.id}:
                    return
                time.sleep(LOOK_AGAIN_S)

    def turn_away(self) -> None:
        """Refuse new requests, and wait a little for those that are under way."""
        deadline = time.monotonic() + FINISH_TIMEOUT_S
        with contextlib.suppress(pykka.Timeout, pykka.ActorDeadError):
            while self._raft.ask(TurnAway(), timeout=ASK_TIMEOUT_S):
                if time.monotonic() > deadline:
                    return
                time.sleep(LOOK_AGAIN_S)

    def stop(self) -> None:
        """Stop the actors in reverse order and release everything."""
        self._stopping = True
        self._watchdog.stop()
        self._disk_space.stop()
        self._contacts.close()
        self._own_socket.close()
        names = (
            "_key_manager", "_enrolment", "_raft", "_placement_planner", "_heartbeat_monitor",
            "_refusals", "_idp_keys", "_snapshots", "_fanout", "_guard",
        )  # fmt: skip
        for name in names:
            ref: ActorRef | None = getattr(self, name, None)
            if ref is not None and ref.is_alive():
                with contextlib.suppress(pykka.Timeout, pykka.ActorDeadError):
                    ref.stop(timeout=STOP_TIMEOUT_S)
        if self._waiting_refusals.unwritten:
            log.warning("refusals_not_recorded", count=self._waiting_refusals.unwritten)
        self._context.destroy(linger=0)
        self._data.close()

    def statistics(self) -> NodeStatistics:
        """Ask every actor for its numbers. Raises: pykka.Timeout, pykka.ActorDeadError."""
        asked = [
            ref.ask(GetStatistics(), block=False)
            for ref in (
                self._raft, self._fanout, self._snapshots, self._idp_keys, self._heartbeat_monitor,
                self._placement_planner,
            )
        ]  # fmt: skip
        if self._guard is not None:
            # Its answer is not read: what it counts, others count too. But it must be there.
            self._guard.ask(GetStatistics(), timeout=ASK_TIMEOUT_S)
        failures = {} if self._curve is None else self._curve.failures.counts()
        node, fanout, snapshots, idp, beats, planning = (
            one.get(timeout=ASK_TIMEOUT_S) for one in asked
        )
        return NodeStatistics(
            node.raft,
            node.catalog,
            fanout,
            snapshots,
            self._disk_space.statistics(),
            self._waiting_refusals.dropped_total,
            failures,
            idp,
            self._key_health.now,
            beats,
            planning,
        )

    def why_not_live(self) -> str | None:
        """Say why this process should be restarted; it never needs a quorum to be alive."""
        try:
            self.statistics()
        except (pykka.Timeout, pykka.ActorDeadError) as error:
            return f"an actor does not answer: {error}"
        return None

    def why_not_ready(self) -> str | None:
        """Say why requests should go to another node."""
        if self._stopping:
            return "stopping"
        try:
            now = self.statistics()
        except (pykka.Timeout, pykka.ActorDeadError) as error:
            return f"an actor does not answer: {error}"
        if (why := _why_not_fresh(now.raft)) is not None:
            return why
        lag = now.raft.commit_index - now.catalog.applied_index
        if lag > self._settings.applied_lag_max:
            return f"{lag} entries are still to be applied"
        return None

    # --- starting -----------------------------------------------------------------------------

    def _start_guard(self) -> ActorRef | None:
        if self._curve is None:
            return None
        guard = self._up(KeyGuard.start(self._failed, self._context, self._curve))
        self._curve.allowed.on_change(self._keys_changed)
        return guard

    def _keys_changed(self, change: KeyChange) -> None:
        """Hear, in any thread, that the allow-list is another one."""
        for name in ("_raft", "_fanout"):
            ref: ActorRef | None = getattr(self, name, None)  # not there while the node starts
            if ref is not None:
                tell_if_alive(ref, KeysChanged(change))

    def _start_fanout(self) -> ActorRef:
        settings = self._settings
        return self._up(
            WatchFanout.start(
                self._failed,
                lambda: Publisher(self._context, settings.listen_watch, self._curve),
                settings.newcomer.cluster_id,
                settings.newcomer.id,
                self._watch_position,
                settings.raft.election_ticks_max * TICK_S,
            )
        )

    def _start_snapshots(self) -> ActorRef:
        return self._up(
            SnapshotWriterActor.start(self._failed, self._data.snapshots, self._settings.catalog)
        )

    def _start_refusals(self) -> ActorRef:
        return Refusals.start(self._failed, self._own_socket, self._waiting_refusals)

    def note_refusal(self, refusal: Refusal) -> None:
        """Put a refused request into the log and the audit trail, in a while; from any thread."""
        tell_if_alive(self._refusals, refusal)

    def _start_idp_keys(self) -> ActorRef:
        return self._up(IdpKeys.start(self._failed, self._outbound))

    def _start_placement_planner(self) -> ActorRef:
        return self._up(
            PlacementPlanner.start(
                self._failed,
                self._settings.planning,
                lambda: self._heartbeat_monitor,
                self._watch_position,
            )
        )

    def _start_heartbeat_monitor(self) -> ActorRef:
        return self._up(
            HeartbeatMonitor.start(
                self._failed,
                self._settings.beats,
                self._brokers_heard,
                self._watch_position,
                self._pulse,
                waiters_max=self._settings.broker_waiters_max,
            )
        )

    def _start_enrolment(self) -> ActorRef:
        settings = self._settings
        return Enrolment.start(
            self._failed,
            self._contacts,
            settings.newcomer,
            settings.rpc_local,
            settings.seeds,
            self._raft,
            self._must_stop,
        )

    def _start_key_manager(self) -> ActorRef:
        return KeyManager.start(
            self._failed,
            partial(self._contacts.ask, self._settings.rpc_local),
            self._raft,
            self._sealer,
            self._settings.keys,
            self._key_health,
        )

    def _start_raft(self, recovered: Recovered, catalog: Catalog) -> ActorRef:
        return self._up(
            RaftNode.start(
                self._failed,
                lambda actor: self._make_parts(actor, recovered, catalog),
                self._snapshots,
                self._must_stop,
            )
        )

    def _make_parts(self, actor: RaftNode, recovered: Recovered, catalog: Catalog) -> RaftNodeParts:
        settings = self._settings
        me = settings.newcomer
        peers = Peers(self._context, me.cluster_id, me.id, settings.listen_peers, self._curve)
        rpc = RpcServer(
            self._context, [f"tcp://{settings.listen_rpc}", settings.rpc_local], self._curve
        )
        forwarder = Forwarder(
            self._context, actor.listen, actor.unlisten, actor.hear_forwarded, self._curve
        )
        core = RaftCore(
            me.id,
            Membership(()),
            settings.raft,
            SystemRandom(),
            hard_state=recovered.hard_state,
            snapshot=recovered.snapshot,
            entries=recovered.entries,
        )
        consensus = Consensus(
            core=core,
            journal=self._data.journal,
            snapshots=self._data.snapshots,
            peers=peers,
            me=Member(me.id, me.name, me.addresses, me.level),
            is_founder=me.is_founder,
            snapshot_entries=settings.snapshot_entries,
            trail_entries=settings.trail_entries,
        )
        last_term = recovered.snapshot.term if recovered.snapshot else Term(0)
        replica = Replica(
            catalog,
            last_term,
            self._fanout,
            self._snapshots,
            actor.actor_ref,
            self._watch_position,
            consensus.checkpoint,
            self._disk_space,
            None if self._curve is None else self._let_brokers_in,
        )
        service = Service(
            me.id,
            replica,
            consensus,
            rpc,
            forwarder,
            settings.in_flight_max,
            self._disk_space,
            self.note_refusal,
            LocalQueries(rpc, actor.actor_ref, self._idp_keys),
            BrokerRelay(
                rpc,
                actor.actor_ref,
                self._heartbeat_monitor,
                self._placement_planner,
                replica,
                self._brokers_heard,
            ),
            Stamping(self._sealer),
        )
        return RaftNodeParts(consensus, replica, service, peers, rpc, self._pulse)

    def _let_brokers_in(self, catalog: Catalog) -> None:
        """Take over the CURVE keys of brokers that the cluster knows."""
        assert self._curve is not None
        found = catalog.answer(ListBrokerCredentials())
        assert isinstance(found, BrokerCredentials)
        keys = {one.broker_id: one.curve_key for one in found.items if one.curve_key}
        self._curve.allowed.set_brokers(keys)

    def _up(self, ref: ActorRef) -> ActorRef:
        """Wait until an actor has what it needs, so that the next one can rely on it."""
        try:
            ref.ask(GetStatistics(), timeout=ASK_TIMEOUT_S)
        except pykka.ActorDeadError:
            if self._start_errors:
                raise self._start_errors[0] from None
            raise
        return ref

    def _attach(self) -> None:
        self._raft.tell(
            Attach(
                self._fanout,
                self._snapshots,
                self._idp_keys,
                self._heartbeat_monitor,
                self._placement_planner,
            )
        )

    # --- supervision --------------------------------------------------------------------------

    def _failed(self, actor: SocketActor, error: BaseException) -> None:
        """Hear of a failure, in the failed actor's thread."""
        if self._stopping:
            return
        if not hasattr(self, "_raft") and isinstance(error, OSError):
            self._start_errors.append(error)  # start() reports it
        elif (
            isinstance(actor, RaftNode | KeyGuard)
            or not hasattr(self, "_raft")
            or type(error) is TooOld
            or isinstance(error, StorageError)  # a disk that failed once is not tried again
        ):
            self._fatal(type(actor).__name__, error)
        else:
            actor.stop()
            self._failures.put((type(actor).__name__, error))

    def _supervise(self) -> None:
        """Start anew whatever may fail without harm, with growing pauses, and not for ever."""
        while not self._stopping:
            try:
                name, error = self._failures.get(timeout=GUARD_CHECK_S)
            except queue.Empty:
                self._check_guard()
                continue
            now = time.monotonic()
            self._restarts = [at for at in self._restarts if at > now - RESTART_WINDOW_S]
            self._restarts.append(now)
            if len(self._restarts) > RESTARTS_MAX:
                self._fatal(name, error)
                return
            log.error("actor failed, starting it anew", actor=name, exc_info=error)
            time.sleep(0.1 * 2 ** len(self._restarts))
            with contextlib.suppress(pykka.ActorDeadError):  # its own failure is queued by then
                self._start_anew(name)

    def _check_guard(self) -> None:
        """End a node that lets nobody in any more, however that came about."""
        if self._guard is not None and not self._guard.is_alive() and not self._stopping:
            error = RuntimeError("nobody answers who is let in at the encrypted sockets")
            self._fatal(KeyGuard.__name__, error)

    def _start_anew(self, name: str) -> None:
        if name == Enrolment.__name__:
            self._enrolment = self._start_enrolment()
            return
        if name == Refusals.__name__:
            self._refusals = self._start_refusals()
            return
        if name == KeyManager.__name__:
            self._key_manager = self._start_key_manager()
            return
        if name == WatchFanout.__name__:
            self._fanout = self._start_fanout()
        elif name == IdpKeys.__name__:
            self._idp_keys = self._start_idp_keys()
        elif name == PlacementPlanner.__name__:
            self._placement_planner = self._start_placement_planner()
        elif name == HeartbeatMonitor.__name__:
            self._heartbeat_monitor = self._start_heartbeat_monitor()
        else:
            self._snapshots = self._start_snapshots()
        self._attach()


def _why_not_fresh(raft: RaftStatistics) -> str | None:
    if raft.leader_id is None:
        return "no leader is known"
    if not raft.hears_a_leader:
        return "the leader is not heard by a quorum"
    if not raft.knows_its_age:
        return "it is not known yet how old what this node has is"
    return None
