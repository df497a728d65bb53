"""Brokers come, are drained, go down, stop, and are forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from felix.core.catalog.broker_changes import id_of
from felix.core.catalog.planning import next_plans, work_of
from felix.core.catalog.validation import check
from felix.proto.brokers import BrokerCapacity
from felix.proto.commands import Deleted, Stamp
from felix.proto.errors import ErrorReply, NotFound, ValidationFailed
from felix.proto.placement_commands import (
    AUTO,
    CancelDrain,
    ChangeBrokerStatus,
    DeregisterBroker,
    DrainBroker,
    RegisterBroker,
    RemoveBroker,
    UpdateBroker,
)
from felix.proto.queries import GetBroker, ListBrokers, Listing
from felix.proto.resources import Broker
from tests.support.catalog_log import NOON_MS, CatalogLog
from tests.support.placement_log import PlacementLog, check_rules, copies, registration


def unchanged(log: CatalogLog, command: Any) -> Broker:
    """Apply a command that must not change anything."""
    before = log.catalog.version
    applied = log.do(command)
    assert isinstance(applied.result, Broker), applied.result
    assert (applied.updates, log.catalog.version) == ((), before)
    return applied.result


# --- registering ----------------------------------------------------------------------------------


def test_a_broker_that_registers_is_active_and_its_epoch_is_the_version() -> None:
    log = PlacementLog()
    (made,) = log.make(registration("b1", region="eu", capacity=BrokerCapacity(max_shards=9)))
    assert isinstance(made, Broker)
    assert (made.status, made.boot_id, made.region) == ("active", "boot-1", "eu")
    assert made.broker_epoch == made.version == made.created_version == log.catalog.version
    assert made.status_since_ms == NOON_MS
    assert log.catalog.answer(GetBroker(broker_id="b1")) == made


def test_the_same_boot_registering_again_changes_nothing() -> None:
    log = PlacementLog("b1")
    assert unchanged(log, registration("b1")) == log.broker("b1")


def test_the_same_boot_may_say_something_else_of_itself_and_keeps_its_epoch() -> None:
    log = PlacementLog("b1")
    epoch = log.broker("b1").broker_epoch
    log.make(registration("b1", availability_zone="z2"))
    assert (log.broker("b1").availability_zone, log.broker("b1").broker_epoch) == ("z2", epoch)


def test_an_id_that_a_live_process_holds_is_refused_with_its_address() -> None:
    log = PlacementLog("b1")
    refused = log.refuse(registration("b1", "boot-2", address="other.example.test:5000"))
    assert refused.code == "conflict"
    assert refused.details["address"] == "b1.example.test:5000"
    assert "stop that one" in refused.message


def test_another_boot_at_the_same_address_takes_the_id_over_at_a_new_epoch() -> None:
    log = PlacementLog("b1")
    epoch = log.broker("b1").broker_epoch
    log.make(registration("b1", "boot-2"))
    assert log.broker("b1").boot_id == "boot-2"
    assert log.broker("b1").broker_epoch == log.broker("b1").version > epoch


def test_another_boot_takes_over_from_one_that_is_down() -> None:
    log = PlacementLog("b1")
    log.down("b1")
    log.make(registration("b1", "boot-2", address="other.example.test:5000"))
    assert (log.broker("b1").status, log.broker("b1").status_reason) == ("active", "")


@pytest.mark.parametrize("is_this_one", [True, False])
def test_another_boot_takes_over_where_the_leader_has_not_heard_of_the_last_one(
    is_this_one: bool,
) -> None:
    log = PlacementLog("b1")
    epoch = log.broker("b1").broker_epoch
    stamp = Stamp(NOON_MS, gone_epoch=epoch if is_this_one else epoch - 1)
    applied = log.apply_stamped(
        stamp, registration("b1", "boot-2", address="other.example.test:5000")
    )
    assert isinstance(applied.result, Broker if is_this_one else ErrorReply)


def test_a_renamed_pod_is_another_broker_and_its_ghost_stands_in_the_way_of_nothing() -> None:
    """Case 21: the name went with the pod, the copies stayed with the former one."""
    log = PlacementLog("felix-0", "other")
    log.stream("s", copies("felix-0", "other"), replication_factor=2)
    log.stream("empty", copies("other"), replication_factor=1)
    address = log.broker("felix-0").address
    log.down("felix-0")
    log.make(registration("felix-a", address=address))
    assert (log.broker("felix-a").status, log.broker("felix-0").status) == ("active", "down")
    assert log.shard("s").leader == "other"
    log.make(DrainBroker(broker_id="felix-0"))
    (plan,) = next_plans(work_of(log.catalog, 0), (), ["felix-0"])
    assert [(one.from_broker, one.to_broker) for one in plan.moves] == [("felix-0", "felix-a")]
    refusal = log.refuse(RemoveBroker(broker_id="felix-0"))
    assert refusal.details["reason"] == "holds_copies"
    log.delete(RemoveBroker(broker_id="felix-0", abandon=True))
    assert log.shard("s").copies == ("other",)


@pytest.mark.parametrize(
    ("address", "metadata", "expected"),
    [
        ("10.0.0.7:5000", {}, "10.0.0.7"),
        ("felix-0.example.test:5000", {"pod_name": "felix-0"}, "felix-0"),
        ("[2001:db8::1]:5000", {}, "2001-db8-1"),
        ("h:1", {"pod_name": "_a pod/of mine_"}, "a-pod-of-mine"),
    ],
)
def test_auto_makes_an_id_of_the_pod_or_the_host(
    address: str, metadata: dict[str, str], expected: str
) -> None:
    command = RegisterBroker(broker_id=AUTO, address=address, boot_id="x", metadata=metadata)
    check(command)
    assert id_of(command) == expected
    log = PlacementLog()
    log.make(command)
    assert log.broker(expected).address == address


# --- what is known of them ------------------------------------------------------------------------


def test_an_update_changes_what_it_says_and_nothing_else() -> None:
    log = PlacementLog()
    log.make(registration("b1", region="eu", availability_zone="z1"))
    log.make(UpdateBroker(broker_id="b1", availability_zone="z2"))
    assert (log.broker("b1").region, log.broker("b1").availability_zone) == ("eu", "z2")
    unchanged(log, UpdateBroker(broker_id="b1", availability_zone="z2"))


def test_an_update_of_another_version_is_refused() -> None:
    log = PlacementLog("b1")
    refused = log.refuse(UpdateBroker(broker_id="b1", region="eu", expected_version=1))
    assert refused.code == "precondition_failed"


@pytest.mark.parametrize(
    "command",
    [
        UpdateBroker(broker_id="nix"),
        DeregisterBroker(broker_id="nix", broker_epoch=1),
        DrainBroker(broker_id="nix"),
        CancelDrain(broker_id="nix"),
        RemoveBroker(broker_id="nix"),
        ChangeBrokerStatus(broker_id="nix", broker_epoch=1, from_status="active", to_status="down"),
    ],
    ids=lambda command: type(command).__name__,
)
def test_a_broker_that_is_not_there_is_not_found(command: Any) -> None:
    assert PlacementLog("b1").refuse(command).code == "not_found"


def test_brokers_are_listed_by_status_region_zone_and_name_in_pages() -> None:
    log = PlacementLog()
    for number in range(6):
        region, zone = f"r{number % 2}", f"z{number % 3}"
        log.make(registration(f"b{number}", region=region, availability_zone=zone))
    log.down("b4")

    def listed(**members: Any) -> list[str]:
        found = log.catalog.answer(ListBrokers(**members))
        assert isinstance(found, Listing)
        return [one.broker_id for one in found.items if isinstance(one, Broker)]

    assert listed(region="r0") == ["b0", "b2", "b4"]
    assert listed(region="r0", availability_zone="z1") == ["b4"]
    assert listed(status="down") == ["b4"]
    assert listed(filter="b[") == []
    assert listed(filter="*5") == ["b5"]
    page = log.catalog.answer(ListBrokers(page_size=4))
    assert isinstance(page, Listing)
    assert listed(page_token=page.next_page_token) == ["b4", "b5"]


def test_a_query_for_a_broker_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound):
        PlacementLog().catalog.answer(GetBroker(broker_id="b1"))


# --- status ---------------------------------------------------------------------------------------


def test_a_decision_on_another_epoch_or_status_is_refused() -> None:
    log = PlacementLog("b1")
    epoch = log.broker("b1").broker_epoch
    for members in (
        {"broker_epoch": epoch - 1, "from_status": "active"},
        {"broker_epoch": epoch, "from_status": "draining"},
    ):
        command: Any = ChangeBrokerStatus(broker_id="b1", to_status="down", **members)  # type: ignore[arg-type]  # of two types
        assert log.refuse(command).code == "conflict"


def test_a_broker_that_stopped_is_down_and_only_registering_brings_it_back() -> None:
    log = PlacementLog("b1")
    epoch = log.broker("b1").broker_epoch
    leave = DeregisterBroker(broker_id="b1", broker_epoch=epoch)
    log.make(leave)
    assert (log.broker("b1").status, log.broker("b1").boot_id) == ("down", "")
    unchanged(log, leave)
    late = ChangeBrokerStatus(
        broker_id="b1", broker_epoch=epoch, from_status="down", to_status="active"
    )
    assert log.refuse(late).code == "conflict"
    log.make(registration("b1", address="other.example.test:1"))
    assert log.broker("b1").status == "active"
    assert log.broker("b1").broker_epoch > epoch


def test_a_boot_that_was_replaced_cannot_deregister_the_next_one() -> None:
    log = PlacementLog("b1")
    epoch = log.broker("b1").broker_epoch
    log.make(registration("b1", "boot-2"))
    refused = log.refuse(DeregisterBroker(broker_id="b1", broker_epoch=epoch))
    assert refused.code == "broker_fenced"


def test_a_drain_lasts_until_it_is_cancelled() -> None:
    log = PlacementLog("b1", "b2")
    log.stream("s", copies("b1", "b2"))
    log.make(DrainBroker(broker_id="b1"))
    assert log.broker("b1").status == "draining"
    unchanged(log, DrainBroker(broker_id="b1"))
    log.down("b1")
    log.back("b1")
    assert log.broker("b1").status == "draining", "it came back"
    log.make(registration("b1", "boot-2"))
    assert log.broker("b1").status == "draining", "it registered anew"
    log.make(CancelDrain(broker_id="b1"))
    assert (log.broker("b1").status, log.broker("b1").drain) == ("active", False)
    unchanged(log, CancelDrain(broker_id="b1"))
    check_rules(log)


def test_draining_a_broker_without_copies_has_drained_it() -> None:
    log = PlacementLog("b1")
    log.make(DrainBroker(broker_id="b1"))
    assert log.broker("b1").status == "drained"


def test_a_broker_that_is_down_can_be_drained_and_is_down_still() -> None:
    log = PlacementLog("b1")
    log.down("b1")
    log.make(DrainBroker(broker_id="b1"))
    assert (log.broker("b1").status, log.broker("b1").drain) == ("down", True)
    log.make(CancelDrain(broker_id="b1"))
    assert (log.broker("b1").status, log.broker("b1").drain) == ("down", False)


def test_only_an_empty_draining_broker_becomes_drained() -> None:
    log = PlacementLog("b1", "b2")
    log.stream("s", copies("b1"))
    for broker_id in ("b1", "b2"):
        before = log.broker(broker_id)
        command = ChangeBrokerStatus(
            broker_id=broker_id,
            broker_epoch=before.broker_epoch,
            from_status=before.status,
            to_status="drained",
        )
        assert log.refuse(command).code == "conflict"
        log.make(DrainBroker(broker_id="b1"))


# --- forgetting -----------------------------------------------------------------------------------


def test_a_broker_that_is_drained_or_down_and_empty_can_be_removed() -> None:
    log = PlacementLog("b1", "b2")
    assert "drain it" in log.refuse(RemoveBroker(broker_id="b1")).message
    log.make(DrainBroker(broker_id="b1"))
    assert log.delete(RemoveBroker(broker_id="b1")) == Deleted(log.catalog.version)
    log.down("b2")
    log.delete(RemoveBroker(broker_id="b2"))
    assert log.catalog.counts()["Broker"] == 0


def test_a_broker_with_copies_is_removed_only_with_what_it_holds() -> None:
    log = PlacementLog("b1", "b2")
    log.stream("both", copies("b1", "b2"))
    log.stream("alone", copies("b1"))
    log.down("b1")
    refused = log.refuse(RemoveBroker(broker_id="b1"))
    assert (refused.code, refused.details["copies"]) == ("conflict", 2)
    gone = log.delete(RemoveBroker(broker_id="b1", abandon=True))
    assert (gone.version, gone.count) == (log.catalog.version, 1)
    assert log.shard("both").copies == ("b2",)
    assert log.shard("alone").copies == ()
    assert log.index.unplaced() == [("acme", "prod", "alone")]
    check_rules(log)


# --- what a command must look like ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "pointer"),
    [
        (registration("a b", address="h:1"), "/broker_id"),
        (registration("b1", address="nowhere"), "/address"),
        (registration("b1", address="h:0"), "/address"),
        (registration("b1", address="h:65536"), "/address"),
        (registration("b1", address="h h:1"), "/address"),
        (registration("b1", ""), "/boot_id"),
        (registration("b1", "x" * 129), "/boot_id"),
        (registration("b1", region="a b"), "/region"),
        (registration("b1", availability_zone="/"), "/availability_zone"),
        (registration("b1", capacity=BrokerCapacity(max_shards=-1)), "/capacity/max_shards"),
        (registration("b1", metadata={str(one): "" for one in range(65)}), "/metadata"),
        (registration("b1", metadata={"a": "x" * 257}), "/metadata"),
        (registration("b1", metadata={"": "x"}), "/metadata"),
        (registration("b1", metadata={"a": "\n"}), "/metadata"),
        (registration(AUTO, metadata={"pod_name": "///"}), "/broker_id"),
        (UpdateBroker(broker_id="b1", metadata={"a\0": "b"}), "/metadata"),
        (DeregisterBroker(broker_id="b1", broker_epoch=-1), "/broker_epoch"),
        (RemoveBroker(broker_id="b1", expected_version=-1), "/expected_version"),
        (DrainBroker(broker_id=""), "/broker_id"),
    ],
)
def test_values_that_break_a_rule_are_named(command: Any, pointer: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        check(command)
    assert refused.value.details == {"pointer": pointer}


def test_a_registration_within_the_rules_passes() -> None:
    pairs = {str(number): "x" * 256 for number in range(64)}
    check(registration("b1", metadata=pairs, capacity=BrokerCapacity(0, 0), region="eu-1"))
    check(registration("b1", address="[::1]:65535"))
