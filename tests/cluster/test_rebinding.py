"""Keys come and go while commits run: sockets are opened anew, and nobody is deposed by that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from felix.proto.commands import DeleteBrokerCredential, PutBrokerCredential, UpdateTenant
from felix.proto.queries import ClusterStatus
from felix.transport.curve import Role
from tests.cluster.follower import Follower
from tests.cluster.load import Load, assert_nothing_is_lost
from tests.support.cluster import TENANT, Cluster, RunningNode, cluster
from tests.support.keys import KeyRing
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

CHANGED = "the allow-list has changed"
ROUNDS = 6
ROLES: tuple[Role, ...] = ("node", "broker", "admin")


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path)


@pytest.fixture
def three(keys: KeyRing) -> Iterator[Cluster]:
    with cluster(keys=keys) as running:
        running.make_namespace()
        yield running


def writers(three: Cluster, keys: KeyRing) -> Load:
    return Load(three.rpc, curve=keys.client("olga", three.nodes))


def seen_everywhere(three: Cluster, load: Load, change: Callable[[], None]) -> None:
    """Make a change of the list, and let writing go on until every node has taken it over."""
    before = {node.name: changes_of(node) for node in three.nodes}
    change()
    eventually(lambda: all(changes_of(one) > before[one.name] for one in three.nodes), 20)
    written = load.count
    eventually(lambda: load.count > written + 50, 20)


def changes_of(node: RunningNode) -> int:
    return node.log.read_text().count(CHANGED)


def reign(status: ClusterStatus) -> tuple[str | None, int]:
    return status.leader_id, status.term


def assert_all_was_written(three: Cluster, load: Load) -> None:
    assert not load.refused, load.refused
    assert not load.unknown
    for node in three.nodes:
        assert_nothing_is_lost(load, node)


def test_keys_of_all_roles_come_and_go_and_the_leader_stays(three: Cluster, keys: KeyRing) -> None:
    before = three.wait_converged()
    with writers(three, keys) as load:
        for number in range(ROUNDS):
            name = f"passer-by-{number}"
            seen_everywhere(three, load, partial(keys.add, ROLES[number % len(ROLES)], name))
            seen_everywhere(three, load, partial(keys.remove, name))
    assert reign(three.wait_converged()) == reign(before)
    assert_all_was_written(three, load)


def test_a_follower_gets_another_key_and_the_leader_stays(three: Cluster, keys: KeyRing) -> None:
    before = three.wait_converged()
    leader = three.leader()
    node, other = three.others(leader)
    with Load([leader.rpc, other.rpc], curve=keys.client("olga", [leader, other])) as load:
        node.kill()
        keys.renew(node)
        eventually(lambda: load.count > 100, 20)
        three.start()
        written = load.count
        eventually(lambda: load.count > written + 100, 20)
    assert reign(three.wait_converged()) == reign(before)
    assert_all_was_written(three, load)


def test_the_cluster_says_which_brokers_may_subscribe(three: Cluster, keys: KeyRing) -> None:
    node = three.nodes[0]
    pair = keys.pair("bruno")
    let_in = PutBrokerCredential(broker_id="bruno", curve_key=pair.public)
    with ExitStack() as stack:
        brokers = [
            stack.enter_context(Follower([one], keys.client("bruno", [one]))) for one in three.nodes
        ]
        eventually(lambda: all("unknown_key" in one.log.read_text() for one in three.nodes), 20)
        node.ask(UpdateTenant(tenant_id=TENANT, description="not for bruno"))
        assert [(one.client.version, one.heard) for one in brokers] == [(0, 0)] * 3

        node.ask(let_in)
        assert all(one.client.wait_current(30) for one in brokers)
        last = node.ask(UpdateTenant(tenant_id=TENANT, description="for bruno"))
        assert all(one.client.wait_version(last.version, 30) for one in brokers)

        refused = {one.name: refusals_of(one) for one in three.nodes}
        node.ask(DeleteBrokerCredential(broker_id="bruno"))
        eventually(lambda: all(refusals_of(one) > refused[one.name] for one in three.nodes), 30)
        heard = [one.heard for one in brokers]
        secret = node.ask(UpdateTenant(tenant_id=TENANT, description="a secret"))
        assert three.wait_converged().version >= secret.version
        assert [one.heard for one in brokers] == heard
        assert all(one.client.version < secret.version for one in brokers)

        node.ask(let_in)
        assert all(one.client.wait_version(secret.version, 30) for one in brokers)
    node.ask(DeleteBrokerCredential(broker_id="bruno"))


def refusals_of(node: RunningNode) -> float:
    """How often a key was not let in at the watch socket of a node."""
    name = 'felix_zmq_handshake_failures_total{reason="unknown_key",socket="watch"}'
    return node.metrics().get(name, 0.0)
