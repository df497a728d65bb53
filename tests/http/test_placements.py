"""Who holds which shard, plans, moves and bridges; and who may touch them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from felix.proto.brokers import StreamName
from felix.proto.commands import CreateNamespace, CreateStream
from felix.proto.permissions import OPERATOR_TENANT
from felix.proto.placement_commands import RegisterBroker
from felix.proto.resources import StreamSpec
from tests.http.helpers import (
    INVOICES,
    STREAM,
    STREAMS,
    Client,
    empty_client,
    filled_client,
    placed_client,
    refused,
    register,
)
from tests.http.realm import Realm, realm

MOVES = "/v1/shard-moves"
REBALANCE = "/v1/placement/rebalance"
BRIDGE = "/v1/bridges/east-west"


def shards(client: Client, stream: str = INVOICES) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"{stream}/placement").json["placements"]
    return found


def uneven() -> Client:
    """All four shards are on one broker, and another one has come."""
    client, _ = placed_client("b1")
    register(client, "b2")
    return client


def replicated() -> tuple[Client, str, str]:
    """A stream of one shard with two copies: who leads it, and who follows."""
    client, plane = placed_client("b1", "b2")
    body = STREAM | {"stream": "two", "shards": 1, "replication_factor": 2}
    assert client.post(STREAMS, body).status_code == 201
    plane.place_shards()
    (shard,) = shards(client, f"{STREAMS}/two")
    return client, shard["leader"], shard["replicas"][0]


def order(client: Client, **also: Any) -> Any:
    body = {"tenant_id": "acme", "namespace": "billing", "stream": "invoices", "shard_id": 0}
    return client.post(MOVES, body | {"from_broker": "b1", "to_broker": "b2"} | also)


# --- placements -----------------------------------------------------------------------------------


def test_a_placement_says_everything_of_every_shard() -> None:
    client, _ = placed_client("b1")
    found = client.get(f"{INVOICES}/placement")
    assert [one["shard_id"] for one in found.json["placements"]] == [0, 1, 2, 3]
    assert found.json["placements"][0] == {
        "shard_id": 0, "leader": "b1", "replicas": [], "in_sync": ["b1"], "generation": 1,
        "is_fenced": False, "reason": "",
    }  # fmt: skip
    assert found.headers["ETag"] == f'"{found.json["version"]}"'


def test_a_stream_that_is_not_placed_has_none_and_the_plan_says_why() -> None:
    client = filled_client()
    assert refused(client.get(f"{INVOICES}/placement")) == (404, "not_found")
    plan = client.get("/v1/placement/plan").json
    assert {one["stream"] for one in plan["unplaced"]} == {"invoices"}
    assert all(one["why"] for one in plan["unplaced"])


def test_placements_are_listed_by_broker_and_by_what_they_lack() -> None:
    client, _ = placed_client("b1")
    register(client, "b2")

    def listed(**query: str) -> list[str]:
        return [one["stream"] for one in client.get("/v1/placements", **query).json["items"]]

    assert listed() == listed(broker="b1") == ["invoices"]
    assert listed(broker="b2") == listed(incomplete="true") == []
    epoch = client.get("/v1/brokers/b1").json["broker"]["broker_epoch"]
    client.post("/v1/brokers/b1/deregister", {"broker_epoch": epoch})
    assert listed(incomplete="true") == ["invoices"]


# --- plans ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [REBALANCE, f"{INVOICES}/rebalance"])
def test_a_dry_run_changes_nothing(path: str) -> None:
    client = uneven()
    before = client.log()
    plan = client.post(path, {"dry_run": True})
    assert (plan.status_code, plan.json["plan_id"]) == (200, "")
    assert len(plan.json["moves"]) == 2
    assert {(one["from_broker"], one["to_broker"]) for one in plan.json["moves"]} == {("b1", "b2")}
    assert (plan.json["before"]["copies_spread"], plan.json["after"]["copies_spread"]) == (4, 0)
    assert client.log() == before
    assert client.get(MOVES).json["items"] == []


@pytest.mark.parametrize("path", [REBALANCE, f"{INVOICES}/rebalance"])
def test_a_plan_is_carried_out_and_cancelled(path: str) -> None:
    client = uneven()
    looked_at = client.post(path, {"dry_run": True}).json
    started = client.post(path, {"base_version": looked_at["base_version"]})
    assert started.status_code == 202
    assert started.json["moves"] == looked_at["moves"]
    plan_id = started.json["plan_id"]
    assert started.headers["Location"] == f"{MOVES}?plan={plan_id}"
    moves = client.get(MOVES, plan=plan_id).json["items"]
    assert [one["status"] for one in moves] == ["waiting", "waiting"]
    assert client.get(MOVES, broker="b2", under_way="true").json["items"] == moves
    assert client.delete(f"/v1/placement/plans/{plan_id}").status_code == 204
    assert client.get(MOVES, under_way="true").json["items"] == []
    assert {one["status"] for one in client.get(MOVES).json["items"]} == {"cancelled"}
    assert refused(client.delete("/v1/placement/plans/none")) == (404, "not_found")


@pytest.mark.parametrize("path", [REBALANCE, f"{INVOICES}/rebalance"])
def test_a_plan_that_is_stale_is_refused_with_what_has_changed(path: str) -> None:
    client = uneven()
    looked_at = client.post(path, {"dry_run": True}).json["base_version"]
    register(client, "b3")
    stale = client.post(path, {"base_version": looked_at})
    assert refused(stale) == (409, "conflict")
    details = {"reason": "stale_plan", "changed": "Broker b3", "version": looked_at + 1}
    assert stale.json["details"] == details
    assert "plan again" in stale.json["message"]
    assert client.get(MOVES).json["items"] == []


@pytest.mark.parametrize("path", [REBALANCE, f"{INVOICES}/rebalance"])
def test_writes_that_a_plan_does_not_rest_on_do_not_make_it_stale(path: str) -> None:
    client = uneven()
    plan = client.post(path, {"dry_run": True}).json
    client.post("/v1/tenants", {"tenant_id": "other", "display_name": ""})
    client.post(STREAMS, STREAM | {"stream": "not-placed"})
    client.post("/v1/placement/pause", {"reason": "an upgrade"})
    started = client.post(path, {"base_version": plan["base_version"]})
    assert started.status_code == 202, started.text
    assert (started.json["base_version"], started.json["moves"]) == (
        plan["base_version"],
        plan["moves"],
    )


def test_a_placement_of_another_stream_makes_stale_what_is_about_all_and_nothing_else() -> None:
    client, plane = placed_client("b1")
    register(client, "b2")
    looked_at = client.post(REBALANCE, {"dry_run": True}).json["base_version"]
    client.post(STREAMS, STREAM | {"stream": "another", "shards": 1})
    plane.place_shards()
    stale = client.post(REBALANCE, {"base_version": looked_at})
    assert stale.json["details"]["changed"] == "ShardPlacement acme/billing/another"
    assert client.post(f"{INVOICES}/rebalance", {"base_version": looked_at}).status_code == 202


def test_where_there_is_nothing_to_do_nothing_is_done() -> None:
    client, _ = placed_client("b1", "b2")
    before = client.log()
    answer = client.post(REBALANCE, {})
    assert (answer.status_code, answer.json["plan_id"], answer.json["moves"]) == (200, "", [])
    assert client.log() == before


def test_a_stream_that_is_not_there_is_not_rebalanced() -> None:
    client, _ = placed_client("b1")
    assert refused(client.post(f"{STREAMS}/none/rebalance", {})) == (404, "not_found")


def test_a_pause_shows_its_reason_and_leaves_operators_their_orders() -> None:
    client = uneven()
    assert client.post("/v1/placement/pause", {"reason": "an upgrade"}).status_code == 204
    found = client.get("/v1/placement/plan").json
    assert (found["is_paused"], found["paused_reason"]) == (True, "an upgrade")
    assert client.post(REBALANCE, {}).status_code == 202
    assert client.post("/v1/placement/resume", {}).status_code == 204
    found = client.get("/v1/placement/plan").json
    assert (found["is_paused"], found["paused_reason"]) == (False, "")


# --- moves ----------------------------------------------------------------------------------------


def test_one_copy_is_moved_and_taken_back() -> None:
    client = uneven()
    started = order(client)
    assert started.status_code == 202
    (move,) = client.get(MOVES).json["items"]
    assert (move["kind"], move["reason"], move["status"]) == ("replica", "operator", "waiting")
    again = order(client)
    assert refused(again) == (409, "conflict")
    assert again.json["details"] == {"reason": "under_way"}
    path = f"{MOVES}/{move['move_id']}"
    assert client.delete(path).status_code == 204
    over = client.delete(path)
    assert refused(over) == (409, "conflict")
    assert over.json["details"] == {"reason": "over"}
    assert refused(client.delete(f"{MOVES}/none")) == (404, "not_found")


@pytest.mark.parametrize(
    ("also", "status", "reason"),
    [
        ({"from_broker": "b2", "to_broker": "b1"}, 409, "no_such_copy"),
        ({"to_broker": "b9"}, 404, None),
        ({"shard_id": 4}, 404, None),
        ({"stream": "none"}, 404, None),
    ],
)
def test_what_cannot_be_moved_is_refused(
    also: dict[str, object], status: int, reason: str | None
) -> None:
    client = uneven()
    result = order(client, **also)
    assert result.status_code == status, result.text
    assert result.json.get("details", {}).get("reason") == reason
    assert client.get(MOVES).json["items"] == []


def test_a_broker_that_is_to_be_empty_receives_nothing() -> None:
    client = uneven()
    client.post("/v1/brokers/b2/drain", {})
    result = order(client)
    assert refused(result) == (409, "conflict")
    assert result.json["details"] == {"reason": "target_refused"}


def test_an_order_given_on_what_has_changed_is_refused() -> None:
    client = uneven()
    body = {"tenant_id": "acme", "namespace": "billing", "stream": "invoices", "shard_id": 0}
    body |= {"from_broker": "b1", "to_broker": "b2"}
    stale = client.request("POST", MOVES, json=body, params={"base_version": "1"})
    assert refused(stale) == (409, "conflict")
    assert stale.json["details"]["reason"] == "stale_plan"
    assert stale.json["details"]["changed"] == "ShardPlacement acme/billing/invoices"


def test_an_order_repeated_with_its_key_is_one_order() -> None:
    client = uneven()
    body = {"tenant_id": "acme", "namespace": "billing", "stream": "invoices", "shard_id": 0}
    body |= {"from_broker": "b1", "to_broker": "b2"}
    first = client.post(MOVES, body, {"Idempotency-Key": "k"})
    client.post(STREAMS, STREAM | {"stream": "another"})
    second = client.post(MOVES, body, {"Idempotency-Key": "k"})
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json["plan_id"] == second.json["plan_id"]
    assert len(client.get(MOVES).json["items"]) == 1


def test_leadership_is_transferred_to_a_copy_and_to_nobody_else() -> None:
    client, leader, follower = replicated()
    path = f"{STREAMS}/two/shards/0/transfer"
    before = client.log()
    already = client.post(path, {"target_broker": leader})
    assert (already.status_code, already.json["moves"]) == (200, [])
    assert client.log() == before
    register(client, "b3")
    stranger = client.post(path, {"target_broker": "b3"})
    assert refused(stranger) == (409, "conflict")
    assert stranger.json["details"] == {"reason": "no_such_copy"}
    started = client.post(path, {"target_broker": follower})
    assert started.status_code == 202
    (move,) = started.json["moves"]
    assert (move["kind"], move["from_broker"], move["to_broker"]) == ("leader", leader, follower)
    for shard in ("1", "x", "-1", "99999"):
        missing = client.post(path.replace("/0/", f"/{shard}/"), {"target_broker": follower})
        assert refused(missing) == (404, "not_found")


# --- bridges --------------------------------------------------------------------------------------


def test_a_bridge_is_made_changed_and_forgotten() -> None:
    client = filled_client()
    stream = {"tenant_id": "acme", "namespace": "billing", "stream": "invoices"}
    body: dict[str, Any] = {"source_region": "east", "target_region": "west", "streams": [stream]}
    made = client.request("PUT", BRIDGE, json=body)
    assert (made.status_code, made.json["streams"]) == (200, ["acme/billing/invoices"])
    assert client.get(BRIDGE).json == made.json
    assert client.get("/v1/bridges").json["items"] == [made.json]
    changed = client.request("PUT", BRIDGE, json=body | {"streams": []})
    assert changed.json["version"] > made.json["version"]
    stale = client.delete(BRIDGE, {"If-Match": made.headers["ETag"]})
    assert refused(stale) == (412, "precondition_failed")
    assert client.delete(BRIDGE, {"If-Match": changed.headers["ETag"]}).status_code == 204
    assert refused(client.get(BRIDGE)) == (404, "not_found")


def test_a_bridge_for_a_stream_that_is_not_there_is_refused() -> None:
    stream = {"tenant_id": "acme", "namespace": "billing", "stream": "none"}
    body = {"source_region": "east", "target_region": "west", "streams": [stream]}
    assert refused(empty_client().request("PUT", BRIDGE, json=body)) == (404, "not_found")


# --- who may --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world() -> Iterator[Realm]:
    """Two brokers, all shards of a stream of acme on the first one."""
    with realm() as made:
        spec = StreamSpec(shards=4)
        name = StreamName("acme", "billing", "invoices")
        made.apply(RegisterBroker(broker_id="b1", address="h1:1", boot_id="1"))
        made.apply(CreateNamespace(tenant_id=name.tenant_id, namespace=name.namespace))
        made.apply(CreateStream(**msgspec.structs.asdict(name), spec=spec))
        made.plane.place_shards()
        made.apply(RegisterBroker(broker_id="b2", address="h2:1", boot_id="1"))
        yield made


def test_a_tenant_administrator_sees_and_rebalances_its_own_streams(world: Realm) -> None:
    alice = world.token("alice")
    placed = world.as_(alice, "GET", f"{INVOICES}/placement")
    assert placed.json["placements"][0]["leader"] == "b1"
    plan = world.as_(alice, "POST", f"{INVOICES}/rebalance", json={"dry_run": True})
    assert (plan.status_code, len(plan.json["moves"])) == (200, 2)
    path = f"{INVOICES}/shards/0/transfer"
    assert world.as_(alice, "POST", path, json={"target_broker": "b1"}).status_code == 200


def test_an_operator_sees_brokers_and_moves(world: Realm) -> None:
    olga = world.token("olga", tenant=OPERATOR_TENANT)
    for path in ("/v1/brokers", "/v1/placements", MOVES, "/v1/placement/plan", "/v1/bridges"):
        assert world.as_(olga, "GET", path).status_code == 200


def test_who_may_do_nothing_sees_no_placement(world: Realm) -> None:
    result = world.as_(world.powerless(), "GET", f"{INVOICES}/placement")
    assert refused(result) == (403, "forbidden")
