"""No request about identity ends in a 5xx, whoever sends it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from felix.http.identity_routes import IDENTITY_ROUTES
from felix.http.route import Route
from felix.proto.permissions import ACTIONS
from tests.http.realm import Realm, realm

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_WORDS = st.sampled_from([
    "acme", "billing", "role:tenant-admin", "role:x", "group:ops", "*", "tenant:acme", "cluster:*",
    "stream:acme/billing/*", "https://idp.example.test", "PUBLISH", "ADMIN", "felix-broker",
    "felix-controlplane", "true", "0123456789ab", *sorted(ACTIONS),
])  # fmt: skip
_SEGMENTS = (_WORDS | _TEXT).filter(bool)
_LEAVES = st.none() | st.booleans() | st.integers() | _WORDS | _TEXT
_MEMBERS = st.sampled_from([
    "subject", "object", "action", "user", "role", "principal", "resource", "permissions",
    "requested", "resources", "audience", "refresh", "refresh_token", "issuer", "audiences",
    "discovery_url", "jwks_url", "claim_mappings", "subject_claim", "groups_claim", "force",
    "plain_groups", "curve_public_key", "password",
])  # fmt: skip
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_MEMBERS, inner, max_size=8),
    max_leaves=12,
)
_RIGHT = st.sampled_from([
    {"subject": "role:x", "object": "stream:acme/billing/*", "action": "stream.publish"},
    {"user": "group:ops", "role": "role:x"},
    {"principal": "bob", "resource": "*", "permissions": ["PUBLISH"]},
    {"issuer": "https://idp.example.test", "audiences": ["felix"]},
    {"requested": ["stream.publish"], "resources": ["stream:acme/*/*"], "refresh": True},
])  # fmt: skip
_NEARLY_RIGHT = st.builds(
    lambda base, changes: {**base, **changes},
    _RIGHT,
    st.dictionaries(_MEMBERS, _JSON, max_size=2),
)
_BODIES = (_JSON | _NEARLY_RIGHT).map(lambda value: json.dumps(value).encode()) | st.binary(
    max_size=40
)
_PARAMETERS = st.sampled_from(
    sorted({one.name for route in IDENTITY_ROUTES for one in route.parameters} - {"revoke"})
)


@pytest.fixture(scope="module")
def world() -> Iterator[Realm]:
    """One realm for all requests."""
    with realm() as made:
        yield made


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    route=st.sampled_from(IDENTITY_ROUTES),
    who=st.sampled_from(["nobody", "alice", "olga"]),
    names=st.lists(_SEGMENTS, min_size=3, max_size=3),
    query=st.dictionaries(_PARAMETERS, _WORDS | _TEXT, max_size=4),
    body=_BODIES,
)
def test_no_request_about_identity_is_answered_with_a_5xx(
    world: Realm, route: Route, who: str, names: list[str], query: dict[str, str], body: bytes
) -> None:
    path = route.path.replace("{tenant_id}", "acme")
    for name in names:
        path = re.sub("{[^}]*}", quote(name, safe="").replace("\\", r"\\"), path, count=1)
    token = None
    if who != "nobody":
        tenant = "acme" if who == "alice" else "felix-operators"
        exchanged = world.exchange(world.idp.token(who), tenant=tenant)
        # Alice may have been made to distrust everyone: then she asks as nobody.
        token = exchanged.json.get("felix_token")
    headers = {"Content-Type": "application/json"}
    result = world.as_(token, route.method, path, params=query, body=body, headers=headers)
    assert result.status_code < 500, (route.method, path, query, body, result.text)
    if who == "nobody" and route.access.always:
        assert result.status_code in {400, 401, 404}
