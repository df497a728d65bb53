"""Brokers: how soon they hear, and what one that does not keep up costs the others."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median

import pykka
import pytest
import zmq

from felix.cli.config import LimitsConfig, RaftTimings
from felix.proto.commands import UpdateTenant
from felix.proto.control_plane import Answered, Call
from felix.proto.rpc import PROTOCOL
from felix.proto.updates import WATCH_TOPIC, WatchHeader
from felix.transport.publisher import WATCH_QUEUE_MAX, Publisher
from felix.transport.rpc_client import RpcClient
from tests.cluster.follower import Follower
from tests.support.cluster import HOST, NAMESPACE, TENANT, RunningNode, cluster, free_ports
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

HEARD_WITHIN_S = 0.1
UPDATES = 20_000
WARM_UP = 6_000
IN_FLIGHT = 8
TEXT_BYTES = 4000
GROWTH_BYTES_MAX = 40 << 20
"""Half of what the updates weigh: a queue without bounds would hold them all."""
HEALTHY_LAG_P99_S = 1.0
SMALL = RaftTimings(snapshot_entries=1000, trail_entries=500)


def test_a_stream_created_over_http_at_any_node_is_heard_by_brokers_within_100_ms() -> None:
    with cluster(http=True) as three, ExitStack() as stack:
        three.make_namespace()
        followers = [stack.enter_context(Follower([node])) for node in three.nodes]
        for follower in followers:
            assert follower.client.wait_current(30)
        delays = []
        for number in range(20):
            node = three.nodes[number % len(three.nodes)]
            body = {"stream": f"s{number}", "shards": 1, "durability": "durable"}
            begun = time.monotonic()
            path = f"/v1/tenants/{TENANT}/namespaces/{NAMESPACE}/streams"
            created = node.http("POST", path, body)
            version = int(created.headers["X-Felix-Version"])
            assert all(one.client.wait_version(version, 10) for one in followers)
            delays.append(time.monotonic() - begun)
            found = followers[0].client.stream(TENANT, NAMESPACE, f"s{number}")
            assert found.version == version
        print("ms from the request to the last broker:", [round(1000 * one) for one in delays])
        assert median(delays) < HEARD_WITHIN_S


def test_a_subscriber_that_does_not_read_costs_bounded_memory_and_slows_nobody() -> None:
    limits = LimitsConfig(history_updates_max=2000)
    with cluster(raft=SMALL, limits=limits) as three, ExitStack() as stack:
        three.make_namespace()
        node = three.nodes[0]
        healthy = [stack.enter_context(Follower([node])) for _ in range(2)]
        starved = stack.enter_context(Follower([node]))
        for follower in (*healthy, starved):
            assert follower.client.wait_current(30)
        publish(three.rpc, WARM_UP)
        before = memory_of(node)
        stack.enter_context(a_subscriber_that_does_not_read(node))
        eventually(lambda: node.metrics()["felix_watch_subscribers"] == 4)
        starved.gate.clear()
        version = publish(three.rpc, UPDATES)

        for follower in healthy:
            assert follower.client.wait_version(version, 10)
            lags = sorted(follower.lags_s)
            assert lags[int(0.99 * len(lags))] < HEALTHY_LAG_P99_S, "others became slow"
        assert starved.client.version < version
        growth = memory_of(node) - before
        print(f"memory grew by {growth >> 20} MiB from {before >> 20} MiB")
        assert growth < GROWTH_BYTES_MAX

        starved.gate.set()
        status = three.wait_converged()
        for follower in (*healthy, starved):
            follower.assert_in_step_with(status)
        assert starved.client.statistics().gaps_found > 0
        assert len(starved.snapshots) == 2, "what it had missed was not in the history any more"
        assert all(len(follower.snapshots) == 1 for follower in healthy)


def test_what_a_subscriber_does_not_read_is_dropped_and_not_kept() -> None:
    (port,) = free_ports(1)
    header = WatchHeader(PROTOCOL, "c", 1, 1, 1, "n", 0, "")
    with zmq.Context() as context, closing(Publisher(context, f"{HOST}:{port}")) as publisher:
        with closing(context.socket(zmq.SUB)) as subscriber:
            subscriber.setsockopt(zmq.RCVHWM, 1)
            subscriber.setsockopt(zmq.SUBSCRIBE, WATCH_TOPIC)
            subscriber.connect(f"tcp://{HOST}:{port}")
            assert publisher.take(publisher.socket.recv_multipart())
            for number in range(UPDATES):
                publisher.send(header, f"{number:08d}".encode() * (TEXT_BYTES // 8))
            received = 0
            while subscriber.poll(1000):
                subscriber.recv_multipart()
                received += 1
        print(received, "of", UPDATES, "came through")
        assert WATCH_QUEUE_MAX <= received < UPDATES // 2


def a_subscriber_that_does_not_read(node: RunningNode) -> ExitStack:
    """Subscribe with the smallest queues there are, and leave it at that."""
    stack = ExitStack()
    context = stack.enter_context(zmq.Context())
    socket = stack.enter_context(closing(context.socket(zmq.SUB)))
    for option in (zmq.RCVHWM, zmq.RCVBUF):
        socket.setsockopt(option, 1)
    socket.setsockopt(zmq.SUBSCRIBE, WATCH_TOPIC)
    socket.connect(node.endpoints[1])
    return stack


def publish(endpoints: list[str], count: int) -> int:
    """Change a tenant so many times, some changes at a time; give the last version."""
    client = RpcClient(endpoints)
    under_way: list[pykka.ThreadingFuture[Answered]] = []
    versions = []
    try:
        for number in range(count):
            if len(under_way) == IN_FLIGHT:
                versions.append(under_way.pop(0).get(timeout=60).version)
            text = f"{number:08d}" * (TEXT_BYTES // 8)
            command = UpdateTenant(tenant_id=TENANT, description=text)
            under_way.append(client.submit(command, Call(timeout_s=30)))
        versions += [future.get(timeout=60).version for future in under_way]
    finally:
        client.close()
    return int(max(versions))


def memory_of(node: RunningNode) -> int:
    """Resident bytes of the node process."""
    status = Path(f"/proc/{node.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024
