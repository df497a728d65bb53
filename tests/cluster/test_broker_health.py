"""Brokers that come, beat, fall silent and come back, at three real nodes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
import pytest
import zmq

from felix.cli.config import BrokersConfig
from felix.proto.brokers import (
    AppliedBy,
    NewPlacement,
    Placement,
    ShardStatus,
    StreamName,
)
from felix.proto.commands import CreateStream, CreateTenant, DeleteStream
from felix.proto.control_plane import Call
from felix.proto.errors import BrokerFenced, Conflict, NotFound
from felix.proto.placement_commands import (
    ChangeBrokerStatus,
    DeregisterBroker,
    DrainBroker,
    PlaceShards,
)
from felix.proto.queries import GetPlacement, ListBrokers, Listing, WaitForBrokers
from felix.proto.resources import ShardPlacement, Stream, StreamSpec
from felix.proto.updates import WatchHeader
from tests.cluster.fake_broker import CALL, FakeBroker, Hearts, health_of, status_of
from tests.support.cluster import NAMESPACE, TENANT, Cluster, RunningNode, cluster
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

INTERVAL_S, MISSED = 0.5, 3
WINDOW_S = INTERVAL_S * MISSED
TIMES = BrokersConfig(heartbeat_interval_ms=int(INTERVAL_S * 1000), missed_heartbeats=MISSED)
STREAM = StreamName(TENANT, NAMESPACE, "orders")


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    with cluster(brokers=TIMES) as running:
        running.make_namespace()
        yield running


def a_follower(three: Cluster) -> RunningNode:
    return three.others(three.leader())[0]


def active(node: RunningNode) -> list[str]:
    """Name the brokers that the planner may use: those of earlier tests fall silent one by one."""
    found = node.ask(ListBrokers(status="active"), CALL).result
    assert isinstance(found, Listing)
    return [one.key[0] for one in found.items]


def place(node: RunningNode, name: str, leader: str, *replicas: str) -> ShardPlacement:
    """Make a stream of one shard and give it to brokers."""
    spec = StreamSpec(replication_factor=1 + len(replicas))
    made = CreateStream(tenant_id=TENANT, namespace=NAMESPACE, stream=name, spec=spec)
    stream = node.ask(made, CALL).result
    assert isinstance(stream, Stream)
    shard = Placement(shard_id=0, leader=leader, replicas=replicas)
    where = StreamName(TENANT, NAMESPACE, name)
    item = NewPlacement(stream=where, stream_id=stream.stream_id, placements=(shard,))
    node.ask(PlaceShards(items=(item,)), CALL)
    return placement(node, name)


def placement(node: RunningNode, name: str) -> ShardPlacement:
    found = node.ask(GetPlacement(tenant_id=TENANT, namespace=NAMESPACE, stream=name), CALL).result
    assert isinstance(found, ShardPlacement)
    return found


def test_a_broker_that_beats_by_a_follower_stays_up_and_is_found_down_once_it_is_silent(
    three: Cluster,
) -> None:
    node = a_follower(three)
    broker = FakeBroker("beating", [node])
    broker.register()
    ack = broker.report()
    assert (ack.status, ack.interval_ms) == ("active", int(INTERVAL_S * 1000))
    with Hearts([broker], INTERVAL_S / 2) as hearts:
        eventually(lambda: three.leader().metrics()["felix_brokers_judging"] == 1)
        seen = hearts.beats
        eventually(lambda: hearts.beats > seen + 10 * MISSED)
        assert status_of(node, "beating") == "active"
    silent_since = time.monotonic()
    eventually(lambda: status_of(node, "beating") == "down")
    assert time.monotonic() - silent_since > WINDOW_S - 2 * INTERVAL_S
    assert three.leader().metrics()['felix_brokers{status="down"}'] >= 1
    broker.report()
    eventually(lambda: status_of(node, "beating") == "active")


def test_an_unknown_broker_and_an_older_boot_are_told_so(three: Cluster) -> None:
    node = a_follower(three)
    nobody = FakeBroker("nobody", [node])
    with pytest.raises(NotFound, match="register"):
        nobody.report()
    first = FakeBroker("twice", [node])
    first.register()
    second = FakeBroker("twice", [node], address=first.address)
    second.register()  # the same address: the one before cannot be there any more
    assert second.epoch > first.epoch
    with pytest.raises(BrokerFenced, match="stop this process") as fenced:
        first.report()
    assert fenced.value.details["reason"] == "replaced"
    second.report()


def test_a_second_live_process_is_refused_by_name_and_address_until_the_first_stops(
    three: Cluster,
) -> None:
    node = a_follower(three)
    first = FakeBroker("claimed", [node])
    first.register()
    second = FakeBroker("claimed", [node], address="elsewhere:5000")
    with pytest.raises(Conflict, match=r"'claimed'.*claimed:5000"):
        second.register()
    node.ask(DeregisterBroker(broker_id="claimed", broker_epoch=first.epoch), CALL)
    with pytest.raises(BrokerFenced, match="stopped"):
        first.report()
    second.register()
    assert second.report().status == "active"


def test_a_process_that_was_killed_is_replaced_at_another_address_after_the_window(
    three: Cluster,
) -> None:
    node = a_follower(three)
    FakeBroker("killed", [node]).register()
    second = FakeBroker("killed", [node], address="elsewhere:5000")

    def is_taken_over() -> bool:
        try:
            second.register()
        except Conflict:
            return False
        return True

    assert not is_taken_over()
    eventually(is_taken_over)


def test_a_decision_of_an_earlier_term_is_refused(three: Cluster) -> None:
    node = a_follower(three)
    broker = FakeBroker("judged", [node])
    broker.register()
    command = ChangeBrokerStatus(
        broker_id="judged",
        broker_epoch=broker.epoch,
        from_status="active",
        to_status="down",
        decided_in_term=1 << 30,
    )
    with pytest.raises(Conflict, match="term"):
        node.ask(command, CALL)
    assert status_of(node, "judged") == "active"


def test_waiting_for_brokers_ends_when_they_have_it_or_time_is_over(three: Cluster) -> None:
    node = a_follower(three)
    broker = FakeBroker("applying", [node])
    version = broker.register().version
    late = node.ask(WaitForBrokers(version=version), Call(timeout_s=0.5)).result
    assert isinstance(late, AppliedBy)
    assert not late.is_reached
    assert "applying" in late.laggards
    broker.report(applied_version=version)
    done = node.ask(WaitForBrokers(version=version, brokers=1), CALL).result
    assert isinstance(done, AppliedBy)
    assert done.is_reached
    assert health_of(node, "applying").applied_version == version


def next_header(watch: zmq.Socket[bytes], tenant_id: str) -> WatchHeader:
    """Read until the frame with that tenant's creation."""
    while True:
        _, header, updates = watch.recv_multipart()
        if tenant_id.encode() in updates:
            return msgspec.msgpack.decode(header, type=WatchHeader)


