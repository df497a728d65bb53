"""The CatalogActor: runs the replicated state machine and answers everyone who asks.

It owns the catalog and the RPC socket. Commands go to RaftNode, or to the node that leads; queries
are answered here once this node has applied enough.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec
import zmq

from felix.actors.leader_contact import LeaderContact
from felix.actors.messages import (
    ActorRef,
    Attach,
    ClusterDescribed,
    Committed,
    DescribeCluster,
    GetStatistics,
    LeadershipChanged,
    Propose,
    Publish,
    ReadIndex,
    ReadReleased,
    Rejected,
    Restart,
    RestoreFrom,
    SnapshotBegin,
    SnapshotChunkWritten,
    SnapshotEnd,
    SnapshotSkipped,
    TakeSnapshot,
)
from felix.actors.read_gate import ReadGate
from felix.actors.renderings import Rendered, Renderings, chunk_of
from felix.actors.watchers import Watchers
from felix.core.catalog import validation
from felix.core.catalog.catalog import Applied, Catalog
from felix.core.catalog.dump import Dump
from felix.proto import codec
from felix.proto.commands import PROPOSAL_FORMAT, Command, Proposal, Stamp
from felix.proto.errors import (
    DeadlineExceeded,
    ErrorReply,
    FelixError,
    NoLeader,
    OutcomeUnknown,
    Overloaded,
)
from felix.proto.ids import Epoch, Index, NodeId, Term, Version
from felix.proto.queries import AnyQuery, ClusterStatus, GetCluster, GetSnapshot, WatchUpdates
from felix.proto.raft import EntryKind, SnapshotMeta
from felix.proto.updates import RawUpdate, UpdateBatch
from felix.transport.forwarder import Forwarded, Forwarder
from felix.transport.rpc_server import Incoming, RpcServer
from felix.transport.socket_actor import SocketActor, handles

SWEEP_S = 0.02
DUMP_SLICE_RECORDS = 500
CLUSTER_FORWARD_TIMEOUT_S = 1.0
RETRY_AFTER_MS = 100


class _Sweep(msgspec.Struct, frozen=True):
    """Look for what has waited too long."""


class _RenderSlice(msgspec.Struct, frozen=True):
    """Go on with a snapshot for brokers."""


class _DumpSlice(msgspec.Struct, frozen=True):
    """Go on with the snapshot of the log."""


class _Pending(msgspec.Struct, frozen=True, gc=False):
    """A command of ours that is in the log, or a description that RaftNode is asked for."""

    incoming: Incoming
    deadline: float


class CatalogStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """CatalogActor's numbers at one moment."""

    applied_index: Index
    version: Version
    epoch: Epoch
    digest: str
    counts: dict[str, int]
    requests: int
    commands_pending: int
    queries_pending: int
    forwards_pending: int
    watchers: int
    gaps_repaired: int
    """Batches of updates that somebody had missed, handed out by RPC."""
    snapshots_rendered: int
    malformed: int
    replies_dropped: int


