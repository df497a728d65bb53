"""Tokens that prove nothing, at both doors of a real node: the exchange, and the API itself.

Whatever comes is refused with 401 or 403, in one shape, and never tells more than that.
"""

from __future__ import annotations

import base64
import hmac
import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from felix.identity.reasons import NOT_ALLOWED, NOT_PROVEN
from felix.proto.identity import IdentityView
from felix.proto.queries import GetTenantIdentity
from felix.storage.sealed import Sealer
from tests.support.cluster import KEK
from tests.support.identity_world import jwk_of, octets, pieces
from tests.support.idp_server import IdpServer, idp_server
from tests.support.site import ADMIN, Answer, Site, claims_of, site

pytestmark = pytest.mark.slow

ACME: Final = "acme"
POLICIES: Final = f"/v1/tenants/{ACME}/rbac/policies"
STRANGER_KEY: Final = ec.generate_private_key(ec.SECP256R1())
STRANGER_ED: Final = Ed25519PrivateKey.generate()


class Forge:
    """Makes tokens of both kinds, with all keys at hand."""

    def __init__(self, felix: Site, idp: IdpServer) -> None:
        self.felix = felix
        self.idp = idp
        self.good = idp.token(ADMIN)
        self.good_felix = felix.token(ACME, self.good)
        view = felix.node.ask(GetTenantIdentity(tenant_id=ACME)).result
        assert isinstance(view, IdentityView)
        self.kid = view.keys[0].kid
        self.tenant_key = Sealer((base64.b64decode(KEK),)).open(view.sealed_keys[0])

    def upstream(self, **claims: Any) -> str:
        """Sign claims as the provider does; None takes one out."""
        return self.idp.token(ADMIN, **claims)

    def claims(self, **members: object) -> dict[str, object]:
        """Give the claims of a good token of the provider."""
        good: dict[str, object] = jwt.decode(self.good, options={"verify_signature": False})
        return good | members

    def signed(self, payload: bytes, **headers: object) -> str:
        """Sign any bytes as the provider does."""
        head = {"kid": self.idp.kid()} | headers
        return jwt.PyJWS().encode(payload, self.idp.key(), "ES256", headers=head)

    def raw(self, text: str) -> str:
        """Sign the good claims with some text behind them."""
        return self.signed(json.dumps(self.claims())[:-1].encode() + text.encode())

    def head(self, **members: object) -> dict[str, object]:
        """Give the header of a token of the provider."""
        return {"typ": "JWT", "alg": "ES256", "kid": self.idp.kid()} | members

    def felix_token(
        self, key: Ed25519PrivateKey | None = None, headers: Any = None, **claims: Any
    ) -> str:
        """Sign claims with the tenant's own key; None takes one out."""
        members = claims_of(self.good_felix) | claims
        payload = json.dumps({name: value for name, value in members.items() if value is not None})
        head = {"kid": self.kid} | (headers or {})
        return jwt.PyJWS().encode(payload.encode(), key or self.tenant_key, "EdDSA", headers=head)


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    """A node, a tenant `acme` whose administrator alice has a good token, and all the keys."""
    with idp_server() as idp, site(idp.issuer) as felix:
        felix.bootstrap(ACME)
        felix.bootstrap("beta")
        yield Forge(felix, idp)


def hs256(head: dict[str, object], claims: dict[str, object], public_key: Any) -> str:
    """Sign with HMAC, the secret being a key that everybody knows."""
    pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = pieces(head | {"alg": "HS256"}, claims).rpartition(".")[0]
    return f"{text}.{octets(hmac.digest(pem, text.encode(), 'sha256'))}"


def by_stranger(forge: Forge, **headers: object) -> str:
    """Sign with a key of one's own, and say in the header where to find it."""
    return jwt.encode(
        forge.claims(), STRANGER_KEY, "ES256", headers={"kid": forge.idp.kid()} | headers
    )


