"""Brokers of the existing service, on the HTTP feeds, beside one on ZeroMQ: they see the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote

import pytest

from felix.cli.config import AuthConfig
from felix.proto.commands import (
    AnyCommand,
    CreateCache,
    CreateNamespace,
    CreateStream,
    DeleteNamespace,
    DeleteStream,
    PutBrokerCredential,
    UpdateStream,
    UpdateTenant,
)
from felix.proto.placement_commands import PurgeStream, UndeleteStream
from felix.proto.resources import Key, RetentionPolicy, Stream, StreamSpec
from felix.transport.broker import Broker, BrokerSettings
from felix.transport.client import UnknownStream
from tests.cluster.placed_broker import asked
from tests.support.cluster import NAMESPACE, TENANT, Cluster, RunningNode, cluster
from tests.support.feed_broker import FeedBroker
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

NAME, PASSWORD = "old-1", "p:w@d/é"
GRACE_MS = 600_000


@pytest.fixture
def three() -> Iterator[Cluster]:
    """Nodes whose doors are closed; brokers are let in by a password."""
    with cluster(http=True, auth=AuthConfig()) as running:
        running.make_namespace()
        secret_hash = hashlib.sha256(PASSWORD.encode()).digest()
        running.nodes[0].ask(PutBrokerCredential(broker_id=NAME, secret_hash=secret_hash))
        yield running


def url_of(node: RunningNode) -> str:
    """Write the password into the URL, as the configuration of an existing broker has it."""
    return f"http://{NAME}:{quote(PASSWORD, safe='')}@{node.config.listen.http}"


class Both:
    """A broker of each kind, and what somebody does to the metadata."""

    def __init__(self, three: Cluster, old: FeedBroker, new: Broker) -> None:
        self.three, self.old, self.new = three, old, new

    def do(self, command: AnyCommand) -> None:
        asked(self.three.nodes, command)

    def streams_of_the_new_one(self) -> dict[Key, tuple[int, bool]]:
        rows = [one for one in self.new.client.view.list("Stream") if isinstance(one, Stream)]
        return {
            one.key: (one.spec.shards, one.spec.durability == "durable")
            for one in rows
            if not one.deleted_at_ms
        }

    def see(self, *names: str, namespace: str = NAMESPACE) -> None:
        """Wait until both see these streams of a namespace and, of all others, the same."""

        def is_so() -> bool:
            self.old.sync()
            both = self.old.streams(), self.streams_of_the_new_one()
            seen = {key[2] for key in both[0] if key[1] == namespace}
            return both[0] == both[1] and seen == set(names)

        try:
            eventually(is_so, 30)
        finally:
            print("old:", sorted(self.old.streams()), self.old.statuses[-4:])
            print("new:", sorted(self.streams_of_the_new_one()))

    def ops_since(self, count: int) -> list[tuple[str, str]]:
        return [(op, key[-1]) for feed, op, key in self.old.changes[count:] if feed == "streams"]


@pytest.fixture
def both(three: Cluster) -> Iterator[Both]:
    """The old one's balancer prefers the node that leads."""
    leader = three.leader()
    nodes = [leader, *three.others(leader)]
    endpoints = [node.endpoints for node in three.nodes]
    with (
        closing(FeedBroker(*(url_of(node) for node in nodes))) as old,
        Broker(BrokerSettings(broker_id="new-1", address="new-1:5000"), endpoints) as new,
    ):
        assert new.wait_registered(20)
        yield Both(three, old, new)


def stream(name: str, *, durable: bool = True, namespace: str = NAMESPACE) -> CreateStream:
    spec = StreamSpec(shards=3, durability="durable" if durable else "ephemeral")
    return CreateStream(tenant_id=TENANT, namespace=namespace, stream=name, spec=spec)


def named(name: str) -> dict[str, Any]:
    return {"tenant_id": TENANT, "namespace": NAMESPACE, "stream": name}


def is_unknown(broker: Broker, name: str) -> bool:
    try:
        broker.lookup(TENANT, NAMESPACE, name)
    except UnknownStream:
        return True
    return False


def test_both_see_the_same_streams_through_creations_a_leaders_death_and_deletions(
    both: Both,
) -> None:
    both.do(stream("before"))
    both.see("before")
    for number in range(20):
        both.do(stream(f"s{number}", durable=bool(number % 2)))
    created = ("before", *(f"s{number}" for number in range(20)))
    both.see(*created)

    leader = both.three.leader()
    leader.kill()
    both.do(stream("after"))
    both.see(*created, "after")

    changes = len(both.old.changes)
    both.do(DeleteStream(**named("s1"), grace_ms=GRACE_MS))
    rest = [name for name in (*created, "after") if name != "s1"]
    both.see(*rest)
    assert is_unknown(both.new, "s1")
    both.do(UndeleteStream(**named("s1")))
    both.see(*rest, "s1")
    assert not is_unknown(both.new, "s1")
    both.do(DeleteStream(**named("s1"), grace_ms=GRACE_MS))
    both.see(*rest)
    both.do(PurgeStream(**named("s1"), now=True))
    both.do(stream("s1", durable=False))  # the name is free: another stream, and not durable
    both.see(*rest, "s1")
    assert both.ops_since(changes) == [
        ("deleted", "s1"), ("created", "s1"), ("deleted", "s1"), ("created", "s1")
    ]  # fmt: skip
    assert both.old.streams()[TENANT, NAMESPACE, "s1"] == (3, False)

    leader.start()
    both.see(*rest, "s1")
    both.do(DeleteNamespace(tenant_id=TENANT, namespace=NAMESPACE))
    both.see()
    assert (TENANT, NAMESPACE) not in both.old.known["namespaces"]
    assert is_unknown(both.new, "before")


def test_neither_is_disturbed_by_what_only_the_other_is_told(both: Both) -> None:
    """Patches of tenants, placements and brokers are not in the feeds; another durability is."""
    steps: list[Callable[[], None]] = [
        lambda: both.do(stream("orders", durable=False)),
        lambda: both.do(UpdateTenant(tenant_id=TENANT, display_name="Acme")),
        lambda: both.do(
            UpdateStream(**named("orders"), retention=RetentionPolicy(max_age_seconds=60))
        ),
        lambda: both.do(UpdateStream(**named("orders"), durability="durable")),
        lambda: both.do(CreateNamespace(tenant_id=TENANT, namespace="second")),
        lambda: both.do(stream("other", namespace="second")),
        lambda: both.do(
            CreateCache(tenant_id=TENANT, namespace="second", cache="c", display_name="C")
        ),
    ]
    both.old.sync()
    for step in steps:
        step()
        both.see("orders")
    both.see("other", namespace="second")
    assert both.old.streams()[TENANT, NAMESPACE, "orders"] == (3, True)
    assert (TENANT, "second", "c") in both.old.known["caches"]
    # Placed on the ZeroMQ broker, of which the feeds know nothing, the stream has its shards there.
    eventually(lambda: both.new.lookup(TENANT, NAMESPACE, "orders").placement is not None)
