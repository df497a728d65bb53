"""When brokers have come that are to have new streams."""

from __future__ import annotations

from felix.core.placement.arrivals import SETTLE_S, SETTLE_S_MAX, Arrivals


def brokers(count: int) -> frozenset[str]:
    return frozenset(f"b{number}" for number in range(count))


def test_streams_wait_for_as_long_as_many_brokers_come_and_a_little_longer() -> None:
    arrivals = Arrivals()
    assert not arrivals.have_settled(brokers(1), 0.0)
    assert not arrivals.have_settled(brokers(50), SETTLE_S / 2)
    assert not arrivals.have_settled(brokers(100), SETTLE_S)
    assert not arrivals.have_settled(brokers(100), SETTLE_S * 3 / 2)
    assert arrivals.have_settled(brokers(100), SETTLE_S * 2)


def test_one_more_among_many_keeps_nobody_waiting() -> None:
    arrivals = Arrivals()
    arrivals.have_settled(brokers(20), 0.0)
    assert arrivals.have_settled(brokers(20), SETTLE_S)
    assert arrivals.have_settled(brokers(21), 5.0)
    assert not arrivals.have_settled(brokers(30), 6.0), "nine of thirty are many"


def test_those_who_go_and_come_for_ever_keep_nobody_waiting_for_ever() -> None:
    arrivals = Arrivals()
    turns = int(SETTLE_S_MAX / SETTLE_S) * 4
    settled = [
        arrivals.have_settled(brokers(1 + turn % 2), turn * SETTLE_S / 2) for turn in range(turns)
    ]
    assert not settled[0]
    assert settled.index(True) * SETTLE_S / 2 <= SETTLE_S_MAX