Make = Callable[[Forge], str]
NOW_S: Final = int(time.time())
UPSTREAM: Final[dict[str, tuple[int, Make]]] = {
    "alg none": (401, lambda f: pieces(f.head(alg="none"), f.claims())),
    "alg nOnE": (401, lambda f: pieces(f.head(alg="nOnE"), f.claims())),
    "alg HS256, the public key as secret": (
        401, lambda f: hs256(f.head(), f.claims(), f.idp.key().public_key())),
    "alg RS256, not configured": (401, lambda f: f.upstream(alg="RS256")),
    "alg ES512": (401, lambda f: pieces(f.head(alg="ES512"), f.claims(), b"x" * 132)),
    "no alg": (401, lambda f: pieces({"kid": f.idp.kid()}, f.claims(), b"x" * 64)),
    "zeros as a signature": (401, lambda f: pieces(f.head(), f.claims(), bytes(64))),
    "no signature": (401, lambda f: f.good.rpartition(".")[0] + "."),
    "a stranger's key": (401, by_stranger),
    "a stranger's key in jwk": (
        401, lambda f: by_stranger(f, jwk=jwk_of(STRANGER_KEY, f.idp.kid()))),
    "a stranger's key behind jku": (401, lambda f: by_stranger(f, jku=f.idp.jwks_url)),
    "a stranger's key behind x5u": (401, lambda f: by_stranger(f, x5u=f.idp.jwks_url)),
    "a stranger's key in x5c": (401, lambda f: by_stranger(f, x5c=["AAAA"])),
    "wrong kid": (401, lambda f: f.upstream(headers={"kid": "0" * 32})),
    "no kid": (401, lambda f: f.upstream(headers={"kid": None})),
    "kid is a path": (401, lambda f: f.upstream(headers={"kid": "../../../dev/null"})),
    "kid of 10 kB": (401, lambda f: f.upstream(headers={"kid": "k" * 10_000})),
    "crit": (401, lambda f: f.upstream(headers={"crit": ["exp"], "exp": "1"})),
    "b64 false": (401, lambda f: pieces(f.head(b64=False, crit=["b64"]), f.claims(), bytes(64))),
    "five parts, as if encrypted": (401, lambda f: f.good + ".AAAA.AAAA"),
    "four parts": (401, lambda f: f.good + ".AAAA"),
    "two parts": (401, lambda f: f.good.rpartition(".")[0]),
    "one part": (401, lambda f: f.good.partition(".")[0]),
    "a blank in front": (401, lambda f: " " + f.good),
    "a blank within": (401, lambda f: f.good[:40] + " " + f.good[40:]),
    "a tab within": (401, lambda f: f.good[:40] + "\t" + f.good[40:]),
    "padding": (401, lambda f: f.good + "=="),
    "the good one twice": (401, lambda f: f"{f.good},{f.good}"),
    "quotes around": (401, lambda f: f'"{f.good}"'),
    "20 kB of letters": (401, lambda _: "A" * 20_000),
    "20 kB of dots": (401, lambda _: "." * 20_000),
    "an empty object": (401, lambda f: f.signed(b"{}")),
    "claims that are a list": (401, lambda f: f.signed(b"[]")),
    "claims that are no JSON": (401, lambda f: f.signed(b"\xff")),
    "a claim twice": (401, lambda f: f.raw(', "sub": "alice"}')),
    "aud twice": (401, lambda f: f.raw(', "aud": "felix-controlplane"}')),
    "NaN": (401, lambda f: f.raw(', "x": NaN}')),
    "1000 levels": (401, lambda f: f.raw(', "x": ' + "[" * 1000 + "]" * 1000 + "}")),
    "a number of 5000 digits": (401, lambda f: f.raw(f', "x": {"1" * 5000}}}')),
    "no exp": (401, lambda f: f.upstream(exp=None)),
    "exp is 1e300": (401, lambda f: f.upstream(exp=1e300)),
    "exp is 2^63": (401, lambda f: f.upstream(exp=2**63)),
    "exp is in a year": (401, lambda f: f.upstream(exp=NOW_S + 365 * 86_400)),
    "exp is a fraction": (401, lambda f: f.upstream(exp=NOW_S + 60.5)),
    "exp is true": (401, lambda f: f.upstream(exp=True)),
    "exp is text": (401, lambda f: f.upstream(exp=str(NOW_S + 60))),
    "exp is negative": (401, lambda f: f.upstream(exp=-1)),
    "exp is past": (401, lambda f: f.upstream(exp=NOW_S - 3600)),
    "nbf is far ahead": (401, lambda f: f.upstream(nbf=NOW_S + 3600)),
    "iat is far ahead": (401, lambda f: f.upstream(iat=NOW_S + 3600)),
    "no iat": (401, lambda f: f.upstream(iat=None)),
    "no aud": (401, lambda f: f.upstream(aud=None)),
    "aud is a number": (401, lambda f: f.upstream(aud=7)),
    "aud is an object": (401, lambda f: f.upstream(aud={"felix-controlplane": True})),
    "aud has a number too": (401, lambda f: f.upstream(aud=["felix-controlplane", 7])),
    "aud of somebody else": (401, lambda f: f.upstream(aud="https://other.test")),
    "no iss": (401, lambda f: f.upstream(iss=None)),
    "iss is a list": (401, lambda f: f.signed(json.dumps(f.claims(iss=[f.idp.issuer])).encode())),
    "iss with a slash behind": (403, lambda f: f.upstream(iss=f.idp.issuer + "/")),
    "iss with capitals": (403, lambda f: f.upstream(iss=f.idp.issuer.replace("http", "HTTP"))),
    "iss of somebody else": (403, lambda f: f.upstream(iss="https://accounts.example.test")),
    "no sub": (401, lambda f: f.upstream(sub=None)),
    "sub is a list": (401, lambda f: f.signed(json.dumps(f.claims(sub=[ADMIN])).encode())),
    "sub is empty": (401, lambda f: f.upstream(sub="")),
    "sub with a bar": (403, lambda f: f.upstream(sub=f"x|{ADMIN}")),
    "sub of a stranger": (403, lambda f: f.upstream(sub="stranger")),
    "groups are an object": (401, lambda f: f.signed(json.dumps(f.claims(groups={})).encode())),
    "400 groups": (403, lambda f: f.upstream(groups=[f"group-{n}" for n in range(400)])),
    "groups are elsewhere": (403, lambda f: f.upstream(_claim_names={"groups": "src1"})),
    "groups are left out": (403, lambda f: f.upstream(hasgroups=True)),
    "a Felix token": (401, lambda f: f.good_felix),
}  # fmt: skip
FELIX: Final[dict[str, Make]] = {
    "a token of the provider": lambda f: f.good,
    "another tenant's token": lambda f: f.felix.token("beta", f.good),
    "another tenant's token, renamed": lambda f: _retold(f.felix.token("beta", f.good), tid=ACME),
    "alg none": lambda f: pieces({"alg": "none", "kid": f.kid}, claims_of(f.good_felix)),
    "alg HS256, the public key as secret": lambda f: hs256(
        {"kid": f.kid}, claims_of(f.good_felix), f.tenant_key.public_key()),
    "a stranger's key": lambda f: f.felix_token(Ed25519PrivateKey.generate()),
    "a stranger's key in jwk": lambda f: f.felix_token(
        STRANGER_ED, {"jwk": jwk_of(STRANGER_ED, f.kid)}),
    "a stranger's key behind jku": lambda f: f.felix_token(STRANGER_ED, {"jku": f.idp.jwks_url}),
    "wrong kid and a stranger's key": lambda f: f.felix_token(STRANGER_ED, {"kid": "0" * 32}),
    "crit": lambda f: f.felix_token(headers={"crit": ["exp"], "exp": "1"}),
    "b64 false": lambda f: pieces(
        {"alg": "EdDSA", "kid": f.kid, "b64": False}, claims_of(f.good_felix), bytes(64)),
    "more permissions than were signed": lambda f: _retold(f.good_felix, perms=["cluster.manage"]),
    "no signature": lambda f: f.good_felix.rpartition(".")[0] + ".",
    "five parts, as if encrypted": lambda f: f.good_felix + ".AAAA.AAAA",
    "a blank in front": lambda f: " " + f.good_felix,
    "a tab within": lambda f: f.good_felix[:40] + "\t" + f.good_felix[40:],
    "the good one twice": lambda f: f"{f.good_felix},{f.good_felix}",
    "20 kB of letters": lambda _: "A" * 20_000,
    "another issuer": lambda f: f.felix_token(iss="felix-auth/"),
    "aud is a list": lambda f: f.felix_token(aud=["felix-broker"]),
    "aud of somebody else": lambda f: f.felix_token(aud="felix"),
    "tid of nobody": lambda f: f.felix_token(tid="nobody"),
    "tid is no name": lambda f: f.felix_token(tid="../beta"),
    "tid of another tenant": lambda f: f.felix_token(tid="beta"),
    "no exp": lambda f: f.felix_token(exp=None),
    "exp is past": lambda f: f.felix_token(exp=NOW_S - 60),
    "exp is negative": lambda f: f.felix_token(exp=-1),
    "exp is 2^70": lambda f: f.felix_token(exp=2**70),
    "exp is a fraction": lambda f: f.felix_token(exp=NOW_S + 60.5),
    "exp is true": lambda f: f.felix_token(exp=True),
    "exp is text": lambda f: f.felix_token(exp=str(NOW_S + 60)),
    "iat is text": lambda f: f.felix_token(iat="0"),
    "perms are text": lambda f: f.felix_token(perms="rbac.view:tenant:acme"),
    "perms have a number": lambda f: f.felix_token(perms=[7]),
    "a provider of nobody": lambda f: f.felix_token(idp="0" * 12),
    "no provider": lambda f: f.felix_token(idp=None),
}  # fmt: skip
CLEAR: Final = {"400 groups", "groups are elsewhere", "groups are left out"}
"""Here somebody has proven who it is, and is told what is wrong with its groups."""


