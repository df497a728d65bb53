"""Where a worker notes whom it refused."""

from __future__ import annotations

import threading

from structlog.testing import capture_logs

from felix.core.catalog.validation import check
from felix.core.refusals import ALONE_PER_S, WAITING_MAX
from felix.identity.refusal_log import RefusalLog
from felix.proto import codec
from felix.proto.errors import DiskFull, NoLeader
from felix.proto.identity import Refusal
from tests.support.catalog_log import NOON_MS
from tests.support.refusal_trail import RefusalTrail
from tests.support.waiting import eventually


def refusal(number: int) -> Refusal:
    return Refusal(
        time_ms=NOON_MS,
        operation="ExchangeToken",
        code="unauthorized",
        request_id=f"r-{number}",
        source=f"10.0.0.{number}",
    )


def test_refusals_reach_the_control_plane_in_batches() -> None:
    plane = RefusalTrail()
    plane.is_open.clear()
    log = RefusalLog(plane, "worker-1", pause_s=0.001)
    log.add(refusal(0))
    eventually(lambda: plane.asked == 1)
    for number in range(1, 50):
        log.add(refusal(number))  # and does not wait for the one under way
    plane.is_open.set()
    eventually(lambda: len(plane.requests) == 50)
    assert plane.requests == [f"r-{number}" for number in range(50)]
    assert len(plane.batches) == 2
    assert {batch.node for batch in plane.batches} == {"worker-1"}
    log.close()


def test_they_wait_for_a_leader() -> None:
    plane = RefusalTrail()
    plane.error = NoLeader("there is no leader")
    log = RefusalLog(plane, pause_s=0.001)
    log.add(refusal(1))
    eventually(lambda: plane.asked > 2)
    assert plane.requests == []
    plane.error = None
    eventually(lambda: plane.requests == ["r-1"])
    log.close()
    assert log.dropped == 0


def test_what_waits_is_written_at_the_end() -> None:
    plane = RefusalTrail()
    log = RefusalLog(plane, pause_s=3600)
    log.add(refusal(1))
    eventually(lambda: plane.requests == ["r-1"])
    log.add(refusal(2))
    log.close()
    assert plane.requests == ["r-1", "r-2"]


def test_at_the_end_all_batches_are_written() -> None:
    plane = RefusalTrail()
    plane.error = NoLeader("there is no leader")
    log = RefusalLog(plane, pause_s=3600)
    for number in range(WAITING_MAX):
        log.add(refusal(number))
    eventually(lambda: plane.asked == 1)
    plane.error = None
    log.close()
    assert sorted(plane.requests) == sorted(f"r-{number}" for number in range(WAITING_MAX))


def test_what_cannot_be_written_at_the_end_is_counted_in_the_log() -> None:
    plane = RefusalTrail()
    plane.error = NoLeader("there is no leader")
    log = RefusalLog(plane, pause_s=3600)
    with capture_logs() as said:
        for number in range(7):
            log.add(refusal(number))
        for _ in range(20):
            log.add(refusal(100))
        log.close()
    assert said[-1] == {"event": "refusals_not_recorded", "log_level": "warning", "count": 27}


def test_while_the_disk_is_full_so_many_are_kept_and_the_rest_is_counted() -> None:
    plane = RefusalTrail()
    plane.error = DiskFull("the leader's disk has 1 MB left", retry_after_ms=5000)
    log = RefusalLog(plane, pause_s=0.001)
    for number in range(WAITING_MAX + 200):
        log.add(refusal(number))
    eventually(lambda: plane.asked > 3)
    assert log.dropped == 200
    plane.error = None
    eventually(lambda: len(plane.requests) == WAITING_MAX)
    assert sum(batch.dropped for batch in plane.batches) == 200
    log.close()


def test_with_a_full_disk_it_tries_once_in_a_while_and_no_more() -> None:
    plane = RefusalTrail()
    plane.error = DiskFull("the leader's disk has 1 MB left", retry_after_ms=5000)
    log = RefusalLog(plane, pause_s=3600)
    for number in range(500):
        log.add(refusal(number))
    eventually(lambda: plane.asked == 1)
    for number in range(500):
        log.add(refusal(number))
    log.close()
    assert plane.asked == 2, "once, and once more at the end"


def test_of_a_flood_the_log_has_the_first_lines_and_one_with_the_count() -> None:
    plane = RefusalTrail()
    plane.is_open.clear()
    log = RefusalLog(plane, pause_s=0.001)
    with capture_logs() as said:
        for _ in range(1_000):
            log.add(refusal(1))
        plane.is_open.set()
        eventually(lambda: sum(one.count for b in plane.batches for one in b.refusals) == 1_000)
        log.close()
    lines = [one for one in said if one["event"] == "request_refused"]
    assert len(lines) == ALONE_PER_S
    counts = [one["count"] for one in said if one["event"] == "requests_refused"]
    assert 1_000 - ALONE_PER_S <= sum(counts) <= 1_000
    assert len(said) < 20


def test_whatever_somebody_chose_as_a_name_is_recorded() -> None:
    plane = RefusalTrail()
    log = RefusalLog(plane, "n\n1" + "x" * 1_000, pause_s=0.001)
    long = "\ud800\x00" + "y" * 100_000
    log.add(Refusal(time_ms=NOON_MS, operation=long, code=long, reason=long, object=long))
    eventually(lambda: len(plane.batches) == 1)
    (batch,) = plane.batches
    check(batch)
    assert codec.encode(batch)
    assert batch.refusals[0].reason.startswith("?\x00yyy")
    log.close()


def test_without_a_refusal_there_is_no_thread() -> None:
    before = threading.active_count()
    RefusalLog(RefusalTrail()).close()
    assert threading.active_count() == before
