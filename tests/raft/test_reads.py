"""Rounds of reads."""

from __future__ import annotations

import pytest

from felix.core.raft import reads as reads_module
from felix.core.raft.reads import ReadRequest, ReadRounds
from felix.proto.ids import Index
from tests.raft.group import A, B


def test_reads_that_wait_share_one_round() -> None:
    rounds = ReadRounds()
    requests = [ReadRequest(A, number) for number in range(5)]
    for request in requests:
        assert rounds.add(request)
    assert rounds.start(Index(7))
    assert rounds.confirmed(rounds.round) == [(request, 7) for request in requests]


def test_a_read_that_comes_during_a_round_waits_for_the_next() -> None:
    rounds = ReadRounds()
    rounds.add(ReadRequest(A, 1))
    rounds.start(Index(7))
    rounds.add(ReadRequest(B, 2))
    assert not rounds.start(Index(8)), "one round at a time"
    assert rounds.confirmed(rounds.round) == [(ReadRequest(A, 1), 7)]
    assert rounds.start(Index(9))
    assert rounds.confirmed(rounds.round) == [(ReadRequest(B, 2), 9)]


def test_answers_to_earlier_heartbeats_confirm_nothing() -> None:
    rounds = ReadRounds()
    earlier = rounds.round
    rounds.add(ReadRequest(A, 1))
    rounds.start(Index(7))
    assert rounds.confirmed(earlier) == []
    assert rounds.round_is_under_way


def test_without_reads_no_round_begins() -> None:
    rounds = ReadRounds()
    assert not rounds.start(Index(7))
    assert rounds.confirmed(rounds.round) == []


def test_a_lost_leadership_gives_up_all_reads() -> None:
    rounds = ReadRounds()
    rounds.add(ReadRequest(A, 1))
    rounds.start(Index(7))
    rounds.add(ReadRequest(A, 2))
    assert [request.context for request in rounds.drain()] == [1, 2]
    assert rounds.drain() == []
    assert not rounds.round_is_under_way


def test_too_many_reads_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads_module, "READS_WAITING_MAX", 2)
    rounds = ReadRounds()
    assert rounds.add(ReadRequest(A, 1))
    assert rounds.add(ReadRequest(A, 2))
    assert not rounds.add(ReadRequest(A, 3))
