"""What each command does to the catalog."""

from __future__ import annotations

from typing import get_args

import pytest

from felix.core.catalog import changes
from felix.core.catalog.identity_commands import IDENTITY_COMMANDS
from felix.core.catalog.placement_handlers import PLACEMENT_COMMANDS
from felix.core.catalog.settings import SETTING_COMMANDS
from felix.proto.codec import Decoder, encode
from felix.proto.commands import (
    AnyCommand,
    ApplyManifests,
    CreateStream,
    DeleteCache,
    DeleteNamespace,
    DeleteStream,
    DeleteTenant,
    RecordRefusals,
    SetFeatureLevel,
    UpdateCache,
    UpdateNamespace,
    UpdateStream,
    UpdateTenant,
)
from felix.proto.control_plane import answer_types
from felix.proto.digest import Digest
from felix.proto.resources import (
    Quotas,
    Resource,
    RetentionPolicy,
    Stream,
    StreamSpec,
    Tenant,
)
from felix.proto.updates import RawUpdate
from tests.support.catalog_log import NOON_MS, CatalogLog, cache, namespace, stream, tenant

resources = Decoder[Resource](Resource)


def told(updates: tuple[RawUpdate, ...]) -> list[tuple[int, str, str]]:
    """Shorten updates to version, type and the object's names."""
    return [
        (one.version, one.type, "/".join(resources.decode(memoryview(one.payload)).key))
        for one in updates
    ]


def small_world() -> CatalogLog:
    log = CatalogLog()
    log.make(tenant(), namespace(), stream("orders"), cache("rates"))
    return log


def test_every_update_gets_the_next_version() -> None:
    log = small_world()
    assert [one.version for one in log.make(stream("a"), stream("b"))] == [5, 6]
    assert log.catalog.version == 6


def test_a_new_object_carries_its_version_and_the_time_of_the_accepting_node() -> None:
    log = small_world()
    applied = log.do(stream("a"), at_ms=NOON_MS + 5)
    assert applied.result == Stream(
        version=5,
        created_version=5,
        created_at_ms=NOON_MS + 5,
        updated_at_ms=NOON_MS + 5,
        tenant_id="acme",
        namespace="prod",
        stream="a",
        stream_id="st-1-5",
    )
    assert applied.version == 5
    assert bytes(memoryview(applied.updates[0].payload)) == encode(applied.result)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (tenant(), "already_exists"),
        (namespace(), "already_exists"),
        (stream("orders"), "conflict"),
        (cache("rates"), "conflict"),
        (namespace("prod", "nobody"), "not_found"),
        (stream("s", "nowhere"), "not_found"),
        (cache("c", "nowhere"), "not_found"),
        (UpdateTenant(tenant_id="nobody"), "not_found"),
        (UpdateNamespace(tenant_id="acme", namespace="nowhere"), "not_found"),
        (UpdateStream(tenant_id="acme", namespace="prod", stream="none"), "not_found"),
        (UpdateCache(tenant_id="acme", namespace="prod", cache="none"), "not_found"),
        (DeleteTenant(tenant_id="nobody"), "not_found"),
        (DeleteNamespace(tenant_id="acme", namespace="nowhere"), "not_found"),
        (DeleteStream(tenant_id="acme", namespace="prod", stream="none"), "not_found"),
        (DeleteCache(tenant_id="acme", namespace="prod", cache="none"), "not_found"),
    ],
)
def test_a_refusal_is_an_answer_and_leaves_no_trace(command: AnyCommand, code: str) -> None:
    assert small_world().refuse(command).code == code


@pytest.mark.parametrize(
    "command",
    [
        stream("s", "nowhere", "nobody"),
        UpdateCache(tenant_id="nobody", namespace="nowhere", cache="c"),
        UpdateNamespace(tenant_id="nobody", namespace="nowhere"),
        DeleteNamespace(tenant_id="nobody", namespace="nowhere"),
        DeleteStream(tenant_id="nobody", namespace="nowhere", stream="s"),
    ],
)
def test_a_missing_tenant_is_named_before_what_is_missing_inside(command: AnyCommand) -> None:
    assert small_world().refuse(command).message == "there is no tenant 'nobody'"


def test_a_patch_changes_what_is_given_and_replaces_members_whole() -> None:
    log = small_world()
    log.make(
        CreateStream(
            tenant_id="acme",
            namespace="prod",
            stream="s",
            spec=StreamSpec(shards=4, retention=RetentionPolicy(60, 1000)),
        )
    )
    patch = UpdateStream(
        tenant_id="acme", namespace="prod", stream="s", retention=RetentionPolicy(5)
    )
    applied = log.do(patch, at_ms=NOON_MS + 9)
    assert isinstance(applied.result, Stream)
    assert applied.result.spec == StreamSpec(shards=4, retention=RetentionPolicy(5, None))
    assert (applied.result.version, applied.result.created_version) == (6, 5)
    assert (applied.result.created_at_ms, applied.result.updated_at_ms) == (NOON_MS, NOON_MS + 9)
    assert told(applied.updates) == [(6, "UPDATE", "acme/prod/s")]


def test_a_patched_tenant_keeps_what_the_patch_does_not_name() -> None:
    log = small_world()
    (patched,) = log.make(UpdateTenant(tenant_id="acme", quotas=Quotas(max_streams=3)))
    assert isinstance(patched, Tenant)
    assert (patched.display_name, patched.quotas) == ("Acme", Quotas(max_streams=3))


