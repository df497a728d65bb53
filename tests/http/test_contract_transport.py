"""Routing, framing and envelopes (contract, sections 1, 2.1, 2.3 and 2.5)."""

from __future__ import annotations

import pytest

from tests.http.helpers import (
    FEEDS,
    NAMESPACES,
    STREAM,
    STREAMS,
    TENANT,
    TENANTS,
    client_of,
    empty_client,
    filled_client,
    refused,
)
from tests.support.local_control_plane import LocalControlPlane


@pytest.mark.parametrize(
    "path",
    [
        "/", "/v1", "/v1/tenants/", "/v1/tenants//namespaces", "/v1/tenants/acme/",
        f"{NAMESPACES}/", f"{NAMESPACES}//streams", f"{STREAMS}/", "//v1/tenants", "/v2/tenants",
        "/v1/tenants/snapshot/", "/v1/regions/", "/healthz",
    ],
)  # fmt: skip
def test_a_path_that_is_no_route_is_404(path: str) -> None:
    client = filled_client()
    for method in ("GET", "POST", "PATCH", "DELETE"):
        assert refused(client.request(method, path, json={})) == (404, "not_found")


def test_the_words_snapshot_and_changes_are_no_tenants() -> None:
    client = filled_client()
    for word in ("snapshot", "changes"):
        result = client.delete(f"/v1/tenants/{word}")
        assert refused(result) == (405, "method_not_allowed")
        assert "GET" in result.headers["Allow"]
        body = TENANT | {"tenant_id": word}
        assert refused(client.post(TENANTS, body)) == (400, "validation_error")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", TENANTS), ("DELETE", TENANTS), ("PATCH", TENANTS), ("POST", "/v1/system/info"),
        ("POST", "/v1/tenants/acme"), ("POST", f"{STREAMS}/invoices"), ("POST", "/v1/cluster"),
    ],
)  # fmt: skip
def test_a_method_that_a_route_does_not_have_is_405(method: str, path: str) -> None:
    result = filled_client().request(method, path)
    assert refused(result) == (405, "method_not_allowed")
    assert method not in result.headers["Allow"].split(", ")


def test_head_works_wherever_get_does() -> None:
    client = filled_client()
    for path in (TENANTS, f"{STREAMS}/invoices", "/v1/streams/changes", "/v1/openapi.json"):
        head, got = client.request("HEAD", path), client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Length"] == str(len(got.content))
    assert client.request("HEAD", "/v1/tenants/nobody").status_code == 404


def test_an_encoded_slash_never_becomes_two_segments() -> None:
    client = filled_client()
    result = client.delete("/v1/tenants/acme%2Fnamespaces%2Fbilling")
    assert refused(result) == (404, "not_found")
    assert client.get(f"{NAMESPACES}/billing").status_code == 200


def test_a_path_that_is_not_utf8_is_400() -> None:
    result = filled_client().request("GET", TENANTS, extras={"PATH_INFO": "/v1/tenants/\xff"})
    assert refused(result) == (400, "malformed")


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-json", "json", ""])
def test_a_body_that_does_not_say_it_is_json_is_415(content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    result = empty_client().request("POST", TENANTS, body=b"{}", headers=headers)
    assert refused(result) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/x+json"]
)
def test_json_has_several_names(content_type: str) -> None:
    result = empty_client().request(
        "POST",
        TENANTS,
        body=b'{"tenant_id":"a","display_name":""}',
        headers={"Content-Type": content_type},
    )
    assert result.status_code == 201


def test_a_body_larger_than_the_limit_is_413() -> None:
    client = empty_client()
    body = b'{"tenant_id":"a","display_name":"' + b"x" * (2 << 20) + b'"}'
    headers = {"Content-Type": "application/json"}
    result = client.request("POST", TENANTS, body=body, headers=headers)
    assert refused(result) == (413, "too_large")


def test_the_callers_request_id_comes_back_if_it_is_a_sane_one() -> None:
    client = empty_client()
    result = client.request("GET", TENANTS, headers={"X-Request-Id": "req-1:a.b_c"})
    assert result.headers["X-Request-Id"] == "req-1:a.b_c"
    for odd in ("", "a b", "x" * 129, "a;b", "ü"):
        made = client.request("GET", TENANTS, headers={"X-Request-Id": odd}).headers["X-Request-Id"]
        assert len(made) == 32
        assert made != odd


def test_answers_are_json_are_not_to_be_stored_and_carry_the_version() -> None:
    result = filled_client().get(TENANTS)
    assert result.headers["Content-Type"] == "application/json"
    assert result.headers["Cache-Control"] == "no-store"
    assert result.headers["X-Felix-Version"] == "4"


def test_the_system_describes_itself() -> None:
    client = client_of(LocalControlPlane(), region_id="eu-1")
    assert client.get("/v1/system/info").json == {
        "region_id": "eu-1",
        "api_version": "v1",
        "features": {"durable_storage": True, "tiered_storage": False, "bridges": False},
    }
    assert client.get("/v1/system/health").json == {"status": "ok"}
    region = {"region_id": "eu-1", "display_name": "Local Region"}
    assert client.get("/v1/regions").json == {"items": [region]}
    assert client.get("/v1/regions/eu-1").json == region
    assert refused(client.get("/v1/regions/us-1")) == (404, "not_found")


def test_feeds_and_objects_need_no_credentials_and_take_any() -> None:
    client = filled_client()
    for headers in ({}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer x"}):
        for feed in FEEDS:
            for what in ("snapshot", "changes"):
                result = client.request("GET", f"/v1/{feed}/{what}", headers=headers)
                assert result.status_code == 200


def test_unknown_query_parameters_are_ignored_and_the_last_of_repeated_ones_counts() -> None:
    client = filled_client()
    client.post(STREAMS, STREAM | {"stream": "other"})
    result = client.request("GET", STREAMS, query_string="colour=red&filter=other&filter=invoices")
    assert [item["stream"] for item in result.json["items"]] == ["invoices"]


def test_the_cluster_names_leader_term_indexes_and_members() -> None:
    status = filled_client().get("/v1/cluster").json
    assert (status["leader_id"], status["term"]) == ("local", 1)
    assert status["commit_index"] == status["applied_index"] == 4
    assert status["members"][0] == {
        "id": "local", "name": "local", "role": "leader", "addresses": {}, "match_index": 4,
        "lag": 0, "active": True, "level": 1,
    }  # fmt: skip
