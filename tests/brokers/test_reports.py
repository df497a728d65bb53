"""What brokers report of metadata and shards, and what is made of it."""

from __future__ import annotations

import pytest

from felix.core.brokers.reports import Reports
from felix.core.brokers.waiters import Waiters
from felix.proto.brokers import InSyncChange, Placement, ShardStatus, StreamName
from felix.proto.errors import Overloaded
from felix.proto.queries import WaitForBrokers
from felix.proto.reports import ReportApplied, ReportHealth
from felix.proto.resources import Key, ShardPlacement

STREAM = StreamName("acme", "shop", "orders")
UP = ("a", "b", "c")


def status(broker: str, shard_id: int = 0, **members: object) -> ShardStatus:
    role = "leader" if broker == "a" else "follower"
    base = {"stream": STREAM, "shard_id": shard_id, "role": role, "generation": 1}
    return ShardStatus(**(base | members))  # type: ignore[arg-type]  # members of ShardStatus


def placed(*, generation: int = 1, in_sync: tuple[str, ...] = UP, leader: str = "a") -> Placement:
    replicas = tuple(one for one in UP if one != leader)
    return Placement(
        shard_id=0, leader=leader, replicas=replicas, in_sync=in_sync, generation=generation
    )


def rows(*shards: Placement) -> dict[Key, ShardPlacement | None]:
    row = ShardPlacement(
        tenant_id="acme", namespace="shop", stream="orders", stream_id="s1", placements=shards
    )
    return {STREAM.key: row}


def hear(
    reports: Reports,
    broker: str,
    *said: ShardStatus,
    has_all: bool = False,
    epoch: int = 1,
    holds: bool = True,
) -> None:
    report = ReportHealth(
        broker_id=broker, broker_epoch=epoch, shard_status=said, has_all_shards=has_all
    )
    held = {(one.stream.key, one.shard_id) for one in said} if holds else set()
    reports.hear(report, epoch=1, digest="", holds=held)


def applied(reports: Reports, broker: str, version: int, digest: str = "d", **more: object) -> None:
    base = {"broker_id": broker, "broker_epoch": 1, "applied_version": version}
    base |= {"applied_epoch": 1, "applied_digest": digest}
    said = ReportApplied(**(base | more))  # type: ignore[arg-type]  # members of ReportApplied
    reports.hear(said, epoch=1, digest="d", holds=())


# --- copies in sync -------------------------------------------------------------------------------


def changes(reports: Reports, *shards: Placement, up: tuple[str, ...] = UP) -> list[InSyncChange]:
    return reports.changes_in_sync(rows(*shards), up, 100)


def test_a_leader_that_goes_on_without_a_copy_has_it_taken_out() -> None:
    reports = Reports()
    hear(reports, "a", status("a", in_sync=("a", "b")))
    assert reports.unsettled(10) == [STREAM.key]
    (change,) = changes(reports, placed())
    assert (change.in_sync, change.generation, change.stream_id) == (("a", "b"), 1, "s1")


def test_a_change_is_wanted_until_it_is_committed() -> None:
    reports = Reports()
    hear(reports, "a", status("a", in_sync=("a", "b")))
    assert changes(reports, placed()) == changes(reports, placed()) != []
    reports.settle()
    assert reports.unsettled(10) == []


def test_what_a_leader_says_while_its_change_is_under_way_is_not_lost() -> None:
    reports = Reports()
    hear(reports, "a", status("a", in_sync=("a", "b")))
    assert changes(reports, placed())
    hear(reports, "a", status("a", in_sync=("a",)))
    reports.settle()
    (change,) = changes(reports, placed(in_sync=("a", "b")))
    assert change.in_sync == ("a",)


def test_nothing_is_wanted_where_the_catalog_agrees() -> None:
    reports = Reports()
    hear(reports, "a", status("a", in_sync=("c", "b", "a")))
    assert changes(reports, placed()) == []
    assert reports.unsettled(10) == []


def test_only_the_leader_of_that_generation_is_believed() -> None:
    reports = Reports()
    hear(reports, "a", status("a", in_sync=("a",)))
    assert changes(reports, placed(generation=2)) == []
    hear(reports, "a", status("a", in_sync=("a",)))
    assert changes(reports, placed(leader="b")) == []
    hear(reports, "b", status("b", in_sync=("b",)))  # a follower says nothing of that
    assert changes(reports, placed()) == []
    assert reports.unsettled(10) == []


def test_a_leader_that_is_ahead_of_this_node_is_heard_once_it_has_caught_up() -> None:
    reports = Reports()
    hear(reports, "a", status("a", generation=2, in_sync=("a",)))
    assert changes(reports, placed()) == []
    (change,) = changes(reports, placed(generation=2))
    assert change.in_sync == ("a",)


def test_a_copy_on_a_broker_that_is_down_is_not_wanted_in_sync() -> None:
    reports = Reports()
    hear(reports, "a", status("a", in_sync=UP))
    assert changes(reports, placed(in_sync=("a", "b")), up=("a", "b")) == []


# --- subscribers and what else is kept ------------------------------------------------------------


def test_subscribers_are_counted_on_leaders_and_followers() -> None:
    reports = Reports()
    hear(reports, "a", status("a", subscribers=2), status("a", 1, subscribers=3))
    hear(reports, "b", status("b", subscribers=4))
    assert reports.subscribers(STREAM.key) == 9
    hear(reports, "a", status("a", subscribers=0))
    assert reports.subscribers(STREAM.key) == 7
    reports.forget(["a"])
    assert reports.subscribers(STREAM.key) == 4


