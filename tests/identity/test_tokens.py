"""Felix tokens: what brokers read in them, and whom this API believes by them."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import Any

import jwt
import msgspec
import pytest

from felix.core.auth import rbac
from felix.identity.caller import Caller
from felix.identity.exchange import ExchangeRequest, Issued
from felix.identity.explaining import explain_to
from felix.identity.gatekeeper import Gatekeeper
from felix.identity.principals import short_id
from felix.identity.reasons import NotAllowed, NotProven, Refused
from felix.identity.settings import IdentitySettings
from felix.identity.tokens import FelixClaims, mint
from felix.proto.control_plane import Call
from felix.proto.errors import Internal, NoLeader, ValidationFailed
from felix.proto.identity import BrokerCredential, IdpIssuer
from felix.proto.permissions import OPERATOR_TENANT, read_object
from tests.support.identity_world import AUDIENCE, ISSUER, NOW_S, SEALER, World, claims, signed

USER = "a2f54b1e96143bdc067d50ba55334ac128a910c3390b271d98391a1c1b87a934"
GOOD = signed(claims())
EVERYTHING = ExchangeRequest()


@pytest.fixture
def world() -> World:
    world = World()
    world.rules(
        (USER, "stream:acme/pay/*", "stream.publish"),
        (USER, "stream:acme/pay/*", "stream.subscribe"),
        (USER, "cache:acme/pay/rates", "cache.read"),
    )
    return world


def issue(world: World, tenant_id: str = "acme", **asked: Any) -> Issued:
    return world.gate.exchange(tenant_id, GOOD, ExchangeRequest(**asked), Call())


def read(token: str) -> dict[str, Any]:
    said = jwt.decode(token, options={"verify_signature": False})
    assert isinstance(said, dict)
    return said


def perms(issued: Issued) -> list[str]:
    return sorted(read(issued.felix_token)["perms"])


def held(caller: Caller) -> list[str]:
    return sorted(str(one) for one in caller.permissions)


def refusal(world: World, token: str) -> str:
    with pytest.raises(Refused) as caught:
        world.gate.caller_of_token(token)
    assert isinstance(caught.value, NotProven)
    return caught.value.reason


def minted(world: World, tenant_id: str = "acme", **members: Any) -> str:
    """Sign claims of which the exchange would make no token."""
    good: dict[str, Any] = {
        "iss": "felix-auth",
        "aud": "felix-broker",
        "sub": USER,
        "tid": "acme",
        "iat": NOW_S,
        "exp": NOW_S + 900,
        "perms": ("stream.publish:stream:acme/pay/*",),
        "idp": short_id(ISSUER),
    }
    tenant = world.gate._tenants.get(tenant_id)
    return mint(tenant, FelixClaims(**(good | members)))


def test_a_broker_can_read_the_token_with_the_published_keys() -> None:
    world = World()
    world.now_s = time.time()
    world.rules((USER, "stream:acme/pay/*", "stream.publish"))
    now = int(world.now_s)
    issued = world.gate.exchange("acme", signed(claims(iat=now, exp=now + 60)), EVERYTHING, Call())
    header_text = issued.felix_token.split(".")[0]
    header = json.loads(base64.urlsafe_b64decode(header_text + "=="))
    keys = world.gate.jwks("acme")
    assert header == {"typ": "JWT", "alg": "EdDSA", "kid": keys[0].kid}
    (published,) = jwt.PyJWKSet.from_json(msgspec.json.encode({"keys": keys}).decode()).keys
    said = jwt.decode(
        issued.felix_token,
        published.key,
        algorithms=["EdDSA"],
        audience="felix-broker",
        issuer="felix-auth",
        options={"require": ["exp", "iat", "iss", "aud", "sub"]},
    )
    assert said["aud"] == "felix-broker"
    assert (said["sub"], said["tid"]) == (USER, "acme")
    assert said["perms"] == ["stream.publish:stream:acme/pay/*"]
    assert said["exp"] == said["iat"] + 60
    assert said["idp"] == hashlib.sha256(ISSUER.encode()).hexdigest()[:12]
    assert len(said["jti"]) == 32
    assert "grp" not in said


def test_every_entry_of_the_jwks_is_as_brokers_need_it(world: World) -> None:
    new, old = SEALER.new_key("acme"), SEALER.new_key("acme")
    active = world.plane.views["acme"].keys[0]
    world.change(
        keys=(
            world.signing_key(new.kid, new.public_key, "published"),
            world.signing_key(old.kid, old.public_key, "retiring"),
            active,
        )
    )
    keys = world.gate.jwks("acme")
    assert [one.kid for one in keys] == [active.kid, old.kid, new.kid]
    for one in keys:
        assert (one.kty, one.alg, one.use, one.crv) == ("OKP", "EdDSA", "sig", "Ed25519")
        assert len(one.x) == 43
        assert set(msgspec.to_builtins(one)) == {"kty", "kid", "alg", "use", "crv", "x"}


def test_the_bearer_of_a_token_is_known_with_what_it_may_do(world: World) -> None:
    caller = world.gate.caller_of_token(issue(world).felix_token)
    assert (caller.kind, caller.principal, caller.tenant_id) == ("token", USER, "acme")
    assert held(caller) == [
        "cache.read:cache:acme/pay/rates",
        "stream.publish:stream:acme/pay/*",
        "stream.subscribe:stream:acme/pay/*",
    ]
    target = read_object("stream:acme/pay/orders")
    assert target is not None
    assert caller.may("stream.publish", target)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"requested": ("stream.publish",)}, ["stream.publish:stream:acme/pay/*"]),
        (
            {"resources": ("stream:acme/pay/orders",)},
            ["stream.publish:stream:acme/pay/orders", "stream.subscribe:stream:acme/pay/orders"],
        ),
        (
            {"requested": ("stream.publish", "rbac.view"), "resources": ("stream:acme/pay/*",)},
            ["stream.publish:stream:acme/pay/*"],
        ),
    ],
)
def test_a_token_holds_no_more_than_what_was_asked_and_granted(
    world: World, asked: dict[str, Any], expected: list[str]
) -> None:
    issued = issue(world, **asked)
    assert perms(issued) == expected
    assert held(world.gate.caller_of_token(issued.felix_token)) == expected


@pytest.mark.parametrize(
    "asked",
    [
        {"requested": ()},
        {"resources": ()},
        {"requested": ("rbac.view",)},
        {"resources": ("stream:acme/hr/*",)},
        {"resources": ("stream:beta/pay/*",)},
        {"resources": ("stream:acme/../pay/orders", "stream:acme/p*/orders", "stream:[")},
    ],
)
def test_when_nothing_is_left_it_is_refused(world: World, asked: dict[str, Any]) -> None:
    with pytest.raises(NotAllowed) as caught:
        issue(world, **asked)
    assert (caught.value.reason, caught.value.principal) == ("no_permissions", USER)


def test_a_token_for_this_api_is_asked_for_and_nothing_else_can_be(world: World) -> None:
    token = issue(world, audience="felix-controlplane").felix_token
    assert read(token)["aud"] == "felix-controlplane"
    assert world.gate.caller_of_token(token).principal == USER
    with pytest.raises(ValidationFailed) as caught:
        issue(world, audience="other")
    assert caught.value.details == {"pointer": "/audience"}


def test_broker_tokens_are_not_taken_where_that_is_turned_off() -> None:
    world = World(accept_broker_tokens=False)
    world.rules((USER, "stream:acme/pay/*", "stream.publish"))
    assert refusal(world, issue(world).felix_token) == "broker_token_not_accepted"
    world.gate.caller_of_token(issue(world, audience="felix-controlplane").felix_token)


def test_cluster_actions_stand_only_in_tokens_of_operators_for_this_api() -> None:
    world = World()
    world.add_tenant(OPERATOR_TENANT, (USER, "cluster:*", "cluster.manage"))
    issued = issue(world, OPERATOR_TENANT)
    assert read(issued.felix_token)["aud"] == "felix-controlplane"
    assert perms(issued) == ["cluster.manage:cluster:*"]
    assert held(world.gate.caller_of_token(issued.felix_token)) == ["cluster.manage:cluster:*"]
    with pytest.raises(NotAllowed):
        issue(world, OPERATOR_TENANT, audience="felix-broker")
    # Even what a signed token says does not make it true of another tenant or audience.
    said = ("cluster.manage:cluster:*",)
    world.rules((USER, "cluster:*", "cluster.manage"))
    for tenant_id, audience in (("acme", "felix-controlplane"), (OPERATOR_TENANT, "felix-broker")):
        token = minted(world, tenant_id, tid=tenant_id, aud=audience, perms=said)
        assert held(world.gate.caller_of_token(token)) == []


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"iss": "other"}, "wrong_issuer"),
        ({"aud": "other"}, "audience"),
        ({"exp": NOW_S - 6}, "expired"),
        ({"idp": ""}, "issuer_not_trusted"),
        ({"idp": short_id("https://other.test")}, "issuer_not_trusted"),
        ({"tid": "beta"}, "signature"),
        ({"tid": "nobody"}, "unknown_tenant"),
        ({"tid": "../acme"}, "unknown_tenant"),
    ],
)
def test_a_token_with_another_claim_is_refused(
    world: World, members: dict[str, Any], reason: str
) -> None:
    world.add_tenant("beta", (USER, "stream:beta/pay/*", "stream.publish"))
    assert refusal(world, minted(world, **members)) == reason


def test_a_token_is_taken_for_five_seconds_more(world: World) -> None:
    assert world.gate.caller_of_token(minted(world, exp=NOW_S - 5)).principal == USER


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "malformed"),
        ("a.b.c", "malformed"),
        (GOOD, "algorithm"),
        ("x" * 70_000, "token_too_large"),
    ],
)
def test_what_is_no_felix_token_is_refused(world: World, text: str, reason: str) -> None:
    assert refusal(world, text) == reason


def test_a_felix_token_whose_aud_is_a_list_is_refused(world: World) -> None:
    tenant = world.gate._tenants.get("acme")
    assert tenant.signer is not None
    said = read(issue(world).felix_token) | {"aud": ["felix-broker"]}
    token = jwt.encode(said, tenant.signer.key, "EdDSA", headers={"kid": tenant.signer.kid})
    assert refusal(world, token) == "malformed"


def test_keys_are_tried_by_kid_first_and_then_all_until_they_are_gone(world: World) -> None:
    token = issue(world).felix_token
    old = world.plane.views["acme"].keys[0]
    new = SEALER.new_key("acme")
    fresh = world.signing_key(new.kid, new.public_key, "active")
    world.change(keys=(msgspec.structs.replace(old, state="retiring"), fresh))
    world.gate.caller_of_token(token)
    # The key is there under another name: an unknown `kid` is no error by itself.
    world.change(keys=(msgspec.structs.replace(old, kid="0" * 32, state="retiring"), fresh))
    world.gate.caller_of_token(token)
    world.change(keys=(fresh,))
    assert refusal(world, token) == "signature"


def test_s14_a_right_that_was_taken_away_is_gone_from_tokens_too(world: World) -> None:
    token = issue(world).felix_token
    world.rules(
        (USER, "stream:acme/pay/orders", "stream.publish"),
        (USER, "namespace:acme/hr", "ns.manage"),
    )
    assert held(world.gate.caller_of_token(token)) == ["stream.publish:stream:acme/pay/orders"]
    world.rules()
    assert held(world.gate.caller_of_token(token)) == []


def test_s14_a_right_that_came_later_is_not_in_an_older_token(world: World) -> None:
    token = issue(world, requested=("cache.read",)).felix_token
    world.rules((USER, "tenant:acme", "tenant.manage"))
    assert held(world.gate.caller_of_token(token)) == ["cache.read:cache:acme/pay/rates"]


def test_s14_an_issuer_that_is_trusted_no_more_takes_its_tokens_along(world: World) -> None:
    token = issue(world).felix_token
    world.change(issuers=())
    assert refusal(world, token) == "issuer_not_trusted"


@pytest.mark.parametrize("whom", [USER, f"issuer:{short_id(ISSUER)}", "*"])
def test_s14_a_revocation_voids_what_was_issued_before_it(world: World, whom: str) -> None:
    token = issue(world).felix_token
    world.revoke(whom, NOW_S + 0.7)
    assert refusal(world, token) == "revoked"
    world.now_s += 1
    world.gate.caller_of_token(issue(world).felix_token)
    world.revoke("0" * 64, NOW_S + 100)
    world.gate.caller_of_token(token)


def test_groups_travel_in_the_token_and_are_asked_about_again() -> None:
    world = World()
    world.rules(("group:devs", "stream:acme/dev/*", "stream.publish"))
    token = world.gate.exchange(
        "acme", signed(claims(groups=["devs", "staff"])), EVERYTHING, Call()
    ).felix_token
    assert read(token)["grp"] == ["group:devs"]
    assert held(world.gate.caller_of_token(token)) == ["stream.publish:stream:acme/dev/*"]
    # With a second issuer nobody knows any more whose `devs` are meant.
    (own,) = world.plane.views["acme"].issuers
    other = IdpIssuer(tenant_id="acme", issuer="https://b.test", audiences=(AUDIENCE,))
    world.change(issuers=(own, other))
    assert held(world.gate.caller_of_token(token)) == []
    world.change(issuers=(msgspec.structs.replace(own, plain_groups=True), other))
    assert held(world.gate.caller_of_token(token)) == ["stream.publish:stream:acme/dev/*"]


def test_roles_count_and_so_does_their_loss(world: World) -> None:
    world.rules(("role:reader", "stream:acme/a/*", "stream.subscribe"))
    world.roles((USER, "role:reader"))
    token = issue(world).felix_token
    assert held(world.gate.caller_of_token(token)) == ["stream.subscribe:stream:acme/a/*"]
    world.roles()
    assert held(world.gate.caller_of_token(token)) == []


def test_whoever_may_do_more_than_a_token_holds_must_ask_for_less(world: World) -> None:
    world.rules(*((USER, f"stream:acme/n{n}/{'s' * 80}", "stream.publish") for n in range(1_000)))
    with pytest.raises(NotAllowed) as caught:
        issue(world)
    assert caught.value.reason == "too_many_permissions"
    assert len(perms(issue(world, resources=("stream:acme/n7/*",)))) == 1


def test_a_node_without_the_private_key_verifies_and_signs_nothing(world: World) -> None:
    token = issue(world).felix_token
    world.change(sealed_keys=())
    assert world.gate.caller_of_token(token).principal == USER
    with pytest.raises(Internal):
        issue(world)


def test_when_the_node_has_heard_nothing_for_too_long_nobody_is_authenticated(
    world: World,
) -> None:
    token = issue(world).felix_token
    world.plane.age_ms = 900_001
    world.ticks_s += 2
    with pytest.raises(NoLeader, match="identity_age_max_s"):
        world.gate.caller_of_token(token)
    with pytest.raises(NoLeader):
        issue(world)


def test_brokers_show_a_name_and_a_password() -> None:
    world = World()
    secret = hashlib.sha256(b"s3cret").digest()
    world.plane.brokers = (
        BrokerCredential(broker_id="b1", secret_hash=secret),
        BrokerCredential(broker_id="curve-only", curve_key="k" * 40),
    )
    caller = world.gate.caller_of_basic("b1", "s3cret")
    assert (caller.kind, caller.principal, caller.permissions) == ("broker", "broker:b1", ())
    for name, password in (("b1", "other"), ("b2", "s3cret"), ("curve-only", ""), ("b1", "\ud800")):
        with pytest.raises(NotProven) as caught:
            world.gate.caller_of_basic(name, password)
        assert caught.value.reason == "broker_credential"
    assert world.plane.asked["ListBrokerCredentials"] == 1
    world.plane.brokers = ()
    world.ticks_s += 2
    with pytest.raises(NotProven):
        world.gate.caller_of_basic("b1", "s3cret")


def test_explaining_asks_what_is_enforced(world: World) -> None:
    target = read_object("stream:acme/pay/orders")
    assert target is not None
    view = world.gate.identity("acme")
    assert explain_to(view, [USER], "stream.publish", target).allowed
    assert not explain_to(view, [USER], "stream.manage", target).allowed


def test_the_keys_in_the_settings_open_what_signs_and_without_them_nothing_is_signed(
    world: World,
) -> None:
    token = issue(world).felix_token
    kek = base64.b64encode(bytes(32)).decode()
    for settings, can_sign in ((IdentitySettings(kek=kek), True), (IdentitySettings(), False)):
        gate = Gatekeeper(world.plane, settings, clock=lambda: NOW_S)
        assert gate.caller_of_token(token).principal == USER
        if can_sign:
            assert gate.exchange("acme", GOOD, EVERYTHING, Call()).expires_in == 900
        else:
            with pytest.raises(Internal):
                gate.exchange("acme", GOOD, EVERYTHING, Call())


def test_a_principal_whose_roles_reach_too_far_is_refused_and_nothing_breaks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rbac, "REACH_MAX", 2)
    world.roles((USER, "role:a"), ("role:a", "role:b"), ("role:b", "role:c"))
    with pytest.raises(NotAllowed) as caught:
        issue(world)
    assert caught.value.reason == "too_many_roles"
