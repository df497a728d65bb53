"""Plans that make a distribution better."""

from __future__ import annotations

from random import Random
from typing import get_args

import msgspec
import pytest

from felix.core.placement.eligible import reach_of, why_closed, why_not
from felix.core.placement.fleet import BrokerRow, Fleet, StreamRow
from felix.core.placement.rebalancing import rebalance
from felix.proto.brokers import Placement, Quality, ShardMove, Strategy
from tests.support.fleets import (
    broker,
    carried_out,
    counted,
    fleet_of,
    placed,
    shuffled,
    stream,
    streams_of,
)

STRATEGIES = get_args(Strategy)


def scattered(
    random: Random, fleet: Fleet, count: int, copies: int = 3
) -> tuple[Fleet, tuple[StreamRow, ...]]:
    """Put copies anywhere, most of them on the first brokers."""
    names = [one.broker_id for one in fleet.brokers]
    rows = []
    for row in streams_of(count, shards=random.randint(1, 4), copies=copies):
        placements = []
        for shard_id in range(row.shards):
            pool = names[: random.randint(copies, len(names))]
            chosen = random.sample(pool, copies)
            placements.append(
                Placement(
                    shard_id=shard_id,
                    leader=chosen[0],
                    replicas=tuple(chosen[1:]),
                    in_sync=tuple(sorted(chosen)),
                )
            )
        rows.append(msgspec.structs.replace(row, placements=tuple(placements)))
    return counted(fleet, rows), tuple(rows)


@pytest.mark.parametrize("seed", range(40))
def test_where_no_rule_is_in_the_way_everything_becomes_even(seed: int) -> None:
    print("seed", seed)
    random = Random(seed)
    fleet, rows = scattered(random, fleet_of(random.randint(4, 20)), random.randint(20, 80))
    moves_min = rebalance(fleet, rows, "BALANCED").moves_min
    moved = 0
    # A shard has one move in a plan: where most is on a few brokers, it takes several.
    for _ in range(5):
        plan = rebalance(fleet, rows, "BALANCED")
        if not plan.moves:
            break
        fleet, rows = carried_out(fleet, rows, plan)
        moved += sum(move.kind == "replica" for move in plan.moves)
    assert not plan.moves
    assert not plan.blocked_by
    assert plan.after.copies_spread <= 1
    assert plan.after.leaders_spread <= 1
    assert moves_min <= moved <= moves_min * 1.05 + 2


@pytest.mark.parametrize("seed", range(20))
def test_zones_of_the_same_size_do_not_stand_in_the_way(seed: int) -> None:
    print("seed", seed)
    random = Random(seed)
    fleet, rows = scattered(random, fleet_of(12, zones=3), 60)
    for _ in range(8):
        plan = rebalance(fleet, rows, "BALANCED")
        assert plan.after.zone_violations <= plan.before.zone_violations
        fleet, rows = carried_out(fleet, rows, plan)
        if not plan.moves:
            break
    assert not plan.moves
    assert plan.after == Quality(
        copies_spread=plan.after.copies_spread, leaders_spread=plan.after.leaders_spread
    )
    assert plan.after.copies_spread <= 1
    assert plan.after.leaders_spread <= 1


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("seed", range(20))
def test_no_plan_breaks_a_rule_and_the_order_of_the_input_is_nothing(
    seed: int, strategy: Strategy
) -> None:
    print("seed", seed)
    random = Random(seed)
    fleet, rows = scattered(random, fleet_of(9, zones=2), 30)
    brokers = tuple(
        msgspec.structs.replace(
            one,
            region=random.choice(["eu", "us"]),
            status=random.choice(["active"] * 6 + ["down"]),
            drain=random.random() < 0.1,
            max_shards=random.choice([None, None, 25]),
        )
        for one in fleet.brokers
    )
    fleet = msgspec.structs.replace(fleet, brokers=brokers)
    rows = tuple(
        msgspec.structs.replace(row, regions=random.choice([(), (), ("eu",), ("us", "eu")]))
        for row in rows
    )
    plan = rebalance(fleet, rows, strategy)
    assert rebalance(*shuffled(random, fleet, rows), strategy) == plan
    after, _ = carried_out(fleet, rows, plan)
    by_name = {one.broker_id: one for one in brokers}
    regions = {row.stream: row for row in rows}
    targets = set()
    for move in plan.moves:
        targets.add(move.to_broker)
        free = msgspec.structs.replace(by_name[move.to_broker], max_shards=None)
        as_leader = move.kind == "leader"
        assert why_not(free, reach_of(regions[move.stream]), as_leader=as_leader) == ""
        assert not (why_closed(by_name[move.from_broker]) and move.kind == "leader")
    for one in after.brokers:
        if one.broker_id in targets and one.max_shards is not None:
            assert one.copies <= max(one.max_shards, by_name[one.broker_id].copies)


