"""`/v1/config` and `/v1/feature-flags`: settings of the whole cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.http.helpers import Client, empty_client, refused
from tests.http.realm import Realm, realm

CONFIG = "/v1/config"
MOVES = f"{CONFIG}/placement.moves_per_broker"
IDLE = f"{CONFIG}/broker.idle_timeout"
FLAGS = "/v1/feature-flags"
FLAG = f"{FLAGS}/zero-copy"
NEW_IDLE = {"value": "5m", "type": "duration", "description": "Idle clients", "minimum": 1000}


def put(client: Client, path: str, body: object, headers: dict[str, str] | None = None) -> Any:
    return client.request("PUT", path, json=body, headers=headers)


def test_the_list_has_our_own_settings_whether_they_are_set_or_not() -> None:
    client = empty_client()
    items = client.get(CONFIG).json["items"]
    assert [one["name"] for one in items] == [
        "placement.moves_per_broker",
        "placement.rebuild_after",
    ]
    assert items[0] | {"description": ""} == {
        "name": "placement.moves_per_broker", "type": "int", "value": None, "description": "",
        "minimum": 1, "maximum": 100, "choices": [], "version": 0, "created_version": 0,
        "created_at": None, "updated_at": None,
    }  # fmt: skip
    assert client.get(MOVES).json == items[0]
    put(client, IDLE, NEW_IDLE)
    put(client, MOVES, {"value": 8})
    items = client.get(CONFIG).json["items"]
    assert [one["value"] for one in items] == [300_000, 8, None]


def test_a_setting_is_set_read_and_given_back() -> None:
    client = empty_client()
    made = put(client, MOVES, {"value": 8})
    assert (made.status_code, made.headers["ETag"]) == (200, '"1"')
    assert client.get(MOVES).json == made.json
    assert client.delete(MOVES).status_code == 204
    assert client.get(MOVES).json["value"] is None
    assert refused(client.delete(MOVES)) == (404, "not_found")


def test_a_setting_of_brokers_is_described_once_and_then_only_set() -> None:
    client = empty_client()
    assert refused(client.get(IDLE)) == (404, "not_found")
    assert refused(put(client, IDLE, {"value": "5m"})) == (404, "not_found")
    assert put(client, IDLE, NEW_IDLE).json["value"] == 300_000
    changed = put(client, IDLE, {"value": "90s"}).json
    assert (changed["value"], changed["minimum"], changed["type"]) == (90_000, 1000, "duration")
    answer = put(client, IDLE, {"value": "soon"})
    assert refused(answer) == (409, "conflict")
    assert answer.json["details"] == {"reason": "value", "pointer": "/value"}


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (f"{CONFIG}/placement.moves", {"value": 1}, 404, "not_found"),
        (MOVES, {"value": 0}, 400, "validation_error"),
        (MOVES, {"value": "8"}, 400, "validation_error"),
        (MOVES, {"value": 1, "type": "int", "description": "x"}, 400, "validation_error"),
        (MOVES, {}, 422, "unprocessable"),
        (MOVES, {"value": None}, 422, "unprocessable"),
        (MOVES, {"value": 1.5}, 422, "unprocessable"),
        (MOVES, {"value": [8]}, 422, "unprocessable"),
        (IDLE, {"value": 10**30}, 400, "validation_error"),
        (IDLE, NEW_IDLE | {"maximum": 10**30}, 400, "validation_error"),
        (IDLE, NEW_IDLE | {"type": "float"}, 422, "unprocessable"),
        (IDLE, NEW_IDLE | {"description": None}, 422, "unprocessable"),
        (IDLE, {"value": 1, "minimum": 1}, 422, "unprocessable"),
        (f"{CONFIG}/broker.%00", NEW_IDLE, 400, "validation_error"),
        (FLAG, {"enabled": True}, 404, "not_found"),
        (FLAG, {"enabled": 1}, 422, "unprocessable"),
        (FLAG, {"description": "x"}, 422, "unprocessable"),
        (FLAG, {"enabled": True, "description": ""}, 400, "validation_error"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    path: str, body: object, status: int, code: str
) -> None:
    client = empty_client()
    before = client.metadata()
    assert refused(put(client, path, body)) == (status, code)
    assert client.metadata() == before


def test_a_flag_is_made_switched_and_forgotten() -> None:
    client = empty_client()
    made = put(client, FLAG, {"enabled": False, "description": "Send without copies"})
    assert (made.status_code, made.json["enabled"]) == (200, False)
    on = put(client, FLAG, {"enabled": True})
    assert (on.json["enabled"], on.json["description"]) == (True, "Send without copies")
    assert client.get(FLAG).json == client.get(FLAGS).json["items"][0] == on.json
    assert client.delete(FLAG).status_code == 204
    assert refused(client.get(FLAG)) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "first", "second"),
    [
        (MOVES, {"value": 8}, {"value": 9}),
        (FLAG, {"enabled": True, "description": "x"}, {"enabled": False}),
    ],
)
def test_writes_take_preconditions_and_idempotency_keys(
    path: str, first: object, second: object
) -> None:
    client = empty_client()
    key = {"Idempotency-Key": "once", "If-Match": '"0"'}
    once = put(client, path, first, headers=key)
    assert put(client, path, first, headers=key).json == once.json
    stale = {"If-Match": '"7"'}
    assert refused(put(client, path, second, headers=stale)) == (412, "precondition_failed")
    assert refused(client.delete(path, headers=stale)) == (412, "precondition_failed")
    assert put(client, path, second, headers={"If-Match": '"1"'}).status_code == 200


def test_whoever_watches_sees_them_change_and_snapshots_have_them() -> None:
    client = empty_client()
    put(client, IDLE, NEW_IDLE)
    put(client, FLAG, {"enabled": True, "description": "x"})
    client.delete(FLAG)
    updates = client.get("/v1/metadata/watch", from_version=0).json["updates"]
    assert [(one["type"], one["kind"]) for one in updates] == [
        ("CREATE", "ClusterSetting"), ("CREATE", "FeatureFlag"), ("DELETE", "FeatureFlag"),
    ]  # fmt: skip
    assert updates[0]["payload"]["value"] == 300_000
    metadata = client.get("/v1/metadata/snapshot").json["metadata"]
    assert [one["name"] for one in metadata["settings"]] == ["broker.idle_timeout"]
    assert metadata["feature_flags"] == []
    metadata = client.get("/v1/metadata/snapshot", version=2).json["metadata"]
    assert [one["name"] for one in metadata["feature_flags"]] == ["zero-copy"]


# --- who may --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world() -> Iterator[Realm]:
    with realm() as found:
        yield found


@pytest.mark.parametrize("path", [CONFIG, MOVES, FLAGS, FLAG])
def test_only_operators_see_them(world: Realm, path: str) -> None:
    assert world.as_(None, "GET", path).status_code == 401
    assert world.as_(world.token("alice"), "GET", path).status_code == 403


@pytest.mark.parametrize(
    ("path", "body"), [(MOVES, {"value": 8}), (FLAG, {"enabled": True, "description": "x"})]
)
def test_only_operators_change_them_and_the_trail_says_who(
    world: Realm, path: str, body: object
) -> None:
    alice, olga = world.token("alice"), world.token("olga", tenant="felix-operators")
    assert world.as_(alice, "PUT", path, json=body).status_code == 403
    assert world.as_(olga, "PUT", path, json=body).status_code == 200
    assert world.as_(alice, "DELETE", path).status_code == 403
    assert world.as_(olga, "DELETE", path).status_code == 204
    records = world.as_(olga, "GET", "/v1/audit").json["items"]
    name = path.rpartition("/")[2]
    mine = [one for one in records if f":{name}" in one["object"] and one["result"] == "success"]
    said = {"placement.moves_per_broker": "setting:placement.moves_per_broker 8"}
    put_as = said.get(name, "flag:zero-copy on")
    assert [one["object"] for one in mine] == [put_as.rpartition(" ")[0], put_as]
    assert {one["principal"] for one in mine} == {world.principal("olga")}
