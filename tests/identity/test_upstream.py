"""Tokens of identity providers: what is taken, what is not, and what the audit trail says of it."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from felix.identity.exchange import ExchangeRequest, Issued
from felix.identity.reasons import NOT_ALLOWED, NOT_PROVEN, NotAllowed, NotProven, Refused
from felix.proto.control_plane import Call
from felix.proto.errors import IdpUnavailable
from tests.support.identity_world import (
    AUDIENCE,
    ED_KEY,
    ES_KEY,
    ISSUER,
    NOW_S,
    OTHER_ES_KEY,
    RSA_KEY,
    World,
    claims,
    jwk_of,
    key_set,
    octets,
    pieces,
    signed,
)

USER = "a2f54b1e96143bdc067d50ba55334ac128a910c3390b271d98391a1c1b87a934"
"""`user-42` of the issuer (contract, section 8.1)."""
HEADER = {"typ": "JWT", "alg": "ES256", "kid": "es"}


def exchange(world: World, token: str | None, tenant_id: str = "acme") -> Issued:
    return world.gate.exchange(tenant_id, token, ExchangeRequest(), Call())


@pytest.fixture
def world() -> World:
    world = World()
    world.rules(
        (USER, "stream:acme/pay/*", "stream.publish"),
        ("group:devs", "stream:acme/dev/*", "stream.subscribe"),
    )
    world.add_tenant("beta")
    return world


def permissions(issued: Issued) -> list[str]:
    said = jwt.decode(issued.felix_token, options={"verify_signature": False})
    perms = said["perms"]
    assert isinstance(perms, list)
    return perms


@pytest.mark.parametrize(
    ("kid", "algorithm"), [("es", "ES256"), ("rsa", "RS256"), ("rsa", "PS256"), ("ed", "EdDSA")]
)
def test_a_token_of_each_family_is_taken(world: World, kid: str, algorithm: str) -> None:
    issued = exchange(world, signed(claims(), algorithm=algorithm, kid=kid))
    assert permissions(issued) == ["stream.publish:stream:acme/pay/*"]
    assert issued.principal == USER


@pytest.mark.parametrize(
    "members",
    [
        {"aud": ["another", AUDIENCE]},
        {"iat": NOW_S + 60},
        {"exp": NOW_S - 60},
        {"exp": NOW_S + 86_400},
        {"nbf": NOW_S + 60},
        {"nbf": NOW_S - 0.5},
        {"extra": "\U0001f600 and \\u0041"},
        {"deep": [[[[{}]]]]},
        {"wide": [{} for _ in range(100)]},
    ],
)
def test_a_token_at_the_edge_of_what_is_allowed_is_taken(
    world: World, members: dict[str, object]
) -> None:
    assert exchange(world, signed(claims(**members))).principal == USER


def _with_public_key_as_secret() -> str:
    """Sign with HMAC, the secret being what everybody knows; PyJWT would not do it."""
    text = pieces({"typ": "JWT", "alg": "HS256", "kid": "es"}, claims()).rpartition(".")[0]
    pem = ES_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return f"{text}.{octets(hmac.digest(pem, text.encode(), 'sha256'))}"


def _cut_in(token: str, part: int, change: Callable[[str], str]) -> str:
    parts = token.split(".")
    parts[part] = change(parts[part])
    return ".".join(parts)


def _same_bytes_written_otherwise(text: str) -> str:
    """Change bits of the last character that decode to nothing."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(text) % 4, "this one has no bits to spare"
    other = text[:-1] + alphabet[alphabet.index(text[-1]) | 1]
    pad = "=" * (-len(text) % 4)
    assert base64.urlsafe_b64decode(other + pad) == base64.urlsafe_b64decode(text + pad)
    return other


def _raw(**replaced: str) -> bytes:
    """Write claims with some values as raw text."""
    text = json.dumps(claims() | dict.fromkeys(replaced, "@"))
    for name, value in replaced.items():
        text = text.replace(f'"{name}": "@"', f'"{name}": {value}')
    return text.encode()