def _retold(token: str, **claims: object) -> str:
    """Put other claims under a signature."""
    head, _, signature = token.split(".")
    changed = json.dumps(claims_of(token) | claims).encode()
    return f"{head}.{octets(changed)}.{signature}"


def say(forge: Forge, *lines: bytes) -> tuple[int, bytes]:
    """Send the lines of a head as they are; give the status, and all that came."""
    host, _, port = forge.felix.node.config.listen.http.rpartition(":")
    head = [f"GET {POLICIES} HTTP/1.1".encode(), b"Host: x", b"Connection: close", *lines]
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"\r\n".join(head) + b"\r\n\r\n")
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    return int(answer.split()[1]), answer


def bearer(token: str) -> bytes:
    """Write the line of the head."""
    return f"Authorization: Bearer {token}".encode()


def assert_refused(answer: Answer, status: int, message: str | None) -> None:
    """The answer is one of two, to the letter, but for the request's id."""
    assert answer.refusal == (status, "unauthorized" if status == 401 else "forbidden")
    body = answer.json
    if message is not None:
        assert body == {
            "code": body["code"], "message": message, "request_id": body["request_id"],
        }  # fmt: skip


@pytest.mark.parametrize("name", UPSTREAM)
def test_a_token_of_a_provider_that_proves_nothing_is_refused_at_both_doors(
    forge: Forge, name: str
) -> None:
    status, make = UPSTREAM[name]
    token = make(forge)
    message = NOT_PROVEN if status == 401 else NOT_ALLOWED
    at_exchange = forge.felix.exchange(ACME, token)
    assert_refused(at_exchange, status, None if name in CLEAR else message)
    if token != forge.good_felix:
        assert_refused(forge.felix.ask("GET", POLICIES, token=token), 401, NOT_PROVEN)


