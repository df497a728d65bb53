"""Signing keys, JWKS, revocation and broker credentials (contract, chapter 10)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from tests.http.helpers import refused
from tests.http.realm import ACME, JWKS, KEYS, POLICIES, Realm, realm

CURVE_KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"


@pytest.fixture
def world() -> Iterator[Realm]:
    """A realm of its own."""
    with realm() as made:
        yield made


def kids(world: Realm) -> list[str]:
    """Name the keys of the JWKS, in its order."""
    return [key["kid"] for key in world.client.get(JWKS).json["keys"]]


def test_brokers_read_keys_without_a_token_and_exactly_these_members(world: Realm) -> None:
    result = world.client.get(JWKS)
    assert result.status_code == 200
    assert result.headers["Content-Type"] == "application/json"
    assert result.headers["Cache-Control"] == "public, max-age=300"
    (key,) = result.json["keys"]
    assert key.keys() == {"kty", "kid", "alg", "use", "crv", "x"}
    assert (key["kty"], key["alg"], key["use"], key["crv"]) == ("OKP", "EdDSA", "sig", "Ed25519")
    assert "=" not in key["x"]
    assert len(base64.urlsafe_b64decode(key["x"] + "=")) == 32


def test_jwks_that_have_not_changed_are_304(world: Realm) -> None:
    tag = world.client.get(JWKS).headers["ETag"]
    assert not tag.startswith("W/")
    for header in (tag, f'"other", {tag}', "*"):
        again = world.client.request("GET", JWKS, headers={"If-None-Match": header})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == tag
    assert world.as_(world.token("alice"), "POST", KEYS).status_code == 201
    changed = world.client.request("GET", JWKS, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag


def test_jwks_of_an_unknown_tenant_are_404_and_not_to_be_kept(world: Realm) -> None:
    result = world.client.get("/v1/tenants/nobody/.well-known/jwks.json")
    assert refused(result) == (404, "not_found")
    assert result.headers["Cache-Control"] == "no-store"


def test_a_key_is_published_and_signs_only_after_its_lead_time(world: Realm) -> None:
    admin = world.token("alice")
    (first,) = kids(world)
    staged = world.as_(admin, "POST", KEYS)
    assert (staged.status_code, staged.json["state"]) == (201, "published")
    kid = staged.json["kid"]
    assert staged.headers["Location"] == f"{KEYS}/{kid}"
    assert kids(world) == [first, kid]
    assert refused(world.as_(admin, "POST", KEYS)) == (409, "key_state")
    early = world.as_(admin, "POST", f"{KEYS}/{kid}/activate")
    assert refused(early) == (409, "key_state")
    assert early.json["details"]["reason"]
    forced = world.as_(admin, "POST", f"{KEYS}/{kid}/activate", json={"force": True})
    assert (forced.status_code, forced.json) == (200, {"kid": kid, "state": "active"})
    assert kids(world) == [kid, first]
    states = {one["kid"]: one["state"] for one in world.as_(admin, "GET", KEYS).json["items"]}
    assert states == {kid: "active", first: "retiring"}


def test_without_a_lead_time_a_key_signs_at_once() -> None:
    with realm(key_publish_lead_s=0, key_retire_after_s=0) as world:
        admin = world.token("alice")
        (first,) = kids(world)
        kid = world.as_(admin, "POST", KEYS).json["kid"]
        assert world.as_(admin, "POST", f"{KEYS}/{kid}/activate").status_code == 200
        assert world.as_(admin, "DELETE", f"{KEYS}/{first}").json == {"kid": kid, "state": "active"}
        assert kids(world) == [kid]
        assert refused(world.as_(world.token("alice"), "DELETE", f"{KEYS}/{kid}")) == (
            409,
            "key_state",
        )


def test_an_active_key_is_revoked_at_once_and_its_tokens_are_void(world: Realm) -> None:
    admin = world.token("alice")
    (first,) = kids(world)
    assert refused(world.as_(admin, "DELETE", f"{KEYS}/{first}")) == (409, "key_state")
    revoked = world.as_(admin, "DELETE", f"{KEYS}/{first}", params={"revoke": "true"})
    assert revoked.status_code == 200
    assert kids(world) == [revoked.json["kid"]]
    assert revoked.json["kid"] != first
    assert refused(world.as_(admin, "GET", KEYS)) == (401, "unauthorized")
    assert world.as_(world.token("alice"), "GET", KEYS).status_code == 200


def test_a_key_that_is_not_there_is_404(world: Realm) -> None:
    admin = world.token("alice")
    for method, path in (("DELETE", f"{KEYS}/no"), ("POST", f"{KEYS}/no/activate")):
        assert refused(world.as_(admin, method, path)) == (404, "not_found")


def test_s14_everything_of_a_principal_is_void_after_a_revocation(world: Realm) -> None:
    world.allow(world.principal("bob"), ("rbac.view", "tenant:acme"))
    admin, bob = world.token("alice"), world.token("bob")
    granted = world.exchange(world.idp.token("bob"), {"refresh": True}).json
    path = f"{ACME}/principals/{world.principal('bob')}/revoke"
    assert world.as_(admin, "POST", path).status_code == 204
    assert refused(world.as_(bob, "GET", POLICIES)) == (401, "unauthorized")
    refresh = world.client.post(
        f"{ACME}/token/refresh", {"refresh_token": granted["refresh_token"]}
    )
    assert refused(refresh) == (401, "unauthorized")
    assert world.as_(admin, "GET", POLICIES).status_code == 200


def test_s14_everything_of_a_tenant_is_void_after_a_revocation(world: Realm) -> None:
    admin = world.token("alice")
    assert world.as_(admin, "POST", f"{ACME}/tokens/revoke").status_code == 204
    assert refused(world.as_(admin, "GET", POLICIES)) == (401, "unauthorized")


def test_the_watch_shows_keys_and_revocations(world: Realm) -> None:
    olga = world.token("olga", tenant="felix-operators")
    assert world.as_(world.token("alice"), "POST", f"{ACME}/tokens/revoke").status_code == 204
    metadata = world.as_(olga, "GET", "/v1/metadata/snapshot").json["metadata"]
    assert {key["tenant_id"] for key in metadata["signing_keys"]} == {"acme", "felix-operators"}
    assert [one["principal"] for one in metadata["token_revocations"]] == ["*"]
    updates = world.as_(olga, "GET", "/v1/metadata/watch").json["updates"]
    assert {"SigningKey", "TokenRevocation"} <= {one["kind"] for one in updates}


def test_a_broker_gets_a_password_once(world: Realm) -> None:
    olga = world.token("olga", tenant="felix-operators")
    path = "/v1/broker-credentials/b1"
    body: dict[str, Any] = {"curve_public_key": CURVE_KEY, "password": True}
    given = world.as_(olga, "PUT", path, json=body)
    assert given.status_code == 200
    password = given.json["password"]
    assert len(password) >= 40
    listed = world.as_(olga, "GET", "/v1/broker-credentials")
    (item,) = listed.json["items"]
    assert (item["broker_id"], item["curve_public_key"]) == ("b1", CURVE_KEY)
    assert item["has_password"] is True
    assert password not in listed.text
    assert (
        world.as_(olga, "PUT", path, json={"curve_public_key": CURVE_KEY}).json["password"] is None
    )
    (item,) = world.as_(olga, "GET", "/v1/broker-credentials").json["items"]
    assert item["has_password"] is False
    other = world.as_(olga, "PUT", "/v1/broker-credentials/b2", json=body)
    assert refused(other) == (409, "conflict")
    assert world.as_(olga, "DELETE", path).status_code == 204
    assert refused(world.as_(olga, "DELETE", path)) == (404, "not_found")


@pytest.mark.parametrize(
    "body", [{}, {"password": False}, {"curve_public_key": "short"}, {"curve_public_key": "x" * 41}]
)
def test_a_credential_that_proves_nothing_is_400(world: Realm, body: dict[str, Any]) -> None:
    olga = world.token("olga", tenant="felix-operators")
    result = world.as_(olga, "PUT", "/v1/broker-credentials/b1", json=body)
    assert refused(result) == (400, "validation_error")
