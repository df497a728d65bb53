"""What a control plane inside the test's own process knows of brokers beside its catalog."""

from __future__ import annotations

import time
from typing import Final

from felix.core.brokers.boots import check_boot
from felix.core.brokers.health import brokers_health
from felix.core.brokers.heartbeats import BeatTimes, BrokerSeen, Heartbeats
from felix.core.brokers.reports import Reports
from felix.core.catalog.catalog import Catalog
from felix.core.catalog.planning import Work, placement_plan, rebalancing, whole_of, work_of
from felix.core.placement.creating import place
from felix.proto.brokers import AppliedBy, BrokersHealth, HealthAck, PlacementPlan
from felix.proto.command import Command
from felix.proto.commands import DeleteStream
from felix.proto.errors import Conflict, NotFound
from felix.proto.placement_commands import PlaceShards
from felix.proto.queries import GetBrokersHealth, GetPlacementPlan, PlanRebalance, WaitForBrokers
from felix.proto.reports import AnyReport, Report, ReportHealth

TERM: Final = 1
TIMES: Final = BeatTimes()


class LocalBrokers:
    """Takes reports and answers at once: nobody is found down here, and nobody is waited for."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._beats = Heartbeats(TIMES, time.monotonic(), TERM)
        self._reports = Reports()

    def check(self, command: Command) -> None:
        """Refuse to delete a stream that has subscribers. Raises: Conflict."""
        if not isinstance(command, DeleteStream) or command.force:
            return
        count = self._reports.subscribers((command.tenant_id, command.namespace, command.stream))
        if count:
            raise Conflict(
                f"the stream has {count} subscribers: end them, or delete it with force",
                details={"reason": "subscribers", "subscribers": count},
            )

    def plan(self, query: GetPlacementPlan | PlanRebalance) -> PlacementPlan:
        """Plan as the leader's planner does; every broker feels well. Raises: NotFound."""
        if isinstance(query, PlanRebalance):
            return rebalancing(query, whole_of(self._catalog), ())
        return placement_plan(self._work(), (), ())

    def placing(self) -> PlaceShards:
        """Give what the leader's planner proposes for the streams without a placement."""
        work = self._work()
        return PlaceShards(items=place(work.fleet, work.unplaced).items)

    def _work(self) -> Work:
        return work_of(self._catalog, time.time_ns() // 1_000_000)

    def answer(
        self, message: AnyReport | GetBrokersHealth | WaitForBrokers
    ) -> HealthAck | BrokersHealth | AppliedBy:
        """Answer what the leader answers. Raises: NotFound, BrokerFenced."""
        table, index = self._catalog.store.tables["Broker"], self._catalog.placement
        rows = [table.rows[key] for key in table.keys]
        seen = [
            BrokerSeen(one, index.copies(one.broker_id), index.leads(one.broker_id)) for one in rows
        ]
        self._reports.forget(self._beats.follow(seen, time.monotonic()))
        if isinstance(message, Report):
            return self._acknowledged(message)
        if isinstance(message, GetBrokersHealth):
            version, now = self._catalog.version, time.monotonic()
            return brokers_health(self._beats, self._reports, version, now, message.broker_id)
        return self._reports.applied_by(message.version, self._beats.up(), message.brokers)

    def _acknowledged(self, report: AnyReport) -> HealthAck:
        beat = self._beats.beat(report.broker_id)
        if beat is None:
            raise NotFound(f"there is no broker {report.broker_id!r}: register it")
        broker = beat.seen.broker
        check_boot(broker, report.broker_epoch)
        self._beats.hear(report, beat.seen, time.monotonic())
        named = report.shard_status if isinstance(report, ReportHealth) else ()
        holds = {(one.stream.key, one.shard_id) for one in named}
        self._reports.hear(report, epoch=self._catalog.epoch, digest="", holds=holds)
        return HealthAck(
            term=TERM,
            version=self._catalog.version,
            interval_ms=int(TIMES.interval_s * 1000),
            status=broker.status,
            drain=broker.drain,
            wants_all_shards=self._reports.wants_all(report.broker_id),
        )
