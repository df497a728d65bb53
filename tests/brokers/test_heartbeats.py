"""Who is found down, who is back, and who is not judged; on a clock that the tests turn."""

from __future__ import annotations

import pytest

from tests.brokers.fleet import TIMES, Fleet

INTERVAL_S, WINDOW_S = TIMES.interval_s, TIMES.window_s


# --- case 20: nobody is found down who is not -----------------------------------------------------


def test_brokers_that_report_are_never_wanted_down() -> None:
    fleet = Fleet("a", "b", "c")
    assert fleet.live(600) == []


def test_a_broker_that_falls_silent_is_wanted_down_after_the_window_and_not_before() -> None:
    fleet = Fleet("a", "b")
    assert fleet.live(60) == []
    fleet.silent = {"b"}
    found = fleet.live(WINDOW_S + INTERVAL_S)
    assert found[0] == (WINDOW_S, "b", "down")
    assert {name for _, name, _ in found} == {"b"}


def test_after_a_change_of_leader_all_healthy_brokers_stay_up() -> None:
    fleet = Fleet("a", "b")
    fleet.live(60)
    for term in range(2, 12):  # leaders that know of no report, one after the other
        fleet.take_over(term)
        assert fleet.live(7) == []


def test_a_new_leader_finds_the_dead_one_after_a_whole_window() -> None:
    fleet = Fleet("a", "b")
    fleet.silent = {"b"}
    fleet.live(WINDOW_S - 1)
    fleet.take_over(2)
    found = fleet.live(WINDOW_S + INTERVAL_S)
    assert found[0] == (WINDOW_S, "b", "down")
    assert {name for _, name, _ in found} == {"b"}


def test_a_decision_carries_the_term_in_which_it_was_made() -> None:
    fleet = Fleet("a", term=7)
    fleet.silent = {"a"}
    fleet.live(WINDOW_S)
    (change,) = fleet.beats.wanted(fleet.now)
    assert (change.decided_in_term, change.from_status, change.broker_epoch) == (7, "active", 1)


@pytest.mark.parametrize("pause_s", [INTERVAL_S + 0.5, WINDOW_S, 3600.0])
def test_a_leader_that_stood_still_itself_waits_a_whole_window(pause_s: float) -> None:
    fleet = Fleet("a", "b")
    fleet.live(60)
    fleet.silent = {"b"}
    fleet.now += pause_s
    assert fleet.wanted() == [], "what they said meanwhile is still on its way"
    assert fleet.beats.judges_in_s(fleet.now) == WINDOW_S
    found = fleet.live(WINDOW_S + INTERVAL_S)
    assert found[0] == (WINDOW_S, "b", "down")
    assert {name for _, name, _ in found} == {"b"}


def test_a_proposal_that_was_lost_is_made_again_until_the_catalog_has_it() -> None:
    fleet = Fleet("a")
    fleet.silent = {"a"}
    fleet.live(WINDOW_S)
    assert fleet.wanted() == fleet.wanted() == [("a", "down")]
    fleet.set("a", status="down")
    assert fleet.wanted() == []


def test_a_broker_that_speaks_up_at_the_last_moment_is_not_wanted_down() -> None:
    fleet = Fleet("a")
    fleet.silent = {"a"}
    fleet.live(WINDOW_S)
    assert fleet.beats.gone_epoch("a") == 1
    fleet.acknowledge("a")
    assert fleet.beats.gone_epoch("a") == 0
    assert fleet.wanted() == []


# --- case 21: boots -------------------------------------------------------------------------------


def test_a_registration_may_replace_a_boot_that_was_silent_for_a_window() -> None:
    fleet = Fleet("a", "b")
    fleet.silent = {"b"}
    fleet.live(WINDOW_S - 1)
    assert fleet.beats.gone_epoch("b") == 0
    fleet.live(1)
    assert fleet.beats.gone_epoch("b") == 1
    assert fleet.beats.gone_epoch("a") == fleet.beats.gone_epoch("nobody") == 0


def test_a_boot_that_has_just_registered_was_heard_from() -> None:
    fleet = Fleet("a")
    fleet.silent = {"a"}
    fleet.live(WINDOW_S)
    fleet.set("a", broker_epoch=9, boot_id="boot-9")
    assert fleet.beats.gone_epoch("a") == 0
    assert fleet.live(WINDOW_S - 1) == []
    assert fleet.live(1) == [(1.0, "a", "down")]


