"""No request ends in a 5xx, and no refusal changes anything."""

from __future__ import annotations

import json
import re
import string
from urllib.parse import quote

from falcon.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from felix.http.route import Route
from felix.http.routes import ROUTES
from tests.http.helpers import CACHE, MEMBER, NAMESPACE, STREAM, TENANT, filled_client

CLIENT = filled_client(watch_wait_ms_max=1)

_ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_SEGMENTS = st.sampled_from(["acme", "billing", "invoices", "rates", "local", "x"]) | _ANY_TEXT
_MEMBERS = sorted({*TENANT, *NAMESPACE, *STREAM, *CACHE, *MEMBER, "quotas", "encryption",
                   "durability", "ack_policy", "replication_factor", "time", "size", "max_streams",
                   "peers", "rpc", "level", "replace", "target"})  # fmt: skip
_WORDS = st.sampled_from(["Leader", "Quorum", "durable", "quorum", "7d", "100GB", "Stream", "acme"])
_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _WORDS | _ANY_TEXT
)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_MEMBERS), inner, max_size=8)
    ),
    max_leaves=12,
)
_NEARLY_RIGHT = st.builds(
    lambda base, changes: base | changes,
    st.sampled_from([TENANT, NAMESPACE, STREAM, CACHE, MEMBER]),
    st.dictionaries(st.sampled_from(_MEMBERS), _JSON, max_size=3),
)
_BODIES = (_JSON | _NEARLY_RIGHT).map(lambda value: json.dumps(value).encode()) | st.binary(
    max_size=60
)
_PARAMETERS = st.sampled_from(
    sorted({parameter.name for route in ROUTES for parameter in route.parameters})
)
_QUERIES = st.dictionaries(
    _PARAMETERS, st.integers().map(str) | st.sampled_from(["stale", "linearizable"]) | _ANY_TEXT
)
_HEADERS = st.dictionaries(
    st.sampled_from(["If-Match", "Idempotency-Key", "X-Request-Id", "Authorization"]),
    st.text(string.printable.strip(), max_size=12),
    max_size=2,
)


@settings(max_examples=400, deadline=None)
@given(
    route=st.sampled_from(ROUTES),
    method=st.sampled_from(["GET", "HEAD", "POST", "PATCH", "DELETE", "PUT"]),
    names=st.lists(_SEGMENTS, min_size=4, max_size=4),
    query=_QUERIES,
    headers=_HEADERS,
    body=_BODIES,
)
def test_no_request_is_answered_with_a_5xx(
    route: Route,
    method: str,
    names: list[str],
    query: dict[str, str],
    headers: dict[str, str],
    body: bytes,
) -> None:
    path = route.path
    for name in names:
        path = re.sub("{[^}]*}", quote(name, safe="").replace("\\", r"\\"), path, count=1)
    before = CLIENT.metadata()
    result: Result = CLIENT.request(
        method,
        path,
        params=query,
        headers=headers | {"Content-Type": "application/json"},
        body=body,
    )
    assert result.status_code < 500, (method, path, query, headers, body)
    if result.status_code >= 400:
        assert CLIENT.metadata() == before
        if method != "HEAD":
            assert {"code", "message", "request_id"} <= result.json.keys()
