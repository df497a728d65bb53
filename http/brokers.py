"""Brokers: registration, health, drain (seed, "Broker Management")."""

from __future__ import annotations

from typing import Final, TypeVar

import falcon

from felix.http.broker_bodies import BrokerPatch, CapacityBody, Epoch, HealthReport, NewBroker
from felix.http.broker_parts import HealthAckView, spelled_out
from felix.http.broker_views import (
    BrokerPage,
    BrokerWithHealth,
    broker_view,
    broker_with_health,
)
from felix.http.desk import (
    Desk,
    answer,
    expected_version_of,
    flag_of,
    invalid,
    page_size_of,
    text_of,
)
from felix.proto.brokers import (
    BrokerCapacity,
    BrokersHealth,
    BrokerStatus,
    HealthAck,
    ShardStatus,
    StreamName,
)
from felix.proto.commands import Deleted
from felix.proto.errors import FelixError
from felix.proto.placement_commands import (
    CancelDrain,
    DeregisterBroker,
    DrainBroker,
    RegisterBroker,
    RemoveBroker,
    UpdateBroker,
)
from felix.proto.queries import AnyQuery, GetBroker, GetBrokersHealth, ListBrokers
from felix.proto.reports import ReportHealth
from felix.proto.resources import Broker

T = TypeVar("T")

_OF_THE_CATALOG: Final = ("X-Felix-Version", "X-Felix-Age-Ms")


class Brokers:
    """/v1/brokers"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List, each with how it does and whether it gets shards."""
        listing = self._desk.list(
            req,
            resp,
            ListBrokers(
                filter=text_of(req, "filter"),
                page_size=page_size_of(req),
                page_token=text_of(req, "page_token"),
                status=_status_of(req),
                region=text_of(req, "region"),
                availability_zone=text_of(req, "availability_zone"),
            ),
            seen=None,
        )
        health = {one.broker_id: one for one in self._health(req, resp).items}
        items = [
            broker_with_health(one, health.get(one.broker_id))
            for one in listing.items
            if isinstance(one, Broker)
        ]
        answer(resp, BrokerPage(items, listing.next_page_token))

    on_head = on_get

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Register."""
        body = self._desk.read(req, NewBroker)
        command = RegisterBroker(
            broker_id=body.broker_id,
            address=body.address,
            boot_id=body.boot_id,
            region=body.region or "",
            availability_zone=body.availability_zone or "",
            capacity=_capacity(body.capacity) or BrokerCapacity(),
            metadata=body.metadata or {},
        )
        broker = self._desk.ask(req, resp, command, Broker)
        resp.location = f"{req.path}/{broker.broker_id}"
        answer(resp, broker_view(broker), status=201, version=broker.version)

    def _health(self, req: falcon.Request, resp: falcon.Response) -> BrokersHealth:
        return health_of(self._desk, req, resp)


class OneBroker:
    """/v1/brokers/{broker_id}"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response, broker_id: str) -> None:
        """Read one, with how it does."""
        broker = self._desk.ask(req, resp, GetBroker(broker_id=broker_id), Broker)
        health = health_of(self._desk, req, resp, broker_id)
        found: BrokerWithHealth = broker_with_health(broker, next(iter(health.items), None))
        answer(resp, found, version=broker.version)

    on_head = on_get

    def on_patch(self, req: falcon.Request, resp: falcon.Response, broker_id: str) -> None:
        """Change what is known of it."""
        body = self._desk.read(req, BrokerPatch)
        command = UpdateBroker(
            broker_id=broker_id,
            region=body.region,
            availability_zone=body.availability_zone,
            capacity=_capacity(body.capacity),
            metadata=body.metadata,
            expected_version=expected_version_of(req),
        )
        broker = self._desk.ask(req, resp, command, Broker)
        answer(resp, broker_view(broker), version=broker.version)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, broker_id: str) -> None:
        """Forget it."""
        command = RemoveBroker(
            broker_id=broker_id,
            abandon=flag_of(req, "abandon"),
            expected_version=expected_version_of(req),
        )
        self._desk.ask(req, resp, command, Deleted)
        resp.status = 204


class BrokerHealthReport:
    """/v1/brokers/{broker_id}/health"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(self, req: falcon.Request, resp: falcon.Response, broker_id: str) -> None:
        """Take a heartbeat."""
        body = self._desk.read(req, HealthReport)
        shards = tuple(
            ShardStatus(
                stream=StreamName(one.tenant_id, one.namespace, one.stream),
                shard_id=one.shard_id,
                role=one.role,
                generation=one.generation,
                in_sync=tuple(one.in_sync or ()),
                is_drained=one.is_drained,
                lag=one.lag,
                subscribers=one.subscribers,
            )
            for one in body.shard_status or ()
        )
        report = ReportHealth(
            broker_id=broker_id,
            broker_epoch=body.broker_epoch,
            status=body.status,
            metrics=body.metrics,
            shard_status=shards,
            has_all_shards=body.has_all_shards,
            usage=None if body.usage is None else tuple(body.usage),
            applied_version=body.applied_version,
            applied_epoch=body.applied_epoch,
            applied_digest=body.applied_digest,
        )
        ack = self._desk.ask(req, resp, report, HealthAck)
        answer(resp, spelled_out(ack, HealthAckView))


class BrokerDrain:
    """/v1/brokers/{broker_id}/drain"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(self, req: falcon.Request, resp: falcon.Response, broker_id: str) -> None:
        """Empty it; that lasts until it is cancelled."""
        broker = self._desk.ask(req, resp, DrainBroker(broker_id=broker_id), Broker)
        answer(resp, broker_view(broker), status=202, version=broker.version)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, broker_id: str) -> None:
        """Let it have shards again."""
        broker = self._desk.ask(req, resp, CancelDrain(broker_id=broker_id), Broker)
        answer(resp, broker_view(broker), version=broker.version)


class BrokerDeregistration:
    """/v1/brokers/{broker_id}/deregister"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(self, req: falcon.Request, resp: falcon.Response, broker_id: str) -> None:
        """Hear that it stops."""
        body = self._desk.read(req, Epoch)
        command = DeregisterBroker(broker_id=broker_id, broker_epoch=body.broker_epoch)
        broker = self._desk.ask(req, resp, command, Broker)
        answer(resp, broker_view(broker), version=broker.version)


def health_of(
    desk: Desk, req: falcon.Request, resp: falcon.Response, broker_id: str = ""
) -> BrokersHealth:
    """Ask the leader how brokers do; without one nothing is known."""
    query = GetBrokersHealth(broker_id=broker_id)
    return aside(desk, req, resp, query, BrokersHealth) or BrokersHealth([])


def aside(
    desk: Desk, req: falcon.Request, resp: falcon.Response, query: AnyQuery, wanted: type[T]
) -> T | None:
    """Ask what the leader knows beside the catalog; None: there is nobody to ask.

    The headers go on to speak of the catalog that was read before.
    """
    said = {name: resp.get_header(name) for name in _OF_THE_CATALOG}
    try:
        return desk.ask(req, resp, query, wanted)
    except FelixError:
        return None
    finally:
        resp.set_headers({name: value for name, value in said.items() if value is not None})


def _capacity(body: CapacityBody | None) -> BrokerCapacity | None:
    if body is None:
        return None
    return BrokerCapacity(max_shards=body.max_shards, max_connections=body.max_connections)


def _status_of(req: falcon.Request) -> BrokerStatus | None:
    match text_of(req, "status"):
        case "":
            return None
        case ("active" | "draining" | "drained" | "down") as status:
            return status
        case _:
            raise invalid("status", "must be active, draining, drained or down")
