"""Answers everyone who asks: the native API of one node.

A plain object; `felix.actors.raft_node` runs it in the thread that runs consensus, so that a write
crosses no thread between its arrival and its answer. Commands go to consensus, or to the node that
leads; queries are answered here once this node has applied enough.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Sequence, Sized

import msgspec

from felix.actors import rpc_access
from felix.actors.backups import Backups
from felix.actors.broker_relay import BrokerRelay
from felix.actors.consensus import Consensus, Leadership
from felix.actors.describing import CatalogStatistics, catalog_statistics, cluster_status
from felix.actors.disk_space import DiskSpace
from felix.actors.leaderless import Leaderless
from felix.actors.local_queries import LocalQueries
from felix.actors.messages import Propose
from felix.actors.operations import Operations
from felix.actors.own_proposals import OwnProposals, Pending
from felix.actors.read_gate import ReadGate
from felix.actors.refusals import noted
from felix.actors.renderings import Due, Renderings
from felix.actors.replica import Replica
from felix.actors.stamping import Stamping
from felix.actors.watchers import Watchers
from felix.core.catalog import validation
from felix.core.catalog.catalog import Applied
from felix.proto import codec, levels
from felix.proto.cluster import AddMember, Operation, UpdateMember
from felix.proto.command import Command
from felix.proto.commands import AnyCommand, Proposal, SetFeatureLevel
from felix.proto.errors import (
    BrokerFenced,
    DeadlineExceeded,
    ErrorReply,
    FelixError,
    NoLeader,
    NotApplied,
    NotFound,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    ShuttingDown,
    TransferRefused,
    from_reply,
)
from felix.proto.identity import Refusal
from felix.proto.ids import Index, NodeId, Term
from felix.proto.queries import (
    AnyQuery,
    GetBackup,
    GetCluster,
    GetIssuerKeys,
    GetSnapshot,
    LeaderQuery,
    ProbeIssuer,
    WatchUpdates,
)
from felix.proto.raft import Entry
from felix.proto.reports import Report
from felix.proto.rpc import Request
from felix.proto.updates import UpdateBatch
from felix.transport.allow_list import KeyChange
from felix.transport.forwarder import Forwarded, Forwarder
from felix.transport.rpc_server import Incoming, RpcServer

CLUSTER_FORWARD_TIMEOUT_S = 1.0
RETRY_AFTER_MS = 100
FORMER_LEADER_PATIENCE_S = 0.3
"""One that handed leadership over says within this time what became of a request."""


class Service:
    """Requests of one node, from their arrival to their answer; used by one thread."""

    def __init__(
        self,
        node_id: NodeId,
        replica: Replica,
        consensus: Consensus,
        rpc: RpcServer,
        forwarder: Forwarder,
        in_flight_max: int,
        disk_space: DiskSpace,
        note: Callable[[Refusal], None],
        local: LocalQueries,
        brokers: BrokerRelay,
        stamping: Stamping,
    ) -> None:
        """`in_flight_max` bounds the requests that are accepted and not answered.

        `note` puts into the audit trail what is no command; it does not wait.
        """
        self.local = local
        self.brokers = brokers
        self.alarms: dict[str, tuple[str, ...]] = {}
        """What other actors want an operator to look at."""
        self._stamping = stamping
        self._node_id = node_id
        self._replica = replica
        self._consensus = consensus
        self._rpc = rpc
        self._forwarder = forwarder
        self._in_flight_max = in_flight_max
        self._disk_space = disk_space
        self._note = note
        self._leadership = Leadership(Term(0), None, is_leader=False)
        self._tokens = 0
        self._commands: dict[int, Pending] = {}
        self._own = OwnProposals()
        self._reads = ReadGate()
        self._operations = Operations(consensus)
        self._leaderless = Leaderless()
        self._is_turning_away = False
        self._watchers = Watchers()
        self._renderings = Renderings()
        self._backups = Backups()
        self._requests = self._gaps_repaired = 0

    def close(self) -> None:
        """Close the sockets."""
        self._rpc.close()
        self._forwarder.close()

    # --- requests -----------------------------------------------------------------------------

    def hear_foreign_request(self, incoming: Incoming | None) -> None:
        """Take in what was read from the encrypted RPC socket."""
        if incoming is None:
            return
        try:
            admitted = rpc_access.admit(incoming)
        except FelixError as error:
            self._refuse(rpc_access.in_the_name_of_its_owner(incoming), error)
        else:
            self.hear_request(admitted)

    def hear_request(self, incoming: Incoming | None) -> None:
        """Take in what was read from the RPC socket."""
        if incoming is None:
            return
        self._requests += 1
        if self._is_turning_away:
            self._refuse(incoming, ShuttingDown("this node is stopping", retry_after_ms=1))
        elif self._in_flight() >= self._in_flight_max:
            error = Overloaded("too many requests are in flight", retry_after_ms=RETRY_AFTER_MS)
            self._refuse(incoming, error)
        else:
            self._take(incoming)

    def _take(self, incoming: Incoming) -> None:
        message = incoming.request.message
        try:
            if isinstance(message, Command):
                self._take_command(incoming)
            elif isinstance(message, Operation):
                self._take_operation(incoming)
            elif isinstance(message, Report | LeaderQuery):
                self._take_for_brokers(incoming)
            else:
                self._take_query(incoming)
        except FelixError as error:
            self._refuse(incoming, error)

    def _take_operation(self, incoming: Incoming) -> None:
        operation = incoming.request.message
        if not self._leadership.is_leader:
            self._pass_on(incoming, incoming.request.timeout_ms / 1000)
            return
        if isinstance(operation, AddMember | UpdateMember):
            levels.check_joining(operation, self._replica.catalog.feature_level)
        if not self._operations.begin(incoming):
            self._describe_locally(incoming)

    def _take_command(self, incoming: Incoming) -> None:
        request = incoming.request
        command = request.message
        assert isinstance(command, Command)
        validation.check(command)
        validation.check_idempotency_key(request.idempotency_key)
        if not self._leadership.is_leader:
            # An older node must not get what it would only half understand; raising it is not ours.
            if not isinstance(command, SetFeatureLevel):
                self._check_level(command)
            self._pass_on(incoming, request.timeout_ms / 1000)
            return
        deadline = time.monotonic() + request.timeout_ms / 1000
        self._commands[self._propose(request, command)] = Pending(incoming, deadline)

    def _propose(self, request: Request, command: AnyCommand) -> int:
        self._check_level(command)
        self._disk_space.check(command)
        self.brokers.check(command)
        stamp = self._stamping.stamp(request, self.brokers.gone_epoch(command))
        data = codec.encode(Proposal(levels.level_of(command), stamp, command))
        self._tokens += 1
        self._consensus.propose(self._tokens, data)
        return self._tokens

    def _check_level(self, command: AnyCommand) -> None:
        active = self._replica.catalog.feature_level
        levels.check(command, active, self._consensus.core.membership)

    def propose_own(self, message: Propose) -> None:
        """Commit what an actor of this node has decided as long as it leads."""
        if self._leadership.is_leader and self._leadership.term == message.term:
            self._own.begin(message, self._propose)

    def _take_for_brokers(self, incoming: Incoming, *, is_confirmed: bool = False) -> None:
        if not self._leadership.is_leader:
            self._pass_on(incoming, incoming.request.timeout_ms / 1000)
            return
        try:
            self.brokers.take(incoming)
        except (NotFound, BrokerFenced):
            if is_confirmed:
                raise
            # A new leader may not have applied everything yet, and one that was deposed does not
            # know better: it is not said before a quorum has confirmed it.
            self._reads.add(incoming)
            self._ask_read_index()

    def _take_query(self, incoming: Incoming) -> None:
        request = incoming.request
        if isinstance(request.message, GetCluster):
            self._describe_cluster(incoming)
        elif isinstance(request.message, GetIssuerKeys | ProbeIssuer):
            self.local.take(incoming, self._replica.catalog.store)
        elif request.consistency == "stale":
            self._answer(incoming)
        elif self._leadership.leader_id is None:
            self._hold(incoming, request.timeout_ms / 1000)
        else:
            self._reads.add(incoming)
            self._ask_read_index()

    def _describe_cluster(self, incoming: Incoming) -> None:
        leader = self._leadership.leader_id
        request = incoming.request
        if (
            request.consistency != "stale"
            and not self._leadership.is_leader
            and leader is not None
            and not request.hops
        ):
            timeout_s = min(CLUSTER_FORWARD_TIMEOUT_S, request.timeout_ms / 2000)
            try:
                self._forwarder.forward(incoming, leader, timeout_s)
            except NoLeader:
                pass  # this node tells what it knows
            else:
                return
        self._describe_locally(incoming)

    def _describe_locally(self, incoming: Incoming) -> None:
        catalog = self._replica.catalog
        alarms = [*self._disk_space.alarms(), *itertools.chain(*self.alarms.values())]
        status = cluster_status(self._node_id, catalog, self._consensus, alarms)
        self._rpc.answer(
            incoming.route, incoming.request.id, status, catalog.version, self._age_ms()
        )

    # --- forwarding ---------------------------------------------------------------------------

    def _pass_on(self, incoming: Incoming, timeout_s: float) -> None:
        leader = self._leadership.leader_id
        if leader is None or leader == self._node_id:
            self._hold(incoming, timeout_s)
        else:
            self._forwarder.forward(incoming, leader, timeout_s)

    def _hold(self, incoming: Incoming, timeout_s: float) -> None:
        """Wait a moment for a leader. Raises: NoLeader."""
        if not self._leaderless.hold(incoming, timeout_s):
            raise NoLeader("there is no leader", retry_after_ms=RETRY_AFTER_MS)

    def hear_forwarded(self, frames: list[bytes]) -> None:
        """Take in what arrived from a node that was asked on somebody's behalf."""
        found = self._forwarder.take(frames)
        if found is not None:
            incoming, reply = found
            if reply.error is not None:
                self._note_refused(incoming, from_reply(reply.error), is_proposed=True)
            self._rpc.relay(incoming.route, reply)

    def _end_forwarded(self, is_hopeless: Callable[[Forwarded], bool], error: FelixError) -> None:
        for incoming in self._forwarder.give_up(is_hopeless):
            if isinstance(incoming.request.message, GetCluster):
                self._describe_locally(incoming)
            else:
                self._refuse(incoming, error)

    # --- what consensus says ------------------------------------------------------------------

    def committed(self, entries: Sequence[Entry], tokens: dict[Index, int]) -> None:
        """Apply, answer, publish; then answer those who waited for it."""
        self._answer_waiting(is_news=self._replica.apply(entries, tokens, self.finish_command))

    def catch_up(self) -> None:
        """Apply some of what was committed while a snapshot was loaded."""
        self._answer_waiting(is_news=self._replica.catch_up(self.finish_command))

    def _answer_waiting(self, *, is_news: bool) -> None:
        if is_news:
            for incoming in self._watchers.take_all():
                self._answer(incoming)
        for incoming in self._reads.due(self._replica.catalog.applied_index):
            self._answer(incoming)
        self._finish_operations()

    def finish_command(self, token: int, applied: Applied) -> None:
        """Answer a command of ours that was applied."""
        pending = self._commands.pop(token, None)
        if pending is None:
            self._own.finished(token, applied.result)
            return
        incoming = pending.incoming
        if isinstance(applied.result, ErrorReply):
            self._rpc.refuse(incoming.route, incoming.request.id, applied.result)
        else:
            self._rpc.answer(incoming.route, incoming.request.id, applied.result, applied.version)

    def rejected(self, tokens: Sequence[int], error: NotApplied) -> None:
        """Try the leader that there is now: these commands had no effect."""
        for token in tokens:
            pending = self._commands.pop(token, None)
            if pending is None:
                self._own.finished(token, error)
                continue
            try:
                self._pass_on(pending.incoming, max(0.0, pending.deadline - time.monotonic()))
            except NoLeader:
                self._refuse(pending.incoming, error)

    def read_released(self, context: int, index: Index | None) -> None:
        """Answer the reads that are due, and ask for the next index if more have come."""
        error = NoLeader("no leader could be confirmed", retry_after_ms=RETRY_AFTER_MS)
        for incoming, timeout_s in self._reads.released(context, index):
            if not self._leaderless.hold(incoming, timeout_s):
                self._refuse(incoming, error)
        for incoming in self._reads.due(self._replica.catalog.applied_index):
            self._answer(incoming)
        self._ask_read_index()

    def _ask_read_index(self) -> None:
        context = self._reads.next_context()
        if context is not None:
            self._consensus.read_index(context)

    def leadership_changed(self, leadership: Leadership) -> None:
        """Wait only a moment for what a former leader was asked, and go on with what waited."""
        self._leadership = leadership
        self._forwarder.doubt(leadership.leader_id, FORMER_LEADER_PATIENCE_S)
        self._finish_operations()
        if not leadership.is_leader:
            self._own.clear()
        for incoming in self.brokers.leadership_changed(leadership):
            self._take(incoming)
        if leadership.leader_id is not None:
            for incoming in self._leaderless.take_all():
                self._take(incoming)

    def membership_changed(self) -> None:
        """Be connected to the RPC sockets of the members that there are now."""
        self._forwarder.reach(self._consensus.rpc_places())

    def keys_changed(self, change: KeyChange) -> None:
        """Be connected to whose key is known; who waits for updates must ask, and prove, again."""
        self.membership_changed()
        if change.lost:
            self._answer_watchers(self._watchers.take_all())

    def hand_over(self) -> bool:
        """Begin to let another node lead; False if this one does not, or there is nobody."""
        with contextlib.suppress(NotLeader, TransferRefused):
            self._consensus.core.transfer(None)
            return True
        return False

    def turn_away(self) -> int:
        """Take no more requests; count those that are still under way."""
        self._is_turning_away = True
        return self._in_flight()

    def _finish_operations(self) -> None:
        for one in self._operations.take_finished(time.monotonic()):
            if one.error is None or one.error.outcome == "unknown":  # else whoever asked notes it
                self._note(noted(one.incoming.request, time.time_ns() // 1_000_000, one.error))
            if one.error is None:
                self._describe_locally(one.incoming)
            else:
                self._refuse(one.incoming, one.error)

    def catalog_replaced(self) -> None:
        """Answer everyone who waited from the catalog that a snapshot brought."""
        self._backups.clear()
        waiting = self._renderings.clear() + self._watchers.take_all()
        for incoming in waiting + self._reads.due(self._replica.catalog.applied_index):
            self._answer(incoming)

    # --- answering ----------------------------------------------------------------------------

    def _answer(self, incoming: Incoming) -> None:
        query = incoming.request.message
        try:
            if isinstance(query, GetSnapshot):
                self._renderings.ask(self._replica.catalog, incoming, query)
            elif isinstance(query, WatchUpdates):
                self._answer_watch(incoming, query)
            elif isinstance(query, GetBackup):
                self._answer_backup(incoming, query)
            elif isinstance(query, Report):
                self._take_for_brokers(incoming, is_confirmed=True)
            else:
                assert not isinstance(query, Command | GetCluster | Operation)
                self._answer_query(incoming, query)
        except FelixError as error:
            self._refuse(incoming, error)

    def _answer_query(self, incoming: Incoming, query: AnyQuery) -> None:
        catalog, request = self._replica.catalog, incoming.request
        result = catalog.answer(query)
        age_ms = self._age_ms() if request.consistency == "stale" else 0
        self._rpc.answer(incoming.route, request.id, result, catalog.version, age_ms)

    def _answer_watch(
        self, incoming: Incoming, query: WatchUpdates, *, may_wait: bool = True
    ) -> None:
        batch = self._replica.catalog.answer(query)
        assert isinstance(batch, UpdateBatch)
        if may_wait and not batch.updates and query.wait_ms > 0:
            self._watchers.park(incoming, query)
            return
        if batch.updates and not query.wait_ms:
            self._gaps_repaired += 1
        request = incoming.request
        self._rpc.answer(incoming.route, request.id, batch, batch.current, self._age_ms())

    def _send_chunk(self, due: Due) -> None:
        request = due.incoming.request
        query = request.message
        assert isinstance(query, GetSnapshot)
        answer = due.rendered.answer(query.chunk)
        version = due.rendered.version
        self._rpc.answer_encoded(due.incoming.route, request.id, answer, version, self._age_ms())

    def _answer_backup(self, incoming: Incoming, query: GetBackup) -> None:
        piece = self._backups.next(
            query,
            self._replica.catalog,
            applied_term=self._replica.applied_term,
            node_id=self._node_id,
            membership=self._consensus.core.membership,
        )
        self._rpc.answer(incoming.route, incoming.request.id, piece, piece.version, self._age_ms())

    @property
    def is_rendering(self) -> bool:
        """Whether `render_slice` has something to do."""
        return self._renderings.is_busy

    def render_slice(self) -> None:
        """Go on with snapshots for brokers; answer some of those whose snapshot is done."""
        for due in self._renderings.slice():
            try:
                self._send_chunk(due)
            except FelixError as error:
                self._refuse(due.incoming, error)

    def _refuse(self, incoming: Incoming, error: FelixError) -> None:
        self._note_refused(incoming, error)
        self._rpc.refuse(incoming.route, incoming.request.id, error)

    def _note_refused(
        self, incoming: Incoming, error: FelixError, *, is_proposed: bool = False
    ) -> None:
        if rpc_access.is_noted(incoming, error, is_proposed=is_proposed):
            refusal = noted(incoming.request, time.time_ns() // 1_000_000, error)
            reason = rpc_access.reason_of(incoming, error)
            self._note(msgspec.structs.replace(refusal, reason=reason))

    def _age_ms(self) -> int:
        return int(self._consensus.age_s * 1000)

    # --- deadlines ----------------------------------------------------------------------------

    def sweep(self) -> None:
        """Answer whatever has waited as long as it may."""
        now = time.monotonic()
        self._backups.sweep(now)
        self.local.sweep(now)
        self.brokers.sweep(now)
        late = [token for token, one in self._commands.items() if one.deadline <= now]
        error = DeadlineExceeded("no quorum within the deadline", retry_after_ms=1000)
        for token in late:
            self._refuse(self._commands.pop(token).incoming, error)
        for incoming in self._reads.overdue(now):
            self._refuse(incoming, NoLeader("no quorum within the deadline", retry_after_ms=1000))
        lost = OutcomeUnknown("the leader was lost while it had the request")
        self._end_forwarded(lambda one: one.is_doubtful and one.deadline <= now, lost)
        self._end_forwarded(lambda one: one.deadline <= now, error)
        self._finish_operations()
        no_leader = NoLeader("there is no leader", retry_after_ms=RETRY_AFTER_MS)
        for incoming in self._leaderless.take_overdue():
            self._refuse(incoming, no_leader)
        self._answer_watchers(self._watchers.take_overdue())

    def _answer_watchers(self, waiting: Sequence[Incoming]) -> None:
        for incoming in waiting:
            query = incoming.request.message
            assert isinstance(query, WatchUpdates)
            try:
                self._answer_watch(incoming, query, may_wait=False)
            except FelixError as changed:
                self._refuse(incoming, changed)

    def _in_flight(self) -> int:
        waiting: tuple[Sized, ...] = (
            self._commands, self._reads, self._forwarder, self._leaderless, self._operations,
            self.local, self.brokers,
        )  # fmt: skip
        return sum(map(len, waiting))

    def statistics(self) -> CatalogStatistics:
        """Read the numbers."""
        return catalog_statistics(
            self._replica.catalog,
            requests=self._requests,
            commands_pending=len(self._commands),
            queries_pending=len(self._reads),
            forwards_pending=len(self._forwarder),
            watchers=len(self._watchers),
            gaps_repaired=self._gaps_repaired,
            snapshots_rendered=self._renderings.count,
            rpc=self._rpc,
            backups=self._backups,
        )