def test_a_broker_that_comes_while_a_node_leads_has_a_window_of_its_own() -> None:
    fleet = Fleet("a")
    fleet.live(60)
    fleet.brokers["z"], fleet.copies["z"] = fleet.brokers["a"], 0
    fleet.silent = {"z"}
    fleet.set("z", broker_id="z", broker_epoch=5)
    assert fleet.live(WINDOW_S - 1) == []
    assert fleet.live(1) == [(1.0, "z", "down")]


def test_one_that_has_stopped_does_not_come_back_by_a_late_report() -> None:
    fleet = Fleet("a")
    fleet.live(60)
    fleet.set("a", status="down", boot_id="")
    assert fleet.live(60) == []


def test_a_broker_that_was_removed_leaves_nothing_behind() -> None:
    fleet = Fleet("a", "b")
    fleet.silent = {"b"}
    fleet.live(WINDOW_S)
    del fleet.brokers["b"]
    assert fleet.follow() == ["b"]
    assert fleet.beats.gone_epoch("b") == 0
    assert len(fleet.beats.beats()) == 1


# --- coming back ----------------------------------------------------------------------------------


def test_one_good_report_brings_a_broker_back() -> None:
    fleet = Fleet("a")
    fleet.set("a", status="down")
    assert fleet.wanted() == []
    fleet.report("a")
    assert fleet.wanted() == [("a", "active")]


def test_a_report_that_it_is_not_well_neither_brings_it_back_nor_down() -> None:
    fleet = Fleet("a")
    fleet.unwell = {"a"}
    assert fleet.live(60) == []
    fleet.set("a", status="down")
    assert fleet.live(60) == []
    fleet.unwell = set()
    fleet.report("a")
    assert fleet.wanted() == [("a", "active")]


def flapped(times: int) -> Fleet:
    fleet = Fleet("a")
    for _ in range(times):
        fleet.set("a", status="active")
        fleet.set("a", status="down")
    return fleet


@pytest.mark.parametrize(
    ("downs", "wait_s"),
    [(1, 0), (3, 0), (4, 10), (5, 20), (6, 40), (7, 80), (8, 160), (9, 300), (40, 300)],
)
def test_a_broker_that_flaps_must_report_for_twice_as_long_each_time(
    downs: int, wait_s: float
) -> None:
    fleet = flapped(downs)
    (when, *what), *_ = fleet.live(400)
    assert what == ["a", "active"]
    assert when - INTERVAL_S == wait_s, "after the first report"


def test_a_flapping_broker_that_falls_silent_meanwhile_begins_anew() -> None:
    fleet = flapped(7)
    assert fleet.live(60) == []
    fleet.silent = {"a"}
    assert fleet.live(WINDOW_S + INTERVAL_S) == []
    fleet.silent = set()
    assert fleet.live(80) == []
    assert fleet.live(INTERVAL_S)[0][1:] == ("a", "active")


def test_flapping_is_forgotten_after_ten_minutes() -> None:
    fleet = flapped(9)
    assert fleet.beats.changes_lately("a", fleet.now) == 9
    fleet.silent = {"a"}
    fleet.live(601)
    assert fleet.beats.changes_lately("a", fleet.now) == 0
    fleet.report("a")
    assert fleet.wanted() == [("a", "active")]


def test_stopping_as_one_should_is_no_flapping() -> None:
    fleet = Fleet("a")
    for epoch in range(2, 12):
        fleet.set("a", status="down", boot_id="")
        fleet.set("a", status="active", boot_id="again", broker_epoch=epoch)
    assert fleet.beats.changes_lately("a", fleet.now) == 0


# --- drains ---------------------------------------------------------------------------------------


def test_a_draining_broker_is_drained_once_it_holds_nothing() -> None:
    fleet = Fleet("a")
    fleet.copies["a"] = 2
    fleet.set("a", status="draining", drain=True)
    assert fleet.wanted() == []
    fleet.copies["a"] = 0
    fleet.follow()
    assert fleet.wanted() == [("a", "drained")]
    fleet.set("a", status="drained")
    assert fleet.wanted() == []


def test_the_dead_come_first() -> None:
    fleet = Fleet("a", "b")
    fleet.silent = {"b"}
    fleet.set("a", status="draining", drain=True)
    fleet.live(WINDOW_S)
    assert fleet.wanted() == [("b", "down"), ("a", "drained")]
