"""Sets of documents over HTTP: one transaction, each change with its own right, and dry runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from felix.http.manifest_views import document_of
from felix.proto.manifests import DOCUMENTS_MAX
from felix.proto.permissions import OPERATOR_TENANT
from tests.http.helpers import Client, client_of, empty_client, filled_client, refused, register
from tests.http.realm import ACME, Realm, realm
from tests.support.local_control_plane import LocalControlPlane

APPLY: Final = "/v1/manifests/apply"
DELETE: Final = "/v1/manifests/delete"


def document(kind: str, name: str, spec: dict[str, Any] | None = None, **where: str) -> Any:
    metadata = {"name": name, **where}
    return {"apiVersion": "felix.io/v1", "kind": kind, "metadata": metadata, "spec": spec or {}}


def namespace(name: str = "production", **spec: Any) -> Any:
    return document("Namespace", name, spec, tenant="acme")


def stream(name: str = "orders", space: str = "production", **spec: Any) -> Any:
    return document("Stream", name, spec, tenant="acme", namespace=space)


ACME_CORP: Final = document(
    "Tenant",
    "acme",
    {
        "description": "ACME Corporation production tenant",
        "quotas": {"max_streams": 1000, "max_publish_rate": 100000, "max_storage": "1TB"},
        "encryption": {"key_id": "tenant-key-acme-v1", "rotation_period": "90d"},
    },
)
ORDERS: Final = stream(
    shards=4,
    retention={"time": "7d", "size": "100GB"},
    durability="durable",
    replication_factor=3,
    ack_policy="quorum",
)
BRIDGE: Final = document(
    "Bridge",
    "us-to-eu",
    {
        "source_region": "us-west-2",
        "target_region": "eu-central-1",
        "streams": [{"tenant": "acme", "namespace": "production", "stream": "orders"}],
        "encryption": {"key_id": "bridge-key-us-eu-v1"},
    },
)
SET: Final = [BRIDGE, ORDERS, namespace(quotas={"max_streams": 500}), ACME_CORP]
"""Those of the specification, children first."""


def send(client: Client, documents: list[Any], path: str = APPLY) -> Any:
    return client.post(path, {"documents": documents})


def results(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["result"] for one in answer.json["documents"]]


# --- the transaction ------------------------------------------------------------------------------


def test_the_documents_of_the_specification_are_applied_in_whatever_order_they_come() -> None:
    client = empty_client()
    answer = send(client, SET)
    assert results(answer) == ["created"] * 4
    assert answer.headers["X-Felix-Version"] == "4"
    tenant = client.get("/v1/tenants/acme").json
    assert tenant["quotas"]["max_storage_bytes"] == 10**12
    assert tenant["encryption"]["rotation_period_seconds"] == 90 * 86_400
    found = client.get("/v1/tenants/acme/namespaces/production/streams/orders").json
    assert (found["shards"], found["durable"], found["consistency"]) == (4, True, "Quorum")
    assert found["retention"] == {"max_age_seconds": 604_800, "max_size_bytes": 10**11}
    assert client.get("/v1/bridges/us-to-eu").json["encryption_key_id"] == "bridge-key-us-eu-v1"


def test_applying_twice_makes_no_version() -> None:
    client = empty_client()
    send(client, SET)
    before = client.metadata()
    assert results(send(client, SET)) == ["unchanged"] * 4
    assert client.metadata() == before


def test_one_bad_document_is_named_as_it_was_sent_and_nothing_is_applied() -> None:
    client = empty_client()
    bad = stream("lost", "nowhere")
    before = client.metadata()
    answer = send(client, [ORDERS, bad, namespace(), ACME_CORP])
    assert refused(answer) == (404, "not_found")
    assert answer.json["details"]["document"] == 1
    assert client.metadata() == before


@pytest.mark.parametrize(
    ("spoilt", "status", "pointer"),
    [
        (stream(shard=4), 422, "/spec/shard"),
        (stream(retention={"time": "7 days"}), 422, "/spec/retention/time"),
        (stream(retention={"time": -1}), 422, "/spec/retention/time"),
        (stream(shards=0), 400, "/spec/shards"),
        (stream(regions=["a b"]), 400, "/spec/regions/0"),
        (stream("a/b"), 400, "/metadata/name"),
        (stream(space="a/b"), 400, "/metadata/namespace"),
        (document("Tenant", ""), 400, "/metadata/name"),
        (document("Tenant", "x", {"encryption": {"key_id": ""}}), 400, "/spec/encryption/key_id"),
        (document("Stream", "s", tenant="acme"), 422, "/metadata/namespace"),
        (document("Streem", "s"), 422, "/kind"),
        (document("ShardPlacement", "s"), 422, "/kind"),
        ({"apiVersion": "felix.io/v2", "kind": "Tenant"}, 422, "/apiVersion"),
        ({"kind": "Tenant"}, 422, "/apiVersion"),
    ],
)
def test_a_document_that_is_wrong_is_refused_by_place_and_member(
    spoilt: Any, status: int, pointer: str
) -> None:
    client = filled_client()
    before = client.metadata()
    answer = send(client, [namespace(), spoilt])
    assert refused(answer)[0] == status, answer.text
    assert answer.json["details"]["document"] == 1
    assert answer.json["details"]["pointer"] == pointer
    assert client.metadata() == before


def test_sets_are_bounded() -> None:
    client = empty_client()
    many = [document("Tenant", f"t{number}") for number in range(DOCUMENTS_MAX + 1)]
    assert refused(send(client, many)) == (413, "too_large")
    large = document("Tenant", "t", {"description": "x" * (600 << 10)})
    assert refused(send(client, [large])) == (413, "too_large")
    answer = send(client, [namespace(), ACME_CORP, namespace()])
    assert refused(answer) == (400, "validation_error")
    assert {answer.json["details"][name] for name in ("document", "first")} == {0, 2}


def test_documents_delete_what_they_name_children_first_and_durable_ones_when_confirmed() -> None:
    client = empty_client(confirm_durable_deletes=True, delete_grace_s=60)
    send(client, SET)
    before = client.metadata()
    answer = send(client, [namespace(), ORDERS], DELETE)
    assert refused(answer) == (409, "conflict")
    assert answer.json["details"] == {"reason": "durable", "document": 1}
    assert client.metadata() == before
    confirmed = send(client, [namespace(), ORDERS], DELETE + "?confirm_durable=true")
    assert results(confirmed) == ["deleted", "deleted"]
    assert results(send(client, [namespace(), ORDERS], DELETE)) == ["absent", "absent"]
    assert refused(send(client, [document("Broker", "b")], DELETE)) == (422, "unprocessable")


# --- dry runs -------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_change_and_where_shards_would_go_and_changes_nothing() -> None:
    plane = LocalControlPlane()
    client = client_of(plane)
    send(client, [ACME_CORP, namespace(), ORDERS])
    for number in range(3):
        register(client, f"b{number}")
    before = (client.metadata(), plane.digests, plane.catalog.proof)
    later = stream(retention={"time": "14d"}, ack_policy="leader_only")
    wrong = stream("lost", "nowhere")
    fresh = stream("fresh", shards=2, replication_factor=3)
    answer = send(client, [later, wrong, fresh, namespace()], f"{APPLY}?dry_run=true")
    assert results(answer) == ["updated", "refused", "created", "unchanged"]
    first, second, third, _ = answer.json["documents"]
    assert first["changes"] == [
        {"field": "spec.ack_policy", "before": "quorum", "after": "leader_only"},
        {"field": "spec.retention.size", "before": "100GB", "after": None},
        {"field": "spec.retention.time", "before": "7d", "after": "14d"},
    ]
    assert (second["error"]["code"], second["error"]["details"]) == ("not_found", {"document": 1})
    assert {one["field"] for one in third["changes"]} >= {"spec.shards", "spec.durability"}
    (planned,) = answer.json["placements"]
    assert planned["stream"] == "acme/production/fresh"
    assert [len(one["replicas"]) for one in planned["shards"]] == [2, 2]
    assert (client.metadata(), plane.digests, plane.catalog.proof) == before


def test_what_is_written_as_a_document_is_applied_without_a_change() -> None:
    plane = LocalControlPlane()
    client = client_of(plane)
    register(client, "b1", region="eu", metadata={"rack": "7"}, capacity={"max_shards": 5})
    cache = document("Cache", "rates", {"display_name": "R"}, tenant="acme", namespace="production")
    send(client, [*SET, cache])
    tables = plane.catalog.store.tables
    kinds = ("Tenant", "Namespace", "Stream", "Cache", "Broker", "Bridge")
    rows = [row for kind in kinds for row in tables[kind].rows.values()]
    assert len(rows) == len(kinds)
    before = client.metadata()
    answer = send(client, [document_of(one) for one in rows])
    assert results(answer) == ["unchanged"] * 6
    assert client.metadata() == before


# --- who may --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world() -> Iterator[Realm]:
    with realm() as found:
        alice = found.token("alice")
        for name in ("billing", "other"):
            made = {"namespace": name, "display_name": name}
            assert found.as_(alice, "POST", f"{ACME}/namespaces", json=made).status_code == 201
        found.allow(found.principal("sam"), ("stream.manage", "stream:acme/billing/*"))
        found.allow(found.principal("pat"), ("stream.publish", "stream:acme/billing/x"))
        found.allow(found.principal("nina"), ("ns.manage", "namespace:acme/billing"))
        yield found


def ask(world: Realm, who: str, *documents: Any, path: str = APPLY) -> tuple[int, Any]:
    token = world.token(who, tenant=OPERATOR_TENANT if who == "olga" else "acme")
    answer = world.as_(token, "POST", path, json={"documents": list(documents)})
    return answer.status_code, answer.json


def test_each_change_of_a_set_needs_the_right_that_its_own_route_needs(world: Realm) -> None:
    mine, not_mine = stream("one", "billing"), stream("two", "other")
    here = document("Namespace", "billing", {"display_name": "billing"}, tenant="acme")
    limited = document("Namespace", "billing", {"quotas": {"max_streams": 9}}, tenant="acme")
    tenant = document("Tenant", "acme", {"quotas": {"max_streams": 99}})
    bridge = document("Bridge", "b", {"source_region": "a", "target_region": "b"})
    before = world.plane.digests
    for who, refused_one in (
        ("sam", not_mine),
        ("sam", document("Namespace", "billing", {"display_name": "x"}, tenant="acme")),
        ("nina", limited),
        ("nina", document("Namespace", "new", tenant="acme")),
        ("alice", tenant),
        ("alice", document("Tenant", "mine")),
        ("alice", bridge),
        ("alice", document("Broker", "b1", {"status": "draining"})),
        ("alice", document("Namespace", "n", tenant=OPERATOR_TENANT)),
    ):
        others = [mine] if who == "sam" else []
        status, body = ask(world, who, *others, refused_one)
        assert (status, body["code"]) == (403, "forbidden"), (who, refused_one, body)
        assert body["details"]["document"] == len(others)
        assert world.plane.digests == before
    status, body = ask(world, "sam", here, mine)
    assert (status, [one["result"] for one in body["documents"]]) == (200, ["unchanged", "created"])
    assert ask(world, "alice", limited)[0] == 200
    assert ask(world, "olga", tenant, bridge)[0] == 200


def test_a_dry_run_tells_nobody_of_what_they_may_not_see(world: Realm) -> None:
    path = f"{APPLY}?dry_run=true"
    other = document("Namespace", "other", {"display_name": "other"}, tenant="acme")
    assert ask(world, "sam", other, path=path)[0] == 403
    assert ask(world, "sam", document("Broker", "b1"), path=path)[0] == 403
    status, body = ask(world, "sam", stream("x", "billing", shards=1), path=path)
    assert (status, body["placements"]) == (200, [])
    status, body = ask(world, "pat", stream("x", "billing"), path=path)
    assert (status, body["documents"][0]["error"]["code"]) == (200, "forbidden")
    nobody = world.as_(None, "POST", APPLY, json={"documents": []})
    assert nobody.status_code == 401