@pytest.mark.parametrize(
    "patch",
    [
        UpdateTenant(tenant_id="acme", display_name="Acme"),
        UpdateNamespace(tenant_id="acme", namespace="prod"),
        UpdateStream(tenant_id="acme", namespace="prod", stream="orders", durability="ephemeral"),
        UpdateCache(tenant_id="acme", namespace="prod", cache="rates", display_name=""),
    ],
)
def test_a_patch_that_changes_nothing_is_no_update(patch: AnyCommand) -> None:
    log = small_world()
    applied = log.do(patch)
    assert isinstance(applied.result, Resource)
    assert applied.result.version <= 4
    assert applied.updates == ()
    assert log.catalog.version == 4


def test_a_changed_durability_is_a_deletion_and_a_new_stream() -> None:
    log = small_world()
    applied = log.do(
        UpdateStream(tenant_id="acme", namespace="prod", stream="orders", durability="durable"),
        at_ms=NOON_MS + 1,
    )
    assert told(applied.updates) == [
        (5, "DELETE", "acme/prod/orders"),
        (6, "CREATE", "acme/prod/orders"),
    ]
    after = applied.result
    assert isinstance(after, Stream)
    assert (after.version, after.created_version, after.stream_id) == (6, 6, "st-1-6")
    assert after.spec.durability == "durable"
    assert applied.version == 6


def test_a_precondition_that_fails_says_what_is_there() -> None:
    log = small_world()
    refused = log.refuse(
        DeleteStream(tenant_id="acme", namespace="prod", stream="orders", expected_version=2)
    )
    assert refused.code == "precondition_failed"
    assert refused.details == {"expected": 2, "actual": 3}


def test_a_precondition_is_checked_even_if_nothing_would_change() -> None:
    patch = UpdateTenant(tenant_id="acme", display_name="Acme", expected_version=7)
    assert small_world().refuse(patch).code == "precondition_failed"


def test_a_precondition_that_holds_lets_the_command_through() -> None:
    log = small_world()
    log.delete(DeleteCache(tenant_id="acme", namespace="prod", cache="rates", expected_version=4))


def test_a_deleted_namespace_takes_its_own_children_along_and_no_others() -> None:
    log = small_world()
    log.make(namespace("prod-2"), stream("other", "prod-2"))
    log.make(tenant("acme2"), namespace("prod", "acme2"), stream("orders", "prod", "acme2"))
    applied = log.do(DeleteNamespace(tenant_id="acme", namespace="prod"))
    assert told(applied.updates) == [
        (10, "DELETE", "acme/prod/rates"),
        (11, "DELETE", "acme/prod/orders"),
        (12, "DELETE", "acme/prod"),
    ]
    assert log.catalog.counts() == {
        "Tenant": 2,
        "Namespace": 2,
        "Stream": 2,
        "Cache": 0,
        "SigningKey": 0,
        "TokenRevocation": 0,
        "Broker": 0,
        "ShardPlacement": 0,
        "Bridge": 0,
        "ClusterSetting": 0,
        "FeatureFlag": 0,
    }


def test_a_deleted_tenant_takes_everything_along_children_before_parents() -> None:
    log = small_world()
    log.make(namespace("dev"), stream("s", "dev"), cache("c", "dev"), tenant("zeta"))
    applied = log.do(DeleteTenant(tenant_id="acme"))
    assert told(applied.updates) == [
        (9, "DELETE", "acme/dev/c"),
        (10, "DELETE", "acme/prod/rates"),
        (11, "DELETE", "acme/dev/s"),
        (12, "DELETE", "acme/prod/orders"),
        (13, "DELETE", "acme/dev"),
        (14, "DELETE", "acme/prod"),
        (15, "DELETE", "acme"),
    ]
    assert encode(applied.result) == encode({"type": "Deleted", "version": 15, "count": 7})


def test_a_stream_made_again_is_another_one() -> None:
    log = small_world()
    log.delete(DeleteStream(tenant_id="acme", namespace="prod", stream="orders"))
    (again,) = log.make(stream("orders"))
    assert isinstance(again, Stream)
    assert again.stream_id == "st-1-6"


def test_the_digest_is_that_of_the_live_objects() -> None:
    log = small_world()
    made = log.make(tenant("zeta"), namespace("a", "zeta"))
    log.delete(DeleteTenant(tenant_id="acme"))
    expected = Digest()
    for one in made:
        expected.add(encode(one))
    assert log.catalog.digest == expected.hex()


def test_a_catalog_that_was_emptied_has_the_digest_of_nothing() -> None:
    log = small_world()
    log.delete(DeleteTenant(tenant_id="acme"))
    assert log.catalog.digest == "0" * 32


def test_entries_are_applied_in_order_and_once() -> None:
    log = small_world()
    log.catalog.skip(log.catalog.applied_index + 1)  # type: ignore[arg-type]  # an index
    with pytest.raises(AssertionError):
        log.catalog.skip(log.catalog.applied_index)


def test_every_command_is_carried_out_in_exactly_one_place() -> None:
    of_the_catalog = {SetFeatureLevel, RecordRefusals, ApplyManifests}
    handled = [
        *changes.COMMANDS,
        *IDENTITY_COMMANDS,
        *PLACEMENT_COMMANDS,
        *SETTING_COMMANDS,
        *of_the_catalog,
    ]
    assert len(set(handled)) == len(handled)
    missing = {kind.__name__ for kind in set(get_args(AnyCommand)) - set(handled)}
    assert missing == set()
    assert set(handled) < set(answer_types())
