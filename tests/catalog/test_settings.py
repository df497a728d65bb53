"""Settings of the cluster and feature flags: typed, bounded, versioned, and seen by brokers."""

from __future__ import annotations

from typing import Any

import pytest

from felix.core.catalog import validation
from felix.core.catalog.catalog import Catalog, CatalogLimits
from felix.core.catalog.dump import restore
from felix.core.catalog.planning import work_of
from felix.core.catalog.settings import FLAGS_MAX, SETTINGS_MAX
from felix.proto.command import Command
from felix.proto.commands import Deleted
from felix.proto.errors import NotFound, ValidationFailed
from felix.proto.queries import GetFeatureFlag, GetSetting, ListFeatureFlags, Listing, ListSettings
from felix.proto.resources import ClusterSetting, FeatureFlag
from felix.proto.setting_commands import (
    DeleteFeatureFlag,
    DeleteSetting,
    PutFeatureFlag,
    PutSetting,
)
from felix.proto.settings import OWN, DoesNotFit, SettingRule, SettingValue, fitted
from tests.support.catalog_log import NOON_MS, CatalogLog, apply_entry, dumped

MOVES = "placement.moves_per_broker"
IDLE = SettingRule(type="duration", description="How long an idle client is kept", minimum=1000)


@pytest.fixture
def log() -> CatalogLog:
    return CatalogLog()


def rule(type_: Any, **members: Any) -> SettingRule:
    return SettingRule(type=type_, description="d", **members)


# --- settings -------------------------------------------------------------------------------------


def test_one_of_our_own_is_set_changed_and_given_back_to_the_nodes(log: CatalogLog) -> None:
    (made,) = log.make(PutSetting(name=MOVES, value=4))
    assert made == ClusterSetting(
        name=MOVES, value=4, version=1, created_version=1,
        created_at_ms=NOON_MS, updated_at_ms=NOON_MS,
    )  # fmt: skip
    assert work_of(log.catalog, NOON_MS).moves_per_broker == 4
    (changed,) = log.make(PutSetting(name=MOVES, value=5, expected_version=1))
    assert (changed.version, changed.created_version) == (2, 1)
    assert log.make(PutSetting(name=MOVES, value=5)) == [changed], "it was so already"
    assert log.delete(DeleteSetting(name=MOVES)) == Deleted(3)
    assert work_of(log.catalog, NOON_MS).moves_per_broker is None


def test_a_setting_of_brokers_has_its_rule_with_it_and_keeps_to_it(log: CatalogLog) -> None:
    (made,) = log.make(PutSetting(name="broker.idle", value="90s", rule=IDLE))
    assert isinstance(made, ClusterSetting)
    assert (made.value, made.rule) == (90_000, IDLE)
    (changed,) = log.make(PutSetting(name="broker.idle", value="2m"))
    assert isinstance(changed, ClusterSetting)
    assert (changed.value, changed.rule) == (120_000, IDLE)
    for wrong in ("2", "soon", 999, True, "2y", -1):
        refusal = log.refuse(PutSetting(name="broker.idle", value=wrong))
        assert (refusal.code, refusal.details["reason"]) == ("conflict", "value")
    (other,) = log.make(PutSetting(name="broker.idle", value=True, rule=rule("bool")))
    assert isinstance(other, ClusterSetting)
    assert other.rule == rule("bool")


def test_a_setting_that_nobody_has_described_is_not_there(log: CatalogLog) -> None:
    refusal = log.refuse(PutSetting(name="broker.idel", value=1000))
    assert refusal.code == "not_found"
    assert "give its type and description to make it" in refusal.message
    assert log.refuse(DeleteSetting(name="broker.idel")).code == "not_found"
    with pytest.raises(NotFound):
        log.catalog.answer(GetSetting(name=MOVES))


