"""`/v1/brokers`: registration, health, drain, and how a broker goes."""

from __future__ import annotations

import pytest

from tests.http.helpers import (
    BROKERS,
    INVOICES,
    Client,
    empty_client,
    placed_client,
    refused,
    register,
)

NEW = {"broker_id": "b1", "address": "10.0.0.1:7000", "boot_id": "first"}


def epoch_of(client: Client, broker_id: str) -> int:
    epoch: int = client.get(f"{BROKERS}/{broker_id}").json["broker"]["broker_epoch"]
    return epoch


def names(client: Client, **query: str) -> list[str]:
    return [one["broker"]["broker_id"] for one in client.get(BROKERS, **query).json["items"]]


def stop(client: Client, broker_id: str) -> None:
    body = {"broker_epoch": epoch_of(client, broker_id)}
    answer = client.post(f"{BROKERS}/{broker_id}/deregister", body)
    assert (answer.status_code, answer.json["status"]) == (200, "down")


# --- registration ---------------------------------------------------------------------------------


def test_a_broker_registers_and_is_read_back_whole() -> None:
    client = empty_client()
    created = client.post(
        BROKERS, NEW | {"region": "eu", "availability_zone": "eu-1", "capacity": {"max_shards": 9}}
    )
    assert created.status_code == 201
    assert created.headers["Location"] == "/v1/brokers/b1"
    assert created.headers["ETag"] == '"1"'
    read = client.get("/v1/brokers/b1")
    assert read.json["broker"] == created.json
    assert read.headers["ETag"] == created.headers["ETag"]
    assert created.json["capacity"] == {"max_shards": 9, "max_connections": None}
    assert (created.json["status"], created.json["broker_epoch"]) == ("active", 1)


@pytest.mark.parametrize(
    ("body", "made"),
    [({"metadata": {"pod_name": "felix-7"}}, "felix-7"), ({"address": "host-3:7000"}, "host-3")],
)
def test_auto_makes_an_id(body: dict[str, object], made: str) -> None:
    created = empty_client().post(BROKERS, NEW | {"broker_id": "auto"} | body)
    assert (created.status_code, created.json["broker_id"]) == (201, made)
    assert created.headers["Location"] == f"/v1/brokers/{made}"


def test_an_id_that_a_live_process_holds_is_refused_with_its_address() -> None:
    client = empty_client()
    client.post(BROKERS, NEW)
    second = client.post(BROKERS, NEW | {"address": "10.0.0.2:7000", "boot_id": "second"})
    assert refused(second) == (409, "conflict")
    assert second.json["details"] == {
        "reason": "id_taken", "address": "10.0.0.1:7000", "broker_epoch": 1,
    }  # fmt: skip


def test_the_same_boot_may_register_again_and_the_next_boot_has_another_epoch() -> None:
    client = empty_client()
    first = client.post(BROKERS, NEW).json
    assert client.post(BROKERS, NEW).json == first
    second = client.post(BROKERS, NEW | {"boot_id": "second"}).json
    assert second["broker_epoch"] > first["broker_epoch"]


@pytest.mark.parametrize("missing", sorted(NEW))
def test_a_broker_without_what_it_needs_is_refused(missing: str) -> None:
    body = {name: value for name, value in NEW.items() if name != missing}
    assert refused(empty_client().post(BROKERS, body)) == (422, "unprocessable")


# --- lists and health -----------------------------------------------------------------------------


def test_the_list_takes_filters() -> None:
    client = empty_client()
    register(client, "b1", region="eu", availability_zone="eu-1")
    register(client, "b2", region="eu", availability_zone="eu-2")
    register(client, "c1", region="us", availability_zone="us-1")
    stop(client, "b2")
    assert names(client) == ["b1", "b2", "c1"]
    assert names(client, filter="b*") == ["b1", "b2"]
    assert names(client, status="down") == ["b2"]
    assert names(client, region="eu") == ["b1", "b2"]
    assert names(client, availability_zone="us-1") == ["c1"]
    assert refused(client.get(BROKERS, status="well")) == (400, "validation_error")
    page = client.get(BROKERS, page_size=2).json
    following = client.get(BROKERS, page_size=2, page_token=page["next_page_token"]).json
    assert [len(page["items"]), len(following["items"])] == [2, 1]


def test_a_heartbeat_is_shown_and_one_that_is_not_well_gets_no_shards() -> None:
    client, _ = placed_client("b1")
    path = f"{BROKERS}/b1"
    assert client.get(path).json["health"]["heard_ms_ago"] is None
    body = {
        "broker_epoch": epoch_of(client, "b1"),
        "status": {"healthy": False, "message": "the disk is full"},
        "metrics": {"connections": 7},
        "applied_version": 3,
        "applied_epoch": 1,
    }
    ack = client.post(f"{path}/health", body)
    assert ack.status_code == 200
    assert ack.json.keys() == {
        "term", "version", "interval_ms", "status", "drain", "wants_all_shards",
    }  # fmt: skip
    health = client.get(path).json["health"]
    assert health["heard_ms_ago"] >= 0
    assert health["status"] == {
        "healthy": False, "message": "the disk is full", "uptime_seconds": 0,
    }  # fmt: skip
    assert (health["metrics"]["connections"], health["applied_version"]) == (7, 3)
    assert (health["copies"], health["leads"]) == (4, 4)
    assert not health["accepts_shards"]
    assert "the disk is full" in health["why_not"]
    (listed,) = client.get(BROKERS).json["items"]
    assert listed["health"]["why_not"] == health["why_not"]


