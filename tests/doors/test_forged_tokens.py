"""Tokens that are not good, at the exchange and at the API: refused, and nothing is told."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm

from tests.support.idp_server import IdpServer
from tests.support.dev_site import AUDIENCE, Site

Part = dict[str, Any]


def b64(data: bytes | str | Part) -> str:
    raw = json.dumps(data) if isinstance(data, dict) else data
    raw = raw.encode() if isinstance(raw, str) else raw
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(idp: IdpServer, header: Part | str, claims: Part | str, key: Any = None) -> str:
    """Sign any header and any claims as they stand."""
    text = f"{b64(header)}.{b64(claims)}"
    algorithm = ECAlgorithm(ECAlgorithm.SHA256)
    signature = algorithm.sign(text.encode(), key or idp.key("ES256"))  # type: ignore[arg-type]
    return f"{text}.{b64(signature)}"


def forged_tokens(idp: IdpServer) -> dict[str, str]:
    now = int(time.time())
    fine: Part = {"iss": idp.issuer, "sub": "alice", "aud": AUDIENCE, "iat": now, "exp": now + 60}
    head: Part = {"alg": "ES256", "kid": idp.kid()}
    own = ec.generate_private_key(ec.SECP256R1())
    own_jwk = json.loads(ECAlgorithm.to_jwk(own.public_key()))
    rs = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = idp.key("ES256").public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    good = signed(idp, head, fine)
    hs = f"{b64(head | {'alg': 'HS256'})}.{b64(fine)}"
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        hs.encode(), public
    )
    duplicate = json.dumps(fine)[:-1] + ',"sub":"root"}'
    found = {
        "alg none": f"{b64({'alg': 'none', 'kid': idp.kid()})}.{b64(fine)}.",
        "alg None with a signature": signed(idp, head | {"alg": "None"}, fine),
        "no alg": signed(idp, {"kid": idp.kid()}, fine),
        "HS256 with the public key": f"{hs}.{b64(mac)}",
        "RS256 by somebody else": jwt.encode(fine, rs, "RS256", headers={"kid": idp.kid()}),
        "signed by somebody else": signed(idp, head, fine, own),
        "a key in the header": signed(idp, head | {"jwk": own_jwk}, fine, own),
        "a key at an address": signed(idp, head | {"jku": idp.jwks_url + "?mine"}, fine, own),
        "a certificate in the header": signed(idp, head | {"x5c": ["AAAA"]}, fine, own),
        "crit": signed(idp, head | {"crit": ["exp"]}, fine),
        "crit b64": signed(idp, head | {"crit": ["b64"], "b64": False}, fine),
        "no kid": signed(idp, {"alg": "ES256"}, fine),
        "kid is a number": signed(idp, head | {"kid": 7}, fine),
        "kid walks paths": signed(idp, head | {"kid": "../../../dev/null"}, fine),
        "another key's kid": signed(idp, head | {"kid": "x"}, fine),
        "no exp": signed(idp, head, {k: v for k, v in fine.items() if k != "exp"}),
        "exp is text": signed(idp, head, fine | {"exp": "soon"}),
        "exp is true": signed(idp, head, fine | {"exp": True}),
        "exp is negative": signed(idp, head, fine | {"exp": -1}),
        "exp is huge": signed(idp, head, fine | {"exp": 10**40}),
        "exp is infinite": signed(idp, head, json.dumps(fine | {"exp": 1e999})),
        "expired": signed(idp, head, fine | {"exp": now - 120}),
        "no iat": signed(idp, head, {k: v for k, v in fine.items() if k != "iat"}),
        "iat to come": signed(idp, head, fine | {"iat": now + 600}),
        "nbf to come": signed(idp, head, fine | {"nbf": now + 600}),
        "no aud": signed(idp, head, {k: v for k, v in fine.items() if k != "aud"}),
        "another aud": signed(idp, head, fine | {"aud": "api://other"}),
        "aud is a number": signed(idp, head, fine | {"aud": 5}),
        "aud is an object": signed(idp, head, fine | {"aud": {"a": AUDIENCE}}),
        "no sub": signed(idp, head, {k: v for k, v in fine.items() if k != "sub"}),
        "sub is a list": signed(idp, head, fine | {"sub": ["alice"]}),
        "sub twice": signed(idp, head, duplicate),
        "iss with a slash": signed(idp, head, fine | {"iss": idp.issuer + "/"}),
        "iss in capitals": signed(idp, head, fine | {"iss": idp.issuer.upper()}),
        "iss is a list": signed(idp, head, fine | {"iss": [idp.issuer]}),
        "claims are a list": signed(idp, head, "[]"),
        "claims are nothing": signed(idp, head, ""),
        "deep claims": signed(idp, head, "[" * 5_000),
        "not JSON": signed(idp, head, "{"),
        "not UTF-8": f"{b64(head)}.{b64(bytes([0xFF, 0xFE]))}.{b64(b'x' * 64)}",
        "one letter changed": good[:-10] + ("A" if good[-10] != "A" else "B") + good[-9:],
        "no signature": good.rsplit(".", 1)[0] + ".",
        "two parts": good.rsplit(".", 1)[0],
        "five parts": good + ".e30.e30",
        "padding": good + "==",
        "another alphabet": good.replace("-", "+").replace("_", "/") + "+",
        "nothing": "",
        "a word": "token",
    }
    return {name: token for name, token in found.items() if token != good}


def test_forged_tokens_of_a_provider_are_refused_at_the_exchange(
    site: Site, idp: IdpServer
) -> None:
    tenant = site.new_tenant(idp)
    assert site.exchange(idp.token("alice"), tenant).status == 200
    messages = set()
    for name, token in forged_tokens(idp).items():
        answer = site.exchange(token, tenant)
        is_foreign = name in {"iss with a slash", "iss in capitals"}
        assert answer.code == ((403, "forbidden") if is_foreign else (401, "unauthorized")), name
        messages.add(answer.json["message"])
        assert "details" not in answer.json
    # A foreign issuer, no token at all, and one word for all the rest.
    assert len(messages) <= 3, messages
    assert not [path for path in idp.requests if "mine" in path]


def test_tokens_of_a_provider_and_forged_ones_open_nothing_of_the_api(
    site: Site, idp: IdpServer
) -> None:
    tenant = site.new_tenant(idp)
    good = site.token(idp, "alice", tenant)
    path = f"/v1/tenants/{tenant}/namespaces"
    assert site.ask("GET", path, token=good).status == 200
    claims = jwt.decode(good, options={"verify_signature": False})
    kid = jwt.get_unverified_header(good)["kid"]
    own = Ed25519PrivateKey.generate()
    other = site.new_tenant(idp)
    wide = claims | {"perms": ["cluster.manage:cluster:*"]}
    head, body, signature = good.split(".")
    tokens = {
        "of the provider": idp.token("alice"),
        "signed by somebody else": jwt.encode(claims, own, "EdDSA", headers={"kid": kid}),
        "without an algorithm": f"{b64({'alg': 'none', 'kid': kid})}.{body}.",
        "with more rights": f"{head}.{b64(wide)}.{signature}",
        "of another tenant": f"{head}.{b64(claims | {'tid': other})}.{signature}",
        "with another subject": f"{head}.{b64(claims | {'sub': 'root'})}.{signature}",
        "cut": good[:-4],
        "with a blank": f"{head}. {body}.{signature}",
    } | forged_tokens(idp)
    for name, token in tokens.items():
        assert site.ask("GET", path, token=token).code == (401, "unauthorized"), name
    assert site.ask("GET", path, token=site.token(idp, "alice", other)).status == 401


def test_a_token_with_many_groups_is_judged_and_one_with_too_many_refused_cleanly(
    site: Site, idp: IdpServer
) -> None:
    tenant = site.new_tenant(idp)
    groups = [f"3fa85f64-5717-4562-b3fc-{number:012d}" for number in range(1600)]
    most = idp.token("alice", groups=groups[:200])
    assert len(most) > 8190, "what gunicorn takes by default"
    assert site.exchange(most, tenant).status == 200
    assert site.exchange(idp.token("alice", groups=groups[:400]), tenant).code == (403, "forbidden")
    huge = idp.token("alice", groups=groups)
    assert len(huge) > 64_000
    assert 400 <= site.exchange(huge, tenant).status < 500


def test_a_provider_that_says_where_the_groups_are_instead_of_which_is_told_apart(
    site: Site, idp: IdpServer
) -> None:
    tenant = site.new_tenant(idp)
    overage: dict[str, Any] = {
        "_claim_names": {"groups": "src1"},
        "_claim_sources": {"src1": {"endpoint": "x"}},
    }
    assert site.exchange(idp.token("nobody", **overage), tenant).code == (403, "forbidden")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer ", "Basic ", "Bearer  ", "Negotiate "])
def test_another_scheme_is_no_token(site: Site, scheme: str) -> None:
    answer = site.ask("GET", "/v1/tenants", headers={"Authorization": scheme + "abc"})
    assert answer.code == (401, "unauthorized")