def test_brokers_at_every_node_are_asked_to_say_at_once_that_they_have_a_change(
    three: Cluster,
) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    for number, node in enumerate(three.nodes):
        with context.socket(zmq.SUB) as watch:
            watch.setsockopt(zmq.RCVTIMEO, 10_000)
            watch.setsockopt(zmq.SUBSCRIBE, b"")
            watch.connect(node.endpoints[1])
            watch.recv_multipart()  # a bookmark: the subscription is there
            for wants in (True, False):
                name = f"acked-{number}-{wants}".lower()
                a_follower(three).ask(CreateTenant(tenant_id=name), Call(wants_acks=wants))
                assert next_header(watch, name).wants_acks == wants
    context.destroy(linger=0)


def test_what_leaders_and_followers_report_reaches_placement_and_deletion(three: Cluster) -> None:
    node = a_follower(three)
    one, two = FakeBroker("one", [node]), FakeBroker("two", [node])
    with Hearts([], INTERVAL_S / 3) as hearts:
        for broker in (one, two):
            broker.register()
            hearts.brokers.append(broker)
        eventually(lambda: active(node) == ["one", "two"])
        shard = place(node, "orders", "one", "two").placements[0]
        assert shard.in_sync == ("one", "two")
        # The planner may have been first, and have let the other one lead.
        leader, follower = (one, two) if shard.leader == "one" else (two, one)
        leads = ShardStatus(
            stream=STREAM, shard_id=0, role="leader", generation=1, in_sync=(leader.name,)
        )
        leader.report(leads)
        eventually(lambda: placement(node, "orders").placements[0].in_sync == (leader.name,))
        follows = ShardStatus(
            stream=STREAM, shard_id=0, role="follower", generation=1, subscribers=3
        )
        follower.report(follows)
        assert health_of(node, follower.name).subscribers == 3
        delete = DeleteStream(tenant_id=TENANT, namespace=NAMESPACE, stream="orders")
        with pytest.raises(Conflict, match="3 subscribers"):
            node.ask(delete, CALL)
        follower.report()  # it names no copy any more
        node.ask(delete, CALL)


def test_a_broker_that_drains_and_holds_nothing_is_drained(three: Cluster) -> None:
    node = a_follower(three)
    broker = FakeBroker("leaving", [node])
    with Hearts([], INTERVAL_S / 3) as hearts:
        broker.register()
        hearts.brokers.append(broker)
        eventually(lambda: active(node) == ["leaving"])
        place(node, "kept", "leaving")
        node.ask(DrainBroker(broker_id="leaving"), CALL)
        eventually(lambda: status_of(node, "leaving") == "draining")
        assert "to be empty" in health_of(node, "leaving").why_not
        node.ask(
            DeleteStream(tenant_id=TENANT, namespace=NAMESPACE, stream="kept", force=True), CALL
        )
        eventually(lambda: status_of(node, "leaving") == "drained")


def test_when_the_leader_is_killed_nobody_who_beats_is_found_down() -> None:
    with cluster(brokers=TIMES) as three:
        leader = three.leader()
        others = three.others(leader)
        brokers = [FakeBroker(f"b{number}", others) for number in range(5)]
        dead = FakeBroker("dead", others)
        for broker in (*brokers, dead):
            broker.register()
        versions = [health_of(others[0], one.name) for one in brokers]
        assert all(one.copies == 0 for one in versions)
        with Hearts([*brokers, dead], INTERVAL_S / 3) as hearts:
            eventually(lambda: leader.metrics()["felix_brokers_judging"] == 1)
            hearts.brokers.remove(dead)
            leader.kill()
            eventually(lambda: status_of(others[0], "dead") == "down", 30)
            assert [status_of(others[0], one.name) for one in brokers] == ["active"] * 5
            lately = [health_of(others[0], one.name).changes_lately for one in brokers]
            assert lately == [0] * 5
