"""Quotas, settings and flags at three real nodes: counted under load, and seen by a broker."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from felix.cli.config import BrokersConfig
from felix.proto.brokers import NamespaceUsage
from felix.proto.commands import CreateStream, UpdateNamespace
from felix.proto.errors import QuotaExceeded
from felix.proto.queries import GetReportedUsage, GetUsage, Usage
from felix.proto.resources import Quotas, StreamSpec
from felix.proto.setting_commands import PutSetting
from felix.transport.broker import Broker, BrokerSettings
from felix.transport.broker_reporter import Vitals
from tests.cluster.fake_broker import CALL, status_of
from tests.cluster.placed_broker import Site, asked
from tests.support.cluster import NAMESPACE, TENANT, Cluster, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

TIMES = BrokersConfig(heartbeat_interval_ms=300, missed_heartbeats=3, rebuild_after_s=3600)
NAMES: Any = {"tenant_id": TENANT, "namespace": NAMESPACE}
ROOM = 17
TRIES = 50
USED = NamespaceUsage(**NAMES, publish_per_s=2.5, storage_bytes=1024)


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    with cluster(brokers=TIMES, http=True) as running:
        running.make_namespace()
        yield running


def put(three: Cluster, number: int, path: str, body: object) -> dict[str, Any]:
    answer = three.nodes[number].http("PUT", path, body=body)
    assert answer.status == 200, answer.data
    found: dict[str, Any] = json.loads(answer.data)
    return found


def test_a_broker_sees_changed_quotas_settings_and_flags(three: Cluster) -> None:
    settings = BrokerSettings(broker_id="watching", address="watching:5000")
    vitals = Vitals(usage=lambda: [USED])
    with Broker(settings, [node.endpoints for node in three.nodes], vitals=vitals) as broker:
        client = broker.client
        assert broker.wait_registered(30)
        assert client.wait_current(30)
        assert client.quotas(TENANT, NAMESPACE) == (Quotas(), Quotas())
        assert client.setting("broker.idle_timeout", 60_000) == 60_000
        assert not client.flag("zero-copy")
        assert client.flag("zero-copy", default=True)

        quotas = {"max_publish_rate": 500, "max_storage": "1GB"}
        changed = three.nodes[0].http("PATCH", f"/v1/tenants/{TENANT}", body={"quotas": quotas})
        assert changed.status == 200
        idle = {"value": "5m", "type": "duration", "description": "Idle clients"}
        put(three, 1, "/v1/config/broker.idle_timeout", idle)
        flag = {"enabled": True, "description": "Send without copies"}
        version = put(three, 2, "/v1/feature-flags/zero-copy", flag)["version"]
        assert client.wait_version(version, 30)
        of_tenant, of_namespace = client.quotas(TENANT, NAMESPACE)
        assert of_tenant == Quotas(max_publish_rate=500, max_storage_bytes=10**9)
        assert of_namespace == Quotas()
        assert client.setting("broker.idle_timeout", 60_000) == 300_000
        assert client.setting("broker.idle_timeout", default=True), "it expects another type"
        assert client.flag("zero-copy")

        put(three, 0, "/v1/feature-flags/zero-copy", {"enabled": False})
        gone = three.nodes[1].http("DELETE", "/v1/config/broker.idle_timeout?wait_brokers=all")
        assert gone.status == 204
        eventually(lambda: not client.flag("zero-copy", default=True), 30)
        eventually(lambda: client.setting("broker.idle_timeout", 60_000) == 60_000, 30)

        def is_shown() -> bool:
            answer = three.nodes[2].http("GET", f"/v1/tenants/{TENANT}/usage")
            found = json.loads(answer.data)
            used = found["used"]["publish_rate"], found["used"]["storage_bytes"]
            return (found["reported_by"], *used) == (1, 2.5, 1024)

        eventually(is_shown, 30)


def test_of_many_that_want_the_last_places_exactly_as_many_get_one(three: Cluster) -> None:
    three.nodes[0].ask(UpdateNamespace(**NAMES, quotas=Quotas(max_streams=ROOM)), CALL)

    def create(number: int) -> str:
        node = three.nodes[number % 3]
        try:
            node.ask(CreateStream(**NAMES, stream=f"s{number}"), CALL)
        except QuotaExceeded as error:
            return f"{error.details['used']} of {error.details['limit']}"
        return "made"

    with ThreadPoolExecutor(12) as pool:
        came = Counter(pool.map(create, range(TRIES)))
    assert came == {"made": ROOM, f"{ROOM} of {ROOM}": TRIES - ROOM}
    three.wait_converged()
    for node in three.nodes:
        found = node.ask(GetUsage(**NAMES), CALL).result
        assert isinstance(found, Usage)
        assert (found.streams, found.streams_left) == (ROOM, 0)
        node.ask(GetReportedUsage(**NAMES), CALL)
    three.nodes[0].ask(UpdateNamespace(**NAMES, quotas=Quotas()), CALL)


def test_a_setting_is_in_force_at_once_and_whoever_leads(three: Cluster) -> None:
    site = Site(three.nodes)
    site.start("a", "b", "c")
    spec = StreamSpec(replication_factor=2, durability="durable")
    three.nodes[0].ask(CreateStream(**NAMES, stream="orders", spec=spec), CALL)

    def until(condition: Any) -> None:
        def beaten() -> bool:
            site.beat()
            return bool(condition())

        eventually(beaten, 60)

    def shard() -> Any:
        return site.placements()["orders"].placements[0]

    until(lambda: "orders" in site.placements() and len(shard().in_sync) == 2)
    dead = shard().replicas[0]
    site.running.pop(dead)
    until(lambda: status_of(three.nodes[0], dead) == "down")
    assert dead in shard().copies, "an hour it is waited for, as the nodes' files say"
    asked(three.nodes, PutSetting(name="placement.rebuild_after", value="1s"))
    until(lambda: dead not in shard().copies and len(shard().in_sync) == 2)
