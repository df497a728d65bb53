"""Poison on every write route: a clear 4xx, and nothing has changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from falcon.testing import Result

from tests.http.helpers import (
    CACHE,
    CACHES,
    NAMESPACE,
    NAMESPACES,
    STREAM,
    STREAMS,
    TENANT,
    TENANTS,
    Client,
    filled_client,
    refused,
)
from tests.http.test_strict_json import REFUSED

POSTS: dict[str, tuple[dict[str, Any], str]] = {
    TENANTS: (TENANT | {"tenant_id": "new"}, "tenant_id"),
    NAMESPACES: (NAMESPACE | {"namespace": "new"}, "namespace"),
    STREAMS: (STREAM | {"stream": "new"}, "stream"),
    CACHES: (CACHE | {"cache": "new"}, "cache"),
}
PATCHES: dict[str, dict[str, Any]] = {
    "/v1/tenants/acme": {"display_name": "New"},
    f"{NAMESPACES}/billing": {"display_name": "New"},
    f"{STREAMS}/invoices": {"consistency": "Quorum"},
    f"{CACHES}/rates": {"display_name": "New"},
}
WRITES = [("POST", path) for path in POSTS] + [("PATCH", path) for path in PATCHES]

POISON_NAMES = {
    "empty": "",
    "blank": " ",
    "slash": "a/b",
    "colon": "a:b",
    "star": "a*",
    "percent": "a%2Fb",
    "dot first": ".a",
    "dots": "..",
    "nul": "a\x00b",
    "line feed": "a\n",
    "carriage return": "a\r\nX-Evil: 1",
    "right-to-left override": "a\u202eb",
    "homoglyph": "\u0430cme",
    "full width": "\uff41",
    "zero width": "a\u200bb",
    "emoji": "\N{GRINNING FACE}",
    "too long": "a" * 256,
    "reserved": "snapshot",
    "script": "<script>",
}
POISON_VALUES: list[object] = [
    True, None, [], {}, 0, -1, 1.5, 2**64, -(2**64), 10**4000, "x", "x" * 100_000, [[]], {"a": 1},
]  # fmt: skip


def send(client: Client, method: str, path: str, body: bytes) -> Result:
    headers = {"Content-Type": "application/json"}
    return client.request(method, path, body=body, headers=headers)


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_poisoned_body_is_malformed_and_changes_nothing(method: str, path: str) -> None:
    client = filled_client()
    before = client.log()
    for name, body in REFUSED.items():
        assert refused(send(client, method, path, body)) == (400, "malformed"), name
    assert client.log() == before


@pytest.mark.parametrize("path", POSTS)
def test_a_poisoned_name_is_refused_and_changes_nothing(path: str) -> None:
    client = filled_client()
    body, member = POSTS[path]
    before = client.log()
    for name, poison in POISON_NAMES.items():
        result = client.post(path, body | {member: poison})
        assert refused(result) == (400, "validation_error"), name
        assert result.json["details"]["pointer"] == f"/{member}"
    assert client.log() == before


@pytest.mark.parametrize("name", POISON_NAMES)
def test_a_poisoned_name_in_a_path_is_nowhere(name: str) -> None:
    client = filled_client()
    before = client.log()
    poison = "".join(f"%{byte:02X}" for byte in POISON_NAMES[name].encode())
    for path in (
        f"/v1/tenants/{poison}", f"{NAMESPACES}/{poison}", f"{STREAMS}/{poison}",
        f"{CACHES}/{poison}", f"/v1/tenants/{poison}/namespaces", f"{NAMESPACES}/{poison}/streams",
        f"{NAMESPACES}/{poison}/caches", f"/v1/regions/{poison}", f"/docs/{poison}",
    ):  # fmt: skip
        for method in ("GET", "HEAD", "POST", "PATCH", "DELETE"):
            result = client.request(method, path, json={})
            is_feed = method in {"GET", "HEAD"} and path == "/v1/tenants/" + poison
            fine = (200,) if is_feed or path.startswith("/docs/") else ()
            assert result.status_code in {*fine, 400, 404, 405, 422}, (method, path)
    assert client.log() == before


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_poisoned_value_of_any_member_never_ends_in_a_fault(method: str, path: str) -> None:
    body = POSTS[path][0] if method == "POST" else PATCHES[path]
    members = {*body, "quotas", "encryption", "description", "retention", "replication_factor"}
    client = filled_client()
    for member in sorted(members):
        for value in POISON_VALUES:
            before = client.log()
            result = send(client, method, path, json.dumps(body | {member: value}).encode())
            assert result.status_code in {200, 201, 400, 422}, (member, value)
            if result.status_code >= 400:
                refused(result)
                assert client.log() == before
            else:
                client = filled_client()


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_wrong_content_type_or_an_empty_body_changes_nothing(method: str, path: str) -> None:
    client = filled_client()
    before = client.log()
    body = json.dumps(POSTS[path][0] if method == "POST" else PATCHES[path])
    for content_type in ("text/plain", "application/msgpack", "multipart/form-data"):
        headers = {"Content-Type": content_type}
        result = client.request(method, path, body=body, headers=headers)
        assert refused(result) == (415, "unsupported_media_type")
    assert refused(send(client, method, path, b"")) == (400, "malformed")
    assert refused(send(client, method, path, b"x" * (10 << 20))) == (413, "too_large")
    for top_level in (b"null", b"[]", b'"x"', b"1", b"true"):
        assert refused(send(client, method, path, top_level)) == (422, "unprocessable")
    assert client.log() == before


def test_text_with_control_characters_is_refused() -> None:
    client = filled_client()
    for text in ("a\x00b", "a\x1b[31m", "a\x7f"):
        result = client.patch("/v1/tenants/acme", {"display_name": text})
        assert refused(result) == (400, "validation_error")
