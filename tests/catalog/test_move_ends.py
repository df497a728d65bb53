"""How moves end that do not come to their end: what a life of brokers was once red for, one by one.

`tests/placement/test_life.py` finds such things by chance; here each of them has its own test.
"""

from __future__ import annotations

import pytest

from felix.proto.brokers import BrokerCapacity
from felix.proto.placement_commands import CancelMoves, DrainBroker, PutBridge, UpdateBroker
from tests.catalog.test_moves import planned, reason_of, start, step, the_move
from tests.support.placement_log import (
    PlacementLog,
    check_rules,
    copies,
    registration,
    stream_name,
)

BROKERS = ("b1", "b2", "b3", "b4", "b5")


@pytest.fixture
def log() -> PlacementLog:
    """Five brokers, and a durable stream of one shard with three copies, on the first three."""
    log = PlacementLog(*BROKERS)
    log.stream("s", copies("b1", "b2", "b3"))
    return log


def led_by_its_target(log: PlacementLog) -> None:
    """Let the leader's copy be on its way to b4 when it dies, and b4 alone have all of it."""
    start(log, planned("b1", "b4"))
    assert step(log, "staging") == "staging"
    log.say_in_sync("s", "b1", "b4")
    assert step(log, "fencing") == "fencing"
    log.down("b1")
    assert (log.shard("s").leader, log.shard("s").in_sync) == ("b4", ("b4",))
    assert the_move(log).step == "staging"


# --- a target that leads stays, and the source goes -----------------------------------------------


@pytest.mark.parametrize("is_plan", [False, True])
def test_a_cancelled_move_whose_target_leads_takes_the_source_away_and_no_copy_too_many_stays(
    log: PlacementLog, *, is_plan: bool
) -> None:
    led_by_its_target(log)
    move = the_move(log)
    log.do(CancelMoves(plan_id=move.plan_id) if is_plan else CancelMoves(move_id=move.move_id))
    assert the_move(log).step == "cancelled"
    assert log.shard("s").leader == "b4"
    assert sorted(log.shard("s").copies) == ["b2", "b3", "b4"], "as many as the stream wants"
    check_rules(log)


def test_a_failed_move_whose_target_leads_takes_the_source_away_too(log: PlacementLog) -> None:
    led_by_its_target(log)
    assert step(log, "failed", "whatever") == "failed"
    assert sorted(log.shard("s").copies) == ["b2", "b3", "b4"]


# --- no copy beyond the replication factor --------------------------------------------------------


def test_a_copy_beyond_the_replication_factor_is_not_added(log: PlacementLog) -> None:
    refused = start(log, planned("", "b4"))
    assert reason_of(refused) == "no_such_copy"
    assert "say from which broker one goes" in refused.result.message  # type: ignore[union-attr]  # `reason_of` has looked
    assert log.index.moves() == []
    log.stream("short", copies("b1", "b2"))
    start(log, planned("", "b4", stream=stream_name("short")))
    assert the_move(log).step == "waiting"


# --- a step that is not allowed any more ----------------------------------------------------------


@pytest.mark.parametrize("change", ["full", "drain"])
def test_a_move_that_waits_fails_with_the_reason_once_its_target_may_not_have_it(
    log: PlacementLog, change: str
) -> None:
    before = log.shard("s")
    start(log, planned("b1", "b4"))
    if change == "full":
        log.do(UpdateBroker(broker_id="b4", capacity=BrokerCapacity(max_shards=0)))
    else:
        log.do(DrainBroker(broker_id="b4"))
    assert step(log, "staging") == "failed", "to be proposed again in every turn would help nobody"
    assert the_move(log).blocked_by
    assert log.shard("s") == before
    assert log.index.moves() == []


def test_a_copy_that_has_come_to_lead_is_not_handed_to_where_its_stream_may_only_follow() -> None:
    log = PlacementLog()
    for name in ("b1", "b2"):
        log.make(registration(name, region="eu"))
    log.make(registration("b4", region="us"))
    log.stream("s", copies("b1", "b2"), replication_factor=2, regions=("eu",))
    log.do(
        PutBridge(name="eu-us", source_region="eu", target_region="us", streams=(stream_name("s"),))
    )
    start(log, planned("b2", "b4"))
    assert step(log, "staging") == "staging", "a follower may cross the bridge"
    log.say_in_sync("s", "b1", "b2", "b4")
    log.down("b1")
    assert log.shard("s").leader == "b2"
    assert step(log, "fencing") == "failed"
    assert "us" in the_move(log).blocked_by
    assert log.shard("s").leader == "b2"
    assert sorted(log.shard("s").copies) == ["b1", "b2"]
    assert not log.shard("s").is_fenced
    check_rules(log)


# --- a target that alone has the data -------------------------------------------------------------


def test_a_move_waits_for_a_target_that_is_down_with_all_the_data_and_nobody_can_cancel_it(
    log: PlacementLog,
) -> None:
    led_by_its_target(log)
    log.down("b4")
    waiting = the_move(log)
    assert (log.shard("s").leader, log.shard("s").in_sync) == ("", ("b4",))
    assert waiting.step == "staging"
    refused = log.do(CancelMoves(move_id=waiting.move_id))
    assert reason_of(refused) == "target_has_data"
    assert "bring it back, or abandon" in refused.result.message  # type: ignore[union-attr]  # `reason_of` has looked
    log.do(CancelMoves(plan_id=waiting.plan_id))
    assert the_move(log) == waiting, "a whole plan is taken back without it"
    log.back("b4")
    assert log.shard("s").leader == "b4"
    assert step(log, "done") == "done"
    assert sorted(log.shard("s").copies) == ["b2", "b3", "b4"]
    check_rules(log)
