"""The development identity provider: its tokens verify, and nobody far away gets one."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jwt
import pytest
import urllib3

from felix.cli.dev_idp import DevIdp
from felix.proto.errors import ValidationFailed
from felix.transport.outbound import Outbound

pytestmark = pytest.mark.slow


@contextmanager
def running(data_dir: Path | None = None) -> Iterator[DevIdp]:
    idp = DevIdp(data_dir=data_dir)
    idp.start()
    try:
        yield idp
    finally:
        idp.stop()


def verified(idp: DevIdp, token: str, audience: str = "felix-controlplane") -> dict[str, object]:
    """Verify as anybody would who knows nothing but the issuer."""
    outbound = Outbound(private_addresses=True)
    outbound.get_json(f"{idp.issuer}/.well-known/openid-configuration")
    keys = jwt.PyJWKSet.from_json(outbound.get_json(f"{idp.issuer}/keys").decode())
    head = jwt.get_unverified_header(token)
    claims: dict[str, object] = jwt.decode(
        token,
        keys[head["kid"]].key,
        algorithms=[head["alg"]],
        audience=audience,
        issuer=idp.issuer,
        options={"require": ["exp", "iat", "iss", "aud", "sub"]},
    )
    return claims


def post(idp: DevIdp, body: str, **headers: str) -> urllib3.BaseHTTPResponse:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    return urllib3.request(
        "POST", f"{idp.issuer}/token", body=body, headers=kind | headers, retries=False, timeout=10
    )


@pytest.mark.parametrize("alg", ["ES256", "RS256"])
def test_a_token_verifies_with_the_providers_own_key_set(alg: str) -> None:
    with running() as idp:
        claims = verified(idp, idp.mint("alice", ["ops", "dev"], "felix", alg), "felix")
        assert (claims["sub"], claims["groups"]) == ("alice", ["ops", "dev"])


@pytest.mark.parametrize("alg", ["ES256", "RS256"])
def test_a_form_gets_a_token(alg: str) -> None:
    with running() as idp:
        answer = post(idp, f"subject=alice&groups=ops,dev&audience=felix&alg={alg}")
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        claims = verified(idp, answer.json()["id_token"], "felix")
        assert (claims["sub"], claims["groups"]) == ("alice", ["ops", "dev"])
        assert verified(idp, post(idp, "subject=bob").json()["id_token"])["sub"] == "bob"


@pytest.mark.parametrize(
    "body",
    ["", "groups=ops", "subject=", "subject=a&alg=none", "subject=a&alg=HS256", "subject=a&x=y",
     "subject=a&subject=b"],
)  # fmt: skip
def test_a_form_that_makes_no_sense_is_refused(body: str) -> None:
    with running() as idp:
        answer = post(idp, body)
        assert 400 <= answer.status < 500


def test_only_forms_of_a_sane_size_are_read() -> None:
    with running() as idp:
        assert post(idp, "{}", **{"Content-Type": "application/json"}).status == 415
        assert post(idp, "subject=" + "a" * 20_000).status == 413


def test_a_page_whose_name_points_to_loopback_gets_nothing() -> None:
    with running() as idp:
        assert post(idp, "subject=alice", Host="evil.example.test").status == 403
        assert post(idp, "subject=alice", Host="localhost").status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "192.168.1.1"])
def test_it_does_not_bind_anything_but_loopback(host: str) -> None:
    with pytest.raises(ValueError, match="for loopback"):
        DevIdp(host=host)


def test_keys_stay_from_one_run_to_the_next_and_are_for_the_owners_eyes(tmp_path: Path) -> None:
    with running(tmp_path / "idp") as idp:
        before = idp.key_set()
    with running(tmp_path / "idp") as idp:
        assert idp.key_set() == before
    with running() as idp:
        assert idp.key_set() != before
    files = sorted((tmp_path / "idp").iterdir())
    assert [file.name for file in files] == ["idp-es256.pem", "idp-rs256.pem"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_minting_for_nobody_is_refused() -> None:
    with running() as idp:
        for subject, audience, alg in (("", "a", "ES256"), ("a", "", "ES256"), ("a", "a", "none")):
            with pytest.raises(ValidationFailed):
                idp.mint(subject, (), audience, alg)
