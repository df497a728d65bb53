"""A broker as far as the control plane can tell: it registers, and beats when a test says so."""

from __future__ import annotations

import threading
import time
import uuid

from felix.proto.brokers import BrokerHealth, BrokersHealth, HealthAck, ShardStatus
from felix.proto.control_plane import Call
from felix.proto.errors import FelixError
from felix.proto.placement_commands import RegisterBroker
from felix.proto.queries import GetBroker, GetBrokersHealth
from felix.proto.reports import ReportHealth
from felix.proto.resources import Broker
from felix.transport.rpc_client import RpcClient
from tests.support.cluster import RunningNode

CALL = Call(timeout_s=5.0)


class FakeBroker:
    """Asks several nodes, one after the other as they fail it."""

    def __init__(self, name: str, nodes: list[RunningNode], address: str = "") -> None:
        self.name = name
        self.address = address or f"{name}:5000"
        self.boot_id = uuid.uuid4().hex
        self.epoch = 0
        self.nodes = nodes

    def register(self) -> Broker:
        command = RegisterBroker(broker_id=self.name, address=self.address, boot_id=self.boot_id)
        found = self.nodes[0].ask(command, CALL).result
        assert isinstance(found, Broker)
        self.epoch = found.broker_epoch
        return found

    def report(
        self, *shards: ShardStatus, applied_version: int = 0, applied_epoch: int = 1
    ) -> HealthAck:
        said = ReportHealth(
            broker_id=self.name,
            broker_epoch=self.epoch,
            shard_status=shards,
            has_all_shards=True,
            applied_version=applied_version,
            applied_epoch=applied_epoch,
        )
        found = self.nodes[0].ask(said, CALL).result
        assert isinstance(found, HealthAck)
        return found


class Hearts:
    """Lets brokers beat in a thread of their own, until the block ends."""

    def __init__(self, brokers: list[FakeBroker], interval_s: float) -> None:
        self.brokers = list(brokers)
        self.beats = 0
        self._interval_s = interval_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hearts")

    def __enter__(self) -> Hearts:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        clients: dict[str, RpcClient] = {}
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due += self._interval_s
            for broker in list(self.brokers):
                said = ReportHealth(broker_id=broker.name, broker_epoch=broker.epoch)
                for node in broker.nodes:
                    client = clients.setdefault(node.rpc, RpcClient(node.rpc))
                    try:
                        client.ask(said, Call(timeout_s=1.0))
                    except FelixError:
                        continue
                    self.beats += 1
                    break
        for client in clients.values():
            client.close()


def status_of(node: RunningNode, name: str) -> str:
    """Give a broker's status in the catalog of one node."""
    found = node.ask(GetBroker(broker_id=name), Call(consistency="stale")).result
    assert isinstance(found, Broker)
    return found.status


def health_of(node: RunningNode, name: str) -> BrokerHealth:
    """Give what the leader has heard of a broker."""
    found = node.ask(GetBrokersHealth(broker_id=name), CALL).result
    assert isinstance(found, BrokersHealth)
    return found.items[0]
