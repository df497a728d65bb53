"""Case 20 of the field notes, at real nodes: nobody is found down who is not, and the dead are."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext

import pytest

from felix.cli.config import BrokersConfig
from felix.proto.control_plane import Call
from felix.proto.queries import GetBroker
from felix.proto.resources import Broker
from felix.proto.updates import MetadataUpdate
from felix.transport.client import BrokerClient
from felix.transport.sync_records import UpdateInfo
from tests.cluster.fake_broker import FakeBroker, Hearts
from tests.support import clock_node
from tests.support.clock_node import step_clock
from tests.support.cluster import RunningNode, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

INTERVAL_S, MISSED = 0.5, 3
TIMES = BrokersConfig(heartbeat_interval_ms=int(INTERVAL_S * 1000), missed_heartbeats=MISSED)


class Found:
    """Writes down every broker that is ever said to be down."""

    def __init__(self, node: RunningNode) -> None:
        self.down: list[str] = []
        self.client = BrokerClient([node.endpoints], on_update=self._hear)

    def _hear(self, update: MetadataUpdate, _: UpdateInfo) -> None:
        row = update.payload
        if isinstance(row, Broker) and row.status == "down":
            self.down.append(row.broker_id)

    def __enter__(self) -> Found:
        self.client.start()
        assert self.client.wait_current(30)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()


def row_of(node: RunningNode, name: str) -> Broker:
    found = node.ask(GetBroker(broker_id=name), Call(timeout_s=5)).result
    assert isinstance(found, Broker)
    return found


def judging(nodes: list[RunningNode]) -> list[RunningNode]:
    """Those that lead and have listened for long enough to find somebody down."""
    return [one for one in nodes if one.metrics()["felix_brokers_judging"] == 1]


def test_a_leader_that_was_paused_finds_nobody_down_who_beat_all_the_while() -> None:
    with cluster(brokers=TIMES) as three:
        old = three.leader()
        others = three.others(old)
        brokers = [FakeBroker(f"b{number}", others) for number in range(10)]
        for broker in brokers:
            broker.register()
        with Found(others[0]) as found, Hearts(brokers, INTERVAL_S / 2) as hearts:
            eventually(lambda: judging([old]) == [old])
            old.pause()
            eventually(lambda: bool(judging(others)), 30)
            seen = hearts.beats
            old.resume()
            eventually(lambda: hearts.beats > seen + 10 * 3 * MISSED, 30)
            three.wait_converged()
            assert found.down == []
        with Found(others[0]) as found, Hearts(brokers[1:], INTERVAL_S / 2):
            eventually(lambda: found.down == ["b0"], 30)  # the one that is really dead


def test_wall_clocks_that_jump_by_an_hour_find_nobody_down_and_save_nobody() -> None:
    def set_right(node: RunningNode) -> AbstractContextManager[object]:
        step_clock(node, 0)
        return nullcontext()

    with cluster(brokers=TIMES, module=clock_node.__name__, disk=set_right) as three:
        leader = three.leader()
        brokers = [FakeBroker(f"b{number}", three.others(leader)) for number in range(5)]
        for broker in brokers:
            broker.register()
        with Found(leader) as found, Hearts(brokers, INTERVAL_S / 2) as hearts:
            eventually(lambda: judging([leader]) == [leader])
            for offset_s in (3600, -3600):
                for node in three.nodes:
                    step_clock(node, offset_s)
                seen = hearts.beats
                eventually(lambda seen=seen: hearts.beats > seen + 5 * 2 * MISSED, 30)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            assert found.down == []
            hearts.brokers.remove(brokers[0])
            eventually(lambda: found.down == ["b0"], 30)
        stamped_s = row_of(leader, "b0").updated_at_ms / 1000
        assert abs(stamped_s - time.time()) > 3000, "the clocks did jump"