def test_a_change_of_another_version_is_refused_and_version_0_is_one_that_is_not_set(
    log: CatalogLog,
) -> None:
    for put in (PutSetting(name=MOVES, value=4), PutFeatureFlag(name="f", enabled=True)):
        assert log.refuse(_expecting(put, 7)).code == "precondition_failed"
    log.make(PutSetting(name=MOVES, value=4, expected_version=0))
    log.make(PutFeatureFlag(name="f", enabled=True, description="d", expected_version=0))
    for command in (
        PutSetting(name=MOVES, value=5),
        DeleteSetting(name=MOVES),
        PutFeatureFlag(name="f", enabled=False),
        DeleteFeatureFlag(name="f"),
    ):
        assert log.refuse(_expecting(command, 0)).code == "precondition_failed"


def _expecting(command: Any, version: int) -> Any:
    members = {name: getattr(command, name) for name in command.__struct_fields__}
    return type(command)(**members | {"expected_version": version})


# --- flags ----------------------------------------------------------------------------------------


def test_a_flag_is_made_with_a_description_switched_and_forgotten(log: CatalogLog) -> None:
    assert log.refuse(PutFeatureFlag(name="zero-copy", enabled=True)).code == "not_found"
    log.make(PutFeatureFlag(name="zero-copy", enabled=False, description="Send without copies"))
    (on,) = log.make(PutFeatureFlag(name="zero-copy", enabled=True))
    assert isinstance(on, FeatureFlag)
    assert (on.enabled, on.description, on.version) == (True, "Send without copies", 2)
    assert log.catalog.answer(GetFeatureFlag(name="zero-copy")) == on
    log.delete(DeleteFeatureFlag(name="zero-copy"))
    assert log.refuse(DeleteFeatureFlag(name="zero-copy")).code == "not_found"


def test_lists_are_in_the_order_of_names_and_paged(log: CatalogLog) -> None:
    for name in ("b", "a", "c"):
        log.make(PutFeatureFlag(name=name, enabled=True, description="d"))
        log.make(PutSetting(name=f"broker.{name}", value="x", rule=rule("string")))
    for query, prefix in ((ListFeatureFlags, ""), (ListSettings, "broker.")):
        first = log.catalog.answer(query(page_size=2))
        assert isinstance(first, Listing)
        last = log.catalog.answer(query(page_size=2, page_token=first.next_page_token))
        assert isinstance(last, Listing)
        found = [one.key[0] for one in (*first.items, *last.items)]
        assert found == [f"{prefix}a", f"{prefix}b", f"{prefix}c"]
        assert last.next_page_token == ""
        only = log.catalog.answer(query(filter="*b"))
        assert isinstance(only, Listing)
        assert [one.key[0] for one in only.items] == [f"{prefix}b"]


def test_there_is_a_bound_on_what_brokers_have_to_keep(log: CatalogLog) -> None:
    for number in range(SETTINGS_MAX):
        log.make(PutSetting(name=f"broker.n{number}", value=1, rule=rule("int")))
    for number in range(FLAGS_MAX):
        log.make(PutFeatureFlag(name=f"n{number}", enabled=True, description="d"))
    assert log.refuse(PutSetting(name=MOVES, value=4)).code == "too_large"
    more = PutFeatureFlag(name="more", enabled=True, description="d")
    assert log.refuse(more).code == "too_large"
    log.make(PutSetting(name="broker.n0", value=2))
    log.delete(DeleteFeatureFlag(name="n0"))
    log.make(more)


def test_they_are_in_snapshots_and_dumps(log: CatalogLog) -> None:
    log.make(
        PutSetting(name="broker.idle", value="90s", rule=IDLE),
        PutFeatureFlag(name="f", enabled=True, description="d"),
    )
    other, again = Catalog("c1"), restore(dumped(log.catalog), CatalogLimits())
    for entry in log.entries:
        apply_entry(other, entry)
    assert log.catalog.proof == other.proof == again.proof
    for query in (ListSettings(), ListFeatureFlags()):
        assert again.answer(query) == log.catalog.answer(query)


# --- before they are proposed ---------------------------------------------------------------------

SETTING: Any = {"name": "broker.x", "value": 1}


