"""What brokers report and what only the leader knows of them: on the way to HeartbeatMonitor.

RaftNode's thread does as little about a report as it can: it sees whether the catalog has that very
boot of the broker, and hands the rest over. The answer comes back by message.
"""

from __future__ import annotations

import itertools
import time
from typing import Final

import msgspec

from felix.actors.brokers_heard import BrokersHeard
from felix.actors.consensus import Leadership
from felix.actors.messages import (
    ActorRef,
    BrokerAnswer,
    BrokersAwaited,
    CatalogRead,
    HealthAsked,
    Leading,
    PlanAsked,
    ReadCatalog,
    ReadWork,
    Reported,
    WorkRead,
    tell_if_alive,
)
from felix.actors.replica import Replica
from felix.core.brokers.boots import check_boot
from felix.core.brokers.heartbeats import BrokerSeen
from felix.core.brokers.reports import Shard, place_of
from felix.core.catalog.broker_changes import id_of
from felix.core.catalog.catalog import Catalog
from felix.core.catalog.planning import whole_of, work_of
from felix.proto.command import Command
from felix.proto.commands import DeleteStream
from felix.proto.errors import (
    Conflict,
    DeadlineExceeded,
    FelixError,
    NotFound,
    Overloaded,
)
from felix.proto.ids import Term
from felix.proto.placement_commands import ChangeBrokerStatus, RegisterBroker
from felix.proto.queries import (
    GetBrokersHealth,
    GetPlacementPlan,
    PlanRebalance,
    WaitForBrokers,
)
from felix.proto.reports import AnyReport, Report, ReportHealth
from felix.proto.resources import Broker, Key, ShardPlacement
from felix.transport.rpc_server import Incoming, RpcServer

WAITING_MAX: Final = 4096
PATIENCE: Final = 0.8
"""The part of a request's time for which a query waits for brokers."""
PATIENCE_MAX: Final = 0.9
"""The part after which HeartbeatMonitor is not waited for."""


class _Waiting(msgspec.Struct, frozen=True, gc=False):
    incoming: Incoming
    deadline: float
    ends: float
    """When whoever asked gives up."""


