"""A broker's whole client over real sockets: registered, reporting, acknowledging, looking up."""

from __future__ import annotations

import threading
from typing import TypeVar

import pytest

from felix.proto.brokers import NewPlacement, Placement, StreamName
from felix.proto.commands import CreateNamespace, CreateStream, CreateTenant, DeleteStream
from felix.proto.errors import Conflict, NotFound
from felix.proto.placement_commands import (
    DeregisterBroker,
    PlaceShards,
    RegisterBroker,
    RemoveBroker,
)
from felix.proto.queries import GetBroker
from felix.proto.reports import ReportApplied, ReportHealth
from felix.proto.resources import Broker as BrokerRow
from felix.proto.resources import Stream, StreamSpec, Tenant
from felix.proto.updates import MetadataUpdate
from felix.transport.broker import Broker, BrokerSettings
from felix.transport.client import UnknownStream
from felix.transport.sync_records import UpdateInfo
from tests.support.local_control_plane import LocalControlPlane
from tests.support.local_node import LocalNode, local_node
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

T = TypeVar("T")
SETTINGS = BrokerSettings(address="b1.example:5000", broker_id="b1", availability_zone="z1")


def of(kind: type[T], found: object) -> T:
    assert isinstance(found, kind)
    return found


def row_of(node: LocalNode, name: str = "b1") -> BrokerRow:
    return of(BrokerRow, node.control_plane.ask(GetBroker(broker_id=name)).result)


def make_stream(node: LocalNode) -> Stream:
    """Make a stream, with what is around it where that is missing."""
    for command in (
        CreateTenant(tenant_id="acme"),
        CreateNamespace(tenant_id="acme", namespace="prod"),
    ):
        try:
            node.control_plane.ask(command)
        except Conflict:
            continue
    spec = StreamSpec(durability="durable")
    made = CreateStream(tenant_id="acme", namespace="prod", stream="orders", spec=spec)
    return of(Stream, node.control_plane.ask(made).result)


def place(node: LocalNode, stream: Stream) -> None:
    name = StreamName("acme", "prod", "orders")
    shard = Placement(shard_id=0, leader="b1")
    item = NewPlacement(stream=name, stream_id=stream.stream_id, placements=(shard,))
    node.control_plane.ask(PlaceShards(items=(item,)))


def test_a_broker_registers_reports_what_it_has_and_says_good_bye() -> None:
    with local_node() as node:
        with Broker(SETTINGS, [node.sockets.endpoints]) as broker:
            assert broker.wait_registered(10)
            mine = row_of(node)
            assert broker.registered == mine
            assert (mine.boot_id, mine.availability_zone) == (broker.boot_id, "z1")
            assert broker.client.wait_current(10)
            node.publish(mine.version - 1)
            assert broker.client.wait_version(mine.version, 10)
            broker.report_within(0)
            catalog = node.control_plane.catalog
            said = (mine.version, 1, catalog.digest)
            eventually(
                lambda: any(
                    (one.applied_version, one.applied_epoch, one.applied_digest) == said
                    for one in node.asked(ReportHealth)
                )
            )
            first = node.asked(ReportHealth)[0]
            assert first.has_all_shards, "a new boot says everything"
            assert broker.last_ack is not None
        assert node.asked(DeregisterBroker)[0].broker_epoch
        assert row_of(node).status == "down"


def test_a_broker_that_is_abandoned_says_nothing() -> None:
    with local_node() as node:
        broker = Broker(SETTINGS, [node.sockets.endpoints])
        broker.start()
        assert broker.wait_registered(10)
        broker.close(deregister=False)
        assert node.asked(DeregisterBroker) == []
        assert row_of(node).status == "active"


def test_a_broker_without_a_name_is_called_as_its_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAME", "felix-broker-7")
    settings = BrokerSettings(address="10.0.0.7:5000")
    with local_node() as node, Broker(settings, [node.sockets.endpoints]) as broker:
        assert broker.wait_registered(10)
        assert broker.registered == row_of(node, "felix-broker-7")


def test_it_says_at_once_what_it_has_where_the_watch_asks_and_only_there() -> None:
    with local_node() as node, Broker(SETTINGS, [node.sockets.endpoints]) as broker:
        assert broker.wait_registered(10)
        assert broker.client.wait_current(10)
        for wants_acks in (False, True):
            # An unasked one is told before; had it been acknowledged there would be two.
            since = node.control_plane.catalog.version
            node.control_plane.ask(CreateTenant(tenant_id=f"t-{wants_acks}".lower()))
            node.publish(since, wants_acks=wants_acks)
            assert broker.client.wait_version(since + 1, 10)
        eventually(lambda: bool(node.asked(ReportApplied)))
        said = node.asked(ReportApplied)[0]
        catalog = node.control_plane.catalog
        assert (said.applied_version, said.applied_digest) == (catalog.version, catalog.digest)
        assert len(node.asked(ReportApplied)) == 1


def test_what_it_reports_does_not_run_ahead_of_its_own_callbacks() -> None:
    gate = threading.Event()

    def hear(update: MetadataUpdate, _info: UpdateInfo) -> None:
        assert not isinstance(update.payload, Tenant) or gate.wait(30)

    with (
        local_node() as node,
        Broker(SETTINGS, [node.sockets.endpoints], on_update=hear) as broker,
    ):
        assert broker.wait_registered(10)
        assert broker.client.wait_current(10)
        since = node.control_plane.catalog.version
        node.publish(since - 1)
        eventually(lambda: broker.client.applied.version == since)
        node.control_plane.ask(CreateTenant(tenant_id="busy"))
        node.publish(since, wants_acks=True)
        eventually(lambda: broker.client.version == since + 1)
        assert broker.client.applied.version == since
        assert node.asked(ReportApplied) == []
        gate.set()
        eventually(lambda: bool(node.asked(ReportApplied)))
        assert broker.client.applied.version == since + 1


