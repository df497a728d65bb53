"""Streams get copies, leaders say which of them are in sync, and bridges open regions."""

from __future__ import annotations

from typing import Any

import pytest

from felix.core.catalog.catalog import CatalogLimits
from felix.core.catalog.dump import restore
from felix.core.catalog.validation import check
from felix.proto.brokers import (
    InSyncChange,
    MovePlan,
    NewPlacement,
    Placement,
    PlannedMove,
    ShardMove,
    ShardMoves,
    StreamName,
)
from felix.proto.commands import DeleteNamespace, DeleteStream, DeleteTenant, UpdateStream
from felix.proto.errors import NotFound, ValidationFailed
from felix.proto.identity import Done
from felix.proto.placement_commands import (
    AbandonShard,
    CancelMoves,
    ChangeInSync,
    DeleteBridge,
    DrainBroker,
    PlaceShards,
    PutBridge,
    StartMoves,
)
from felix.proto.queries import (
    GetBridge,
    GetPlacement,
    ListBridges,
    Listing,
    ListPlacements,
    ListShardMoves,
)
from tests.support.catalog_log import CatalogLog, dumped
from tests.support.placement_log import (
    HERE,
    PlacementLog,
    capacity,
    check_rules,
    copies,
    registration,
    stream_name,
)


def key(name: str) -> tuple[str, str, str]:
    return ("acme", "prod", name)


def place(log: PlacementLog, name: str, *shards: Placement) -> bool:
    """Propose copies; tell whether they were taken."""
    result = log.do(PlaceShards(items=(log.new_placement(name, *shards),))).result
    assert isinstance(result, Done)
    return result.changed


# --- first copies ---------------------------------------------------------------------------------


def test_a_stream_waits_for_brokers_and_all_its_first_copies_are_in_sync() -> None:
    log = PlacementLog("b1", "b2", "b3")
    log.stream("s")
    assert log.index.unplaced() == [key("s")]
    with pytest.raises(NotFound) as refused:
        log.catalog.answer(GetPlacement(stream="s", **HERE))
    assert refused.value.details == {"reason": "not_placed"}
    assert place(log, "s", copies("b3", "b1", "b2"))
    row = log.row("s")
    assert log.catalog.answer(GetPlacement(stream="s", **HERE)) == row
    assert log.shard("s") == Placement(
        shard_id=0, leader="b3", replicas=("b1", "b2"), in_sync=("b1", "b2", "b3")
    )
    assert log.index.unplaced() == []
    assert (log.index.copies("b3"), log.index.leads("b3"), log.index.leads("b1")) == (1, 1, 0)


def test_many_streams_are_placed_by_one_command_with_a_version_each() -> None:
    log = PlacementLog("b1")
    for name in "abc":
        log.stream(name)
    items = tuple(log.new_placement(name, copies("b1")) for name in "abc")
    before = log.catalog.version
    applied = log.do(PlaceShards(items=items))
    assert [update.type for update in applied.updates] == ["CREATE"] * 3
    assert applied.version == log.catalog.version == before + 3
    again = log.do(PlaceShards(items=items))
    assert (again.result, again.updates) == (Done(changed=False), ())


@pytest.mark.parametrize(
    "shards",
    [
        (copies("b1", "b1"),),
        (copies("nix"),),
        (copies("b1", "down"),),
        (copies("draining"),),
        (copies("full"),),
        (copies("b1", "b2", "b3", "b4"),),
        (copies("", "b1"),),
        (copies("b1"), copies("b1", shard_id=1)),
        (copies("b1", shard_id=1),),
        (),
    ],
    ids=str,
)
def test_copies_that_may_not_be_are_passed_over(shards: tuple[Placement, ...]) -> None:
    log = PlacementLog("b1", "b2", "b3", "b4", "down", "draining")
    log.make(registration("full", capacity=capacity(1)))
    log.stream("other", copies("draining"), copies("full", shard_id=1))
    log.down("down")
    log.make(DrainBroker(broker_id="draining"))
    log.stream("s")
    assert not place(log, "s", *shards)
    assert log.row("s") is None
    assert place(log, "s", copies("b1", "b2", "b3"))
    check_rules(log)


