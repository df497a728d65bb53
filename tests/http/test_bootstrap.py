"""The bootstrap listener (contract, chapter 6, and chapter 15, S7, S8, C10 and C12)."""

from __future__ import annotations

import hashlib
import threading
from typing import Any, Final

import pytest
import structlog
from falcon.testing import Result, TestClient

from felix.http.bootstrap import WINDOW_S, WRONG_MAX, WRONG_PER_ADDRESS_MAX, create_bootstrap_app
from felix.http.settings import HttpSettings
from felix.proto.identity import IdentityView
from felix.proto.queries import GetTenantIdentity
from tests.http.helpers import Kept, refused
from tests.support.local_control_plane import LocalControlPlane

TOKEN: Final = "day-zero-secret"
BEFORE: Final = "day-minus-one-secret"
ISSUER: Final = "https://idp.example.test"
ALICE: Final = "a2f54b1e96143bdc067d50ba55334ac128a910c3390b271d98391a1c1b87a934"
"""The test vector of the contract, section 8.1: `user-42` of `ISSUER`."""
BODY: Final[dict[str, Any]] = {
    "display_name": "Acme",
    "idp_issuers": [
        {
            "issuer": ISSUER,
            "audiences": ["felix-controlplane"],
            "discovery_url": None,
            "jwks_url": ISSUER + "/keys",
            "claim_mappings": {"subject_claim": "sub", "groups_claim": "groups"},
        }
    ],
    "initial_admin_principals": [ALICE],
}


class Listener:
    """A client of a bootstrap listener."""

    def __init__(self, tokens: tuple[str, ...] = (TOKEN,), **settings: Any) -> None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
        self.plane = LocalControlPlane()
        self.kept = Kept()
        self.now_s = 1000.0
        app = create_bootstrap_app(
            self.plane,
            HttpSettings(bootstrap_tokens=tokens, **settings),
            self.kept,
            lambda: self.now_s,
        )
        self._client = TestClient(app)

    def initialize(
        self,
        body: object = BODY,
        token: str | None = TOKEN,
        *,
        tenant: str = "acme",
        address: str = "192.0.2.1",
        **request: Any,
    ) -> Result:
        """Ask for it."""
        headers = request.pop("headers", {})
        if token is not None:
            headers["X-Felix-Bootstrap-Token"] = token
        if isinstance(body, bytes):
            headers["Content-Type"] = "application/json"
            request["body"] = body
        else:
            request["json"] = body
        return self._client.simulate_request(
            "POST",
            f"/internal/bootstrap/tenants/{tenant}/initialize",
            headers=headers,
            remote_addr=address,
            **request,
        )

    def identity(self, tenant: str = "acme") -> IdentityView:
        """What has become of it."""
        view = self.plane.ask(GetTenantIdentity(tenant_id=tenant)).result
        assert isinstance(view, IdentityView)
        return view


@pytest.mark.parametrize("tokens", [(), ("",), ("", "")])
def test_without_a_token_in_the_configuration_bootstrap_is_404_not_enabled(
    tokens: tuple[str, ...],
) -> None:
    for token in (None, "", TOKEN):
        result = Listener(tokens).initialize(token=token)
        assert refused(result) == (404, "not_enabled")


@pytest.mark.parametrize("token", [None, "", "day", TOKEN + "x", TOKEN.upper(), "ü", BEFORE])
def test_a_missing_or_wrong_token_is_401(token: str | None) -> None:
    assert refused(Listener().initialize(token=token)) == (401, "unauthorized")


def test_s15_the_token_is_looked_at_before_the_body() -> None:
    listener = Listener()
    for body in (b"", b"{", b"[]", b"x" * (3 << 20)):
        result = listener.initialize(token="wrong", body=body)
        assert refused(result) == (401, "unauthorized")


def test_s8_after_ten_wrong_tokens_an_address_waits_for_a_minute_with_the_right_one_too() -> None:
    listener = Listener()
    for _ in range(WRONG_PER_ADDRESS_MAX):
        assert listener.initialize(token="guess").status_code == 401
    held = listener.initialize()
    assert refused(held) == (429, "overloaded")
    assert held.headers["Retry-After"] == "61"
    assert listener.initialize(body={}, address="192.0.2.2").status_code == 422
    listener.now_s += WINDOW_S
    assert listener.initialize(body={}).status_code == 422


def test_s8_after_sixty_wrong_tokens_from_anywhere_everybody_waits() -> None:
    listener = Listener()
    for number in range(WRONG_MAX):
        result = listener.initialize(token="guess", address=f"192.0.2.{number}")
        assert result.status_code == 401
    assert refused(listener.initialize(address="198.51.100.1")) == (429, "overloaded")


def test_a_token_that_is_missing_is_no_guess() -> None:
    listener = Listener()
    for _ in range(WRONG_MAX):
        assert listener.initialize(token=None).status_code == 401
    assert listener.initialize(body={}).status_code == 422


