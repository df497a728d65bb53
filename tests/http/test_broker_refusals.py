"""What the doors of brokers and placement refuse, each by its table; and nothing has changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import pytest
from falcon.testing import Result

from felix.http.broker_routes import BROKER_ROUTES
from felix.http.route import Route
from felix.proto.commands import CreateNamespace, CreateStream, DeleteStream
from felix.proto.placement_commands import PutBridge, RegisterBroker
from felix.proto.resources import StreamSpec
from tests.http.helpers import (
    BROKERS,
    INVOICES,
    STREAM,
    STREAMS,
    Client,
    placed_client,
    refused,
    register,
)
from tests.http.realm import Realm, realm

MOVES: Final = "/v1/shard-moves"
PLACEMENTS: Final = "/v1/placements"
REBALANCE: Final = "/v1/placement/rebalance"
PAUSE: Final = "/v1/placement/pause"
BRIDGES: Final = "/v1/bridges"
BRIDGE: Final = f"{BRIDGES}/east-west"
B1: Final = f"{BROKERS}/b1"
TRANSFER: Final = f"{INVOICES}/shards/0/transfer"
GONE: Final = f"{STREAMS}/gone"

NEW: Final = {"broker_id": "b9", "address": "h9:7000", "boot_id": "1"}
MOVE: Final = {
    "tenant_id": "acme", "namespace": "billing", "stream": "invoices", "shard_id": 0,
    "from_broker": "b1", "to_broker": "b2",
}  # fmt: skip
REGIONS: Final = {"source_region": "east", "target_region": "west"}
SHARD: Final = {
    "tenant_id": "acme", "namespace": "billing", "stream": "invoices", "shard_id": 0,
    "role": "leader", "generation": 1,
}  # fmt: skip


@pytest.fixture
def client() -> Client:
    """All shards on b1 and none on b2; a bridge; a stream that is deleted and can be had back."""
    made, _ = placed_client("b1", confirm_durable_deletes=True, delete_grace_s=3600)
    register(made, "b2")
    assert made.request("PUT", BRIDGE, json=REGIONS).status_code == 200
    assert made.post(STREAMS, STREAM | {"stream": "gone"}).status_code == 201
    assert made.delete(GONE, confirm="gone").status_code == 204
    return made


def path_of(route: Route) -> str:
    names = {
        "tenant_id": "acme", "namespace": "billing", "stream": "invoices", "shard_id": "0",
        "broker_id": "b1", "bridge": "east-west",
    }  # fmt: skip
    return re.sub(r"{(\w+)}", lambda field: names.get(field[1], "0123456789ab"), route.path)


def ids(route: Route) -> str:
    return route.operation


# --- bodies ---------------------------------------------------------------------------------------

WITH_BODIES: Final = [route for route in BROKER_ROUTES if route.request is not None]
NO_OBJECTS: Final = {
    "nothing": (b"", 400, "malformed"),
    "half": (b'{"dry_run": ', 400, "malformed"),
    "the same key twice": (b'{"reason": "a", "reason": "b"}', 400, "malformed"),
    "a list": (b"[]", 422, "unprocessable"),
    "a word": (b'"b1"', 422, "unprocessable"),
    "null": (b"null", 422, "unprocessable"),
}


@pytest.mark.parametrize("name", NO_OBJECTS)
@pytest.mark.parametrize("route", WITH_BODIES, ids=ids)
def test_a_body_that_is_no_object_is_refused(client: Client, route: Route, name: str) -> None:
    body, status, code = NO_OBJECTS[name]
    before = client.log()
    headers = {"Content-Type": "application/json"}
    result = client.request(route.method, path_of(route), body=body, headers=headers)
    assert refused(result) == (status, code)
    assert client.log() == before


@pytest.mark.parametrize("route", WITH_BODIES, ids=ids)
def test_a_body_in_another_format_is_refused(client: Client, route: Route) -> None:
    headers = {"Content-Type": "application/x-yaml"}
    result = client.request(route.method, path_of(route), body=b"a: b", headers=headers)
    assert refused(result) == (415, "unsupported_media_type")


BAD_MEMBERS: Final[list[tuple[str, str, dict[str, Any], str]]] = [
    ("POST", BROKERS, NEW | {"broker_id": 7}, "/broker_id"),
    ("POST", BROKERS, NEW | {"boot_id": None}, "/boot_id"),
    ("POST", BROKERS, NEW | {"address": ["h9:7000"]}, "/address"),
    ("POST", BROKERS, NEW | {"capacity": {"max_shards": -1}}, "/capacity/max_shards"),
    ("POST", BROKERS, NEW | {"capacity": {"max_shards": 2**63}}, "/capacity/max_shards"),
    ("POST", BROKERS, NEW | {"capacity": {"max_connections": 1.5}}, "/capacity/max_connections"),
    ("POST", BROKERS, NEW | {"metadata": ["rack"]}, "/metadata"),
    ("PATCH", B1, {"region": 1}, "/region"),
    ("PATCH", B1, {"capacity": 3}, "/capacity"),
    ("POST", f"{B1}/health", {}, "/broker_epoch"),
    ("POST", f"{B1}/health", {"broker_epoch": -1}, "/broker_epoch"),
    ("POST", f"{B1}/health", {"broker_epoch": 1, "status": {"healthy": 1}}, "/status/healthy"),
    ("POST", f"{B1}/health", {"broker_epoch": 1, "applied_version": -1}, "/applied_version"),
    (
        "POST", f"{B1}/health",
        {"broker_epoch": 1, "shard_status": [SHARD | {"role": "boss"}]}, "/shard_status/0/role",
    ),
    (
        "POST", f"{B1}/health",
        {"broker_epoch": 1, "shard_status": [SHARD | {"shard_id": 65_536}]},
        "/shard_status/0/shard_id",
    ),
    ("POST", f"{B1}/deregister", {}, "/broker_epoch"),
    ("POST", f"{B1}/deregister", {"broker_epoch": "1"}, "/broker_epoch"),
    ("POST", REBALANCE, {"dry_run": "yes"}, "/dry_run"),
    ("POST", REBALANCE, {"strategy": "FAIR"}, "/strategy"),
    ("POST", REBALANCE, {"base_version": -1}, "/base_version"),
    ("POST", f"{INVOICES}/rebalance", {"dry_run": None}, "/dry_run"),
    ("POST", TRANSFER, {}, "/target_broker"),
    ("POST", TRANSFER, {"target_broker": 1}, "/target_broker"),
    ("POST", MOVES, {}, "/tenant_id"),
    ("POST", MOVES, MOVE | {"shard_id": "0"}, "/shard_id"),
    ("POST", MOVES, MOVE | {"shard_id": -1}, "/shard_id"),
    ("POST", MOVES, MOVE | {"kind": "copy"}, "/kind"),
    ("POST", MOVES, MOVE | {"to_broker": None}, "/to_broker"),
    ("POST", PAUSE, {"reason": 1}, "/reason"),
    ("PUT", BRIDGE, {"source_region": "east"}, "/target_region"),
    ("PUT", BRIDGE, REGIONS | {"streams": {}}, "/streams"),
    ("PUT", BRIDGE, REGIONS | {"streams": [{"tenant_id": "acme"}]}, "/streams/0/namespace"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "pointer"), BAD_MEMBERS)
def test_a_wrong_member_is_named(
    client: Client, method: str, path: str, body: dict[str, Any], pointer: str
) -> None:
    before = client.log()
    result = client.request(method, path, json=body)
    assert refused(result) == (422, "unprocessable")
    assert result.json["details"] == {"pointer": pointer}
    assert client.log() == before


BAD_VALUES: Final[list[tuple[str, str, dict[str, Any]]]] = [
    ("POST", BROKERS, NEW | {"broker_id": ""}),
    ("POST", BROKERS, NEW | {"broker_id": "a/b"}),
    ("POST", BROKERS, NEW | {"broker_id": "x" * 256}),
    ("POST", BROKERS, NEW | {"boot_id": ""}),
    ("POST", BROKERS, NEW | {"address": ""}),
    ("POST", BROKERS, NEW | {"address": "h9"}),
    ("POST", BROKERS, NEW | {"address": "h9:70000"}),
    ("POST", BROKERS, NEW | {"region": "a b"}),
    ("POST", BROKERS, NEW | {"metadata": {"": "x"}}),
    ("POST", BROKERS, NEW | {"metadata": {"x": "y" * 10_000}}),
    ("PATCH", B1, {"region": "a\nb"}),
    ("POST", MOVES, MOVE | {"to_broker": ""}),
    ("POST", PAUSE, {"reason": "x" * 10_000}),
    ("PUT", BRIDGE, REGIONS | {"target_region": "east"}),
    ("PUT", BRIDGE, REGIONS | {"source_region": ""}),
    ("PUT", f"{BRIDGES}/.a", REGIONS),
]


@pytest.mark.parametrize(("method", "path", "body"), BAD_VALUES)
def test_a_value_that_cannot_be_is_refused(
    client: Client, method: str, path: str, body: dict[str, Any]
) -> None:
    before = client.metadata()
    result = client.request(method, path, json=body)
    assert refused(result) == (400, "validation_error")
    assert client.metadata() == before


# --- names and parameters -------------------------------------------------------------------------

NOBODY: Final = f"{BROKERS}/b9"
NO_STREAM: Final = f"{STREAMS}/none"
ELSEWHERE: Final = "/v1/tenants/none/namespaces/billing/streams/invoices"
UNKNOWN: Final[list[tuple[str, str, dict[str, Any] | None]]] = [
    ("GET", NOBODY, None),
    ("PATCH", NOBODY, {"region": "x"}),
    ("DELETE", NOBODY, None),
    ("POST", f"{NOBODY}/health", {"broker_epoch": 1}),
    ("POST", f"{NOBODY}/drain", None),
    ("DELETE", f"{NOBODY}/drain", None),
    ("POST", f"{NOBODY}/deregister", {"broker_epoch": 1}),
    ("GET", f"{NO_STREAM}/placement", None),
    ("GET", f"{ELSEWHERE}/placement", None),
    ("GET", f"{GONE}/placement", None),
    ("POST", f"{NO_STREAM}/rebalance", {}),
    ("POST", f"{ELSEWHERE}/rebalance", {}),
    ("POST", f"{NO_STREAM}/undelete", None),
    ("POST", f"{NO_STREAM}/purge", None),
    ("POST", f"{NO_STREAM}/shards/0/transfer", {"target_broker": "b2"}),
    ("POST", f"{INVOICES}/shards/4/transfer", {"target_broker": "b2"}),
    ("POST", f"{INVOICES}/shards/x/transfer", {"target_broker": "b2"}),
    ("POST", f"{NO_STREAM}/shards/0/abandon", None),
    ("POST", f"{INVOICES}/shards/4/abandon", None),
    ("POST", MOVES, MOVE | {"stream": "none"}),
    ("POST", MOVES, MOVE | {"shard_id": 4}),
    ("POST", MOVES, MOVE | {"to_broker": "b9"}),
    ("DELETE", f"{MOVES}/none", None),
    ("DELETE", "/v1/placement/plans/none", None),
    ("GET", f"{BRIDGES}/none", None),
    ("DELETE", f"{BRIDGES}/none", None),
    ("PUT", BRIDGE, REGIONS | {
        "streams": [{"tenant_id": "acme", "namespace": "billing", "stream": "none"}]
    }),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body"), UNKNOWN)
def test_what_is_not_there_is_not_found(
    client: Client, method: str, path: str, body: dict[str, Any] | None
) -> None:
    before = client.metadata()
    assert refused(client.request(method, path, json=body)) == (404, "not_found")
    assert client.metadata() == before


BAD_PARAMETERS: Final = [
    ("GET", BROKERS, "status", "well"),
    ("GET", BROKERS, "page_size", "-1"),
    ("GET", BROKERS, "page_token", "%"),
    ("GET", BROKERS, "consistency", "soon"),
    ("GET", B1, "consistency", "soon"),
    ("DELETE", B1, "abandon", "please"),
    ("DELETE", B1, "expected_version", "x"),
    ("GET", PLACEMENTS, "incomplete", "x"),
    ("GET", PLACEMENTS, "page_token", "%"),
    ("GET", MOVES, "under_way", "x"),
    ("GET", MOVES, "page_token", "%"),
    ("GET", BRIDGES, "page_token", "%"),
    ("DELETE", BRIDGE, "expected_version", "-1"),
    ("DELETE", INVOICES, "force", "x"),
    ("DELETE", INVOICES, "confirm", "gone"),
    ("GET", STREAMS, "deleted", "x"),
]


@pytest.mark.parametrize(("method", "path", "name", "value"), BAD_PARAMETERS)
def test_a_wrong_parameter_is_named(
    client: Client, method: str, path: str, name: str, value: str
) -> None:
    before = client.log()
    result = client.request(method, path, params={name: value})
    assert refused(result) == (400, "validation_error")
    assert result.json["details"] in ({"parameter": name}, {"pointer": f"/{name}"})
    assert client.log() == before


@pytest.mark.parametrize("value", ["x", "-1", "1.5", str(2**63)])
@pytest.mark.parametrize(
    ("path", "body"), [(MOVES, MOVE), (TRANSFER, {"target_broker": "b2"})], ids=["move", "transfer"]
)
def test_a_version_that_is_none_orders_nothing(
    client: Client, path: str, body: dict[str, Any], value: str
) -> None:
    result = client.request("POST", path, json=body, params={"base_version": value})
    assert refused(result) == (400, "validation_error")
    assert result.json["details"] == {"parameter": "base_version"}


# --- versions -------------------------------------------------------------------------------------

CONDITIONAL: Final[list[tuple[str, str, dict[str, Any] | None]]] = [
    ("PATCH", B1, {"region": "x"}),
    ("DELETE", B1, None),
    ("DELETE", BRIDGE, None),
    ("DELETE", INVOICES, None),
]


@pytest.mark.parametrize("tag", ["1", 'W/"1"', '"x"', '"1", "2"', '""'])
@pytest.mark.parametrize(("method", "path", "body"), CONDITIONAL)
def test_if_match_takes_one_version_in_quotes(
    client: Client, method: str, path: str, body: dict[str, Any] | None, tag: str
) -> None:
    result = client.request(method, path, json=body, headers={"If-Match": tag})
    assert refused(result) == (400, "validation_error")
    assert result.json["details"] == {"parameter": "If-Match"}


@pytest.mark.parametrize(
    "ask", [{"headers": {"If-Match": '"999"'}}, {"params": {"expected_version": "999"}}],
    ids=["If-Match", "expected_version"],
)  # fmt: skip
@pytest.mark.parametrize(("method", "path", "body"), CONDITIONAL)
def test_what_has_changed_since_is_left_alone(
    client: Client, method: str, path: str, body: dict[str, Any] | None, ask: dict[str, Any]
) -> None:
    before = client.metadata()
    result = client.request(method, path, json=body, **ask)
    assert refused(result) == (412, "precondition_failed")
    assert result.json["details"]["expected"] == 999
    assert client.metadata() == before


# --- keys -----------------------------------------------------------------------------------------

ONCE: Final[list[tuple[str, str, dict[str, Any] | None]]] = [
    ("POST", BROKERS, NEW),
    ("PATCH", B1, {"region": "x"}),
    ("POST", f"{B1}/drain", None),
    ("POST", MOVES, MOVE),
    ("POST", PAUSE, {"reason": "an upgrade"}),
    ("PUT", BRIDGE, REGIONS | {"target_region": "north"}),
    ("DELETE", BRIDGE, None),
    ("POST", f"{GONE}/undelete", None),
    ("POST", f"{GONE}/purge", None),
    ("DELETE", INVOICES + "?confirm=invoices", None),
]


def ask(client: Client, order: tuple[str, str, dict[str, Any] | None], key: str) -> Result:
    method, path, body = order
    path, _, query = path.partition("?")
    headers = {"Idempotency-Key": key}
    return client.request(method, path, json=body, query_string=query, headers=headers)


@pytest.mark.parametrize("order", ONCE)
def test_what_is_asked_twice_with_one_key_is_done_once_and_answered_alike(
    client: Client, order: tuple[str, str, dict[str, Any] | None]
) -> None:
    first = ask(client, order, "k")
    assert first.status_code < 300, first.text
    after = client.metadata()
    second = ask(client, order, "k")
    assert (second.status_code, second.text) == (first.status_code, first.text)
    assert second.headers.get("ETag") == first.headers.get("ETag")
    assert client.metadata() == after


@pytest.mark.parametrize("order", ONCE)
def test_a_key_of_another_request_is_refused(
    client: Client, order: tuple[str, str, dict[str, Any] | None]
) -> None:
    assert ask(client, ("POST", "/v1/placement/resume", None), "k").status_code == 204
    before = client.metadata()
    assert refused(ask(client, order, "k")) == (422, "key_reused")
    assert client.metadata() == before


@pytest.mark.parametrize("path", [REBALANCE, f"{INVOICES}/rebalance"])
def test_a_rebalance_asked_twice_with_one_key_begins_one_plan(client: Client, path: str) -> None:
    order: tuple[str, str, dict[str, Any]] = ("POST", path, {})
    assert ask(client, order, "k").status_code == 202
    begun = client.get(MOVES).json["items"]
    nothing_more = ask(client, order, "k")
    assert (nothing_more.status_code, nothing_more.json["moves"]) == (200, [])
    register(client, "b3")
    assert refused(ask(client, order, "k")) == (422, "key_reused")
    assert client.get(MOVES).json["items"] == begun


@pytest.mark.parametrize("key", ["", "two words", "x" * 256])
@pytest.mark.parametrize("order", ONCE)
def test_a_key_that_is_none_is_refused(
    client: Client, order: tuple[str, str, dict[str, Any] | None], key: str
) -> None:
    before = client.log()
    result = ask(client, order, key)
    assert refused(result) == (400, "validation_error")
    assert result.json["details"] == {"parameter": "Idempotency-Key"}
    assert client.log() == before


# --- who may --------------------------------------------------------------------------------------

OF_THE_CLUSTER: Final = [one for one in BROKER_ROUTES if one.access.action.startswith("cluster.")]
OF_STREAMS: Final = [one for one in BROKER_ROUTES if "{stream}" in one.path]
LISTED: Final = {"list_shard_moves", "cancel_shard_move"}
"""Show everybody what they may see: `test_shard_moves.py`."""


@pytest.fixture(scope="module")
def world() -> Iterator[Realm]:
    """The same stream, placed and deleted, of acme and of globex; nothing here changes it."""
    with realm() as made:
        made.bootstrap("globex", "gus")
        made.apply(RegisterBroker(broker_id="b1", address="h1:1", boot_id="1"))
        durable = StreamSpec(durability="durable")
        for tenant in ("acme", "globex"):
            stream = partial(CreateStream, tenant_id=tenant, namespace="billing")
            made.apply(CreateNamespace(tenant_id=tenant, namespace="billing"))
            made.apply(stream(stream="invoices", spec=StreamSpec(shards=4)))
            made.apply(stream(stream="gone", spec=durable))
            made.apply(
                DeleteStream(
                    tenant_id=tenant, namespace="billing", stream="gone", grace_ms=3_600_000
                )
            )
        made.plane.place_shards()
        made.apply(PutBridge(name="east-west", source_region="e", target_region="w"))
        yield made


def test_every_door_of_this_part_is_the_clusters_or_a_streams() -> None:
    others = {one.operation for one in BROKER_ROUTES if one not in (*OF_STREAMS, *OF_THE_CLUSTER)}
    assert others == LISTED
    assert len(OF_THE_CLUSTER) > len(OF_STREAMS) > 0


@pytest.mark.parametrize("route", OF_THE_CLUSTER, ids=ids)
def test_a_tenants_administrator_opens_no_door_of_the_cluster(world: Realm, route: Route) -> None:
    before = world.plane.digests
    result = world.as_(world.token("alice"), route.method, path_of(route))
    assert refused(result) == (403, "forbidden")
    assert world.plane.digests == before


@pytest.mark.parametrize("stream", ["invoices", "gone", "none"])
@pytest.mark.parametrize("route", OF_STREAMS, ids=ids)
def test_a_stream_of_another_tenant_is_closed_whether_or_not_it_is_there(
    world: Realm, route: Route, stream: str
) -> None:
    before = world.plane.digests
    path = path_of(route).replace("acme", "globex").replace("invoices", stream)
    body = {"target_broker": "b1"} if route.operation == "transfer_shard" else {}
    result = world.as_(world.token("alice"), route.method, path, json=body)
    assert refused(result) == (401, "unauthorized")  # globex' keys have not signed the token
    assert world.plane.digests == before


@pytest.mark.parametrize("route", OF_STREAMS, ids=ids)
def test_who_may_only_publish_moves_and_deletes_nothing(world: Realm, route: Route) -> None:
    world.allow(world.principal("bob"), ("stream.publish", "stream:acme/billing/*"))
    before = world.plane.digests
    path = path_of(route)
    body = {"target_broker": "b1"} if route.operation == "transfer_shard" else {}
    result = world.as_(world.token("bob"), route.method, path, json=body)
    if route.method == "GET":
        assert result.status_code == 200
    else:
        assert refused(result) == (403, "forbidden")
    assert world.plane.digests == before