@pytest.mark.parametrize("name", FELIX)
def test_a_felix_token_that_proves_nothing_is_refused_at_both_doors(
    forge: Forge, name: str
) -> None:
    token = FELIX[name](forge)
    at_api = forge.felix.ask("GET", POLICIES, token=token)
    is_somebodys = name == "another tenant's token"
    assert_refused(at_api, 401, None if is_somebodys else NOT_PROVEN)
    if token != forge.good:
        assert_refused(forge.felix.exchange(ACME, token), 401, NOT_PROVEN)


@pytest.mark.parametrize("name", sorted(CLEAR))
def test_who_has_too_many_groups_is_told_so(forge: Forge, name: str) -> None:
    body = forge.felix.exchange(ACME, UPSTREAM[name][1](forge)).json
    assert body["details"]["reason"] in {"too_many_groups", "group_overage"}
    assert "groups" in body["message"]


def test_the_good_ones_are_taken_or_all_of_this_shows_nothing(forge: Forge) -> None:
    for token in (forge.upstream(), forge.upstream(headers={"jku": "https://x.test", "cty": "x"})):
        assert forge.felix.exchange(ACME, token).status == 200
    for token in (forge.good_felix, forge.felix_token()):
        assert forge.felix.ask("GET", POLICIES, token=token).status == 200