GOOD = signed(claims())
BAD: list[tuple[str, str | None, str]] = [
    ("no token", None, "no_token"),
    ("an empty token", "", "no_token"),
    ("no dots", "abc", "malformed"),
    ("two parts", GOOD.rpartition(".")[0], "malformed"),
    ("four parts", GOOD + ".x", "malformed"),
    ("five parts, as if encrypted", "a.b.c.d.e", "malformed"),
    ("a blank at the end", GOOD + " ", "malformed"),
    ("a line feed at the end", GOOD + "\n", "malformed"),
    ("letters beyond ASCII", "é" + GOOD, "malformed"),
    ("padding", _cut_in(GOOD, 2, lambda text: text + "=="), "malformed"),
    ("ordinary base64", pieces(HEADER, b"???>>>" * 3).replace("_", "/"), "malformed"),
    ("a signature written in another way", _cut_in(GOOD, 2, _same_bytes_written_otherwise),
     "malformed"),
    ("a header of 64 kB", signed(claims(), headers={"x": "y" * 65_536}), "token_too_large"),
    ("claims of 64 kB", signed(claims(x="y" * 65_536)), "token_too_large"),
    ("a header that is no JSON", pieces(b"{", claims()), "malformed"),
    ("a header that is a list", pieces([], claims()), "malformed"),
    ("a header that is no UTF-8", pieces(b"\xff\xfe", claims()), "malformed"),
    ("a header with a member twice", pieces(b'{"alg":"ES256","kid":"es","kid":"rsa"}', claims()),
     "malformed"),
    ("a header with a number", signed(claims(), headers={"level": 1}), "malformed"),
    ("no alg", pieces({"kid": "es"}, claims()), "malformed"),
    ("alg is a list", pieces(HEADER | {"alg": ["ES256"]}, claims()), "malformed"),
    ("alg none", pieces(HEADER | {"alg": "none"}, claims()), "algorithm"),
    ("alg None, in capitals", pieces(HEADER | {"alg": "NONE"}, claims()), "algorithm"),
    ("alg HS256 with the public key", _with_public_key_as_secret(), "algorithm"),
    ("alg ES384", pieces(HEADER | {"alg": "ES384"}, claims(), b"x" * 96), "algorithm"),
    ("alg ES256K", pieces(HEADER | {"alg": "ES256K"}, claims(), b"x" * 64), "algorithm"),
    ("alg RS384, not configured", signed(claims(), algorithm="RS384", kid="rsa"), "algorithm"),
    ("crit", pieces(HEADER | {"crit": ["exp"], "exp": "1"}, claims()), "critical_header"),
    ("empty crit", pieces(HEADER | {"crit": []}, claims()), "critical_header"),
    ("b64", pieces(HEADER | {"b64": False}, claims()), "malformed"),
    ("no kid", signed(claims(), kid=None), "no_kid"),
    ("kid is a number", pieces(HEADER | {"kid": 7}, claims()), "malformed"),
    ("kid is empty", pieces(HEADER | {"kid": ""}, claims()), "malformed"),
    ("kid is endless", pieces(HEADER | {"kid": "k" * 513}, claims()), "malformed"),
    ("kid is a path", signed(claims(), kid="../../es", key=ES_KEY), "kid_unknown"),
    ("kid of nobody", signed(claims(), kid="other", key=OTHER_ES_KEY), "kid_unknown"),
    ("claims that are no JSON", signed(b"no"), "malformed"),
    ("claims that are a list", signed(b"[]"), "malformed"),
    ("no claims", pieces(HEADER, b""), "malformed"),
    ("claims twice", signed(_raw()[:-1] + b', "sub": "admin"}'), "malformed"),
    ("a claim twice, deep down", signed(_raw(x='{"a": [{"b": 1, "b": 2}]}')), "malformed"),
    ("NaN", signed(_raw(x="NaN")), "malformed"),
    ("Infinity", signed(_raw(exp="Infinity")), "malformed"),
    ("half a surrogate pair", signed(_raw(sub=r'"\ud800"')), "malformed"),
    ("a number of 5000 digits", signed(_raw(exp="1" * 5_000)), "malformed"),
    ("40 levels", signed(_raw(x="[" * 40 + "]" * 40)), "malformed"),
    ("10,000 levels", signed(_raw(x="[" * 10_000 + "]" * 10_000)), "malformed"),
    ("no iss", signed(claims(iss=None)), "no_issuer"),
    ("iss is a list", signed(claims(iss=[ISSUER])), "no_issuer"),
    ("iss with a slash behind", signed(claims(iss=ISSUER + "/")), "issuer_not_trusted"),
    ("iss in capitals", signed(claims(iss=ISSUER.upper())), "issuer_not_trusted"),
    ("another key", signed(claims(), key=OTHER_ES_KEY), "signature"),
    ("no signature", pieces(HEADER, claims()), "signature"),
    ("half a signature", pieces(HEADER, claims(), b"x" * 32), "signature"),
    ("zeros as a signature", pieces(HEADER, claims(), bytes(64)), "signature"),
    ("other claims under the signature",
     _cut_in(GOOD, 1, lambda _: pieces({}, claims(sub="admin")).split(".")[1]), "signature"),
    ("RS256 with an EC key", pieces(HEADER | {"alg": "RS256"}, claims(), b"x" * 256),
     "key_unusable"),
    ("ES256 with an RSA key", pieces(HEADER | {"kid": "rsa"}, claims(), b"x" * 64), "key_unusable"),
    ("EdDSA with an EC key", pieces(HEADER | {"alg": "EdDSA"}, claims(), b"x" * 64),
     "key_unusable"),
    ("no exp", signed(claims(exp=None)), "exp_missing"),
    ("exp is a string", signed(claims(exp=str(NOW_S + 60))), "exp_missing"),
    ("exp is a fraction", signed(claims(exp=NOW_S + 60.5)), "exp_missing"),
    ("exp is true", signed(claims(exp=True)), "exp_missing"),
    ("exp is 61 s ago", signed(claims(exp=NOW_S - 61)), "expired"),
    ("exp is negative", signed(claims(exp=-1)), "expired"),
    ("exp is in two days", signed(claims(exp=NOW_S + 2 * 86_400)), "lifetime_too_long"),
    ("exp is 2^70", signed(claims(exp=2**70)), "lifetime_too_long"),
    ("s10 nbf in 61 s", signed(claims(nbf=NOW_S + 61)), "not_yet_valid"),
    ("s10 nbf is a string", signed(claims(nbf="0")), "nbf_invalid"),
    ("no iat", signed(claims(iat=None)), "iat_missing"),
    ("iat is a fraction", signed(claims(iat=NOW_S + 0.5)), "iat_missing"),
    ("iat in 61 s", signed(claims(iat=NOW_S + 61)), "iat_in_future"),
    ("no aud", signed(claims(aud=None)), "audience"),
    ("another aud", signed(claims(aud="other")), "audience"),
    ("aud is empty", signed(claims(aud=[])), "audience"),
    ("aud is a number", signed(claims(aud=7)), "audience"),
    ("aud is an object", signed(claims(aud={AUDIENCE: True})), "audience"),
    ("aud has a number too", signed(claims(aud=[AUDIENCE, 7])), "audience"),
    ("aud has a list", signed(claims(aud=[[AUDIENCE]])), "audience"),
    ("no sub", signed(claims(sub=None)), "subject"),
    ("sub is a number", signed(claims(sub=42)), "subject"),
    ("sub is empty", signed(claims(sub="")), "subject"),
    ("sub is a blank", signed(claims(sub=" ")), "subject"),
    ("sub is endless", signed(claims(sub="s" * 513)), "subject"),
    ("groups are an object", signed(claims(groups={"devs": True})), "groups"),
    ("400 groups", signed(claims(groups=[str(n) for n in range(400)])), "too_many_groups"),
    ("groups are elsewhere", signed(claims(_claim_names={"groups": "src1"})), "group_overage"),
    ("groups are left out", signed(claims(hasgroups=True)), "group_overage"),
    ("nobody in the rules", signed(claims(sub="stranger")), "no_permissions"),
]  # fmt: skip
FORBIDDEN = {
    "issuer_not_trusted",
    "too_many_groups",
    "group_overage",
    "no_permissions",
}


