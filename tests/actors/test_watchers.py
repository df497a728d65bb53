"""Requests that wait for news."""

from __future__ import annotations

import pytest

from felix.actors import watchers as watchers_module
from felix.actors.watchers import Watchers
from felix.proto.errors import Overloaded
from felix.proto.queries import WatchUpdates
from felix.transport.rpc_server import Incoming
from tests.actors.requests import incoming
from tests.support.waiting import eventually


def park(watchers: Watchers, wait_ms: int, timeout_ms: int = 60_000) -> Incoming:
    query = WatchUpdates(from_version=0, wait_ms=wait_ms)
    request = incoming(query, timeout_ms=timeout_ms)
    watchers.park(request, query)
    return request


def test_news_are_for_everybody_once() -> None:
    watchers = Watchers()
    waiting = [park(watchers, 60_000) for _ in range(3)]
    assert len(watchers) == 3
    assert watchers.take_overdue() == []
    assert watchers.take_all() == waiting
    assert watchers.take_all() == []


def test_whoever_has_waited_long_enough_is_let_go() -> None:
    watchers = Watchers()
    patient, hasty = park(watchers, 60_000), park(watchers, 1)
    eventually(lambda: watchers.take_overdue() == [hasty])
    assert watchers.take_all() == [patient]


def test_nobody_waits_longer_than_the_deadline_of_the_request() -> None:
    watchers = Watchers()
    request = park(watchers, 60_000, timeout_ms=20)
    eventually(lambda: watchers.take_overdue() == [request])


def test_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchers_module, "WATCHERS_MAX", 2)
    watchers = Watchers()
    park(watchers, 60_000)
    park(watchers, 60_000)
    with pytest.raises(Overloaded):
        park(watchers, 60_000)
    assert len(watchers) == 2