def test_nobody_is_told_whether_a_tenant_exists(forge: Forge) -> None:
    for token in (forge.good, "x", forge.upstream(aud="other")):
        missing = forge.felix.exchange("nobody", token)
        assert_refused(missing, 403, NOT_ALLOWED)


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic YTpi", "Token x", "\x80"])
def test_without_a_bearer_it_is_401_at_both_doors(forge: Forge, value: str) -> None:
    said = {"Authorization": value}
    for answer in (
        forge.felix.ask("GET", POLICIES, headers=said), forge.felix.exchange(ACME, None, **said),
    ):  # fmt: skip
        assert_refused(answer, 401, None)
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer\t", "Bearer  "])
def test_the_scheme_is_one_word_and_one_blank(forge: Forge, scheme: str) -> None:
    said = {"Authorization": f"{scheme} {forge.good_felix}"}
    assert_refused(forge.felix.ask("GET", POLICIES, headers=said), 401, None)


def test_two_authorization_headers_are_no_token_whichever_is_good(forge: Forge) -> None:
    good, bad = bearer(forge.good_felix), bearer("x")
    assert say(forge, good)[0] == 200
    for lines in ((good, bad), (bad, good), (good, good), (good, b"Authorization: Basic YTpi")):
        assert say(forge, *lines)[0] == 401


@pytest.mark.parametrize("cut", [b"\n", b"\r", b"\x00", b"\r\n ", b"\r\n\t"])
def test_a_line_feed_in_a_token_is_no_request(forge: Forge, cut: bytes) -> None:
    line = bearer(forge.good_felix)
    status, answer = say(forge, line[:80] + cut + line[80:])
    assert status == 400
    assert line[:80] not in answer
    assert b"Traceback" not in answer


def test_a_token_of_20_kb_is_judged_like_any_other(forge: Forge) -> None:
    groups = [f"{n:03}" + "g" * 77 for n in range(180)]
    upstream = forge.upstream(groups=groups)
    felix_token = forge.felix_token(more="x" * 15_000)
    assert min(len(felix_token), len(upstream)) > 20_000
    assert forge.felix.exchange(ACME, upstream).status == 200
    assert say(forge, bearer(felix_token))[0] == 200
    assert say(forge, bearer(felix_token[:-20]))[0] == 401


def test_the_largest_token_is_read_and_one_more_byte_is_not(forge: Forge) -> None:
    assert say(forge, bearer("A" * 32_768))[0] == 401
    assert say(forge, bearer("A" * 33_000))[0] == 431


def test_a_header_of_64_kb_is_431_and_the_next_client_is_served(forge: Forge) -> None:
    status, answer = say(forge, bearer("A" * 65_536))
    assert status == 431
    assert b"AAAA" not in answer
    assert b"Traceback" not in answer
    assert say(forge, bearer(forge.good_felix))[0] == 200


def test_no_token_stands_in_the_log(forge: Forge) -> None:
    forge.felix.ask("GET", POLICIES, token=forge.felix_token(perms=[7]))
    log = forge.felix.node.log.read_text()
    for token in (forge.good, forge.good_felix):
        assert not any(part in log for part in token.split(".")[1:])
    assert "AAAAAAAA" not in log
    assert "Traceback" not in log