@pytest.mark.parametrize(("token", "reason"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_token_that_is_not_good_is_refused_and_only_the_audit_knows_why(
    world: World, token: str | None, reason: str
) -> None:
    with pytest.raises(Refused) as caught:
        exchange(world, token)
    refused = caught.value
    assert refused.reason == reason
    kind, message = (NotAllowed, NOT_ALLOWED) if reason in FORBIDDEN else (NotProven, NOT_PROVEN)
    assert type(refused) is kind
    if reason in {"too_many_groups", "group_overage"}:  # who it is was proven before
        assert refused.principal == USER
        assert refused.details == {"reason": reason}
        return
    assert refused.message == message
    assert refused.details == {}
    assert reason not in str(refused.to_reply())


def test_unknown_tenants_and_tenants_without_issuers_are_refused_alike(world: World) -> None:
    world.change("beta", issuers=())
    for tenant_id, reason in (("nobody", "unknown_tenant"), ("a/b", "unknown_tenant"),
                              ("beta", "no_issuers")):  # fmt: skip
        with pytest.raises(NotAllowed) as caught:
            exchange(world, "whatever it is", tenant_id)
        assert (caught.value.reason, caught.value.message) == (reason, NOT_ALLOWED)


def test_an_issuer_of_two_tenants_vouches_in_each_for_the_rules_of_that_one(world: World) -> None:
    with pytest.raises(NotAllowed) as caught:
        exchange(world, GOOD, "beta")
    assert (caught.value.reason, caught.value.principal) == ("no_permissions", USER)


def test_a_felix_token_is_no_upstream_token(world: World) -> None:
    felix = exchange(world, GOOD).felix_token
    with pytest.raises(NotAllowed) as caught:
        exchange(world, felix)
    assert caught.value.reason == "issuer_not_trusted"


def test_only_configured_algorithms_are_taken() -> None:
    world = World(algorithms=("ES256",))
    for kid, algorithm in (("rsa", "RS256"), ("ed", "EdDSA")):
        with pytest.raises(NotProven) as caught:
            exchange(world, signed(claims(), algorithm=algorithm, kid=kid))
        assert caught.value.reason == "algorithm"


def test_groups_count_with_and_without_their_prefix_and_only_if_the_tenant_asks(
    world: World,
) -> None:
    for groups in (["devs", 7], ["group:devs"], "devs"):
        issued = exchange(world, signed(claims(sub="someone", groups=groups)))
        assert permissions(issued) == ["stream.subscribe:stream:acme/dev/*"]
    world.issuer(groups_claim=None)
    with pytest.raises(NotAllowed) as caught:
        exchange(world, signed(claims(sub="someone", groups=["devs"])))
    assert caught.value.reason == "no_permissions"
    # Without the claim, what a provider says about groups is not looked at either.
    exchange(world, signed(claims(hasgroups=True)))


def test_another_claim_may_be_the_subject(world: World) -> None:
    world.issuer(subject_claim="email")
    issued = exchange(world, signed(claims(sub=None, email="user-42")))
    assert issued.principal == USER


def test_s10_a_felix_token_never_outlives_the_upstream_token(world: World) -> None:
    for left_s, expected_s in ((3_600, 900), (300, 300), (1, 1), (-30, 0)):
        issued = exchange(world, signed(claims(exp=NOW_S + left_s)))
        said = jwt.decode(issued.felix_token, options={"verify_signature": False})
        assert said["exp"] == NOW_S + min(left_s, 900)
        assert issued.expires_in == expected_s


def test_c13_a_provider_that_cannot_be_asked_is_not_a_bad_token(world: World) -> None:
    world.ticks_s += 60
    exchange(world, signed(claims()))
    world.plane.failure = IdpUnavailable("down")
    exchange(world, GOOD)  # while its keys are believed it is not asked
    world.plane.failure = None
    world.ticks_s += 10.5
    world.gate.identity("acme")
    world.plane.failure = IdpUnavailable("down")
    with pytest.raises(IdpUnavailable):
        exchange(world, GOOD)


def test_c14_keys_without_alg_are_taken_and_unusable_ones_hurt_no_other(world: World) -> None:
    world.plane.key_sets["acme", ISSUER] = key_set(
        {"kty": "EC", "kid": "p521", "crv": "P-521", "x": "AA", "y": "AA"},
        {"kty": "oct", "kid": "secret", "k": "AA"},
        {"kid": 7},
        jwk_of(ES_KEY, "wrong", alg="ES384"),
        jwk_of(ES_KEY, "enc", use="enc"),
        jwk_of(ES_KEY, "named", alg="ES256"),
        jwk_of(ES_KEY, "bare"),
        jwk_of(ED_KEY, "ed", alg="Ed25519"),
        jwk_of(RSA_KEY, "ps", alg="PS256"),
    )
    for kid in ("named", "bare"):
        exchange(world, signed(claims(), kid=kid, key=ES_KEY))
    exchange(world, signed(claims(), kid="ed", algorithm="EdDSA"))
    exchange(world, signed(claims(), kid="ps", algorithm="PS256", key=RSA_KEY))
    for kid, key, algorithm, reason in (
        ("wrong", ES_KEY, "ES256", "kid_unknown"),
        ("enc", ES_KEY, "ES256", "kid_unknown"),
        ("ps", RSA_KEY, "RS256", "key_unusable"),
    ):
        world.ticks_s += 2
        with pytest.raises(NotProven) as caught:
            exchange(world, signed(claims(), kid=kid, key=key, algorithm=algorithm))
        assert caught.value.reason == reason
