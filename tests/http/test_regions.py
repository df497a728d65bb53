"""Regions and bridges: the one region of the contract, and where streams may live."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.helpers import (
    NAMESPACE,
    NAMESPACES,
    STREAM,
    STREAMS,
    TENANT,
    TENANTS,
    Client,
    client_of,
    refused,
    register,
)
from tests.support.local_control_plane import LocalControlPlane

BRIDGE = "/v1/bridges/eu-to-us"
ORDERS = f"{STREAMS}/orders"
NAMES = {"tenant_id": "acme", "namespace": "billing", "stream": "orders"}


@pytest.fixture
def plane() -> LocalControlPlane:
    return LocalControlPlane()


@pytest.fixture
def client(plane: LocalControlPlane) -> Client:
    """Two brokers in `eu`, one in `us`, and a namespace."""
    client = client_of(plane)
    for broker_id, region in (("e1", "eu"), ("e2", "eu"), ("u1", "us")):
        register(client, broker_id, region=region)
    assert client.post(TENANTS, TENANT).status_code == 201
    assert client.post(NAMESPACES, NAMESPACE).status_code == 201
    return client


def create(client: Client, *regions: str, copies: int = 2) -> Any:
    body = STREAM | {"stream": "orders", "shards": 2, "replication_factor": copies}
    return client.post(STREAMS, body | {"regions": list(regions)})


def copies(client: Client) -> list[set[str]]:
    shards = client.get(f"{ORDERS}/placement").json["placements"]
    return [{one["leader"], *one["replicas"]} for one in shards]


def bridge(client: Client) -> Any:
    body = {"source_region": "eu", "target_region": "us", "streams": [NAMES]}
    return client.request("PUT", BRIDGE, json=body)


def test_a_stream_says_its_regions_and_has_its_copies_there(
    client: Client, plane: LocalControlPlane
) -> None:
    made = create(client, "eu", copies=3)
    assert (made.status_code, made.json["regions"]) == (201, ["eu"])
    assert client.get(ORDERS).json == made.json
    plane.place_shards()
    assert copies(client) == [{"e1", "e2"}] * 2, "as many as there are brokers that may"


def test_without_regions_it_may_be_anywhere(client: Client, plane: LocalControlPlane) -> None:
    assert create(client, copies=3).json["regions"] == []
    plane.place_shards()
    assert copies(client) == [{"e1", "e2", "u1"}] * 2


def test_without_a_broker_in_its_regions_it_waits_and_the_plan_says_why(
    client: Client, plane: LocalControlPlane
) -> None:
    create(client, "asia")
    plane.place_shards()
    assert refused(client.get(f"{ORDERS}/placement")) == (404, "not_found")
    plan = client.get("/v1/placement/plan").json
    assert all("asia" in one["why"] for one in plan["unplaced"]), plan["unplaced"]
    register(client, "a1", region="asia")
    plane.place_shards()
    assert copies(client) == [{"a1"}] * 2


def test_a_bridge_lets_followers_and_no_leaders_be_in_the_other_region(
    client: Client, plane: LocalControlPlane
) -> None:
    create(client, "eu")
    plane.place_shards()
    first, second = client.get(f"{ORDERS}/placement").json["placements"]
    order = NAMES | {"shard_id": 0, "from_broker": first["replicas"][0], "to_broker": "u1"}
    refusal = client.post("/v1/shard-moves", order)
    assert refused(refusal) == (409, "conflict")
    assert refusal.json["details"]["reason"] == "target_refused"
    assert "kept in eu, not in us" in refusal.json["message"]
    assert bridge(client).status_code == 200
    assert client.post("/v1/shard-moves", order).status_code == 202
    lead = NAMES | {"shard_id": 1, "from_broker": second["leader"], "to_broker": "u1"}
    refusal = client.post("/v1/shard-moves", lead)
    assert refused(refusal) == (409, "conflict"), "what it took away would be the leader's copy"
    assert "led in eu, not in us" in refusal.json["message"]


def test_a_bridged_stream_is_placed_over_both_and_led_at_home(
    client: Client, plane: LocalControlPlane
) -> None:
    create(client, "eu", copies=3)
    bridge(client)
    plane.place_shards()
    assert copies(client) == [{"e1", "e2", "u1"}] * 2
    shards = client.get(f"{ORDERS}/placement").json["placements"]
    assert all(one["leader"] in {"e1", "e2"} for one in shards)


@pytest.mark.parametrize("regions", [[""], ["a b"], ["eu", "-"], ["x"] * 3 + ["/"]])
def test_regions_are_names(client: Client, regions: list[str]) -> None:
    answer = create(client, *regions)
    assert refused(answer) == (400, "validation_error")
    assert answer.json["details"]["pointer"].startswith("/regions/")


@pytest.mark.parametrize("regions", ["eu", [1], {"eu": 1}])
def test_regions_are_a_list_of_strings(client: Client, regions: Any) -> None:
    body = STREAM | {"regions": regions}
    assert refused(client.post(STREAMS, body)) == (422, "unprocessable")


def test_the_regions_of_the_contract_stay_what_they_are(client: Client) -> None:
    local = {"region_id": "local", "display_name": "Local Region"}
    assert client.get("/v1/regions").json == {"items": [local]}
    assert client.get("/v1/regions/local").json == local
    assert refused(client.get("/v1/regions/eu")) == (404, "not_found")
