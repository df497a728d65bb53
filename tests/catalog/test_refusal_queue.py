"""Refused requests before they are written: folded, bounded, never lost without being counted."""

from __future__ import annotations

import random
from typing import Any

import pytest

from felix.core.refusals import (
    ALONE_PER_S,
    BATCH_MAX,
    TEXT_CHARS_MAX,
    WAITING_MAX,
    RefusalQueue,
    line_of,
)
from felix.proto.codec import FOREIGN_BYTES_MAX, encode
from felix.proto.commands import RecordRefusals
from felix.proto.errors import NoLeader, ValidationFailed
from felix.proto.identity import Refusal
from tests.support.catalog_log import NOON_MS


def refusal(number: int = 0, **members: Any) -> Refusal:
    given: dict[str, Any] = {
        "operation": "ExchangeToken",
        "code": "unauthorized",
        "source": "10.1.2.3",
        "request_id": f"r-{number}",
        "time_ms": NOON_MS,
    }
    return Refusal(**given | members)


def taken(queue: RefusalQueue) -> RecordRefusals:
    batch = queue.take()
    assert batch is not None
    queue.done()
    return batch


def test_a_few_alike_are_kept_each_with_its_request_id() -> None:
    queue = RefusalQueue("n1")
    for number in range(ALONE_PER_S):
        queue.add(refusal(number, reason=f"why {number}"))
    batch = taken(queue)
    assert [one.request_id for one in batch.refusals] == [f"r-{n}" for n in range(ALONE_PER_S)]
    assert {one.count for one in batch.refusals} == {1}
    assert (batch.node, batch.dropped) == ("n1", 0)


def test_of_a_flood_the_rest_is_counted_and_nothing_else_is_folded_into_it() -> None:
    queue = RefusalQueue("n1")
    for number in range(1000):
        queue.add(refusal(number))
        if number % 100 == 0:
            queue.add(refusal(number, principal="alice", time_ms=NOON_MS))
    queue.add(refusal(7, time_ms=NOON_MS + 1000))
    found = taken(queue).refusals
    floods = [one for one in found if not one.principal and one.time_ms == NOON_MS]
    assert [one.count for one in floods] == [1] * (ALONE_PER_S - 1) + [1001 - ALONE_PER_S]
    assert sum(one.count for one in found if one.principal) == 10
    assert found[-1].count == 1


def test_only_the_first_that_are_alike_are_worth_a_line_of_a_log() -> None:
    queue = RefusalQueue("n1")
    assert [queue.add(refusal(n)) for n in range(8)] == [True] * ALONE_PER_S + [False] * 3
    assert queue.add(refusal(source="other"))
    assert queue.add(refusal(time_ms=NOON_MS + 1000)), "in the next second"
    shown = sum(queue.add(refusal(n, source=f"s{n}")) for n in range(2 * WAITING_MAX))
    assert shown <= WAITING_MAX, "many that are not alike have a bound too"


def test_what_is_not_written_is_counted_wherever_it_is() -> None:
    queue = RefusalQueue("n1")
    for number in range(WAITING_MAX + 5):
        queue.add(refusal(number, source=f"s{number}", count=2))
    assert queue.unwritten == 2 * (WAITING_MAX + 5)
    assert queue.take() is not None
    assert queue.unwritten == 2 * (WAITING_MAX + 5)
    queue.done()
    assert queue.unwritten == 2 * (WAITING_MAX - BATCH_MAX)


def test_beyond_the_limit_they_are_counted_and_the_count_is_written() -> None:
    queue = RefusalQueue("n1")
    for number in range(WAITING_MAX + 33):
        queue.add(refusal(number, source=f"10.0.{number // 250}.{number % 250}"))
    assert (len(queue), queue.dropped_total) == (WAITING_MAX, 33)
    first = taken(queue)
    assert (len(first.refusals), first.dropped) == (BATCH_MAX, 33)
    assert taken(queue).dropped == 0
    assert queue.dropped_total == 33


def test_what_could_not_be_written_comes_again_first_and_in_its_order() -> None:
    queue = RefusalQueue("n1")
    for number in range(BATCH_MAX + 5):
        queue.add(refusal(number, source=f"s{number}"))
    once = queue.take()
    queue.add(refusal(1, source="late"))
    queue.failed(NoLeader("there is no leader"))
    assert taken(queue) == once
    assert [one.source for one in taken(queue).refusals][-1] == "late"
    assert queue.take() is None


def test_a_batch_that_can_never_be_written_is_dropped_and_counted() -> None:
    queue = RefusalQueue("n1")
    queue.add(refusal(count=3))
    assert queue.take() is not None
    queue.failed(ValidationFailed("no"))
    assert (len(queue), queue.dropped_total) == (0, 3)
    assert taken(queue) == RecordRefusals(node="n1", refusals=(), dropped=3)


@pytest.mark.parametrize("text", ["x" * 100_000, "\U0001f525" * 100_000, "\ud800" * 600])
def test_whatever_a_caller_chose_fits_into_a_message(text: str) -> None:
    queue = RefusalQueue("n1")
    for number in range(WAITING_MAX):
        members = dict.fromkeys(("operation", "code", "reason", "object", "tenant_id"), text)
        queue.add(refusal(number, source=f"{number}", principal=text, **members))
    written = 0
    while (batch := queue.take()) is not None:
        assert len(encode(batch)) < FOREIGN_BYTES_MAX
        assert all(len(one.reason) <= TEXT_CHARS_MAX for one in batch.refusals)
        written += len(batch.refusals)
        queue.done()
    assert written == WAITING_MAX


@pytest.mark.parametrize("seed", range(10))
def test_every_refusal_is_written_or_counted_as_dropped(seed: int) -> None:
    print("seed", seed)
    chance = random.Random(seed)
    queue = RefusalQueue("n1")
    given = written = said = now = 0
    for _ in range(5000):
        now += chance.choice([0, 0, 0, 700, -300])
        step = chance.random()
        if step < 0.9:
            count = chance.randrange(1, 4)
            queue.add(refusal(time_ms=NOON_MS + now, count=count, source=f"{chance.random():.3f}"))
            given += count
        elif (batch := queue.take()) is not None:
            if chance.random() < 0.6:
                queue.add(refusal(time_ms=NOON_MS + now, source=f"{chance.random():.2f}"))
                given += 1
                queue.failed(NoLeader("no"))
            else:
                queue.done()
                written += sum(one.count for one in batch.refusals)
                said += batch.dropped
    while (batch := queue.take()) is not None:
        queue.done()
        written += sum(one.count for one in batch.refusals)
        said += batch.dropped
    assert written + said == given
    assert said == queue.dropped_total


def test_the_log_line_has_everything_but_what_is_empty() -> None:
    line = line_of(refusal(4, reason="expired"))
    assert line == {
        "operation": "ExchangeToken",
        "code": "unauthorized",
        "reason": "expired",
        "source": "10.1.2.3",
        "request_id": "r-4",
        "count": 1,
    }
