"""The age of a stale read, by the clock."""

from __future__ import annotations

from felix.actors.freshness import AGE_S_MAX, Freshness


def ticking(freshness: Freshness, begin: float, end: float, age_s: float | None) -> None:
    """Let time pass in steps of 10 ms while `age_s` stays the core's count."""
    for step in range(int((end - begin) * 100) + 1):
        freshness.observe(begin + step / 100, age_s, stood_still=False, inbox_is_empty=True)


def test_a_node_that_never_heard_a_leader_is_as_old_as_can_be() -> None:
    freshness = Freshness()
    ticking(freshness, 0, 1, None)
    assert freshness.age_s(1) == AGE_S_MAX


def test_the_age_is_what_the_core_counts_while_time_goes_on_evenly() -> None:
    freshness = Freshness()
    ticking(freshness, 0, 1, 0.02)
    assert round(freshness.age_s(1), 3) == 0.02
    assert round(freshness.age_s(1.5), 3) == 0.52


def test_without_a_leader_the_age_counts_on_from_when_there_was_one() -> None:
    freshness = Freshness()
    ticking(freshness, 0, 1, 0.0)
    ticking(freshness, 1, 3, None)
    assert round(freshness.age_s(3), 3) == 2


def test_what_is_heard_first_after_a_standstill_may_be_as_old_as_that() -> None:
    freshness = Freshness()
    ticking(freshness, 0, 1, 0.0)
    freshness.observe(4.0, 0.1, stood_still=True, inbox_is_empty=True)
    freshness.observe(4.01, 0.0, stood_still=False, inbox_is_empty=False)
    assert round(freshness.age_s(4.01), 3) == 3.01
    freshness.observe(4.02, 0.01, stood_still=False, inbox_is_empty=True)
    assert round(freshness.age_s(4.02), 3) == 3.02, "it was heard before the inbox was empty"
    freshness.observe(4.03, 0.0, stood_still=False, inbox_is_empty=True)
    assert round(freshness.age_s(4.03), 3) == 0


def test_an_inbox_that_is_never_empty_under_load_does_not_make_a_node_look_old() -> None:
    freshness = Freshness()
    ticking(freshness, 0, 1, 0.0)
    freshness.observe(2.0, 0.0, stood_still=False, inbox_is_empty=False)
    assert freshness.age_s(2.0) == 0
