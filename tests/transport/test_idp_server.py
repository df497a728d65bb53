"""The identity provider of the tests is one."""

from __future__ import annotations

import json
import urllib.request

import jwt
import pytest

from tests.support.idp_server import idp_server

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("alg", ["ES256", "RS256", "PS256"])
def test_a_token_verifies_with_the_key_set_that_discovery_names(alg: str) -> None:
    with idp_server() as idp:
        token = idp.token("alice", groups=["ops"], audience="felix", alg=alg, team="red")
        with urllib.request.urlopen(idp.discovery_url, timeout=10) as answer:
            where = json.load(answer)["jwks_uri"]
        with urllib.request.urlopen(where, timeout=10) as answer:
            keys = {one.key_id: one for one in jwt.PyJWKSet.from_json(answer.read()).keys}
        key = keys[jwt.get_unverified_header(token)["kid"]]
        claims = jwt.decode(token, key.key, algorithms=[alg], audience="felix", issuer=idp.issuer)
        assert (claims["sub"], claims["groups"], claims["team"]) == ("alice", ["ops"], "red")
        assert idp.requests == ["/.well-known/openid-configuration", "/keys"]


def test_it_signs_with_another_key_after_a_rotation() -> None:
    with idp_server() as idp:
        before = idp.kid()
        idp.rotate()
        assert before not in {one["kid"] for one in idp.jwks()["keys"]}
        assert jwt.get_unverified_header(idp.token("alice"))["kid"] == idp.kid() != before


def test_it_can_go_and_come_back_on_the_same_port() -> None:
    with idp_server() as idp:
        idp.go_down()
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(idp.jwks_url, timeout=10)
        idp.come_up()
        with urllib.request.urlopen(idp.jwks_url, timeout=10) as answer:
            assert answer.status == 200
