"""Moves of shards, begun by plans, step by step, and taken back."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
import pytest

from felix.core.catalog.catalog import Applied
from felix.proto.brokers import MoveAdvance, MovePlan, MoveStep, Placement, PlannedMove, ShardMove
from felix.proto.commands import CreateTenant
from felix.proto.errors import ErrorReply
from felix.proto.placement_commands import (
    AdvanceMoves,
    CancelMoves,
    DrainBroker,
    PausePlacement,
    RegisterBroker,
    ResumePlacement,
    StartMoves,
)
from felix.proto.queries import ListShardMoves
from tests.support.placement_log import PlacementLog, check_rules, stream_name

RESTS_ON: Final[tuple[Literal["brokers", "placements"], ...]] = ("brokers", "placements")


@pytest.fixture
def log() -> PlacementLog:
    """Five brokers, and a stream of one shard on the first three of them."""
    log = PlacementLog("b1", "b2", "b3", "b4", "b5")
    log.stream("s", Placement(shard_id=0, leader="b1", replicas=("b2", "b3")))
    return log


def planned(source: str, target: str, **members: Any) -> PlannedMove:
    said: dict[str, Any] = {"stream": stream_name("s"), "shard_id": 0, "kind": "replica"} | members
    return PlannedMove(from_broker=source, to_broker=target, **said)


def start(
    log: PlacementLog, *moves: PlannedMove, reason: Any = "operator", base: int = 0
) -> Applied:
    plan = MovePlan(base_version=base or log.catalog.version, reason=reason, moves=moves)
    return log.do(StartMoves(plan=plan))


def the_move(log: PlacementLog) -> ShardMove:
    moves = log.catalog.answer(ListShardMoves()).items  # type: ignore[union-attr]
    move: ShardMove = moves[0]  # type: ignore[assignment]
    return move


def test_of_a_plan_of_the_control_planes_own_what_does_not_hold_is_passed_over(
    log: PlacementLog,
) -> None:
    log.stream("t", Placement(shard_id=0, leader="b1", replicas=("b2", "b3")))
    base = log.catalog.version
    log.say_in_sync("s", "b1", "b2")
    stale, good = planned("b2", "b4"), planned("b2", "b5", stream=stream_name("t"))
    assert isinstance(start(log, stale, good, base=base).result, ErrorReply), "an operator's"
    applied = start(log, stale, good, reason="drain", base=base)
    assert not isinstance(applied.result, ErrorReply)
    assert [move.stream for move in log.index.moves()] == [stream_name("t")]
    refused = start(log, stale, reason="drain", base=base).result
    assert isinstance(refused, ErrorReply), "nothing of it holds: somebody should know"
    assert refused.details["reason"] == "stale_plan"


def step(log: PlacementLog, to_step: MoveStep, blocked_by: str = "") -> MoveStep:
    """Let the move make a step, if it can; give where it is then."""
    move = the_move(log)
    item = MoveAdvance(
        move_id=move.move_id, from_step=move.step, to_step=to_step, blocked_by=blocked_by
    )
    log.do(AdvanceMoves(items=(item,)))
    check_rules(log)
    return the_move(log).step


def reason_of(applied: Applied) -> object:
    assert isinstance(applied.result, ErrorReply), applied.result
    assert applied.result.code == "conflict"
    return applied.result.details["reason"]


def test_a_leaders_copy_is_staged_fenced_and_cut_over(log: PlacementLog) -> None:
    start(log, planned("b1", "b4"))
    before = log.shard("s")
    assert step(log, "staging") == "staging"
    assert log.shard("s").replicas == ("b2", "b3", "b4")
    assert step(log, "fencing") == "staging", "the target has not everything yet"
    log.say_in_sync("s", "b1", "b2", "b3", "b4")
    assert step(log, "done") == "staging", "a leader's copy is fenced first"
    assert step(log, "fencing") == "fencing"
    assert log.shard("s").is_fenced
    assert step(log, "done") == "done"
    after = log.shard("s")
    assert (after.leader, after.replicas) == ("b4", ("b2", "b3"))
    assert after.in_sync == ("b2", "b3", "b4")
    assert after.generation == before.generation + 1
    assert not after.is_fenced


def test_a_followers_copy_is_staged_and_takes_the_place(log: PlacementLog) -> None:
    start(log, planned("b2", "b4"))
    assert step(log, "staging") == "staging"
    log.say_in_sync("s", "b1", "b2", "b3", "b4")
    generation = log.shard("s").generation
    assert step(log, "done") == "done"
    after = log.shard("s")
    assert (after.leader, after.replicas) == ("b1", ("b3", "b4"))
    assert after.generation == generation, "nobody has to be fenced"


def test_leadership_passes_inside_the_set_and_the_former_leader_follows(log: PlacementLog) -> None:
    start(log, planned("b1", "b3", kind="leader"))
    assert step(log, "fencing") == "fencing"
    assert step(log, "done") == "done"
    after = log.shard("s")
    assert (after.leader, after.replicas) == ("b3", ("b2", "b1"))
    assert set(after.in_sync) == {"b1", "b2", "b3"}


def test_a_copy_can_be_added(log: PlacementLog) -> None:
    log.stream("t", Placement(shard_id=0, leader="b1"), replication_factor=3)
    start(log, planned("", "b4", stream=stream_name("t")), reason="restore")
    step(log, "staging")
    log.say_in_sync("t", "b1", "b4")
    assert step(log, "done") == "done"
    assert log.shard("t").copies == ("b1", "b4")


def test_a_cancelled_move_leaves_everything_as_it_was(log: PlacementLog) -> None:
    before = log.shard("s")
    for fenced in (False, True):
        start(log, planned("b1", "b4"))
        step(log, "staging")
        log.say_in_sync("s", "b1", "b2", "b3", "b4")
        if fenced:
            step(log, "fencing")
        log.do(CancelMoves(move_id=the_move(log).move_id))
        assert the_move(log).step == "cancelled"
        after = log.shard("s")
        assert (after.leader, after.replicas, after.in_sync) == (
            before.leader,
            before.replicas,
            before.in_sync,
        )
        assert after.generation == before.generation + fenced
        assert not after.is_fenced
    again = log.do(CancelMoves(move_id=the_move(log).move_id))
    assert reason_of(again) == "over"


def test_a_source_that_dies_while_it_is_fenced_is_followed_by_whoever_has_everything(
    log: PlacementLog,
) -> None:
    start(log, planned("b1", "b4"))
    step(log, "staging")
    log.say_in_sync("s", "b1", "b2", "b3", "b4")
    step(log, "fencing")
    log.down("b1")
    assert log.shard("s").leader == "b2"
    assert the_move(log).step == "staging"
    assert step(log, "done") == "done"
    assert set(log.shard("s").copies) == {"b2", "b3", "b4"}


def test_a_target_that_dies_ends_its_move(log: PlacementLog) -> None:
    start(log, planned("b1", "b4"))
    step(log, "staging")
    log.down("b4")
    assert step(log, "failed", "b4 is down") == "failed"
    assert log.shard("s").copies == ("b1", "b2", "b3")


def test_a_plan_that_looked_at_something_older_is_refused(log: PlacementLog) -> None:
    base = log.catalog.version
    log.do(DrainBroker(broker_id="b2"))
    assert reason_of(start(log, planned("b2", "b4"), base=base)) == "stale_plan"
    start(log, planned("b1", "b4"), base=base)  # what it is about is as it was


def test_a_change_between_the_plan_and_its_order_is_found_where_the_order_is_applied(
    log: PlacementLog,
) -> None:
    plan = MovePlan(
        base_version=log.catalog.version, reason="operator", moves=(planned("b1", "b4"),)
    )
    log.do(CreateTenant(tenant_id="unconcerned"))
    log.do(RegisterBroker(broker_id="b9", address="b9:1", boot_id="1"))
    for rests_on in RESTS_ON:
        refusal = log.refuse(StartMoves(plan=plan, rests_on=rests_on))
        assert (refusal.code, refusal.details["changed"]) == ("conflict", "Broker b9")
    later = msgspec.structs.replace(plan, base_version=log.catalog.version)
    log.stream("another", Placement(shard_id=0, leader="b1"))
    refusal = log.refuse(StartMoves(plan=later, rests_on="placements"))
    changed = "/".join(stream_name("another").key)
    assert refusal.details["changed"] == f"ShardPlacement {changed}"
    log.do(StartMoves(plan=later, rests_on="brokers"))
    assert the_move(log).to_broker == "b4"


@pytest.mark.parametrize(
    ("move", "reason"),
    [
        (planned("b4", "b5"), "no_such_copy"),
        (planned("b1", "b2"), "target_refused"),
        (planned("b2", "b1", kind="leader"), "no_such_copy"),
        (planned("b1", "b4", kind="leader"), "no_such_copy"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_whole(
    log: PlacementLog, move: PlannedMove, reason: str
) -> None:
    assert reason_of(start(log, move)) == reason
    assert log.index.moves() == []


def test_a_target_that_is_to_be_empty_is_refused(log: PlacementLog) -> None:
    log.do(DrainBroker(broker_id="b4"))
    assert reason_of(start(log, planned("b1", "b4"))) == "target_refused"


def test_a_shard_moves_once_at_a_time(log: PlacementLog) -> None:
    assert reason_of(start(log, planned("b1", "b4"), planned("b2", "b5"))) == "under_way"
    start(log, planned("b1", "b4"))
    assert reason_of(start(log, planned("b2", "b5"))) == "under_way"


def test_paused_placement_takes_orders_from_operators_only(log: PlacementLog) -> None:
    log.do(PausePlacement(reason="a maintenance"))
    assert reason_of(start(log, planned("b1", "b4"), reason="balance")) == "paused"
    start(log, planned("b1", "b4"))
    log.do(ResumePlacement())
    log.do(CancelMoves(plan_id=the_move(log).plan_id))
    assert the_move(log).step == "cancelled"
    start(log, planned("b1", "b4"), reason="balance")


def test_why_a_move_waits_is_kept_and_changes_nothing_else(log: PlacementLog) -> None:
    start(log, planned("b1", "b4"))
    before = log.row("s")
    assert step(log, "waiting", "b4 takes part in 2 moves") == "waiting"
    assert the_move(log).blocked_by == "b4 takes part in 2 moves"
    assert log.row("s") == before
