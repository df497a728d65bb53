"""Quotas and usage: who sets them, what is refused for want of room, and what brokers count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.http.helpers import (
    BROKERS,
    NAMESPACES,
    STREAM,
    STREAMS,
    TENANTS,
    Client,
    empty_client,
    filled_client,
    placed_client,
    refused,
)
from tests.http.realm import ACME, Realm, realm

OF_TENANT = "/v1/tenants/acme/usage"
OF_NAMESPACE = "/v1/tenants/acme/namespaces/billing/usage"


def limit(client: Client, of_namespace: bool = True, **quotas: Any) -> None:
    path = f"{NAMESPACES}/billing" if of_namespace else f"{TENANTS}/acme"
    assert client.patch(path, {"quotas": quotas}).status_code == 200


def create(client: Client, name: str) -> Any:
    return client.post(STREAMS, STREAM | {"stream": name})


def test_a_stream_without_room_is_403_and_says_which_quota_and_what_to_try() -> None:
    client = filled_client()
    limit(client, max_streams=1)
    before = client.metadata()
    answer = create(client, "more")
    assert refused(answer) == (403, "quota_exceeded")
    assert answer.json["details"] == {
        "quota": "max_streams", "scope": "namespace", "of": "acme/billing",
        "limit": 1, "used": 1, "deleted": 0,
    }  # fmt: skip
    assert answer.json["message"].endswith("delete streams, or raise the quota")
    assert client.metadata() == before
    limit(client, max_streams=2)
    assert create(client, "more").status_code == 201


def test_usage_says_limits_and_what_is_used_of_them() -> None:
    client = filled_client(delete_grace_s=60)
    limit(client, of_namespace=False, max_streams=5, max_storage="1TB")
    create(client, "gone")
    assert client.delete(f"{STREAMS}/gone").status_code == 204
    whole = client.get(OF_TENANT)
    assert whole.json == {
        "tenant_id": "acme", "namespace": None,
        "limits": {"max_streams": 5, "max_publish_rate": None, "max_subscribe_connections": None,
                   "max_storage_bytes": 10**12, "max_cache_memory": None},
        "used": {"streams": 2, "deleted_streams": 1, "caches": 1, "publish_rate": None,
                 "subscribe_connections": None, "storage_bytes": None, "cache_memory": None},
        "streams_left": 3, "reported_by": 0,
    }  # fmt: skip
    assert whole.headers["X-Felix-Version"] == client.get(STREAMS).headers["X-Felix-Version"]
    inside = client.get(OF_NAMESPACE).json
    assert (inside["namespace"], inside["limits"]["max_streams"]) == ("billing", None)
    assert inside["streams_left"] == 3, "the tenant's quota holds inside too"


@pytest.mark.parametrize(
    "path", ["/v1/tenants/nobody/usage", "/v1/tenants/acme/namespaces/nowhere/usage"]
)
def test_what_is_not_there_has_no_usage(path: str) -> None:
    assert refused(filled_client().get(path)) == (404, "not_found")
    assert refused(empty_client().get(path)) == (404, "not_found")


def report(client: Client, broker_id: str, usage: list[Any] | None) -> Any:
    epoch = client.get(f"{BROKERS}/{broker_id}").json["broker"]["broker_epoch"]
    body = {"broker_epoch": epoch, "usage": usage}
    return client.post(f"{BROKERS}/{broker_id}/health", body)


def used(client: Client, path: str) -> dict[str, Any]:
    found = client.get(path).json
    return {"reported_by": found["reported_by"]} | {
        name: found["used"][name] for name in ("publish_rate", "storage_bytes", "cache_memory")
    }


def test_what_brokers_count_is_added_up_over_brokers_and_namespaces() -> None:
    client, _ = placed_client("b1", "b2")
    billing = {"tenant_id": "acme", "namespace": "billing"}
    other = {"tenant_id": "acme", "namespace": "other"}
    stranger = {"tenant_id": "stranger", "namespace": "billing"}
    said: list[Any] = [
        billing | {"publish_per_s": 1.5, "storage_bytes": 10},
        other | {"storage_bytes": 5},
    ]
    assert report(client, "b1", said).status_code == 200
    report(client, "b2", [billing | {"cache_bytes": 7}, stranger | {"storage_bytes": 999}])
    assert used(client, OF_NAMESPACE) == {
        "reported_by": 2, "publish_rate": 1.5, "storage_bytes": 10, "cache_memory": 7,
    }  # fmt: skip
    assert used(client, OF_TENANT)["storage_bytes"] == 15
    report(client, "b1", None)
    assert used(client, OF_TENANT)["storage_bytes"] == 15, "as it said before"
    report(client, "b1", [])
    assert used(client, OF_TENANT)["storage_bytes"] == 0


@pytest.mark.parametrize(
    "usage", [[{}], [{"tenant_id": "acme"}], "all", [{"tenant_id": "acme", "namespace": 1}]]
)
def test_usage_that_is_no_usage_is_refused(usage: Any) -> None:
    client, _ = placed_client("b1")
    assert refused(report(client, "b1", usage)) == (422, "unprocessable")


# --- who may --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world() -> Iterator[Realm]:
    with realm() as found:
        alice = found.token("alice")
        for name in ("billing", "other"):
            made = {"namespace": name, "display_name": name}
            assert found.as_(alice, "POST", f"{ACME}/namespaces", json=made).status_code == 201
        found.allow(found.principal("nina"), ("ns.manage", "namespace:acme/billing"))
        found.allow(found.principal("sam"), ("stream.publish", "stream:acme/billing/x"))
        yield found


def set_quota(world: Realm, who: str, path: str, tenant: str = "acme") -> int:
    token = world.token(who, tenant=tenant)
    body = {"quotas": {"max_streams": 9}}
    status: int = world.as_(token, "PATCH", path, json=body).status_code
    return status


def test_nobody_raises_a_limit_that_others_have_set(world: Realm) -> None:
    billing = f"{ACME}/namespaces/billing"
    assert set_quota(world, "nina", billing) == 403
    assert set_quota(world, "alice", billing) == 200
    assert set_quota(world, "alice", ACME) == 403
    assert set_quota(world, "olga", ACME, tenant="felix-operators") == 200
    nina = world.token("nina")
    answer = world.as_(nina, "PATCH", billing, json={"description": "mine"})
    assert answer.status_code == 200, "the rest of the namespace is hers"
    alice = world.token("alice")
    assert world.as_(alice, "PATCH", ACME, json={"description": "ours"}).status_code == 200


def test_usage_is_for_those_who_manage_what_it_is_of(world: Realm) -> None:
    billing, other = (f"{ACME}/namespaces/{name}/usage" for name in ("billing", "other"))
    seen = {
        who: [
            world.as_(world.token(who), "GET", path).status_code
            for path in (f"{ACME}/usage", billing, other)
        ]
        for who in ("alice", "nina", "sam")
    }
    assert seen == {"alice": [200, 200, 200], "nina": [403, 200, 403], "sam": [403, 403, 403]}
    olga = world.token("olga", tenant="felix-operators")
    assert world.as_(olga, "GET", f"{ACME}/usage").status_code == 200
    assert world.as_(None, "GET", f"{ACME}/usage").status_code == 401