def test_brokers_that_join_get_their_share_with_the_fewest_moves() -> None:
    _, rows = placed(fleet_of(21, zones=3), streams_of(100))
    fleet = counted(fleet_of(24, zones=3), rows)
    plan = rebalance(fleet, rows, "BALANCED")
    assert plan.before.copies_spread >= 57
    assert plan.after.copies_spread <= 1
    assert plan.after.leaders_spread <= 1
    assert sum(move.kind == "replica" for move in plan.moves) == plan.moves_min == 150
    assert {move.to_broker for move in plan.moves if move.kind == "replica"} == {
        "b021",
        "b022",
        "b023",
    }


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_evenness_does_not_cost_a_zone(strategy: Strategy) -> None:
    fleet, rows = placed(fleet_of(9, zones=3), streams_of(60))
    # Three more in one zone: it has a third of all copies still, and so less on each broker.
    joined = tuple(broker(f"new{n}", region="eu", zone="z0") for n in range(3))
    fleet = counted(Fleet(brokers=(*fleet.brokers, *joined)), rows)
    plan = rebalance(fleet, rows, strategy)
    assert plan.moves
    fleet, rows = carried_out(fleet, rows, plan)
    zones = {one.broker_id: one.zone for one in fleet.brokers}
    for row in rows:
        for placement in row.placements:
            assert len({zones[name] for name in placement.copies}) == 3
    if strategy != "MINIMIZE_MOVEMENT":
        for zone in ("z0", "z1", "z2"):
            there = [one.copies for one in fleet.brokers if one.zone == zone]
            assert max(there) - min(there) <= 1


def test_minimal_movement_leaves_alone_what_is_nearly_even() -> None:
    fleet, rows = placed(fleet_of(10), streams_of(100))
    assert rebalance(fleet, rows, "MINIMIZE_MOVEMENT").moves == ()
    joined = counted(fleet_of(11), rows)
    few = rebalance(joined, rows, "MINIMIZE_MOVEMENT")
    many = rebalance(joined, rows, "BALANCED")
    assert 0 < len(few.moves) < len(many.moves)


def test_leaderships_go_over_others_where_nobody_can_take_them_directly() -> None:
    def led(name: str, leader: str, other: str) -> StreamRow:
        in_sync = tuple(sorted((leader, other)))
        one = Placement(shard_id=0, leader=leader, replicas=(other,), in_sync=in_sync)
        return msgspec.structs.replace(stream(name, 1, 2), placements=(one,))

    # b1 leads two of its three shards, and b3 none of its own: only b2 is between them.
    rows: tuple[StreamRow, ...] = (
        led("s1", "b1", "b2"),
        led("s2", "b1", "b2"),
        led("s3", "b2", "b3"),
    )
    fleet = counted(Fleet(brokers=tuple(broker(f"b{n}") for n in (1, 2, 3))), rows)
    plan = rebalance(fleet, rows, "BALANCED")
    assert plan.before.leaders_spread == 2
    assert plan.after.leaders_spread == 0
    fleet, rows = carried_out(fleet, rows, plan)
    assert sorted(row.placements[0].leader for row in rows) == ["b1", "b2", "b3"]


def test_a_copy_that_is_not_in_sync_does_not_get_the_leadership() -> None:
    rows = tuple(
        msgspec.structs.replace(
            stream(f"s{n}", 1, 2),
            placements=(Placement(shard_id=0, leader="b1", replicas=("b2",), in_sync=("b1",)),),
        )
        for n in range(4)
    )
    fleet = counted(Fleet(brokers=(broker("b1"), broker("b2"))), rows)
    assert rebalance(fleet, rows, "BALANCED").moves == ()