def test_a_stream_that_was_made_anew_meanwhile_is_passed_over() -> None:
    log = PlacementLog("b1")
    log.stream("s")
    late = log.new_placement("s", copies("b1"))
    log.delete(DeleteStream(stream="s", **HERE))
    log.stream("s")
    assert log.do(PlaceShards(items=(late,))).result == Done(changed=False)


def test_a_broker_gets_no_more_copies_than_it_takes_even_from_one_command() -> None:
    log = PlacementLog()
    log.make(registration("b1", capacity=capacity(3)))
    for name in ("one", "two"):
        log.stream(name)
    shards = (copies("b1"), copies("b1", shard_id=1))
    for name in ("three", "four"):
        log.stream(name, replication_factor=1)
    items = [log.new_placement(name, copies("b1")) for name in ("one", "two", "three", "four")]
    log.do(PlaceShards(items=tuple(items)))
    assert log.index.unplaced() == [key("four")]
    assert log.index.copies("b1") == 3
    assert not place(log, "four", *shards)


def test_copies_stay_in_the_regions_of_their_stream_and_leaders_off_bridges() -> None:
    log = PlacementLog()
    for region in ("eu", "us", "asia"):
        log.make(registration(region, region=region))
    log.stream("s", regions=("eu",))
    assert not place(log, "s", copies("us"))
    assert not place(log, "s", copies("eu", "us"))
    log.make(
        PutBridge(name="over", source_region="eu", target_region="us", streams=(stream_name("s"),))
    )
    assert not place(log, "s", copies("us", "eu")), "a leader over a bridge"
    assert not place(log, "s", copies("eu", "asia"))
    assert place(log, "s", copies("eu", "us"))


# --- in sync --------------------------------------------------------------------------------------


def test_what_the_leader_of_a_shard_says_of_its_copies_is_taken_over() -> None:
    log = PlacementLog("b1", "b2", "b3")
    log.stream("s", copies("b1", "b2", "b3"))
    assert log.index.incomplete() == []
    log.say_in_sync("s", "b3", "b1")
    assert log.shard("s").in_sync == ("b1", "b3")
    assert log.shard("s").generation == 1
    assert log.index.incomplete() == [key("s")]
    assert log.index.under_replicated == 1
    log.say_in_sync("s", "b1", "b2", "b3")
    assert (log.index.incomplete(), log.index.under_replicated) == ([], 0)


def test_nobody_is_in_sync_who_is_down_or_has_no_copy() -> None:
    log = PlacementLog("b1", "b2", "b3", "b4")
    log.stream("s", copies("b1", "b2", "b3"))
    log.down("b3")
    log.say_in_sync("s", "b1", "b2", "b3", "b4")
    assert log.shard("s").in_sync == ("b1", "b2")


@pytest.mark.parametrize("wrong", ["generation", "stream_id", "shard_id", "leader"])
def test_what_was_said_of_something_else_is_passed_over(wrong: str) -> None:
    log = PlacementLog("b1", "b2")
    log.stream("s", copies("b1", "b2"))
    row = log.row("s")
    assert row is not None
    said: dict[str, Any] = {
        "stream": stream_name("s"),
        "stream_id": "st-0-0" if wrong == "stream_id" else row.stream_id,
        "shard_id": 7 if wrong == "shard_id" else 0,
        "generation": 2 if wrong == "generation" else 1,
        "in_sync": ("b2",) if wrong == "leader" else ("b1",),
    }
    applied = log.do(ChangeInSync(items=(InSyncChange(**said),)))
    assert (applied.result, applied.updates) == (Done(changed=False), ())


