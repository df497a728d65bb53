"""The broker client over real sockets, against nodes that misbehave on demand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from felix.proto.resources import Tenant
from felix.proto.updates import MetadataUpdate
from felix.transport.client import BrokerClient, UnknownStream
from felix.transport.client_cache import ClientCache
from felix.transport.sync_records import SyncLimits, UpdateInfo
from felix.transport.view import MetadataView
from tests.support.metadata_model import MetadataModel
from tests.support.scripted_node import ScriptedNode, metadata_handler
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

QUICK = SyncLimits(silence_s=0.3, back_off_s=0.01, back_off_s_max=0.05, retry_s=0.02)
NOWHERE = ("tcp://127.0.0.1:1", "tcp://127.0.0.1:1")


@contextmanager
def node_of(model: MetadataModel) -> Iterator[ScriptedNode]:
    """A node that tells every new subscriber where it is."""
    with ScriptedNode(metadata_handler(model)) as node:
        node.on_subscribe = lambda: node.send(model.bookmark(model.version))
        yield node


def a_model() -> MetadataModel:
    model = MetadataModel()
    for number in range(10):
        model.put_stream(f"s{number}")
    return model


def test_a_broker_gets_the_snapshot_and_every_update_after_it_once_and_in_order() -> None:
    model = a_model()
    heard: list[int] = []
    views: list[int] = []

    def on_update(update: MetadataUpdate, _info: UpdateInfo) -> None:
        heard.append(update.version)

    def on_snapshot(view: MetadataView) -> None:
        views.append(view.version)

    with (
        node_of(model) as node,
        BrokerClient([node.endpoints], on_update=on_update, on_snapshot=on_snapshot) as client,
    ):
        assert client.wait_current(10)
        for number in range(10, 20):
            model.put_stream(f"s{number}")
            node.publish(model.frame(model.version, model.version))
        assert client.wait_version(20, 10)
        assert views == [10]
        assert heard == list(range(11, 21))
        assert client.stream("acme", "prod", "s15").version == 16
        assert client.view.digest == model.digest(20)
        assert client.staleness_s < 5


def test_lost_messages_are_noticed_by_a_bookmark_and_asked_for() -> None:
    model = a_model()
    heard: list[int] = []
    with (
        node_of(model) as node,
        BrokerClient([node.endpoints], on_update=lambda u, _: heard.append(u.version)) as client,
    ):
        assert client.wait_current(10)
        for number in range(12):
            model.put_stream(f"lost{number}")
        node.publish(model.bookmark(model.version))
        assert client.wait_version(model.version, 10)
        assert heard == list(range(11, 23))
        eventually(lambda: client.statistics().gaps_filled == 1)
        assert client.statistics().gaps_found == 1
        assert client.statistics().resyncs == 0


def test_a_dead_node_is_left_for_another_and_nothing_is_missed() -> None:
    model = a_model()
    heard: list[int] = []
    with node_of(model) as first, node_of(model) as second:
        client = BrokerClient(
            [first.endpoints, second.endpoints],
            on_update=lambda u, _: heard.append(u.version),
            limits=QUICK,
        )
        with client:
            assert client.wait_current(10)
            dead, alive = (first, second) if client.statistics().node == 0 else (second, first)
            dead.stop()
            model.put_stream("after")
            eventually(lambda: alive.subscriptions > 0)
            assert client.wait_version(11, 10)
            assert heard == [11]
            assert client.statistics().failovers >= 1
            assert client.statistics().resyncs == 0


def test_a_silent_node_is_left() -> None:
    model = a_model()
    with (
        node_of(model) as first,
        node_of(model) as second,
        BrokerClient([first.endpoints, second.endpoints], limits=QUICK) as client,
    ):
        assert client.wait_current(10)
        # Neither sends bookmarks but to a new subscriber: each falls silent in turn.
        eventually(lambda: first.subscriptions > 0 and second.subscriptions > 0)
        assert client.version == 10


def test_a_broker_starts_from_its_cache_and_knows_that_it_is_stale(tmp_path: Path) -> None:
    model, file = a_model(), tmp_path / "metadata"
    with node_of(model) as node, BrokerClient([node.endpoints], cache=file) as client:
        assert client.wait_current(10)
    with BrokerClient([NOWHERE], cache=file, limits=QUICK) as client:
        assert client.stream("acme", "prod", "s1").stream == "s1"
        assert client.version == 10
        assert client.staleness_s == float("inf")
        eventually(lambda: client.statistics().failovers > 2)


def test_a_broker_with_a_cache_asks_for_updates_only(tmp_path: Path) -> None:
    model, file = a_model(), tmp_path / "metadata"
    with node_of(model) as node, BrokerClient([node.endpoints], cache=file) as client:
        assert client.wait_current(10)
    model.put_stream("while-away")
    with node_of(model) as node, BrokerClient([node.endpoints], cache=file) as client:
        assert client.wait_version(11, 10)
        assert {type(request.message).__name__ for request in node.requests} == {"WatchUpdates"}


def test_a_damaged_cache_is_ignored(tmp_path: Path) -> None:
    model, file = a_model(), tmp_path / "metadata"
    with node_of(model) as node, BrokerClient([node.endpoints], cache=file) as client:
        assert client.wait_current(10)
    whole = bytearray(file.read_bytes())
    whole[-1] ^= 1
    file.write_bytes(whole)
    client = BrokerClient([NOWHERE], cache=file)
    assert client.version == 0
    with node_of(model) as node, BrokerClient([node.endpoints], cache=file) as client:
        assert client.wait_current(10)
    loaded = ClientCache(file).load()
    assert loaded is not None
    assert loaded.digest == model.digest(10)


def test_an_unknown_stream_may_be_waited_for_by_its_version() -> None:
    model = a_model()
    with node_of(model) as node, BrokerClient([node.endpoints]) as client:
        assert client.wait_current(10)
        with pytest.raises(UnknownStream) as caught:
            client.stream("acme", "prod", "later")
        assert caught.value.details["version"] == 10
        model.put_stream("later")
        node.publish(model.frame(11, 11))
        assert client.stream("acme", "prod", "later", at_version=11, timeout_s=10).version == 11


def test_a_callback_that_raises_stops_the_client_loudly() -> None:
    model = a_model()
    failures: list[BaseException] = []

    def on_update(_update: MetadataUpdate, _info: UpdateInfo) -> None:
        raise RuntimeError("a broker's own mistake")

    with node_of(model) as node:
        client = BrokerClient(
            [node.endpoints], on_update=on_update, failed=lambda _, error: failures.append(error)
        )
        with client:
            assert client.wait_current(10)
            model.put_stream("x")
            node.publish(model.frame(11, 11))
            eventually(lambda: len(failures) == 1)


def test_a_broker_that_stalls_finds_its_gap_and_recovers_while_others_go_on() -> None:
    model = a_model()
    model.batch_updates = 500
    gate = threading.Event()
    heard: list[int] = []

    def stall(update: MetadataUpdate, _info: UpdateInfo) -> None:
        gate.wait(60)
        heard.append(update.version)

    with (
        node_of(model) as node,
        BrokerClient([node.endpoints]) as quick,
        BrokerClient([node.endpoints], on_update=stall) as slow,
    ):
        assert quick.wait_current(10)
        assert slow.wait_current(10)
        # More than the queues on both sides and the kernel's buffers hold.
        for number in range(4000):
            model.put(Tenant(tenant_id=f"t{number % 4}", description="x" * 8000))
            node.publish(model.frame(model.version, model.version))
        node.publish(model.bookmark(model.version))
        assert quick.wait_version(model.version, 30)
        assert slow.version < model.version
        gate.set()
        eventually(lambda: slow.statistics().gaps_found > 0)
        assert slow.wait_version(model.version, 30)
        assert heard == list(range(11, model.version + 1))
        assert slow.view.digest == model.digest(model.version)