@pytest.mark.parametrize(
    ("command", "pointer"),
    [
        (PutSetting(name="broker.a b", value=1), "/name"),
        (PutSetting(name=MOVES, value=0), "/value"),
        (PutSetting(name=MOVES, value=True), "/value"),
        (PutSetting(name=MOVES, value="4"), "/value"),
        (PutSetting(name=MOVES, value=4, rule=rule("int")), "/type"),
        (PutSetting(name="broker.x", value=1 << 64), "/value"),
        (PutSetting(name="broker.x", value="x" * 1025), "/value"),
        (PutSetting(name="broker.x", value="\ud800"), "/value"),
        (PutSetting(**SETTING, rule=rule("string")), "/value"),
        (PutSetting(**SETTING, rule=SettingRule(type="int", description="")), "/description"),
        (PutSetting(**SETTING, rule=rule("bool", minimum=1)), "/minimum"),
        (PutSetting(**SETTING, rule=rule("string", maximum=1)), "/maximum"),
        (PutSetting(**SETTING, rule=rule("int", minimum=3, maximum=2)), "/maximum"),
        (PutSetting(**SETTING, rule=rule("int", maximum=-1)), "/maximum"),
        (PutSetting(**SETTING, rule=rule("int", maximum=1 << 63)), "/maximum"),
        (PutSetting(**SETTING, rule=rule("int", choices=("a",))), "/choices"),
        (PutSetting(**SETTING, rule=rule("string", choices=("a",) * 65)), "/choices"),
        (PutSetting(**SETTING, rule=rule("string", choices=("\n",))), "/choices/0"),
        (DeleteSetting(name=""), "/name"),
        (PutFeatureFlag(name="a/b", enabled=True), "/name"),
        (PutFeatureFlag(name="a", enabled=True, description=""), "/description"),
        (PutFeatureFlag(name="a", enabled=True, description="\x00"), "/description"),
        (DeleteFeatureFlag(name="snapshot"), "/name"),
    ],
)
def test_what_makes_no_sense_is_not_proposed(command: Command, pointer: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        validation.check(command)
    assert refused.value.details == {"pointer": pointer}


def test_a_name_that_is_nobodys_is_refused_with_those_there_are() -> None:
    with pytest.raises(NotFound) as refused:
        validation.check(PutSetting(name="placement.moves_per_broken", value=1))
    assert all(name in refused.value.message for name in (*OWN, "'broker.'"))


@pytest.mark.parametrize(
    ("rule_", "value", "kept"),
    [
        (rule("bool"), False, False),
        (rule("int", minimum=-5), -5, -5),
        (rule("int"), (1 << 63) - 1, (1 << 63) - 1),
        (rule("duration"), "250ms", 250),
        (rule("duration"), "1w", 604_800_000),
        (rule("duration"), "2 h", 7_200_000),
        (rule("string"), "", ""),
        (rule("string", choices=("drop", "wait")), "drop", "drop"),
    ],
)
def test_what_fits_is_kept_as_brokers_read_it(
    rule_: SettingRule, value: SettingValue, kept: SettingValue
) -> None:
    assert fitted(rule_, value) == kept
    assert type(fitted(rule_, value)) is type(kept)


@pytest.mark.parametrize(
    ("rule_", "value"),
    [
        (rule("bool"), 1),
        (rule("bool"), "true"),
        (rule("int"), -1),
        (rule("int"), 1 << 63),
        (rule("duration"), "9999999999999999999w"),
        (rule("duration"), "1.5s"),
        (rule("duration"), "1S"),
        (rule("string", choices=("drop", "wait")), "keep"),
        (rule("string"), "two\nlines"),
        (rule("string"), 1),
    ],
)
def test_what_does_not_fit_is_refused(rule_: SettingRule, value: SettingValue) -> None:
    with pytest.raises(DoesNotFit):
        fitted(rule_, value)


def test_our_own_settings_are_in_order_and_say_what_they_are_for() -> None:
    assert list(OWN) == sorted(OWN)
    assert all(one.description and one.minimum is not None for one in OWN.values())