def test_what_is_said_of_several_shards_of_a_stream_is_one_update() -> None:
    log = PlacementLog("b1", "b2")
    log.stream("s", *(copies("b1", "b2", shard_id=number) for number in range(3)))
    items = tuple(log.in_sync_change("s", "b1", shard_id=number) for number in range(3))
    assert len(log.do(ChangeInSync(items=items)).updates) == 1
    assert all(log.shard("s", number).in_sync == ("b1",) for number in range(3))


# --- streams that go ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "gone"),
    [
        (DeleteStream(stream="s", **HERE), ["ShardPlacement", "Stream"]),
        (DeleteNamespace(**HERE), ["ShardPlacement", "Stream", "Namespace"]),
        (DeleteTenant(tenant_id="acme"), ["ShardPlacement", "Stream", "Namespace", "Tenant"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_placement_goes_with_its_stream_and_before_it(command: Any, gone: list[str]) -> None:
    log = PlacementLog("b1", "b2")
    log.stream("s", copies("b1", "b2"))
    log.do(command)
    changes = log.catalog.history.since(log.catalog.version - len(gone), len(gone))
    assert [change.kind for change in changes] == gone
    assert [change.version for change in changes] == [change.update.version for change in changes]
    assert log.index.copies("b1") == log.index.leads("b1") == 0
    assert log.index.streams_on("b2") == log.index.unplaced() == []
    check_rules(log)


def test_a_stream_with_another_durability_is_another_stream_and_placed_anew() -> None:
    log = PlacementLog("b1")
    before = log.stream("s", copies("b1"))
    (after,) = log.make(UpdateStream(stream="s", durability="ephemeral", **HERE))
    assert after.version == log.catalog.version
    assert after != before
    assert log.row("s") is None
    assert log.index.unplaced() == [key("s")]
    assert place(log, "s", copies("b1"))
    check_rules(log)


# --- listing --------------------------------------------------------------------------------------


def listed(log: CatalogLog, **members: Any) -> list[str]:
    found = log.catalog.answer(ListPlacements(**members))
    assert isinstance(found, Listing)
    return [one.key[-1] for one in found.items]


def test_placements_are_listed_by_broker_and_by_what_they_lack() -> None:
    log = PlacementLog("b1", "b2", "b3")
    log.stream("a", copies("b1", "b2"), replication_factor=2)
    log.stream("b", copies("b2", "b3"), replication_factor=2)
    log.stream("c", copies("b3"), replication_factor=2)
    log.stream("d")
    assert listed(log) == ["a", "b", "c"]
    assert listed(log, broker_id="b2") == ["a", "b"]
    assert listed(log, is_incomplete=True) == ["c"]
    log.down("b2")
    assert listed(log, is_incomplete=True) == ["a", "b", "c"]
    assert listed(log, is_incomplete=True, broker_id="b3") == ["b", "c"]
    assert listed(log, filter="prod/a") == ["a"]


@pytest.mark.parametrize("members", [{}, {"is_incomplete": True}, {"broker_id": "b1"}])
def test_placements_come_in_pages(members: dict[str, Any]) -> None:
    log = PlacementLog("b1")
    for number in range(7):
        log.stream(f"s{number}", copies("b1"))
    found: list[str] = []
    token = ""
    while True:
        page = log.catalog.answer(ListPlacements(page_size=3, page_token=token, **members))
        assert isinstance(page, Listing)
        found += [one.key[-1] for one in page.items]
        token = page.next_page_token
        if not token:
            break
    assert found == [f"s{number}" for number in range(7)]


@pytest.mark.parametrize("query", [ListPlacements, ListShardMoves, ListBridges])
def test_what_no_page_ended_with_is_refused(query: Any) -> None:
    for token in ("*", "YQ", "YS9iL2MvZA"):
        if query is ListBridges and token == "YQ":
            continue
        with pytest.raises(ValidationFailed):
            PlacementLog().catalog.answer(query(page_token=token))
    with pytest.raises(ValidationFailed):
        PlacementLog().catalog.answer(query(page_size=-1))


def with_moves(log: PlacementLog, count: int) -> list[ShardMove]:
    """Put moves where commands will have put them: two in an order that text would change."""
    moves = [
        ShardMove(
            move_id=f"{8 + number}-1",
            plan_id=str(8 + number),
            stream=stream_name("s"),
            stream_id="st-1",
            shard_id=number,
            kind="replica",
            from_broker="b1",
            to_broker=f"b{2 + number % 2}",
            reason="operator",
            step="done" if number % 3 == 0 else "staging",
        )
        for number in range(count)
    ]
    log.put_moves(*moves)
    return moves


def test_moves_are_listed_newest_first_and_in_pages() -> None:
    log = PlacementLog()
    moves = with_moves(log, 7)

    def ids(**members: Any) -> list[str]:
        found = log.catalog.answer(ListShardMoves(**members))
        assert isinstance(found, ShardMoves)
        return [one.move_id for one in found.items]

    assert ids() == ["14-1", "13-1", "12-1", "11-1", "10-1", "9-1", "8-1"]
    assert ids(is_under_way=True) == ["13-1", "12-1", "10-1", "9-1"]
    assert ids(broker_id="b3") == ["13-1", "11-1", "9-1"]
    assert ids(plan_id="9") == ["9-1"]
    assert ids(stream=stream_name("t")) == []
    both: list[dict[str, Any]] = [{}, {"is_under_way": True}]
    for members in both:
        page = log.catalog.answer(ListShardMoves(page_size=2, **members))
        assert isinstance(page, ShardMoves)
        rest = ids(page_token=page.next_page_token, **members)
        assert [one.move_id for one in page.items] + rest == ids(**members)
    assert log.index.moves() == [one for one in moves if one.step != "done"]


def test_moves_plans_and_settings_are_in_dumps_and_in_the_proof() -> None:
    log = PlacementLog("b1", "b2")
    log.stream("s", copies("b1", "b2"))
    proof = log.catalog.proof
    with_moves(log, 4)
    assert log.catalog.proof != proof
    again = restore(dumped(log.catalog, records=2), CatalogLimits())
    assert again.proof == log.catalog.proof
    assert again.placement.moves() == log.index.moves()
    check_rules(CatalogLog(again))


# --- giving up ------------------------------------------------------------------------------------


def test_a_shard_that_is_served_is_not_given_up() -> None:
    log = PlacementLog("b1", "b2")
    log.stream("s", copies("b1", "b2"))
    refused = log.refuse(AbandonShard(stream=stream_name("s"), shard_id=0))
    assert (refused.code, refused.details["leader"]) == ("conflict", "b1")


def test_a_live_copy_leads_a_shard_whose_data_is_given_up() -> None:
    log = PlacementLog("b1", "b2")
    log.stream("s", copies("b1", "b2"))
    log.say_in_sync("s", "b1")
    log.down("b1")
    assert log.shard("s").leader == ""
    log.make(AbandonShard(stream=stream_name("s"), shard_id=0))
    assert log.shard("s").leader == "b2"
    assert log.shard("s").in_sync == ("b2",)
    check_rules(log)
    log.back("b1")
    assert log.shard("s").leader == "b2"


def test_a_shard_that_is_given_up_without_a_live_copy_is_placed_anew_and_empty() -> None:
    log = PlacementLog("b1", "b2")
    log.stream("s", copies("b1"), copies("b2", shard_id=1))
    log.down("b1")
    generation = log.shard("s").generation
    log.make(AbandonShard(stream=stream_name("s"), shard_id=0))
    assert log.shard("s").copies == ()
    assert log.index.unplaced() == [key("s")]
    check_rules(log)
    assert place(log, "s", copies("b2"))
    assert log.shard("s").leader == "b2"
    assert log.shard("s").generation == generation + 2
    assert log.shard("s", 1).generation == 1
    assert log.index.unplaced() == []
    check_rules(log)


@pytest.mark.parametrize(("name", "shard_id"), [("nix", 0), ("s", 1), ("waits", 0)])
def test_a_shard_that_is_not_there_is_not_found(name: str, shard_id: int) -> None:
    log = PlacementLog("b1")
    log.stream("s", copies("b1"))
    log.stream("waits")
    command = AbandonShard(stream=stream_name(name), shard_id=shard_id)
    assert log.refuse(command).code == "not_found"


# --- bridges --------------------------------------------------------------------------------------


def test_bridges_are_made_changed_listed_and_deleted() -> None:
    log = PlacementLog()
    log.stream("s")
    put = PutBridge(name="x", source_region="eu", target_region="us", streams=(stream_name("s"),))
    (made,) = log.make(put)
    assert log.catalog.answer(GetBridge(name="x")) == made
    assert log.do(put).updates == ()
    (changed,) = log.make(PutBridge(name="x", source_region="eu", target_region="asia"))
    assert changed.created_version == made.version < changed.version
    assert log.catalog.answer(ListBridges()) == Listing([changed])
    assert log.refuse(DeleteBridge(name="x", expected_version=1)).code == "precondition_failed"
    log.delete(DeleteBridge(name="x"))
    assert log.refuse(DeleteBridge(name="x")).code == "not_found"
    with pytest.raises(NotFound):
        log.catalog.answer(GetBridge(name="x"))


def test_a_bridge_names_only_streams_that_are_there() -> None:
    missing = PutBridge(
        name="x", source_region="eu", target_region="us", streams=(stream_name("nix"),)
    )
    assert PlacementLog().refuse(missing).code == "not_found"


# --- what a command must look like ----------------------------------------------------------------

BAD = StreamName("acme", "prod", "a/b")


def planned(**members: Any) -> MovePlan:
    move: dict[str, Any] = {
        "stream": stream_name("s"),
        "shard_id": 0,
        "kind": "replica",
        "from_broker": "b1",
        "to_broker": "b2",
    } | members
    return MovePlan(base_version=1, reason="operator", moves=(PlannedMove(**move),))


def new(*shards: Placement, stream: StreamName = BAD) -> PlaceShards:
    return PlaceShards(items=(NewPlacement(stream=stream, stream_id="st-1", placements=shards),))


@pytest.mark.parametrize(
    ("command", "pointer"),
    [
        (new(), "/items/0/stream/stream"),
        (new(copies(""), stream=stream_name("s")), "/items/0/placements/leader"),
        (new(copies("b1", "b 2"), stream=stream_name("s")), "/items/0/placements/replicas"),
        (new(copies("b1", shard_id=-1), stream=stream_name("s")), "/items/0/placements/shard_id"),
        (PlaceShards(items=new().items * 1001), "/items"),
        (AbandonShard(stream=BAD, shard_id=0), "/stream/stream"),
        (AbandonShard(stream=stream_name("s"), shard_id=65_536), "/shard_id"),
        (CancelMoves(), "/move_id"),
        (CancelMoves(move_id="1-1", plan_id="1"), "/move_id"),
        (CancelMoves(move_id="x" * 129), "/move_id"),
        (StartMoves(plan=planned(to_broker="")), "/plan/moves/0/to_broker"),
        (StartMoves(plan=planned(from_broker=" ")), "/plan/moves/0/from_broker"),
        (PutBridge(name="x", source_region="", target_region="b"), "/source_region"),
        (PutBridge(name="x", source_region="a", target_region="a"), "/target_region"),
        (
            PutBridge(name="x", source_region="a", target_region="b", streams=(BAD,)),
            "/streams/0/stream",
        ),
        (DeleteBridge(name="a b"), "/name"),
    ],
)
def test_values_that_break_a_rule_are_named(command: Any, pointer: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        check(command)
    assert refused.value.details == {"pointer": pointer}


def test_an_added_copy_comes_from_nowhere() -> None:
    check(StartMoves(plan=planned(from_broker="")))