def test_s16_a_refused_attempt_goes_to_the_audit_and_the_token_nowhere() -> None:
    listener = Listener()
    result = listener.initialize(token="a-guess-of-mine")
    (refusal,) = listener.kept.refusals
    assert (refusal.operation, refusal.code) == ("BootstrapTenant", "unauthorized")
    assert (refusal.tenant_id, refusal.source) == ("acme", "192.0.2.1")
    assert refusal.request_id == result.headers["X-Request-Id"]
    assert "a-guess-of-mine" not in repr(refusal) + result.text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"display_name": " \t"}, (400, "validation_error")),
        ({"initial_admin_principals": []}, (400, "validation_error")),
        ({"initial_admin_principals": [" "]}, (400, "validation_error")),
        ({"initial_admin_principals": [{"issuer": "a|b", "subject": "c"}]},
         (400, "validation_error")),
        ({"idp_issuers": [BODY["idp_issuers"][0] | {"issuer": " "}]}, (400, "validation_error")),
        ({"idp_issuers": [BODY["idp_issuers"][0] | {"jwks_url": "http://idp.example.test"}]},
         (400, "validation_error")),
        ({"policies": [{"subject": "role:a", "object": "stream:beta/x/y",
                        "action": "stream.publish"}]}, (400, "validation_error")),
        ({"policies": [{"subject": "role:a", "object": "tenant:acme", "action": "fly"}]},
         (400, "validation_error")),
        ({"policies": None}, (422, "unprocessable")),
        ({"groupings": None}, (422, "unprocessable")),
        ({"display_name": None}, (422, "unprocessable")),
        ({"idp_issuers": None}, (422, "unprocessable")),
    ],
)  # fmt: skip
def test_s7_a_body_that_breaks_a_rule_is_refused(
    change: dict[str, Any], expected: tuple[int, str]
) -> None:
    listener = Listener()
    assert refused(listener.initialize(BODY | change)) == expected
    assert listener.kept.refusals[0].code == expected[1]


def test_the_refusal_says_which_rule_it_is_about() -> None:
    rules = [
        {"subject": "role:a", "object": "stream:acme/x/y", "action": "stream.publish"},
        {"subject": "role:a", "object": "stream:acme/x/y", "action": "tenant.manage"},
    ]
    result = Listener().initialize(BODY | {"policies": rules})
    assert refused(result) == (400, "validation_error")
    assert result.json["details"] == {"pointer": "/policies/1/object"}


def test_an_issuer_on_loopback_needs_the_switch() -> None:
    local = BODY["idp_issuers"][0] | {"jwks_url": "http://127.0.0.1:9/keys"}
    body = BODY | {"idp_issuers": [local]}
    assert refused(Listener().initialize(body)) == (400, "validation_error")
    assert Listener(idp_private_addresses=True).initialize(body).status_code == 200


def test_a_tenant_gets_its_first_administrators() -> None:
    listener = Listener()
    result = listener.initialize()
    assert result.status_code == 200
    kid = result.json["kid"]
    assert len(kid) == 32
    assert result.json == {
        "tenant_id": "acme",
        "kid": kid,
        "jwks_url": "/v1/tenants/acme/.well-known/jwks.json",
        "status": "initialized",
    }
    view = listener.identity()
    assert view.is_bootstrapped
    assert [key.kid for key in view.keys if key.state == "active"] == [kid]
    assert {(one.user, one.role) for one in view.groupings} == {(ALICE, "role:tenant-admin")}
    assert {(one.object, one.action) for one in view.policies} == {
        ("tenant:acme", "tenant.manage"),
        ("tenant:acme", "rbac.view"),
        ("tenant:acme", "rbac.policy.manage"),
        ("tenant:acme", "rbac.assignment.manage"),
        ("namespace:acme/*", "ns.manage"),
    }


def test_a_second_bootstrap_is_409_and_changes_nothing() -> None:
    listener = Listener()
    assert listener.initialize().status_code == 200
    before = listener.identity()
    again = BODY | {"initial_admin_principals": ["mallory"]}
    assert refused(listener.initialize(again)) == (409, "already_initialized")
    assert listener.identity() == before


def test_a_repeat_with_the_same_idempotency_key_is_the_same_answer() -> None:
    listener = Listener()
    headers = {"Idempotency-Key": "day-0"}
    first = listener.initialize(headers=headers)
    assert first.status_code == 200
    assert listener.initialize(headers=headers).json == first.json


def test_who_the_provider_says_they_are_is_hashed_here() -> None:
    listener = Listener()
    admins = [{"issuer": ISSUER, "subject": "user-42"}, "group:admins"]
    assert listener.initialize(BODY | {"initial_admin_principals": admins}).status_code == 200
    assert hashlib.sha256(f"{ISSUER}|user-42".encode()).hexdigest() == ALICE
    assert {one.user for one in listener.identity().groupings} == {ALICE, "group:admins"}


def test_the_token_of_before_is_taken_while_it_is_configured() -> None:
    assert Listener((TOKEN, BEFORE)).initialize(token=BEFORE).status_code == 200


def test_c10_of_fifty_at_once_one_wins_and_the_rest_get_409() -> None:
    listener = Listener()
    statuses: list[int] = []
    begin = threading.Barrier(50)

    def ask() -> None:
        begin.wait()
        statuses.append(listener.initialize().status_code)

    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [409] * 49


def test_c12_a_rule_that_only_looks_like_a_required_one_does_not_take_its_place() -> None:
    listener = Listener()
    looks_like = {
        "subject": "role:tenant-admin", "object": "namespace:acme/one", "action": "ns.manage",
    }  # fmt: skip
    given = {
        "subject": "role:tenant-admin", "object": "tenant:acme", "action": "tenant.manage",
    }  # fmt: skip
    body = BODY | {"policies": [looks_like, given, given]}
    assert listener.initialize(body).status_code == 200
    rules = [(one.object, one.action) for one in listener.identity().policies]
    assert len(rules) == len(set(rules)) == 6
    assert ("namespace:acme/*", "ns.manage") in rules


def test_a_tenant_that_is_no_name_is_refused() -> None:
    listener = Listener()
    assert refused(listener.initialize(tenant="a%2Fb")) == (404, "not_found")
    assert refused(listener.initialize(tenant="no such name")) == (400, "validation_error")
