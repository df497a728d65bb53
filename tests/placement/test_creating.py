"""Where the shards of new streams go."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from felix.core.placement.creating import place
from felix.core.placement.eligible import Reach, reach_of, why_not
from felix.core.placement.fleet import Fleet
from felix.proto.brokers import StreamName
from felix.proto.resources import Bridge
from tests.support.fleets import (
    broker,
    fleet_of,
    placed,
    shuffled,
    spread,
    stream,
    streams_of,
)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"status": "down"}, "b1 is down"),
        ({"drain": True}, "b1 is being drained"),
        ({"status": "draining"}, "b1 is being drained"),
        ({"is_healthy": False}, "b1 says that it is not healthy"),
        ({"max_shards": 4, "copies": 3}, "b1 is full (4 of 4 shards)"),
        ({"max_shards": 5, "copies": 3}, ""),
        ({"region": "us"}, "b1 is in region us: the stream may be in eu"),
    ],
)
def test_a_broker_that_may_not_have_a_shard_is_told_why(
    changes: dict[str, object], why: str
) -> None:
    row = broker("b1", region="eu")
    row = msgspec.structs.replace(row, **changes)
    reach = Reach(frozenset({"eu"}), frozenset({"eu"}))
    assert why_not(row, reach, arriving=1) == why


def test_a_bridge_lets_followers_and_not_leaders_into_its_region() -> None:
    row = stream("s", regions=["eu"])
    bridge = Bridge(name="x", source_region="eu", target_region="us", streams=(row.stream,))
    reach = reach_of(row, [bridge])
    there = broker("b1", region="us")
    assert why_not(there, reach) == ""
    assert why_not(there, reach, as_leader=True) == (
        "b1 is in region us: the stream may lead from eu"
    )
    fleet = Fleet(
        brokers=(there, broker("b2", region="eu"), broker("b3", region="asia")), bridges=(bridge,)
    )
    found = place(fleet, (row,))
    for placement in found.items[0].placements:
        assert (placement.leader, placement.replicas) == ("b2", ("b1",))
    assert {one.why for one in found.unmet} == {"3 copies wanted, 2 brokers"}


def test_copies_are_in_different_zones_and_all_in_sync() -> None:
    fleet, rows = placed(fleet_of(9, zones=3), streams_of(40))
    zones = {one.broker_id: one.zone for one in fleet.brokers}
    for row in rows:
        assert [one.shard_id for one in row.placements] == list(range(4))
        for placement in row.placements:
            assert len({zones[name] for name in placement.copies}) == 3
            assert placement.in_sync == tuple(sorted(placement.copies))
    assert spread(one.copies for one in fleet.brokers) <= 1
    assert spread(one.leads for one in fleet.brokers) <= 2


def test_with_fewer_zones_than_copies_they_are_as_even_over_zones_as_can_be() -> None:
    fleet, rows = placed(fleet_of(8, zones=2), streams_of(20, copies=4))
    zones = {one.broker_id: one.zone for one in fleet.brokers}
    for row in rows:
        for placement in row.placements:
            there = [zones[name] for name in placement.copies]
            assert there.count("z0") == there.count("z1") == 2


def test_a_stream_gets_as_many_copies_as_there_are_brokers() -> None:
    found = place(fleet_of(2), (stream("s", shards=2, copies=3),))
    assert [len(one.copies) for one in found.items[0].placements] == [2, 2]
    assert [one.why for one in found.unmet] == ["3 copies wanted, 2 brokers"] * 2


def test_without_brokers_nothing_is_placed_and_it_is_said_why() -> None:
    found = place(Fleet(), (stream("s", shards=1),))
    assert found.items == ()
    assert found.unmet[0].why == "there is no broker"
    down = Fleet(brokers=(broker("b1", status="down"), broker("b2", drain=True)))
    assert place(down, (stream("s"),)).unmet[0].why == (
        "no broker takes shards: b1 is down; b2 is being drained"
    )


def test_a_stream_of_which_a_shard_finds_no_place_leaves_its_room_to_the_next_one() -> None:
    fleet = Fleet(brokers=(broker("b1", max_shards=2),))
    found = place(fleet, (stream("a", shards=3, copies=1), stream("b", shards=2, copies=1)))
    assert [item.stream.stream for item in found.items] == ["b"]
    (unmet,) = found.unmet
    assert unmet.why == "no other broker has room: b1 is full (2 of 2 shards)"


def test_leaders_are_in_the_first_region_of_their_stream() -> None:
    fleet = Fleet(brokers=tuple(broker(f"b{n}", region="eu" if n % 2 else "us") for n in range(6)))
    (item,) = place(fleet, (stream("s", shards=12, copies=2, regions=["us", "eu"]),)).items
    regions = {one.broker_id: one.region for one in fleet.brokers}
    assert {regions[one.leader] for one in item.placements} == {"us"}


def test_a_broker_that_joins_empty_gets_the_next_shards() -> None:
    fleet = Fleet(brokers=(broker("b1", copies=9, leads=9), broker("b2")))
    (item,) = place(fleet, (stream("s", shards=5, copies=1),)).items
    assert {one.leader for one in item.placements} == {"b2"}


@pytest.mark.parametrize("seed", range(30))
def test_no_placement_breaks_a_rule_and_the_order_of_the_input_is_nothing(seed: int) -> None:
    print("seed", seed)
    random = Random(seed)
    fleet = Fleet(
        brokers=tuple(
            broker(
                f"b{n}",
                region=random.choice(["eu", "us"]),
                zone=random.choice(["a", "b", "c"]),
                status=random.choice(["active"] * 5 + ["down"]),
                drain=random.random() < 0.1,
                max_shards=random.choice([None, None, 3, 20]),
                copies=random.randrange(4),
            )
            for n in range(random.randint(1, 12))
        )
    )
    rows = tuple(
        stream(
            f"s{n}",
            shards=random.randint(1, 5),
            copies=random.randint(1, 4),
            regions=random.choice([(), (), ("eu",), ("us", "eu")]),
        )
        for n in range(random.randint(1, 12))
    )
    found = place(fleet, rows)
    assert place(*shuffled(random, fleet, rows)) == found
    by_name = {one.broker_id: one for one in fleet.brokers}
    held = {name: one.copies for name, one in by_name.items()}
    wanted = {row.stream: row for row in rows}
    short: set[tuple[StreamName, int]] = {(one.stream, one.shard_id) for one in found.unmet}
    for item in found.items:
        row = wanted[item.stream]
        for placement in item.placements:
            copies = placement.copies
            assert len(set(copies)) == len(copies) <= row.replication_factor
            is_short = len(copies) < row.replication_factor
            assert is_short == ((item.stream, placement.shard_id) in short)
            for name in copies:
                held[name] += 1
                free = msgspec.structs.replace(by_name[name], max_shards=None)
                assert why_not(free, reach_of(row)) == ""
    for name, one in by_name.items():
        assert one.max_shards is None or held[name] <= max(one.max_shards, one.copies)
