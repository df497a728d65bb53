"""Case 19 of the field notes: all brokers come back at once after the leader was killed.

A herd of a thousand is measured by a bench; here it is small, half of it is slow, and what has to
hold is checked: everybody ends with what the cluster has, nobody is found down for it.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from felix.cli.config import BrokersConfig
from felix.cli.sim_broker import SimBroker, SimOptions
from felix.proto.commands import CreateStream
from felix.proto.control_plane import Call
from felix.proto.queries import ListBrokers, Listing
from felix.proto.resources import Broker, StreamSpec
from felix.transport.broker import BrokerSettings
from tests.cluster.placed_broker import asked
from tests.support.cluster import NAMESPACE, TENANT, Cluster, RunningNode, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

BROKERS, STREAMS, MORE = 20, 100, 20
SLOW_S = 0.05
"""What every second broker takes over each update."""
GROWTH_BYTES_MAX = 60 << 20
TIMES = BrokersConfig(heartbeat_interval_ms=1000, missed_heartbeats=5)


def create(three: Cluster, name: str) -> None:
    spec = StreamSpec(shards=2, replication_factor=2)
    asked(
        three.nodes,
        CreateStream(tenant_id=TENANT, namespace=NAMESPACE, stream=name, spec=spec),
    )


def herd(three: Cluster, stack: ExitStack) -> list[SimBroker]:
    """Brokers that all listen and are registered."""
    found = []
    for number in range(BROKERS):
        settings = BrokerSettings(broker_id=f"b{number}", address=f"b{number}:5000")
        options = SimOptions(copy_s=0.1, apply_delay_s=SLOW_S if number % 2 else 0.0)
        endpoints = [node.endpoints for node in three.nodes]
        found.append(stack.enter_context(SimBroker(settings, endpoints, options)))
    for one in found:
        assert one.broker.wait_registered(30)
        assert one.broker.client.wait_current(60)
    return found


def memory_of(node: RunningNode) -> int:
    return int(node.metrics()["process_resident_memory_bytes"])


def test_when_the_leader_is_killed_a_herd_of_brokers_converges_and_none_of_them_is_lost() -> None:
    with cluster(brokers=TIMES) as three, ExitStack() as stack:
        three.make_namespace()
        for number in range(STREAMS):
            create(three, f"s{number}")
        brokers = herd(three, stack)
        leader = three.leader()
        before = {node.name: memory_of(node) for node in three.others(leader)}
        leader.kill()
        begun = time.monotonic()
        for number in range(MORE):
            create(three, f"more{number}")
        leader.start()
        status = three.wait_converged()
        settled = time.monotonic()

        def is_in_step(one: SimBroker) -> bool:
            view, now = one.broker.client.view, three.nodes[0].status()
            return now is not None and (view.version, view.digest) == (now.version, now.digest)

        for one in brokers:
            eventually(lambda one=one: is_in_step(one), 60)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        took_s, memory = time.monotonic() - begun, [memory_of(one) >> 20 for one in three.nodes]
        print(f"v{status.version}: nodes {settled - begun:.1f} s, all brokers {took_s:.1f} s")
        print("MiB of the nodes:", memory)
        found = three.nodes[0].ask(ListBrokers(), Call(timeout_s=5)).result
        assert isinstance(found, Listing)
        rows = [one for one in found.items if isinstance(one, Broker)]
        assert [one.status for one in rows] == ["active"] * BROKERS
        assert {one.status_since_ms for one in rows} == {one.created_at_ms for one in rows}
        for node in three.others(leader):
            assert memory_of(node) - before[node.name] < GROWTH_BYTES_MAX