class BrokerRelay:
    """What waits for HeartbeatMonitor, at the leader; used by RaftNode's thread."""

    def __init__(
        self,
        rpc: RpcServer,
        me: ActorRef,
        monitor: ActorRef,
        planner: ActorRef,
        replica: Replica,
        heard: BrokersHeard,
    ) -> None:
        """`me` is told the answers, and passes them on to `answered`."""
        self._rpc = rpc
        self._me = me
        self._monitor = monitor
        self._planner = planner
        self._replica = replica
        self._heard = heard
        self._term = Term(0)
        self._is_leader = False
        self._tokens = itertools.count()
        self._waiting: dict[int, _Waiting] = {}

    def __len__(self) -> int:
        """Count the requests that wait."""
        return len(self._waiting)

    def attach(self, monitor: ActorRef, planner: ActorRef) -> None:
        """Go on with these actors; a new one knows nothing yet."""
        if monitor is not self._monitor or planner is not self._planner:
            self._monitor, self._planner = monitor, planner
            self._give_up(list(self._waiting))
            self._tell_leadership()

    def leadership_changed(self, leadership: Leadership) -> list[Incoming]:
        """Say who leads; list what another leader is to answer, with the time that is left."""
        if (leadership.term, leadership.is_leader) == (self._term, self._is_leader):
            return []
        self._term, self._is_leader = leadership.term, leadership.is_leader
        self._tell_leadership()
        if self._is_leader:
            return []
        waiting, self._waiting = self._waiting, {}
        now = time.monotonic()
        return [_with_time_left(one, now) for one in waiting.values()]

    def _tell_leadership(self) -> None:
        leading = Leading(self._term, self._is_leader, self._me)
        tell_if_alive(self._monitor, leading)
        tell_if_alive(self._planner, leading)

    # --- requests -----------------------------------------------------------------------------

    def take(self, incoming: Incoming) -> None:
        """Pass a report or a query on; this node leads.

        Raises: NotFound, BrokerFenced, Overloaded.
        """
        if len(self._waiting) >= WAITING_MAX:
            raise Overloaded("too many requests about brokers wait", retry_after_ms=500)
        asked = incoming.request.message
        timeout_s = incoming.request.timeout_ms / 1000
        token = next(self._tokens)
        catalog = self._replica.catalog
        message: Reported | HealthAsked | BrokersAwaited | PlanAsked
        actor = self._monitor
        if isinstance(asked, Report):
            message = self._reported(token, asked, catalog)
        elif isinstance(asked, GetBrokersHealth):
            message = HealthAsked(token, asked, _brokers_of(catalog))
        elif isinstance(asked, GetPlacementPlan):
            actor = self._planner
            message = PlanAsked(token, asked, work_of(catalog, time.time_ns() // 1_000_000))
        elif isinstance(asked, PlanRebalance):
            actor = self._planner
            message = PlanAsked(token, asked, whole_of(catalog))
        else:
            assert isinstance(asked, WaitForBrokers)
            read = _brokers_of(catalog)
            message = BrokersAwaited(token, asked, PATIENCE * timeout_s, read)
        if not tell_if_alive(actor, message):
            raise Overloaded("nobody listens to brokers just now", retry_after_ms=500)
        now = time.monotonic()
        deadline, ends = now + PATIENCE_MAX * timeout_s, now + timeout_s
        self._waiting[token] = _Waiting(incoming, deadline, ends)

    def _reported(self, token: int, report: AnyReport, catalog: Catalog) -> Reported:
        broker = _check_boot(report, catalog)
        holds: frozenset[Shard] = frozenset()
        if isinstance(report, ReportHealth):
            holds = _held(report, catalog)
        epoch, version = report.applied_epoch, report.applied_version
        digest = self._replica.digest_at(epoch, version)
        return Reported(token, report, _seen(broker, catalog), catalog.epoch, digest, holds)

    def answered(self, message: BrokerAnswer) -> None:
        """Answer the one who asked, if that is not too late."""
        waiting = self._waiting.pop(message.token, None)
        if waiting is None:
            return
        route, request_id = waiting.incoming.route, waiting.incoming.request.id
        if isinstance(message.result, FelixError):
            self._rpc.refuse(route, request_id, message.result)
        else:
            self._rpc.answer(route, request_id, message.result, self._replica.catalog.version)

    def sweep(self, now: float) -> None:
        """Answer those whose time is up."""
        self._give_up([token for token, one in self._waiting.items() if one.deadline <= now])

    def _give_up(self, tokens: list[int]) -> None:
        error = DeadlineExceeded("nobody listens to brokers just now", retry_after_ms=1000)
        for token in tokens:
            incoming = self._waiting.pop(token).incoming
            self._rpc.refuse(incoming.route, incoming.request.id, error)

    # --- commands that depend on what was heard -----------------------------------------------

    def check(self, command: Command) -> None:
        """Refuse what brokers' reports speak against; this node leads. Raises: Conflict."""
        if isinstance(command, ChangeBrokerStatus) and command.decided_in_term != self._term:
            raise Conflict(
                f"this was decided in term {command.decided_in_term}, and it is {self._term} now",
                details={"reason": "changed", "term": self._term},
            )
        if isinstance(command, DeleteStream) and not command.force:
            key = (command.tenant_id, command.namespace, command.stream)
            count = self._heard.subscribers(self._term, key)
            if count:
                raise Conflict(
                    f"the stream has {count} subscribers: end them, or delete it with force",
                    details={"reason": "subscribers", "subscribers": count},
                )

    def gone_epoch(self, command: Command) -> int:
        """Say which boot a registration may replace because it is not heard any more."""
        if not isinstance(command, RegisterBroker):
            return 0
        return self._heard.gone_epoch(self._term, id_of(command))

    # --- what HeartbeatMonitor reads ----------------------------------------------------------

    def work(self, message: ReadWork) -> WorkRead:
        """Extract what placement there is to be done."""
        now_ms = time.time_ns() // 1_000_000
        return WorkRead(work_of(self._replica.catalog, now_ms, message.after, message.dead))

    def read(self, message: ReadCatalog) -> CatalogRead:
        """Extract what is about brokers and has changed."""
        catalog = self._replica.catalog
        brokers_changed = is_whole = not catalog.history.oldest <= message.since <= catalog.version
        wanted: dict[Key, None] = dict.fromkeys(message.streams)
        if not is_whole:
            count = catalog.version - message.since
            for change in catalog.history.since(message.since, count):
                if change.kind == "ShardPlacement":
                    wanted[change.key] = None
                    brokers_changed = True  # what they hold
                elif change.kind == "Broker":
                    brokers_changed = True
        rows = catalog.store.tables["ShardPlacement"].rows
        found: dict[Key, ShardPlacement | None] = {key: rows.get(key) for key in wanted}
        brokers = _all_seen(catalog) if brokers_changed else None
        return CatalogRead(catalog.version, brokers, found, is_whole)


def _brokers_of(catalog: Catalog) -> CatalogRead:
    return CatalogRead(catalog.version, _all_seen(catalog), {}, is_whole=False)


def _all_seen(catalog: Catalog) -> tuple[BrokerSeen, ...]:
    table = catalog.store.tables["Broker"]
    return tuple(_seen(table.rows[key], catalog) for key in table.keys)


def _seen(broker: Broker, catalog: Catalog) -> BrokerSeen:
    index = catalog.placement
    return BrokerSeen(broker, index.copies(broker.broker_id), index.leads(broker.broker_id))


def _check_boot(report: AnyReport, catalog: Catalog) -> Broker:
    """Find the broker that reports. Raises: NotFound, BrokerFenced."""
    broker: Broker | None = catalog.store.tables["Broker"].rows.get((report.broker_id,))
    if broker is None:
        raise NotFound(f"there is no broker {report.broker_id!r}: register it")
    check_boot(broker, report.broker_epoch)
    return broker


def _held(report: ReportHealth, catalog: Catalog) -> frozenset[Shard]:
    """Tell of which of the copies that it speaks of a broker has one in the catalog."""
    rows = catalog.store.tables["ShardPlacement"].rows
    found = []
    for status in report.shard_status:
        key = status.stream.key
        place = place_of(rows.get(key), status.shard_id)
        if place is not None and report.broker_id in place.copies:
            found.append((key, status.shard_id))
    return frozenset(found)


def _with_time_left(one: _Waiting, now: float) -> Incoming:
    left_ms = max(0, int((one.ends - now) * 1000))
    request = msgspec.structs.replace(one.incoming.request, timeout_ms=left_ms)
    return msgspec.structs.replace(one.incoming, request=request)
