"""Holes of the contract's chapter 15 that only show at a real door. The others are tested where the
code is that closes them: `grep -rE 'def test_.*(s|c)[0-9]+_' tests`."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from felix.http.routes import ROUTES
from tests.support.idp_server import IdpServer
from tests.support.dev_site import Answer, Site, principal_of
from tests.support.waiting import eventually

UNNAMED = ("", " ", "a b", "a/b", "a:b", "a*", "a%2Fb", "..", "snapshot", "changes", "x" * 256, "é")
HUGE = 1 << 63


def spelled(path: str, tenant: str) -> str:
    names = {"tenant_id": tenant, "namespace": "shop", "stream": "orders", "cache": "rates"}
    for part in ("kid", "issuer", "broker_id", "region_id", "member", "subject", "principal"):
        names.setdefault(part, "x")
    return path.format_map(names)


def closed_routes() -> list[Any]:
    return [one for one in ROUTES if one.access.kind not in {"open", "upstream"}]


@pytest.mark.parametrize("route", closed_routes(), ids=lambda one: f"{one.method} {one.path}")
def test_s1_no_route_of_administration_is_open(site: Site, route: Any) -> None:
    before = site.ask("GET", "/v1/cluster", token=site.operator).json["digest"]
    answer = site.ask(route.method, spelled(route.path, "dev"), json={})
    assert answer.code == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert site.ask("GET", "/v1/cluster", token=site.operator).json["digest"] == before


def test_s4_nobody_learns_which_tenants_there_are(site: Site, idp: IdpServer) -> None:
    there, nowhere = site.new_tenant(idp), site.new_name("nowhere")
    stranger = site.token(idp, "alice", site.new_tenant(idp))

    def seen(tenant: str, token: str | None, path: str) -> Any:
        answer = site.ask("GET", f"/v1/tenants/{tenant}{path}", token=token)
        return answer.status, {**answer.json, "request_id": ""}

    for path in ("", "/namespaces", "/rbac/policies", "/idp-issuers", "/signing-keys"):
        for token in (None, stranger):
            assert seen(there, token, path) == seen(nowhere, token, path), path
    for upstream in (idp.token("nobody"), idp.token("x", iss="https://other.example.test"), "junk"):
        found = [site.exchange(upstream, tenant) for tenant in (there, nowhere)]
        if upstream != "junk":
            assert {answer.code for answer in found} == {(403, "forbidden")}
            assert found[0].json["message"] == found[1].json["message"]


@pytest.mark.parametrize("name", UNNAMED)
def test_s5_what_is_no_name_is_refused_everywhere(site: Site, idp: IdpServer, name: str) -> None:
    tenant = site.new_tenant(idp)
    token = site.token(idp, "alice", tenant)
    namespaces = f"/v1/tenants/{tenant}/namespaces"
    shop = {"namespace": "shop", "display_name": "x"}
    assert site.ask("POST", namespaces, token=token, json=shop).status == 201
    stream = {"stream": name, "shards": 1, "durability": "ephemeral"}
    for path, body in (
        ("/v1/tenants", {"tenant_id": name, "display_name": "x"}),
        (namespaces, {"namespace": name, "display_name": "x"}),
        (f"{namespaces}/shop/streams", stream),
        (f"{namespaces}/shop/caches", {"cache": name, "display_name": "x"}),
    ):
        answer = site.ask("POST", path, token=site.operator, json=body)
        assert answer.code == (400, "validation_error"), (path, name)


def test_s5_a_stream_without_shards_is_refused(site: Site, idp: IdpServer) -> None:
    tenant = site.new_tenant(idp)
    path = f"/v1/tenants/{tenant}/namespaces"
    body: dict[str, Any] = {"namespace": "shop", "display_name": "x"}
    assert site.ask("POST", path, token=site.operator, json=body).status == 201
    body = {"stream": "s", "shards": 0, "durability": "ephemeral"}
    refused = site.ask("POST", f"{path}/shop/streams", token=site.operator, json=body)
    assert refused.code == (400, "validation_error")


def test_s15_whoever_shows_no_token_learns_nothing_of_bodies(site: Site) -> None:
    json_type = {"Content-Type": "application/json"}
    for body in (b"{", b"[]", b"{}", b'{"tenant_id":5}', b"x" * 100_000):
        answer = site.ask("POST", "/v1/tenants", headers=json_type, body=body)
        assert answer.code == (401, "unauthorized")


def test_s16_a_refused_request_is_in_the_trail_with_its_id_and_reason(
    site: Site, idp: IdpServer
) -> None:
    tenant = site.new_tenant(idp)
    admin = site.token(idp, "alice", tenant)
    refused = site.exchange(idp.token("nobody"), tenant)
    wanted = refused.json["request_id"]

    def found() -> Any:
        return site.ask("GET", f"/v1/audit?request_id={wanted}", token=admin).json["items"]

    eventually(found)
    (record,) = found()
    assert record["operation"] == "ExchangeToken"
    assert "no_permissions" in record["result"] + str(record.get("reason", ""))
    assert record["principal"] == principal_of(idp, "nobody")


def test_c7_a_change_of_durability_never_reaches_a_broker_as_an_update(
    site: Site, idp: IdpServer
) -> None:
    tenant = site.new_tenant(idp)
    base = f"/v1/tenants/{tenant}/namespaces"
    shop = {"namespace": "shop", "display_name": "x"}
    assert site.ask("POST", base, token=site.operator, json=shop).status == 201
    streams = f"{base}/shop/streams"
    body = {"stream": "s", "shards": 1, "durability": "ephemeral"}
    assert site.ask("POST", streams, token=site.operator, json=body).status == 201
    since = site.ask("GET", "/v1/streams/snapshot", token=site.operator).json["next_seq"]
    for durable in (True, False, False):
        patch = {"durable": durable}
        assert site.ask("PATCH", f"{streams}/s", token=site.operator, json=patch).status == 200
    items = site.ask("GET", f"/v1/streams/changes?since={since}", token=site.operator).json["items"]
    assert [item["op"] for item in items] == ["deleted", "created"] * 2


def test_c8_a_parent_that_goes_meanwhile_leaves_no_orphan(site: Site, idp: IdpServer) -> None:
    tenant = site.new_tenant(idp)
    base = f"/v1/tenants/{tenant}/namespaces"

    def create(number: int) -> Answer:
        body = {"cache": f"c-{number}", "display_name": "x"}
        return site.ask("POST", f"{base}/shop/caches", token=site.operator, node=number % 3,
                        json=body)  # fmt: skip

    for _ in range(5):
        shop = {"namespace": "shop", "display_name": "x"}
        assert site.ask("POST", base, token=site.operator, json=shop).status == 201
        with ThreadPoolExecutor(8) as pool:
            made = [pool.submit(create, number) for number in range(16)]
            gone = pool.submit(site.ask, "DELETE", f"{base}/shop", token=site.operator)
            assert gone.result().status == 204
        assert {one.result().status for one in made} <= {201, 404}
        items = site.ask("GET", "/v1/caches/snapshot", token=site.operator).json["items"]
        assert not [one for one in items if one["tenant_id"] == tenant]


def test_c9_a_tenant_is_never_there_without_a_key(site: Site) -> None:
    names = [site.new_name("keyed") for _ in range(20)]
    ended = threading.Event()
    wrong: list[Answer] = []

    def look() -> None:
        while not ended.is_set():
            for name in names:
                seen = site.ask("GET", f"/v1/tenants/{name}/.well-known/jwks.json", node=1)
                if seen.status >= 500 or (seen.status == 200 and not seen.json["keys"]):
                    wrong.append(seen)

    watching = threading.Thread(target=look)
    watching.start()
    for name in names:
        body = {"tenant_id": name, "display_name": "x"}
        assert site.ask("POST", "/v1/tenants", token=site.operator, json=body).status == 201
    ended.set()
    watching.join()
    assert not wrong


def test_c11_a_rule_that_is_given_twice_is_there_once(site: Site, idp: IdpServer) -> None:
    tenant = site.new_tenant(idp)
    admin = site.token(idp, "alice", tenant)
    path = f"/v1/tenants/{tenant}/rbac"
    rule = {"subject": "role:r", "object": f"stream:{tenant}/shop/*", "action": "stream.publish"}
    given = {"user": "group:ops", "role": "role:r"}
    for _ in range(2):
        assert site.ask("POST", f"{path}/policies", token=admin, json=rule).status == 204
        assert site.ask("POST", f"{path}/groupings", token=admin, json=given).status == 204
    assert site.ask("GET", f"{path}/policies", token=admin).json.count(rule) == 1
    assert site.ask("GET", f"{path}/groupings", token=admin).json.count(given) == 1


@pytest.mark.parametrize("since", [HUGE - 1, HUGE, 2 * HUGE - 1, 2 * HUGE, 10**30])
def test_c15_a_huge_cursor_is_refused_or_ahead_and_never_everything(site: Site, since: int) -> None:
    answer = site.ask("GET", f"/v1/tenants/changes?since={since}", token=site.operator)
    assert answer.status in {200, 400}
    if answer.status == 200:
        assert answer.json["items"] == []
    else:
        assert answer.code == (400, "validation_error")


def test_c17_a_patch_that_changes_nothing_says_nothing(site: Site, idp: IdpServer) -> None:
    tenant = site.new_tenant(idp)
    since = site.ask("GET", "/v1/tenants/snapshot", token=site.operator).json["next_seq"]
    for patch in ({}, {"display_name": tenant}):
        answer = site.ask("PATCH", f"/v1/tenants/{tenant}", token=site.operator, json=patch)
        assert answer.status == 200
    changes = site.ask("GET", f"/v1/tenants/changes?since={since}", token=site.operator).json
    assert json.dumps(changes["items"]) == "[]"