def test_a_broker_that_somebody_deregistered_is_told_and_registers_again() -> None:
    fenced: list[int] = []
    with (
        local_node() as node,
        Broker(SETTINGS, [node.sockets.endpoints], on_fenced=lambda: fenced.append(1)) as broker,
    ):
        assert broker.wait_registered(10)
        first = row_of(node)
        node.control_plane.ask(
            DeregisterBroker(broker_id="b1", broker_epoch=first.broker_epoch),
        )
        broker.report_within(0)
        eventually(lambda: row_of(node).boot_id == broker.boot_id)
        eventually(lambda: broker.registered == row_of(node))
        assert row_of(node).broker_epoch > first.broker_epoch
        assert (fenced, broker.replaced) == ([1], None)


def test_a_broker_whose_id_another_process_has_taken_says_what_to_do_and_never_takes_it_back() -> (
    None
):
    said: list[str] = []
    with (
        local_node() as node,
        Broker(
            SETTINGS,
            [node.sockets.endpoints],
            on_fenced=lambda: said.append("stop serving"),
            on_replaced=lambda error: said.append(error.message),
        ) as first,
    ):
        assert first.wait_registered(10)
        with Broker(SETTINGS, [node.sockets.endpoints]) as second:
            assert second.wait_registered(10)
            first.report_within(0)
            eventually(lambda: first.replaced is not None)
            eventually(lambda: len(said) == 2)
            assert said[0] == "stop serving"
            assert "stop this process, or give one of the two another broker_id" in said[1]
            assert not first.wait_registered(10), "it answers at once: it is over"
            first.report_within(0)
            beats = len(node.asked(ReportHealth))
            second.report_within(0)
            eventually(lambda: len(node.asked(ReportHealth)) > beats)
            assert second.registered == row_of(node)
            first.close()  # it has nothing to deregister
            assert (row_of(node).boot_id, row_of(node).status) == (second.boot_id, "active")
        assert len(node.asked(RegisterBroker)) == 2


def test_a_broker_that_is_ahead_of_a_restored_cluster_registers_again() -> None:
    before = RegisterBroker(broker_id="b1", address=SETTINGS.address, boot_id="of the backup")
    with local_node() as node:
        for number in range(5):
            node.control_plane.ask(CreateTenant(tenant_id=f"t{number}"))
        with Broker(SETTINGS, [node.sockets.endpoints]) as broker:
            assert broker.wait_registered(10)
            restored = LocalControlPlane()
            restored.ask(before)
            node.control_plane = restored
            assert of(BrokerRow, broker.registered).broker_epoch > row_of(node).broker_epoch
            broker.report_within(0)
            eventually(lambda: row_of(node).boot_id == broker.boot_id)
            eventually(lambda: broker.registered == row_of(node))
            assert broker.replaced is None


def test_a_broker_that_was_forgotten_registers_again() -> None:
    with local_node() as node, Broker(SETTINGS, [node.sockets.endpoints]) as broker:
        assert broker.wait_registered(10)
        mine = row_of(node)
        ask = node.control_plane.ask
        ask(DeregisterBroker(broker_id="b1", broker_epoch=mine.broker_epoch))
        ask(RemoveBroker(broker_id="b1"))
        with pytest.raises(NotFound):
            row_of(node)
        broker.report_within(0)
        eventually(lambda: broker.registered is not None and broker.registered != mine)
        assert broker.registered == row_of(node)


def test_after_a_nodes_silence_another_one_is_asked() -> None:
    with local_node() as silent, local_node() as node:
        silent.is_silent = True
        nodes = [silent.sockets.endpoints, node.sockets.endpoints]
        with Broker(SETTINGS, nodes) as broker:
            assert broker.wait_registered(20)
            assert broker.registered == row_of(node)


def test_a_stream_is_looked_up_with_its_shards_once_it_is_there_and_not_once_it_is_deleted() -> (
    None
):
    with local_node() as node, Broker(SETTINGS, [node.sockets.endpoints]) as broker:
        assert broker.wait_registered(10)
        assert broker.client.wait_current(10)
        with pytest.raises(UnknownStream) as unknown:
            broker.lookup("acme", "prod", "orders")
        assert unknown.value.details["version"] == broker.client.version
        since, stream = broker.client.version, make_stream(node)
        node.publish(since)
        found = broker.lookup("acme", "prod", "orders", at_version=stream.version, timeout_s=10)
        assert (found.stream, found.placement) == (stream, None)
        assert found.staleness_s < 10
        since = node.control_plane.catalog.version
        place(node, stream)
        node.publish(since)
        assert broker.client.wait_version(since + 1, 10)
        placement = broker.lookup("acme", "prod", "orders").placement
        assert placement is not None
        assert placement.placements[0].leader == "b1"
        since = node.control_plane.catalog.version
        node.control_plane.ask(
            DeleteStream(
                tenant_id="acme",
                namespace="prod",
                stream="orders",
                grace_ms=60_000,
            )
        )
        node.publish(since)
        with pytest.raises(UnknownStream, match="Unknown stream"):
            broker.lookup("acme", "prod", "orders", at_version=since + 1, timeout_s=10)
