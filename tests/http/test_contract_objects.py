"""Tenants, namespaces, streams and caches (contract, chapters 1, 2 and 4; checklist 8 and 9)."""

from __future__ import annotations

import pytest

from tests.http.helpers import (
    CACHE,
    CACHES,
    NAMESPACE,
    NAMESPACES,
    STREAM,
    STREAMS,
    TENANT,
    TENANTS,
    empty_client,
    filled_client,
    refused,
)

COLLECTIONS = ((TENANTS, TENANT), (NAMESPACES, NAMESPACE), (STREAMS, STREAM), (CACHES, CACHE))
ONE_OF_EACH = (
    "/v1/tenants/acme",
    f"{NAMESPACES}/billing",
    f"{STREAMS}/invoices",
    f"{CACHES}/rates",
)


def test_creating_answers_201_with_the_members_of_the_contract() -> None:
    client = empty_client()
    tenant = client.post(TENANTS, TENANT)
    namespace = client.post(NAMESPACES, NAMESPACE)
    stream = client.post(STREAMS, STREAM)
    cache = client.post(CACHES, CACHE)
    assert [r.status_code for r in (tenant, namespace, stream, cache)] == [201] * 4
    assert TENANT.items() <= tenant.json.items()
    assert {"tenant_id": "acme", **NAMESPACE}.items() <= namespace.json.items()
    expected = STREAM | {"retention": {"max_age_seconds": 86400, "max_size_bytes": None}}
    assert {"tenant_id": "acme", "namespace": "billing", **expected}.items() <= stream.json.items()
    assert {"tenant_id": "acme", "namespace": "billing", **CACHE}.items() <= cache.json.items()
    assert stream.headers["Location"] == f"{STREAMS}/invoices"


def test_a_stream_answers_in_the_contracts_members_first() -> None:
    members = list(filled_client().get(f"{STREAMS}/invoices").json)
    assert members[:9] == [
        "tenant_id", "namespace", "stream", "kind", "shards", "retention", "consistency",
        "delivery", "durable",
    ]  # fmt: skip


def test_what_exists_is_already_there_or_in_conflict_depending_on_its_kind() -> None:
    client = filled_client()
    assert refused(client.post(TENANTS, TENANT)) == (409, "already_exists")
    assert refused(client.post(NAMESPACES, NAMESPACE)) == (409, "already_exists")
    assert refused(client.post(STREAMS, STREAM)) == (409, "conflict")
    assert refused(client.post(CACHES, CACHE)) == (409, "conflict")


def test_nothing_is_created_in_a_parent_that_does_not_exist() -> None:
    client = filled_client()
    for path, body in (
        ("/v1/tenants/nobody/namespaces", NAMESPACE),
        ("/v1/tenants/nobody/namespaces/billing/streams", STREAM),
        (f"{NAMESPACES}/nothing/streams", STREAM),
        (f"{NAMESPACES}/nothing/caches", CACHE),
    ):
        assert refused(client.post(path, body)) == (404, "not_found")
        assert refused(client.get(path)) == (404, "not_found")


@pytest.mark.parametrize("path", ONE_OF_EACH)
def test_one_object_can_be_read_changed_and_deleted(path: str) -> None:
    client = filled_client()
    before = client.get(path)
    assert before.status_code == 200
    if "streams" not in path:
        changed = client.patch(path, {"display_name": "New"})
        assert changed.status_code == 200
        assert changed.json["display_name"] == "New"
        assert changed.json["version"] > before.json["version"]
    deleted = client.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert refused(client.get(path)) == (404, "not_found")
    assert refused(client.patch(path, {})) == (404, "not_found")
    assert refused(client.delete(path)) == (404, "not_found")


def test_a_deleted_tenant_takes_everything_along() -> None:
    client = filled_client()
    assert client.delete("/v1/tenants/acme").status_code == 204
    for feed in ("tenants", "namespaces", "streams", "caches"):
        assert client.get(f"/v1/{feed}/snapshot").json["items"] == []
    assert client.post(TENANTS, TENANT).status_code == 201
    assert client.get(NAMESPACES).json["items"] == []


