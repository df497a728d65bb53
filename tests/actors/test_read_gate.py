"""Reads that wait until this node knows enough."""

from __future__ import annotations

import time

from felix.actors.read_gate import ReadGate
from felix.proto.ids import Index
from tests.actors.requests import incoming


def test_a_read_waits_for_its_index_and_for_that_to_be_applied() -> None:
    gate, read = ReadGate(), incoming()
    gate.add(read)
    context = gate.next_context()
    assert context is not None
    assert gate.due(Index(100)) == []
    assert gate.released(context, Index(8)) == []
    assert gate.due(Index(7)) == []
    assert gate.due(Index(8)) == [read]
    assert len(gate) == 0


def test_a_read_never_shares_an_index_that_was_asked_for_before_it_arrived() -> None:
    gate, early, late = ReadGate(), incoming(), incoming()
    gate.add(early)
    first = gate.next_context()
    gate.add(late)
    assert gate.next_context() is None, "one at a time"
    assert first is not None
    gate.released(first, Index(5))
    assert gate.due(Index(1000)) == [early]
    second = gate.next_context()
    assert second is not None
    assert second != first
    gate.released(second, Index(6))
    assert gate.due(Index(6)) == [late]


def test_reads_that_arrive_meanwhile_share_the_next_index() -> None:
    gate = ReadGate()
    gate.add(incoming())
    first = gate.next_context()
    together = [incoming() for _ in range(3)]
    for read in together:
        gate.add(read)
    assert first is not None
    gate.released(first, Index(1))
    gate.due(Index(1))
    second = gate.next_context()
    assert second is not None
    gate.released(second, Index(2))
    assert gate.due(Index(2)) == together
    assert gate.next_context() is None


def test_an_answer_to_another_question_releases_nothing() -> None:
    gate = ReadGate()
    gate.add(incoming())
    context = gate.next_context()
    assert context is not None
    assert gate.released(context + 1, Index(5)) == []
    assert gate.due(Index(5)) == []
    gate.released(context, Index(5))
    assert gate.released(context, None) == [], "answered twice"
    assert len(gate.due(Index(5))) == 1


def test_without_a_leader_the_reads_under_way_are_given_back_and_later_ones_stay() -> None:
    gate, early, late = ReadGate(), incoming(), incoming()
    gate.add(early)
    context = gate.next_context()
    gate.add(late)
    assert context is not None
    assert [one for one, _ in gate.released(context, None)] == [early]
    assert len(gate) == 1
    assert gate.next_context() is not None


def test_reads_come_due_in_the_order_of_their_index() -> None:
    gate, reads = ReadGate(), [incoming() for _ in range(3)]
    for index, read in zip((9, 7, 8), reads, strict=True):
        gate.add(read)
        context = gate.next_context()
        assert context is not None
        gate.released(context, Index(index))
    assert gate.due(Index(8)) == [reads[1], reads[2]]
    assert gate.due(Index(9)) == [reads[0]]


def test_a_read_is_overdue_wherever_it_waits() -> None:
    gate, now = ReadGate(), time.monotonic()
    patient = incoming(timeout_ms=60_000)
    for read in (incoming(timeout_ms=10), patient):
        gate.add(read)
    context = gate.next_context()
    assert context is not None
    gate.released(context, Index(9))
    gate.add(incoming(timeout_ms=10))
    gate.next_context()
    gate.add(incoming(timeout_ms=10))
    assert gate.overdue(now) == []
    assert len(gate.overdue(now + 30)) == 3
    assert len(gate) == 1
    assert gate.due(Index(9)) == [patient]
