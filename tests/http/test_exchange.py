"""Token exchange and refresh (contract, chapters 7 and 8.6, and chapter 16, numbers 11 and 13)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from felix.proto.commands import CreateTenant
from tests.http.helpers import refused
from tests.http.realm import ACME, Realm, realm

PUBLISH = ("stream.publish", "stream:acme/billing/*")
READ = ("cache.read", "cache:acme/billing/rates")


@pytest.fixture
def world() -> Iterator[Realm]:
    """A realm of its own."""
    with realm() as made:
        yield made


def claims(token: str) -> dict[str, Any]:
    """Read a token without verifying it."""
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


def test_an_administrator_gets_exactly_eleven_permissions(world: Realm) -> None:
    result = world.exchange(world.idp.token("alice"))
    assert result.status_code == 200
    assert result.json.keys() == {"felix_token", "expires_in", "token_type"}
    assert result.json["token_type"] == "Bearer"
    assert 0 < result.json["expires_in"] <= 900
    found = claims(result.json["felix_token"])
    assert len(found["perms"]) == 11
    assert (found["iss"], found["aud"], found["tid"]) == ("felix-auth", "felix-broker", "acme")
    assert found["sub"] == world.principal("alice")


def test_without_a_bearer_it_is_401(world: Realm) -> None:
    assert refused(world.exchange(None)) == (401, "unauthorized")
    upstream = world.idp.token("alice")
    for scheme in ("bearer", "BEARER", "Token", "Basic"):
        headers = {"Authorization": f"{scheme} {upstream}"}
        result = world.client.request("POST", f"{ACME}/token/exchange", headers=headers)
        assert refused(result) == (401, "unauthorized")


def test_an_unknown_tenant_is_403(world: Realm) -> None:
    result = world.exchange(world.idp.token("alice"), tenant="nobody")
    assert refused(result) == (403, "forbidden")


def test_a_tenant_without_issuers_is_403(world: Realm) -> None:
    world.apply(CreateTenant(tenant_id="bare", display_name="Bare"))
    assert refused(world.exchange(world.idp.token("alice"), tenant="bare")) == (403, "forbidden")


def test_an_issuer_that_is_not_trusted_is_403(world: Realm) -> None:
    upstream = world.idp.token("alice", iss=world.idp.issuer + "/")
    assert refused(world.exchange(upstream)) == (403, "forbidden")


def test_somebody_without_permissions_gets_403(world: Realm) -> None:
    assert refused(world.exchange(world.idp.token("mallory"))) == (403, "forbidden")


@pytest.mark.parametrize("name", ["ops", "group:ops"])
def test_a_group_counts_with_and_without_its_prefix(world: Realm, name: str) -> None:
    world.allow("group:ops", PUBLISH)
    result = world.exchange(world.idp.token("bob", groups=[name]))
    assert claims(result.json["felix_token"])["perms"] == [":".join(PUBLISH)]


def test_groups_are_ignored_without_a_groups_claim(world: Realm) -> None:
    world.allow("group:ops", PUBLISH)
    admin = world.token("alice")
    issuer = {"issuer": world.idp.issuer, "audiences": ["felix-controlplane"],
              "jwks_url": world.idp.jwks_url}  # fmt: skip
    assert world.as_(admin, "POST", f"{ACME}/idp-issuers", json=issuer).status_code == 204
    result = world.exchange(world.idp.token("bob", groups=["ops"]))
    assert refused(result) == (403, "forbidden")


def test_by_default_es256_is_accepted_and_rs256_is_not(world: Realm) -> None:
    assert world.exchange(world.idp.token("alice")).status_code == 200
    result = world.exchange(world.idp.token("alice", alg="RS256"))
    assert refused(result) == (401, "unauthorized")


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        (None, b"", 200), (None, b"not { json", 200), ("application/json", b"{}", 200),
        ("application/json", b"", 400), ("application/json", b"null", 422),
        ("application/json", b"[]", 422), ("application/json", b'{"requested": "a"}', 422),
        ("application/json", b'{"requested": [1]}', 422), ("text/plain", b"{}", 415),
        ("application/json", b'{"audience": "somebody-else"}', 422),
        ("application/json", b'{"requested": null, "resources": null, "more": 1}', 200),
    ],
)  # fmt: skip
def test_the_body_is_taken_as_the_contract_says(
    world: Realm, content_type: str | None, body: bytes, status: int
) -> None:
    headers = {"Authorization": f"Bearer {world.idp.token('alice')}"}
    if content_type is not None:
        headers["Content-Type"] = content_type
    result = world.client.request("POST", f"{ACME}/token/exchange", body=body, headers=headers)
    assert result.status_code == status


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ({"requested": ["stream.publish"]}, [PUBLISH]),
        ({"requested": []}, None),
        ({"resources": []}, None),
        ({"resources": ["cache:acme/billing/*"]}, [READ]),
        ({"resources": ["namespace:acme/hr"]}, None),
        ({"requested": ["tenant.manage"]}, None),
        ({"resources": ["stream:acme/billing/invoices"]},
         [("stream.publish", "stream:acme/billing/invoices")]),
    ],
)  # fmt: skip
def test_what_is_granted_is_narrowed_and_never_widened(
    world: Realm, body: dict[str, Any], kept: list[tuple[str, str]] | None
) -> None:
    world.allow(world.principal("bob"), PUBLISH, READ)
    result = world.exchange(world.idp.token("bob"), body)
    if kept is None:
        assert refused(result) == (403, "forbidden")
    else:
        perms = claims(result.json["felix_token"])["perms"]
        assert sorted(perms) == sorted(":".join(one) for one in kept)


def test_a_token_can_be_asked_for_that_only_this_api_takes(world: Realm) -> None:
    result = world.exchange(world.idp.token("alice"), {"audience": "felix-controlplane"})
    assert claims(result.json["felix_token"])["aud"] == "felix-controlplane"


def test_a_refresh_token_is_traded_once_for_the_next_one(world: Realm) -> None:
    first = world.exchange(world.idp.token("alice"), {"refresh": True}).json
    path = f"{ACME}/token/refresh"
    second = world.client.post(path, {"refresh_token": first["refresh_token"]})
    assert second.status_code == 200
    assert second.json["refresh_token"] != first["refresh_token"]
    perms = claims(first["felix_token"])["perms"]
    assert sorted(claims(second.json["felix_token"])["perms"]) == sorted(perms)
    again = world.client.post(path, {"refresh_token": first["refresh_token"]})
    assert refused(again) == (401, "unauthorized")
    after = world.client.post(path, {"refresh_token": second.json["refresh_token"]})
    assert refused(after) == (401, "unauthorized")


def test_a_refresh_whose_answer_was_lost_is_repeated_with_its_idempotency_key(
    world: Realm,
) -> None:
    path, key = f"{ACME}/token/refresh", {"Idempotency-Key": "k-1"}
    firsts = [world.exchange(world.idp.token("alice"), {"refresh": True}).json for _ in range(2)]
    given = []
    for first in firsts:
        body = {"refresh_token": first["refresh_token"]}
        once, again = (world.client.post(path, body, key).json for _ in range(2))
        assert once["refresh_token"] == again["refresh_token"]
        given.append(once["refresh_token"])
    assert given[0] != given[1], "the same key in somebody else's hands gets nothing of mine"
    for token in given:
        assert world.client.post(path, {"refresh_token": token}).status_code == 200
    thief = world.client.post(path, {"refresh_token": firsts[0]["refresh_token"]})
    assert refused(thief) == (401, "unauthorized")


def test_to_revoke_a_group_is_refused_with_what_to_do_instead(world: Realm) -> None:
    path = f"{ACME}/principals/group:ops/revoke"
    result = world.as_(world.token("alice"), "POST", path)
    assert refused(result) == (422, "unprocessable")
    assert result.json["details"] == {"pointer": "/principal"}
    assert "revoke its members one by one" in result.json["message"]


def test_a_refresh_token_that_was_made_up_is_401(world: Realm) -> None:
    for made_up in ("", "x", "0" * 32 + "." + "1" * 43, "ü"):
        result = world.client.post(f"{ACME}/token/refresh", {"refresh_token": made_up})
        assert refused(result) == (401, "unauthorized")
