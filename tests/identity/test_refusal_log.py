"""Where a worker notes whom it refused."""

from __future__ import annotations

import threading

from felix.identity.refusal_log import RefusalLog
from felix.proto.errors import NoLeader
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


def test_without_a_refusal_there_is_no_thread() -> None:
    before = threading.active_count()
    RefusalLog(RefusalTrail()).close()
    assert threading.active_count() == before