def test_what_a_broker_says_of_copies_that_it_does_not_hold_is_not_kept() -> None:
    reports = Reports()
    hear(reports, "a", status("a", subscribers=2), holds=False)
    assert reports.subscribers(STREAM.key) == 0
    assert reports.streams() == []


def test_copies_that_went_elsewhere_leave_nothing_behind() -> None:
    reports = Reports()
    hear(reports, "a", status("a", subscribers=2, in_sync=("a",)))
    hear(reports, "b", status("b", subscribers=5))
    reports.placed(rows(Placement(shard_id=0, leader="b", in_sync=("b",))))
    assert reports.subscribers(STREAM.key) == 5
    assert reports.unsettled(10) == []
    reports.placed({STREAM.key: None})
    assert reports.subscribers(STREAM.key) == 0
    assert reports.streams() == []


def test_a_leader_asks_for_all_shards_until_it_was_told_all() -> None:
    reports = Reports()
    assert reports.wants_all("a")
    hear(reports, "a", status("a", subscribers=1))
    assert reports.wants_all("a")
    hear(reports, "a", status("a", 1, subscribers=1), has_all=True)
    assert not reports.wants_all("a")
    assert reports.subscribers(STREAM.key) == 1, "what a full report does not name is not held"


def test_another_boot_begins_with_nothing() -> None:
    reports = Reports()
    hear(reports, "a", status("a", subscribers=1), has_all=True)
    applied(reports, "a", 7)
    hear(reports, "a", epoch=2)
    assert (reports.wants_all("a"), reports.version_of("a")) == (True, 0)
    assert reports.subscribers(STREAM.key) == 0


def test_a_fenced_leader_that_is_drained_is_found_with_its_generation() -> None:
    reports = Reports()
    hear(reports, "a", status("a", is_drained=True), status("a", 1))
    hear(reports, "b", status("b", is_drained=True))
    assert [(one.shard_id, one.generation) for one in reports.drained()] == [(0, 1)]


# --- versions -------------------------------------------------------------------------------------


def test_a_wrong_digest_is_noticed_and_a_right_one_ends_it() -> None:
    reports = Reports()
    applied(reports, "a", 7, digest="other")
    said = reports.said("a")
    assert said is not None
    assert said.is_wrong
    applied(reports, "a", 8)
    assert not said.is_wrong


def test_a_version_of_another_life_of_the_catalog_does_not_count() -> None:
    reports = Reports()
    applied(reports, "a", 7, applied_epoch=2)
    assert reports.version_of("a") == 0


def test_laggards_are_named_and_counted() -> None:
    reports = Reports()
    applied(reports, "b", 7)
    applied(reports, "c", 3)
    answer = reports.applied_by(7, UP, 0)
    assert (answer.applied, answer.expected, answer.laggards) == (1, 3, ["a", "c"])
    assert not answer.is_reached
    assert reports.applied_by(7, UP, 1).is_reached
    assert reports.lag(9, UP) == 6


def test_whoever_waits_is_answered_when_the_last_broker_has_it() -> None:
    reports, waiters = Reports(), Waiters(at_most=4)
    waiters.brokers_changed(list(UP), reports)
    assert waiters.add(1, WaitForBrokers(version=7), 100.0, reports) is None
    assert waiters.add(2, WaitForBrokers(version=7, brokers=1), 100.0, reports) is None
    applied(reports, "a", 7)
    assert [token for token, _ in waiters.heard("a", reports)] == [2]
    applied(reports, "b", 8)
    assert waiters.heard("b", reports) == []
    ((token, answer),) = waiters.brokers_changed(["a", "b"], reports)  # c is down
    assert (token, answer.is_reached, answer.expected) == (1, True, 2)
    assert waiters.add(3, WaitForBrokers(version=7), 100.0, reports) is not None, "at once"


def test_whoever_waits_too_long_is_told_who_is_late() -> None:
    reports, waiters = Reports(), Waiters(at_most=4)
    waiters.brokers_changed(list(UP), reports)
    waiters.add(1, WaitForBrokers(version=7), 100.0, reports)
    applied(reports, "a", 7)
    waiters.heard("a", reports)
    assert waiters.overdue(99.0, reports) == []
    ((_, answer),) = waiters.overdue(100.0, reports)
    assert (answer.is_reached, answer.laggards) == (False, ["b", "c"])
    assert len(waiters) == 0


def test_no_more_wait_than_may_and_who_is_refused_is_told_what_bounds_them() -> None:
    reports, waiters = Reports(), Waiters(at_most=1)
    waiters.brokers_changed(list(UP), reports)
    assert waiters.add(1, WaitForBrokers(version=7), 100.0, reports) is None
    with pytest.raises(Overloaded, match=r"limits\.broker_waiters_max") as refusal:
        waiters.add(2, WaitForBrokers(version=7), 100.0, reports)
    assert refusal.value.retry_after_ms == 1000
    for name in UP:
        applied(reports, name, 8)
    assert waiters.add(3, WaitForBrokers(version=7), 100.0, reports) is not None, "it need not wait"
    assert len(waiters.heard("c", reports)) == 0
    waiters.overdue(100.0, reports)
    assert waiters.add(4, WaitForBrokers(version=9), 200.0, reports) is None, "there is room again"