class CatalogActor(SocketActor):
    """Runs the state machine of one node."""

    def __init__(
        self,
        failed: Callable[[SocketActor, BaseException], None],
        catalog: Catalog,
        restore: Callable[[SnapshotMeta], Catalog],
        *,
        node_id: NodeId,
        context: zmq.Context[zmq.Socket[bytes]],
        open_rpc: Callable[[], RpcServer],
        rpc_addresses: Mapping[NodeId, str],
        contact: LeaderContact,
        in_flight_max: int,
    ) -> None:
        """`restore` builds a catalog from a snapshot that the leader sent; `in_flight_max` bounds
        the requests that are accepted and not answered.
        """
        super().__init__(failed)
        self._catalog = catalog
        self._restore = restore
        self._node_id = node_id
        self._context = context
        self._open_rpc = open_rpc
        self._rpc_addresses = rpc_addresses
        self._in_flight_max = in_flight_max
        self._leadership = LeadershipChanged(Term(0), None, is_leader=False)
        self._last_term = Term(0)
        self._contact = contact
        self._tokens = 0
        self._commands: dict[int, _Pending] = {}
        self._descriptions: dict[int, _Pending] = {}
        self._reads = ReadGate()
        self._watchers = Watchers()
        self._renderings = Renderings()
        self._dump: Dump | None = None
        self._proposals: codec.Decoder[Proposal] = codec.Decoder(Proposal)
        self._requests = self._gaps_repaired = self._snapshots_rendered = 0

    def acquire(self) -> None:
        """Open the RPC socket; nothing is answered before `Attach`."""
        self._rpc = self._open_rpc()
        self._forwarder = Forwarder(
            self._context, self._rpc_addresses, self.listen, self._hear_forwarded
        )
        self._forwarder.open([node for node in self._rpc_addresses if node != self._node_id])

    def release(self) -> None:
        """Close the sockets."""
        self._rpc.close()
        self._forwarder.close()

    @handles(Attach)
    def _attach(self, message: Attach) -> None:
        first_time = not hasattr(self, "_raft")
        self._raft: ActorRef = message.raft
        self._fanout: ActorRef = message.fanout
        self._snapshots: ActorRef = message.snapshots
        self._tell_position()
        if first_time:
            self.listen(self._rpc.socket, self._hear_request)
            self.after(SWEEP_S, _Sweep())

    # --- requests -----------------------------------------------------------------------------

    def _hear_request(self, frames: list[bytes]) -> None:
        incoming = self._rpc.take(frames)
        if incoming is None:
            return
        self._requests += 1
        try:
            if self._in_flight() >= self._in_flight_max:
                raise Overloaded("too many requests are in flight", retry_after_ms=RETRY_AFTER_MS)
            if isinstance(incoming.request.message, Command):
                self._take_command(incoming)
            else:
                self._take_query(incoming)
        except FelixError as error:
            self._refuse(incoming, error)

    def _take_command(self, incoming: Incoming) -> None:
        request = incoming.request
        command = request.message
        assert isinstance(command, Command)
        validation.check(command)
        validation.check_idempotency_key(request.idempotency_key)
        if not self._leadership.is_leader:
            self._pass_on(incoming, request.timeout_ms / 1000)
            return
        stamp = Stamp(
            time.time_ns() // 1_000_000,
            request.request_id,
            request.principal,
            request.source,
            request.idempotency_key,
        )
        data = codec.encode(Proposal(PROPOSAL_FORMAT, stamp, command))
        self._tokens += 1
        self._commands[self._tokens] = _Pending(incoming, _deadline(incoming))
        self._raft.tell(Propose(self._tokens, data))

    def _take_query(self, incoming: Incoming) -> None:
        request = incoming.request
        if isinstance(request.message, GetCluster):
            self._describe_cluster(incoming)
        elif request.consistency == "stale":
            self._answer(incoming)
        elif self._leadership.leader_id is None:
            raise NoLeader("there is no leader", retry_after_ms=RETRY_AFTER_MS)
        else:
            self._reads.add(incoming)
            self._ask_read_index()

    def _describe_cluster(self, incoming: Incoming) -> None:
        leader = self._leadership.leader_id
        ask_leader = incoming.request.consistency != "stale" and not self._leadership.is_leader
        if ask_leader and leader is not None and not incoming.request.hops:
            timeout = min(CLUSTER_FORWARD_TIMEOUT_S, incoming.request.timeout_ms / 2000)
            try:
                self._forwarder.forward(incoming, leader, timeout)
            except NoLeader:
                pass  # this node tells what it knows
            else:
                return
        self._describe_locally(incoming)

    def _describe_locally(self, incoming: Incoming) -> None:
        self._tokens += 1
        self._descriptions[self._tokens] = _Pending(incoming, _deadline(incoming))
        self._raft.tell(DescribeCluster(self._tokens))

    @handles(ClusterDescribed)
    def _described(self, message: ClusterDescribed) -> None:
        pending = self._descriptions.pop(message.token, None)
        if pending is None:
            return
        catalog = self._catalog
        status = ClusterStatus(
            cluster_id=catalog.cluster_id,
            node_id=self._node_id,
            leader_id=message.leader_id,
            term=message.term,
            commit_index=message.commit_index,
            applied_index=catalog.applied_index,
            version=catalog.version,
            epoch=catalog.epoch,
            digest=catalog.digest,
            members=list(message.members),
        )
        request = pending.incoming.request
        self._rpc.answer(pending.incoming.route, request.id, status, catalog.version)

    # --- forwarding ---------------------------------------------------------------------------

    def _pass_on(self, incoming: Incoming, timeout_s: float) -> None:
        leader = self._leadership.leader_id
        if leader is None or leader == self._node_id:
            raise NoLeader("there is no leader", retry_after_ms=RETRY_AFTER_MS)
        self._forwarder.forward(incoming, leader, timeout_s)

    def _hear_forwarded(self, frames: list[bytes]) -> None:
        found = self._forwarder.take(frames)
        if found is not None:
            incoming, reply = found
            self._rpc.relay(incoming.route, reply)

    def _end_forwarded(self, is_hopeless: Callable[[Forwarded], bool], error: FelixError) -> None:
        for incoming in self._forwarder.give_up(is_hopeless):
            if isinstance(incoming.request.message, GetCluster):
                self._describe_locally(incoming)
            else:
                self._refuse(incoming, error)

    # --- what RAFT says -----------------------------------------------------------------------

    @handles(Committed)
    def _committed(self, message: Committed) -> None:
        catalog = self._catalog
        updates: list[RawUpdate] = []
        for entry in message.entries:
            if entry.kind is EntryKind.NOOP:
                catalog.skip(entry.index)
                continue
            applied = catalog.apply(entry.index, self._proposals.decode(entry.data))
            updates.extend(applied.updates)
            token = message.tokens.get(entry.index)
            if token is not None:
                self._finish_command(token, applied)
        self._last_term = message.entries[-1].term
        if updates:
            self._fanout.tell(Publish(Epoch(catalog.epoch), tuple(updates), catalog.digest))
            for incoming in self._watchers.take_all():
                self._answer(incoming)
        for incoming in self._reads.due(catalog.applied_index):
            self._answer(incoming)

    def _finish_command(self, token: int, applied: Applied) -> None:
        pending = self._commands.pop(token, None)
        if pending is None:
            return
        incoming = pending.incoming
        if isinstance(applied.result, ErrorReply):
            self._rpc.refuse(incoming.route, incoming.request.id, applied.result)
        else:
            self._rpc.answer(incoming.route, incoming.request.id, applied.result, applied.version)

    @handles(Rejected)
    def _rejected(self, message: Rejected) -> None:
        for token in message.tokens:
            pending = self._commands.pop(token, None)
            if pending is None:
                continue
            try:
                self._pass_on(pending.incoming, max(0.0, pending.deadline - time.monotonic()))
            except FelixError as error:
                self._refuse(pending.incoming, error)

    @handles(ReadReleased)
    def _read_released(self, message: ReadReleased) -> None:
        error = NoLeader("no leader could be confirmed", retry_after_ms=RETRY_AFTER_MS)
        for incoming in self._reads.released(message.context, message.index):
            self._refuse(incoming, error)
        for incoming in self._reads.due(self._catalog.applied_index):
            self._answer(incoming)
        self._ask_read_index()

    def _ask_read_index(self) -> None:
        context = self._reads.next_context()
        if context is not None:
            self._raft.tell(ReadIndex(context))

    @handles(LeadershipChanged)
    def _leadership_changed(self, message: LeadershipChanged) -> None:
        self._leadership = message
        self._end_forwarded(
            lambda one: one.to != message.leader_id,
            OutcomeUnknown("the leader was lost while it had the request"),
        )

    # --- answering ----------------------------------------------------------------------------

    def _answer(self, incoming: Incoming) -> None:
        query = incoming.request.message
        try:
            if isinstance(query, GetSnapshot):
                self._answer_snapshot(incoming, query)
            elif isinstance(query, WatchUpdates):
                self._answer_watch(incoming, query)
            else:
                assert not isinstance(query, Command | GetCluster)
                self._send_answer(incoming, query)
        except FelixError as error:
            self._refuse(incoming, error)

    def _send_answer(self, incoming: Incoming, query: AnyQuery) -> None:
        result = self._catalog.answer(query)
        request = incoming.request
        age_ms = self._age_ms() if request.consistency == "stale" else 0
        self._rpc.answer(incoming.route, request.id, result, self._catalog.version, age_ms)

    def _answer_watch(
        self, incoming: Incoming, query: WatchUpdates, *, may_wait: bool = True
    ) -> None:
        batch = self._catalog.answer(query)
        assert isinstance(batch, UpdateBatch)
        if may_wait and not batch.updates and query.wait_ms > 0:
            self._watchers.park(incoming, query)
            return
        if batch.updates and not query.wait_ms:
            self._gaps_repaired += 1
        request = incoming.request
        self._rpc.answer(incoming.route, request.id, batch, batch.current, self._age_ms())

    def _answer_snapshot(self, incoming: Incoming, query: GetSnapshot) -> None:
        busy = self._renderings.is_busy
        rendered = self._renderings.find(self._catalog, incoming, query)
        if rendered is not None:
            self._send_chunk(incoming, query, rendered)
        elif not busy:
            self.actor_ref.tell(_RenderSlice())

    def _send_chunk(self, incoming: Incoming, query: GetSnapshot, rendered: Rendered) -> None:
        chunk = chunk_of(self._catalog.cluster_id, rendered, query.chunk)
        request = incoming.request
        self._rpc.answer_encoded(
            incoming.route, request.id, codec.encode(chunk), rendered.version, self._age_ms()
        )

    @handles(_RenderSlice)
    def _render_slice(self, message: _RenderSlice) -> None:
        if not self._renderings.is_busy:
            return
        finished = self._renderings.slice()
        if finished is not None:
            self._snapshots_rendered += 1
            rendered, waiting = finished
            for incoming in waiting:
                query = incoming.request.message
                assert isinstance(query, GetSnapshot)
                try:
                    self._send_chunk(incoming, query, rendered)
                except FelixError as error:
                    self._refuse(incoming, error)
        if self._renderings.is_busy:
            self.actor_ref.tell(message)

    def _refuse(self, incoming: Incoming, error: FelixError) -> None:
        self._rpc.refuse(incoming.route, incoming.request.id, error)

    def _age_ms(self) -> int:
        return int(self._contact.silence_s() * 1000)

    # --- deadlines ----------------------------------------------------------------------------

    @handles(_Sweep)
    def _sweep(self, message: _Sweep) -> None:
        now = time.monotonic()
        late = [token for token, one in self._commands.items() if one.deadline <= now]
        error = DeadlineExceeded("no quorum within the deadline", retry_after_ms=1000)
        for token in late:
            self._refuse(self._commands.pop(token).incoming, error)
        for incoming in self._reads.overdue(now):
            self._refuse(incoming, NoLeader("no quorum within the deadline", retry_after_ms=1000))
        self._end_forwarded(lambda one: one.deadline <= now, error)
        for incoming in self._watchers.take_overdue():
            query = incoming.request.message
            assert isinstance(query, WatchUpdates)
            self._answer_watch(incoming, query, may_wait=False)
        self.after(SWEEP_S, message)

    def _in_flight(self) -> int:
        return len(self._commands) + len(self._reads) + len(self._forwarder)

    # --- snapshots of the log -----------------------------------------------------------------

    @handles(TakeSnapshot)
    def _take_snapshot(self, _: TakeSnapshot) -> None:
        catalog = self._catalog
        self._snapshots.tell(SnapshotBegin(catalog.applied_index, self._last_term))
        self._dump = Dump(catalog)
        self.actor_ref.tell(_DumpSlice())

    @handles(_DumpSlice)
    def _dump_slice(self, message: _DumpSlice) -> None:
        if self._dump is None:
            return
        chunk = self._dump.step(DUMP_SLICE_RECORDS)
        if chunk is None:
            self._dump = None
            self._snapshots.tell(SnapshotEnd(self._raft))
        else:
            self._snapshots.tell(SnapshotChunkWritten(chunk))
            self.actor_ref.tell(message)

    @handles(RestoreFrom)
    def _restore_from(self, message: RestoreFrom) -> None:
        if self._dump is not None:
            self._dump = None
            self._raft.tell(SnapshotSkipped())
        self._catalog = self._restore(message.snapshot)
        self._last_term = message.snapshot.term
        self._tell_position()
        waiting = self._renderings.clear() + self._watchers.take_all()
        for incoming in waiting + self._reads.due(self._catalog.applied_index):
            self._answer(incoming)

    def _tell_position(self) -> None:
        catalog = self._catalog
        self._fanout.tell(Restart(Epoch(catalog.epoch), Version(catalog.version), catalog.digest))

    @handles(GetStatistics)
    def _statistics(self, _: GetStatistics) -> CatalogStatistics:
        catalog = self._catalog
        return CatalogStatistics(
            applied_index=catalog.applied_index,
            version=Version(catalog.version),
            epoch=Epoch(catalog.epoch),
            digest=catalog.digest,
            counts=catalog.counts(),
            requests=self._requests,
            commands_pending=len(self._commands),
            queries_pending=len(self._reads),
            forwards_pending=len(self._forwarder),
            watchers=len(self._watchers),
            gaps_repaired=self._gaps_repaired,
            snapshots_rendered=self._snapshots_rendered,
            malformed=self._rpc.malformed,
            replies_dropped=self._rpc.replies_dropped,
        )


def _deadline(incoming: Incoming) -> float:
    return time.monotonic() + incoming.request.timeout_ms / 1000