def test_two_copies_in_one_zone_part_when_another_zone_comes() -> None:
    brokers = [broker(f"b{n}", zone="a") for n in range(3)]
    _, rows = placed(Fleet(brokers=tuple(brokers)), streams_of(6, shards=1))
    zoned = [*brokers, broker("b3", zone="b"), broker("b4", zone="c")]
    for strategy in STRATEGIES:
        fleet = counted(Fleet(brokers=tuple(zoned)), rows)
        plan = rebalance(fleet, rows, strategy)
        assert plan.before.zone_violations == 6
        again = carried_out(fleet, rows, plan)
        final = rebalance(*again, strategy)
        assert final.after.zone_violations == 0


def test_locality_brings_leaders_into_the_first_region() -> None:
    brokers = tuple(
        broker(f"{region}{n}", region=region, zone=f"z{n}")
        for region in ("eu", "us")
        for n in range(3)
    )
    fleet, rows = placed(Fleet(brokers=brokers), streams_of(30, copies=2))
    rows = tuple(msgspec.structs.replace(row, regions=("us", "eu")) for row in rows)
    for _ in range(3):
        plan = rebalance(fleet, rows, "LOCALITY_AWARE")
        fleet, rows = carried_out(fleet, rows, plan)
    leaders = [one.leader for row in rows for one in row.placements]
    assert {name[:2] for name in leaders} == {"us"}
    assert plan.after.copies_spread <= 2


def test_a_copy_leaves_a_region_where_its_stream_may_not_be() -> None:
    brokers = (broker("b1", region="eu"), broker("b2", region="us"))
    fleet, rows = placed(Fleet(brokers=brokers[:1]), (stream("s", 1, 1),))
    rows = (msgspec.structs.replace(rows[0], regions=("us",)),)
    (move,) = rebalance(Fleet(brokers=brokers), rows, "MINIMIZE_MOVEMENT").moves
    assert (move.kind, move.from_broker, move.to_broker) == ("replica", "b1", "b2")
    nowhere = rebalance(fleet, rows, "MINIMIZE_MOVEMENT")
    assert [one.why for one in nowhere.blocked_by] == ["no broker in region us takes shards"]


def test_a_broker_with_more_than_it_may_hold_gives_the_rest_away_or_says_why_not() -> None:
    rows = placed(Fleet(brokers=(broker("b1"),)), streams_of(3, 1, 1))[1]

    def plan_for(*others: BrokerRow) -> Fleet:
        return counted(Fleet(brokers=(broker("b1", max_shards=2), *others)), rows)

    assert len(rebalance(plan_for(broker("b2", max_shards=9)), rows, "BALANCED").moves) == 1
    (blocked,) = rebalance(plan_for(), rows, "BALANCED").blocked_by
    assert blocked.why == "b1 holds 1 more than the 2 it may: 1 copy wanted, 1 broker"


def test_one_stream_is_made_even_by_itself_on_the_brokers_with_the_least() -> None:
    row = stream("hot", shards=4, copies=1)
    row = msgspec.structs.replace(
        row,
        placements=tuple(
            Placement(shard_id=n, leader="b1", replicas=(), in_sync=("b1",)) for n in range(4)
        ),
    )
    brokers = tuple(broker(f"b{n}", copies=100 - 10 * n) for n in range(1, 6))
    plan = rebalance(Fleet(brokers=brokers), (row,), "BALANCED")
    assert sorted(move.to_broker for move in plan.moves) == ["b3", "b4", "b5"]


def test_a_shard_that_moves_is_left_alone_and_counted_where_it_goes() -> None:
    fleet, rows = placed(Fleet(brokers=(broker("b1"),)), streams_of(2, 1, 1))
    move = ShardMove(
        move_id="1-0",
        plan_id="1",
        stream=rows[0].stream,
        stream_id=rows[0].stream_id,
        shard_id=0,
        kind="replica",
        from_broker="b1",
        to_broker="b2",
        reason="balance",
    )
    fleet = msgspec.structs.replace(
        fleet, brokers=(*fleet.brokers, broker("b2")), moves=(move,), version=7
    )
    plan = rebalance(fleet, rows, "BALANCED")
    assert (plan.moves, plan.before.copies_spread, plan.base_version) == ((), 0, 7)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_where_there_is_nobody_to_move_to_nothing_moves(strategy: Strategy) -> None:
    assert rebalance(Fleet(), (), strategy).moves == ()
    _, rows = placed(fleet_of(3), streams_of(3))
    # Brokers that are not in the fleet are not known, and none takes shards.
    assert rebalance(Fleet(), rows, strategy).moves == ()
    assert rebalance(Fleet(brokers=(broker("b1", status="down"),)), rows, strategy).moves == ()
