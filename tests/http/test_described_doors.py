"""What the OpenAPI document says of who may come in is the table's, and is what happens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from falcon.testing import Result

from felix.http.identity_routes import BOOTSTRAP
from felix.http.openapi import OPENAPI_PATH
from felix.http.route import Door
from felix.http.routes import ROUTES
from tests.http.helpers import refused
from tests.http.realm import Realm, realm

DOORS: Final[tuple[Door, ...]] = (*ROUTES, BOOTSTRAP)
CLOSED: Final = [route for route in ROUTES if route.access.kind != "open"]
WAYS: Final[dict[str, list[dict[str, list[str]]]]] = {
    "open": [],
    "caller": [{"felixToken": []}],
    "upstream": [{"idpToken": []}],
    "feed": [{"felixToken": []}, {"brokerPassword": []}],
    "bootstrap": [{"bootstrapToken": []}],
}
ANSWER_EVERYONE_WITH_A_TOKEN: Final = {
    "list_tenants": 200, "list_shard_moves": 200, "can_i": 400, "explain": 400
}  # fmt: skip


@pytest.fixture(scope="module")
def world() -> Iterator[Realm]:
    """A realm that none of these requests changes."""
    with realm() as made:
        yield made


@pytest.fixture(scope="module")
def document(world: Realm) -> dict[str, Any]:
    found: dict[str, Any] = world.client.get(OPENAPI_PATH).json
    return found


def operation_of(document: dict[str, Any], door: Door) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"][door.path][door.method.lower()]
    return found


def asked(world: Realm, door: Door, token: str | None) -> Result:
    names = {"tenant_id": "acme", "namespace": "billing"}
    path = re.sub(r"{(\w+)}", lambda field: names.get(field[1], "0123456789ab"), door.path)
    return world.as_(token, door.method, path)


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.operation)
def test_the_document_asks_for_what_the_table_asks_for(
    document: dict[str, Any], door: Door
) -> None:
    operation = operation_of(document, door)
    assert operation["security"] == WAYS[door.access.kind]
    answers = operation["responses"]
    assert "429" in answers
    if door.access.kind != "open":
        assert {"401", "403"} <= answers.keys()
        assert answers["401"]["headers"]["WWW-Authenticate"]["required"]


def test_every_way_in_is_explained(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert {name for ways in WAYS.values() for way in ways for name in way} == schemes.keys()
    kinds = {name: (one["type"], one.get("scheme") or one["name"]) for name, one in schemes.items()}
    assert kinds == {
        "felixToken": ("http", "bearer"),
        "idpToken": ("http", "bearer"),
        "brokerPassword": ("http", "basic"),
        "bootstrapToken": ("apiKey", "X-Felix-Bootstrap-Token"),
    }


@pytest.mark.parametrize("route", CLOSED, ids=lambda route: route.operation)
def test_nobody_is_let_in_without_a_token(world: Realm, route: Door) -> None:
    result = asked(world, route, None)
    assert refused(result) == (401, "unauthorized")
    challenges = result.headers["WWW-Authenticate"]
    assert challenges.startswith("Bearer")
    assert ("Basic" in challenges) == (route.access.kind == "feed")


@pytest.mark.parametrize("route", CLOSED, ids=lambda route: route.operation)
def test_a_token_without_rights_is_turned_away_and_told_so(world: Realm, route: Door) -> None:
    token = world.powerless() if route.access.kind != "upstream" else world.idp.token("nobody")
    result = asked(world, route, token)
    expected = ANSWER_EVERYONE_WITH_A_TOKEN.get(route.operation, 403)
    assert result.status_code == expected, result.text
    assert "WWW-Authenticate" not in result.headers
    if expected == 403:
        assert refused(result) == (403, "forbidden")


@pytest.mark.parametrize(
    "route", [one for one in ROUTES if one.access.is_open], ids=lambda route: route.operation
)
def test_an_open_door_asks_nobody(world: Realm, route: Door) -> None:
    result = asked(world, route, None)
    assert result.status_code not in {401, 403}, result.text
