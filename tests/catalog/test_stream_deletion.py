"""How durable streams go: confirmed, with a grace in which they can be had back, then for good."""

from __future__ import annotations

from typing import Any

import pytest

from felix.core.catalog.catalog import Applied
from felix.core.catalog.planning import placement_plan, work_of
from felix.proto.brokers import Placement
from felix.proto.commands import CreateStream, DeleteNamespace, DeleteStream
from felix.proto.errors import ErrorReply
from felix.proto.placement_commands import DrainBroker, PurgeStream, UndeleteStream
from felix.proto.queries import GetFeedSnapshot, GetStream, ListStreams
from felix.proto.resources import Stream
from tests.support.placement_log import HERE, PlacementLog, registration

GRACE_MS = 60_000


@pytest.fixture
def log() -> PlacementLog:
    log = PlacementLog("b1", "b2", "b3")
    log.stream("s", Placement(shard_id=0, leader="b1", replicas=("b2", "b3")))
    return log


def delete(log: PlacementLog, name: str = "s", **members: Any) -> Applied:
    return log.do(DeleteStream(stream=name, **HERE, **members))


def error_of(applied: Applied) -> tuple[str, object]:
    assert isinstance(applied.result, ErrorReply), applied.result
    return applied.result.code, applied.result.details.get("reason")


def test_durable_data_goes_only_when_somebody_has_confirmed_it(log: PlacementLog) -> None:
    assert error_of(delete(log, refuse_durable=True)) == ("conflict", "durable")
    delete(log, refuse_durable=True, force=True)
    assert log.row("s") is None


def test_what_brokers_see_gone_keeps_its_data_until_the_grace_is_over(log: PlacementLog) -> None:
    applied = delete(log, grace_ms=GRACE_MS)
    assert [update.type for update in applied.updates] == ["DELETE"]
    assert log.row("s") is not None, "whoever has a copy keeps it"
    feed = log.catalog.answer(GetFeedSnapshot(feed="streams"))
    assert feed.items == []  # type: ignore[union-attr]
    assert error_of(delete(log)) == ("not_found", None)
    taken = log.do(CreateStream(stream="s", **HERE))
    assert error_of(taken) == ("conflict", "deleted")
    listed = log.catalog.answer(ListStreams(is_deleted=True, **HERE))
    assert [one.stream for one in listed.items] == ["s"]  # type: ignore[union-attr]
    assert log.catalog.answer(ListStreams(**HERE)).items == []  # type: ignore[union-attr]


def test_a_deletion_is_taken_back_with_everything(log: PlacementLog) -> None:
    before = log.catalog.answer(GetStream(stream="s", **HERE))
    assert isinstance(before, Stream)
    row = log.row("s")
    delete(log, grace_ms=GRACE_MS)
    log.do(UndeleteStream(stream="s", **HERE))
    after = log.catalog.answer(GetStream(stream="s", **HERE))
    assert isinstance(after, Stream)
    assert (after.stream_id, after.spec) == (before.stream_id, before.spec)
    assert after.version > before.version
    assert log.row("s") == row
    assert error_of(log.do(UndeleteStream(stream="s", **HERE))) == ("conflict", "not_deleted")


def test_a_broker_that_dies_meanwhile_hands_its_shards_over_all_the_same(log: PlacementLog) -> None:
    delete(log, grace_ms=GRACE_MS)
    log.down("b1")
    assert log.shard("s").leader == "b2"
    log.do(UndeleteStream(stream="s", **HERE))
    assert log.shard("s").leader == "b2"


def test_it_goes_for_good_when_its_time_has_come_or_somebody_says_so(log: PlacementLog) -> None:
    delete(log, grace_ms=GRACE_MS)
    assert error_of(log.do(PurgeStream(stream="s", **HERE))) == ("conflict", "grace")
    wrong = log.do(PurgeStream(stream="s", stream_id="st-9-9", now=True, **HERE))
    assert error_of(wrong) == ("not_found", None)
    applied = log.do(PurgeStream(stream="s", now=True, **HERE))
    assert [update.type for update in applied.updates] == ["DELETE"]
    assert log.row("s") is None
    log.make(CreateStream(stream="s", **HERE))


def test_a_namespace_takes_its_deleted_streams_along(log: PlacementLog) -> None:
    delete(log, grace_ms=GRACE_MS)
    log.do(DeleteNamespace(**HERE))
    assert log.row("s") is None
    assert log.index.copies("b1") == 0


def test_ephemeral_streams_have_nothing_to_be_kept(log: PlacementLog) -> None:
    log.stream("e", Placement(shard_id=0, leader="b1"), durability="ephemeral")
    delete(log, "e", grace_ms=GRACE_MS, refuse_durable=True)
    assert log.row("e") is None


def test_a_draining_broker_says_that_it_waits_for_a_deleted_stream(log: PlacementLog) -> None:
    log.do(registration("b4"))
    log.do(DrainBroker(broker_id="b2"))
    assert placement_plan(work_of(log.catalog, 0), (), ()).plan.blocked_by == ()
    delete(log, grace_ms=GRACE_MS)
    (unmet,) = placement_plan(work_of(log.catalog, 0), (), ()).plan.blocked_by
    assert "its copy on b2 waits for the end of the grace" in unmet.why
    log.do(PurgeStream(stream="s", now=True, **HERE))
    assert placement_plan(work_of(log.catalog, 0), (), ()).plan.blocked_by == ()
