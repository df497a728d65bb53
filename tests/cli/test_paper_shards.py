"""Shards served on paper: who is in sync when, by a clock of the test's own."""

from __future__ import annotations

import math

import msgspec

from felix.cli.paper_shards import PaperShards
from felix.proto.brokers import BrokerStatus, Placement
from felix.proto.resources import Broker, ShardPlacement
from felix.proto.updates import MetadataUpdate
from felix.transport.view import MetadataView

COPY_S = 0.5


def tell(shards: PaperShards, *rows: Broker | ShardPlacement) -> None:
    for row in rows:
        shards.update(MetadataUpdate(1, "UPDATE", row))


def broker(name: str, status: BrokerStatus = "active") -> Broker:
    return Broker(broker_id=name, address=f"{name}:5000", status=status)


def shard(*, in_sync: tuple[str, ...], is_fenced: bool = False) -> ShardPlacement:
    place = Placement(
        shard_id=0,
        leader="b1",
        replicas=("b2", "b3"),
        in_sync=in_sync,
        generation=4,
        is_fenced=is_fenced,
    )
    return ShardPlacement(tenant_id="t", namespace="n", stream="s", placements=(place,))


def three_brokers(name: str = "b1") -> PaperShards:
    """Serve on paper what one of three brokers has."""
    shards = PaperShards(COPY_S)
    shards.begin(name, MetadataView())
    tell(shards, broker("b1"), broker("b2"), broker("b3"))
    return shards


def in_sync(shards: PaperShards, now: float) -> tuple[str, ...]:
    return shards.work(now).statuses[0].in_sync


def test_a_new_replica_is_in_sync_once_it_has_copied() -> None:
    shards = three_brokers()
    tell(shards, shard(in_sync=("b1", "b2")))
    work = shards.work(10.0)
    assert work.statuses[0].in_sync == ("b1", "b2")
    assert work.next_s == COPY_S
    assert in_sync(shards, 10.0 + COPY_S / 2) == ("b1", "b2")
    work = shards.work(10.0 + COPY_S)
    assert work.statuses[0].in_sync == ("b1", "b2", "b3")
    assert math.isinf(work.next_s)


def test_a_replica_that_is_down_is_out_of_sync_and_copies_anew_when_it_is_back() -> None:
    shards = three_brokers()
    tell(shards, shard(in_sync=("b1", "b2")))
    in_sync(shards, 10.0)
    tell(shards, broker("b3", "down"))
    assert in_sync(shards, 20.0) == ("b1", "b2")
    tell(shards, broker("b3"))
    assert in_sync(shards, 30.0) == ("b1", "b2")
    assert in_sync(shards, 30.0 + COPY_S) == ("b1", "b2", "b3")


def test_a_fenced_leader_has_drained_and_a_follower_says_that_it_follows() -> None:
    row = shard(in_sync=("b1", "b2", "b3"), is_fenced=True)
    found = []
    for name in ("b1", "b2", "b4"):
        shards = three_brokers(name)
        tell(shards, row)
        found.append(shards.work(0.0).statuses)
    (leads,), (follows,), none = found
    assert (leads.role, leads.generation, leads.is_drained) == ("leader", 4, True)
    assert (follows.role, follows.is_drained, follows.in_sync) == ("follower", False, ())
    assert none == ()


def test_a_stream_that_is_gone_is_not_spoken_of() -> None:
    shards = three_brokers()
    row = shard(in_sync=("b1",))
    tell(shards, row)
    assert (shards.leads(), shards.copies()) == (1, 1)
    shards.update(MetadataUpdate(2, "DELETE", row))
    assert shards.work(0.0).statuses == ()


def test_only_what_is_of_the_brokers_own_copies_is_news() -> None:
    shards = three_brokers("b4")
    row = shard(in_sync=("b1",))
    assert not shards.update(MetadataUpdate(1, "CREATE", row))
    shards.begin("b2", MetadataView())
    assert shards.update(MetadataUpdate(1, "CREATE", row))
    elsewhere = msgspec.structs.replace(row, placements=())
    assert shards.update(MetadataUpdate(2, "UPDATE", elsewhere)), "it has lost its copy"
    assert shards.copies() == 0
    assert not shards.update(MetadataUpdate(3, "DELETE", elsewhere))
