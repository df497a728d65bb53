"""What a fleet's heartbeats cost the node that leads."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from felix.proto.brokers import NewPlacement, Placement, ShardStatus, StreamName
from felix.proto.commands import CreateStream
from felix.proto.control_plane import Call
from felix.proto.placement_commands import PlaceShards, RegisterBroker
from felix.proto.reports import ReportHealth
from felix.proto.resources import Broker, Stream, StreamSpec
from felix.transport.rpc_client import RpcClient
from tests.support.cluster import NAMESPACE, TENANT, cluster

pytestmark = pytest.mark.slow

BROKERS, SHARDS, COPIES = 1000, 1000, 3
SHARDS_A_STREAM = 100
INTERVAL_S = 5.0
IDLE_S = 2.0
SHARE_MAX = 0.10
CALL = Call(timeout_s=10.0)


def cpu_s(pid: int) -> float:
    """Give the time that a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def register(client: RpcClient) -> list[Broker]:
    found = []
    for number in range(BROKERS):
        name = f"b{number:04}"
        command = RegisterBroker(broker_id=name, address=f"{name}:1", boot_id="boot")
        broker = client.ask(command, CALL).result
        assert isinstance(broker, Broker)
        found.append(broker)
    return found


def place(client: RpcClient) -> dict[str, list[ShardStatus]]:
    """Spread shards over the brokers; give what each of them has to say."""
    said: dict[str, list[ShardStatus]] = {f"b{number:04}": [] for number in range(BROKERS)}
    names = list(said)
    for number in range(SHARDS // SHARDS_A_STREAM):
        where = StreamName(TENANT, NAMESPACE, f"s{number}")
        spec = StreamSpec(shards=SHARDS_A_STREAM, replication_factor=COPIES)
        made = CreateStream(tenant_id=TENANT, namespace=NAMESPACE, stream=where.stream, spec=spec)
        stream = client.ask(made, CALL).result
        assert isinstance(stream, Stream)
        shards = []
        for shard_id in range(SHARDS_A_STREAM):
            first = number * SHARDS_A_STREAM + shard_id
            copies = tuple(names[(first + one) % BROKERS] for one in range(COPIES))
            shards.append(Placement(shard_id=shard_id, leader=copies[0], replicas=copies[1:]))
            for copy in copies:
                leads = copy == copies[0]
                said[copy].append(
                    ShardStatus(
                        stream=where,
                        shard_id=shard_id,
                        role="leader" if leads else "follower",
                        generation=1,
                        in_sync=tuple(sorted(copies)) if leads else (),
                        subscribers=2,
                    )
                )
        item = NewPlacement(stream=where, stream_id=stream.stream_id, placements=tuple(shards))
        client.ask(PlaceShards(items=(item,)), CALL)
    return said


def test_the_reports_of_a_thousand_brokers_cost_less_than_a_tenth_of_a_core() -> None:
    with cluster(nodes=1) as alone:
        alone.make_namespace()
        (node,) = alone.nodes
        client = RpcClient(node.rpc)
        brokers = register(client)
        said = place(client)
        pace = threading.Event()
        before = cpu_s(node.pid)
        pace.wait(IDLE_S)
        idle = (cpu_s(node.pid) - before) / IDLE_S
        begin, before = time.monotonic(), cpu_s(node.pid)
        for number, broker in enumerate(brokers):
            due = begin + INTERVAL_S * number / BROKERS
            pace.wait(max(0.0, due - time.monotonic()))
            report = ReportHealth(
                broker_id=broker.broker_id,
                broker_epoch=broker.broker_epoch,
                shard_status=tuple(said[broker.broker_id]),
            )
            client.ask(report, CALL)
        share = (cpu_s(node.pid) - before) / INTERVAL_S
        client.close()
        print(f"{BROKERS} reports in {INTERVAL_S} s: {share:.1%} of a core; idle {idle:.1%}")
        assert node.metrics()["felix_broker_reports_total"] == BROKERS
        assert share - idle < SHARE_MAX