def test_a_heartbeat_of_another_boot_is_fenced() -> None:
    client = empty_client()
    register(client, "b1")
    old = client.post(f"{BROKERS}/b1/health", {"broker_epoch": 99})
    assert refused(old) == (409, "broker_fenced")
    assert refused(client.post(f"{BROKERS}/b2/health", {"broker_epoch": 1})) == (404, "not_found")


def test_the_version_of_a_broker_read_is_that_of_the_catalog() -> None:
    client, plane = placed_client("b1")
    for path in (BROKERS, f"{BROKERS}/b1"):
        assert client.get(path).headers["X-Felix-Version"] == str(plane.catalog.version)
        assert "X-Felix-Age-Ms" in client.get(path, consistency="stale").headers


# --- changes --------------------------------------------------------------------------------------


def test_a_patch_changes_what_it_names_if_the_version_is_right() -> None:
    client = empty_client()
    register(client, "b1", region="eu", metadata={"rack": "1"})
    stale = client.patch(f"{BROKERS}/b1", {"region": "us"}, {"If-Match": '"7"'})
    assert refused(stale) == (412, "precondition_failed")
    body = {"availability_zone": "eu-9", "capacity": {"max_shards": 3}}
    changed = client.patch(f"{BROKERS}/b1", body, {"If-Match": '"1"'})
    assert changed.status_code == 200
    assert changed.json["availability_zone"] == "eu-9"
    assert changed.json["capacity"]["max_shards"] == 3
    assert (changed.json["region"], changed.json["metadata"]) == ("eu", {"rack": "1"})
    assert changed.headers["ETag"] == f'"{changed.json["version"]}"' != '"1"'


def test_a_drain_lasts_until_it_is_cancelled() -> None:
    client, _ = placed_client("b1", "b2")
    drained = client.post(f"{BROKERS}/b1/drain", {})
    assert (drained.status_code, drained.json["status"]) == (202, "draining")
    again = client.post(BROKERS, {**drained.json, "boot_id": "next", "metadata": {}})
    assert (again.json["status"], again.json["drain"]) == ("draining", True)
    assert not client.get(f"{BROKERS}/b1").json["health"]["accepts_shards"]
    plan = client.get("/v1/placement/plan").json["plan"]
    assert plan["reason"] == "drain"
    assert {move["from_broker"] for move in plan["moves"]} == {"b1"}
    back = client.delete(f"{BROKERS}/b1/drain")
    assert (back.status_code, back.json["status"], back.json["drain"]) == (200, "active", False)


def test_a_broker_that_deregisters_is_down_at_once_and_its_id_is_free() -> None:
    client = empty_client()
    register(client, "b1")
    late = client.post(f"{BROKERS}/b1/deregister", {"broker_epoch": 99})
    assert refused(late) == (409, "broker_fenced")
    stop(client, "b1")
    elsewhere = client.post(BROKERS, NEW | {"boot_id": "elsewhere"})
    assert (elsewhere.status_code, elsewhere.json["status"]) == (201, "active")


# --- the end --------------------------------------------------------------------------------------


def test_a_broker_that_is_up_or_holds_copies_is_not_forgotten() -> None:
    client, _ = placed_client("b1")
    up = client.delete(f"{BROKERS}/b1")
    assert refused(up) == (409, "conflict")
    assert up.json["details"] == {"reason": "not_down", "status": "active"}
    stop(client, "b1")
    holding = client.delete(f"{BROKERS}/b1")
    assert refused(holding) == (409, "conflict")
    assert holding.json["details"] == {"reason": "holds_copies", "copies": 4}
    assert client.delete(f"{BROKERS}/b1", abandon="true").status_code == 204
    assert refused(client.get(f"{BROKERS}/b1")) == (404, "not_found")


def test_an_empty_broker_that_is_down_is_forgotten_if_the_version_is_right() -> None:
    client = empty_client()
    register(client, "b1")
    stop(client, "b1")
    stale = client.delete(f"{BROKERS}/b1", {"If-Match": '"1"'})
    assert refused(stale) == (412, "precondition_failed")
    assert client.delete(f"{BROKERS}/b1").status_code == 204
    assert names(client) == []


def test_a_shard_is_abandoned_only_while_nobody_leads_it() -> None:
    client, _ = placed_client("b1")
    path = f"{INVOICES}/shards/0/abandon"
    served = client.post(path, {})
    assert refused(served) == (409, "conflict")
    assert served.json["details"] == {"reason": "has_leader", "leader": "b1"}
    stop(client, "b1")
    (first, *_) = client.get(f"{INVOICES}/placement").json["placements"]
    assert (first["leader"], first["replicas"]) == ("", ["b1"])
    assert first["reason"]
    (first, *others) = client.post(path, {}).json["placements"]
    assert (first["leader"], first["replicas"]) == ("", [])
    assert all(one["replicas"] == ["b1"] for one in others)