def test_a_patch_replaces_the_retention_whole_and_leaves_absent_members_alone() -> None:
    client = filled_client()
    path = f"{STREAMS}/invoices"
    client.patch(path, {"retention": {"max_age_seconds": 60, "max_size_bytes": 5}})
    changed = client.patch(path, {"retention": {"max_age_seconds": 60}}).json
    assert changed["retention"] == {"max_age_seconds": 60, "max_size_bytes": None}
    changed = client.patch(path, {"consistency": "Quorum", "delivery": None, "shards": 9}).json
    assert (changed["consistency"], changed["delivery"]) == ("Quorum", "AtLeastOnce")
    assert (changed["shards"], changed["retention"]["max_age_seconds"]) == (4, 60)


def test_an_empty_patch_is_accepted() -> None:
    client = filled_client()
    for path in ONE_OF_EACH:
        assert client.patch(path, {}).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "member"),
    [(path, body, member) for path, body in COLLECTIONS for member in body],
)
def test_every_member_of_the_contract_is_required(
    path: str, body: dict[str, object], member: str
) -> None:
    client = filled_client()
    for given in ({m: v for m, v in body.items() if m != member}, body | {member: None}):
        result = client.post(path, given)
        assert refused(result) == (422, "unprocessable")
        assert result.json["details"]["pointer"] == f"/{member}"


def test_unknown_members_are_ignored() -> None:
    client = empty_client()
    assert client.post(TENANTS, TENANT | {"colour": {"deep": [1, 2.5]}}).status_code == 201


@pytest.mark.parametrize("shards", [1.0, True, -1, "4", 1 << 32, 1 << 64, [4], 1.5e3])
def test_shards_are_an_unsigned_integer_and_nothing_else(shards: object) -> None:
    result = filled_client().post(STREAMS, STREAM | {"stream": "x", "shards": shards})
    assert refused(result) == (422, "unprocessable")
    assert result.json["details"] == {"pointer": "/shards"}


def test_no_shards_at_all_break_a_rule_of_the_model() -> None:
    result = filled_client().post(STREAMS, STREAM | {"stream": "x", "shards": 0})
    assert refused(result) == (400, "validation_error")
    assert result.json["details"] == {"pointer": "/shards"}


@pytest.mark.parametrize(
    "changes",
    [{"kind": "stream"}, {"consistency": "leader"}, {"delivery": "ExactlyOnce"}, {"durable": 1}],
)
def test_enum_words_are_exactly_those_of_the_contract(changes: dict[str, object]) -> None:
    result = filled_client().post(STREAMS, STREAM | {"stream": "x"} | changes)
    assert refused(result) == (422, "unprocessable")


def test_a_wrong_type_deep_inside_is_named_by_its_pointer() -> None:
    body = STREAM | {"stream": "x", "retention": {"max_age_seconds": "day"}}
    result = filled_client().post(STREAMS, body)
    assert result.json["details"] == {"pointer": "/retention/max_age_seconds"}


def test_lists_are_in_the_order_of_names() -> None:
    client = empty_client()
    for name in ("b", "c", "a", "B"):
        client.post(TENANTS, {"tenant_id": name, "display_name": name})
    items = client.get(TENANTS).json["items"]
    assert [item["tenant_id"] for item in items] == ["B", "a", "b", "c"]


def test_quotas_and_encryption_may_be_written_in_words() -> None:
    client = empty_client()
    body = TENANT | {
        "description": "production",
        "quotas": {"max_streams": 1000, "max_storage": "1TB"},
        "encryption": {"key_id": "k1", "rotation_period": "90d"},
    }
    tenant = client.post(TENANTS, body).json
    assert tenant["quotas"]["max_storage_bytes"] == 10**12
    assert tenant["quotas"]["max_publish_rate"] is None
    assert tenant["encryption"] == {"key_id": "k1", "rotation_period_seconds": 90 * 86400}
