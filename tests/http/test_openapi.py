"""The route table, the app and the OpenAPI document say the same."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from felix.http.desk import Desk
from felix.http.errors import STATUS_BY_CODE
from felix.http.identity_routes import BOOTSTRAP
from felix.http.openapi import OPENAPI_PATH
from felix.http.route import KEY, Route
from felix.http.routes import ROUTES
from felix.http.settings import HttpSettings
from felix.identity.gatekeeper import Gatekeeper
from felix.identity.settings import IdentitySettings
from tests.http.helpers import client_of, filled_client, placed_client
from tests.support.local_control_plane import LocalControlPlane

METHODS = ("get", "post", "patch", "delete", "put")
PATHS = sorted({route.path for route in ROUTES})
CONTRACT_ROUTES = """\
GET /v1/system/info
GET /v1/system/health
GET /v1/regions
GET /v1/regions/{}
GET /v1/tenants
POST /v1/tenants
DELETE /v1/tenants/{}
GET /v1/tenants/snapshot
GET /v1/tenants/changes
GET /v1/tenants/{}/namespaces
POST /v1/tenants/{}/namespaces
DELETE /v1/tenants/{}/namespaces/{}
GET /v1/namespaces/snapshot
GET /v1/namespaces/changes
GET /v1/tenants/{}/namespaces/{}/streams
POST /v1/tenants/{}/namespaces/{}/streams
GET /v1/tenants/{}/namespaces/{}/streams/{}
PATCH /v1/tenants/{}/namespaces/{}/streams/{}
DELETE /v1/tenants/{}/namespaces/{}/streams/{}
GET /v1/streams/snapshot
GET /v1/streams/changes
GET /v1/tenants/{}/namespaces/{}/caches
POST /v1/tenants/{}/namespaces/{}/caches
GET /v1/tenants/{}/namespaces/{}/caches/{}
PATCH /v1/tenants/{}/namespaces/{}/caches/{}
DELETE /v1/tenants/{}/namespaces/{}/caches/{}
GET /v1/caches/snapshot
GET /v1/caches/changes
POST /v1/tenants/{}/token/exchange
GET /v1/tenants/{}/.well-known/jwks.json
POST /v1/tenants/{}/idp-issuers
DELETE /v1/tenants/{}/idp-issuers/{}
GET /v1/tenants/{}/rbac/policies
POST /v1/tenants/{}/rbac/policies
GET /v1/tenants/{}/rbac/groupings
POST /v1/tenants/{}/rbac/groupings
"""
"""Section 1, routes 1 to 36."""


def document() -> dict[str, Any]:
    answer: dict[str, Any] = filled_client().get(OPENAPI_PATH).json
    return answer


@pytest.mark.parametrize("path", PATHS)
def test_a_resource_has_exactly_the_methods_of_the_table(path: str) -> None:
    routes = [route for route in ROUTES if route.path == path]
    plane = LocalControlPlane()
    resource = routes[0].resource(
        Desk(plane, HttpSettings(), Gatekeeper(plane, IdentitySettings()))
    )
    answered = {method.upper() for method in METHODS if hasattr(resource, f"on_{method}")}
    assert answered == {route.method for route in routes}
    assert hasattr(resource, "on_head") == ("GET" in answered)


def test_every_route_of_the_contract_is_in_the_table() -> None:
    table = {f"{route.method} {re.sub('{[^}]*}', '{}', route.path)}" for route in ROUTES}
    assert set(CONTRACT_ROUTES.splitlines()) <= table


def test_the_app_answers_the_methods_of_the_table_on_every_path() -> None:
    client = filled_client()
    for path in PATHS:
        anywhere = re.sub("{[^}]*}", "x", path)
        allowed = client.request("OPTIONS", anywhere).headers["Allow"].split(", ")
        methods = {route.method for route in ROUTES if route.path == path}
        assert set(allowed) - {"HEAD", "OPTIONS"} == methods


def test_the_document_describes_every_route() -> None:
    described = {
        (method.upper(), path)
        for path, methods in document()["paths"].items()
        for method in methods
    }
    assert described == {(door.method, door.path) for door in (*ROUTES, BOOTSTRAP)}


def test_the_document_is_named_as_the_contract_says() -> None:
    info = document()["info"]
    assert (info["title"], info["version"]) == ("felix-controlplane", "v1")
    assert document()["openapi"].startswith("3.1")


def test_every_reference_of_the_document_leads_somewhere() -> None:
    found = document()
    references = set(
        re.findall(r'"#/components/schemas/([^"]+)"', msgspec.json.encode(found).decode())
    )
    assert references <= found["components"]["schemas"].keys()
    assert {"NewStream", "StreamView", "TenantView", "Envelope"} <= references


def test_operations_have_unique_names() -> None:
    names = [door.operation for door in (*ROUTES, BOOTSTRAP)]
    assert len(names) == len(set(names))


def test_a_route_that_takes_a_key_says_that_the_key_may_be_anothers() -> None:
    silent = [
        route.operation for route in ROUTES if KEY in route.parameters and 422 not in route.refusals
    ]
    assert silent == []


def test_every_status_an_error_can_have_is_described_somewhere() -> None:
    described = {status for route in ROUTES for status in route.all_refusals}
    assert set(STATUS_BY_CODE.values()) - {405} == described


@pytest.mark.parametrize(
    "route",
    [r for r in ROUTES if r.method == "GET" and not (r.is_file or r.access.always)],
    ids=lambda r: r.path,
)
def test_an_answer_is_what_the_table_says_it_is(route: Route) -> None:
    names = {"tenant_id": "acme", "namespace": "billing", "stream": "invoices", "cache": "rates"}
    names |= {"broker_id": "b1", "bridge": "east-west", "member": "local", "region_id": "local"}
    names |= {"setting": "placement.rebuild_after", "flag": "f"}
    client, _ = placed_client("b1")
    bridge = {"source_region": "east", "target_region": "west"}
    assert client.request("PUT", "/v1/bridges/east-west", json=bridge).status_code == 200
    flag = {"enabled": True, "description": "x"}
    assert client.request("PUT", "/v1/feature-flags/f", json=flag).status_code == 200
    answer = client.get(route.path.format(**names))
    assert answer.status_code == route.status
    assert route.response is not None
    members = {field.encode_name for field in msgspec.structs.fields(route.response)}
    assert answer.json.keys() == members
    if route.response.__name__ != "WatchView":  # its payload is a union without tags
        msgspec.convert(answer.json, route.response)


def test_docs_is_a_redirect_to_a_page_that_loads_nothing() -> None:
    client = client_of(LocalControlPlane())
    redirect = client.get("/docs")
    assert (redirect.status_code, redirect.headers["Location"]) == (303, "/docs/")
    for path in ("/docs/", "/docs/index.html"):
        page = client.get(path)
        assert page.status_code == 200
        assert page.headers["Content-Type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert not re.search(r"<script|<link|<img|src=|https?://(?!json-schema)", page.text)
        for route in ROUTES:
            assert f'id="{route.operation}"' in page.text
