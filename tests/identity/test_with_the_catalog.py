"""The gatekeeper over the real catalog: what is decided there counts in tokens."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest

from felix.identity.exchange import ExchangeRequest, Issued
from felix.identity.gatekeeper import Gatekeeper
from felix.identity.principals import principal_id
from felix.identity.reasons import NotAllowed, NotProven, Refused
from felix.identity.settings import IdentitySettings
from felix.proto.commands import (
    ActivateSigningKey,
    BootstrapTenant,
    ChangePolicies,
    DeleteIssuer,
    DeleteTenant,
    NewIssuer,
    RetireSigningKey,
    RevokeTokens,
    StageSigningKey,
)
from felix.proto.control_plane import Answered, Call
from felix.proto.identity import Done, Jwks, Rule
from felix.proto.queries import GetIssuerKeys
from felix.proto.rpc import AnyRequest
from felix.storage.sealed import Sealer
from tests.support.identity_world import AUDIENCE, ISSUER, KEY_SET, claims, signed
from tests.support.local_control_plane import LocalControlPlane

USER = principal_id(ISSUER, "user-42")


class WithKeySets:
    """A node's control plane: the catalog, and the key set of the one provider."""

    def __init__(self, catalog: LocalControlPlane) -> None:
        self._catalog = catalog

    def ask(self, message: AnyRequest, call: Call = Call()) -> Answered:  # noqa: B008 - immutable
        """Answer at once."""
        if isinstance(message, GetIssuerKeys):
            return Answered(Jwks(document=KEY_SET, age_ms=0), 1)
        return self._catalog.ask(message, call)


class Service:
    """A tenant that was bootstrapped with an administrator, who is `user-42` of its issuer."""

    def __init__(self) -> None:
        sealer = Sealer((bytes(32),))
        self.now_s = time.time()
        self.plane = WithKeySets(LocalControlPlane(sealer=sealer))
        issuer = NewIssuer(issuer=ISSUER, audiences=(AUDIENCE,), groups_claim="groups")
        self.do(
            BootstrapTenant(tenant_id="acme", display_name="A", issuers=(issuer,), admins=(USER,))
        )
        settings = IdentitySettings(cache_s=0.0)
        self.gate = Gatekeeper(self.plane, settings, sealer, lambda: self.now_s)

    def do(self, command: AnyRequest) -> str:
        """Apply a command about identity; give the id in its answer."""
        result = self.plane.ask(command).result
        return result.id if isinstance(result, Done) else ""

    def issue(self, **asked: Any) -> Issued:
        """Exchange a good token."""
        now_s = int(self.now_s)
        token = signed(claims(iat=now_s, exp=now_s + 3_600))
        return self.gate.exchange("acme", token, ExchangeRequest(**asked), Call())

    def refusal(self, token: str) -> str:
        """Show a token that must be refused."""
        with pytest.raises(Refused) as caught:
            self.gate.caller_of_token(token)
        return caught.value.reason


@pytest.fixture
def service() -> Service:
    return Service()


def test_the_first_administrator_holds_exactly_the_eleven_permissions_of_the_contract(
    service: Service,
) -> None:
    token = service.issue().felix_token
    said = jwt.decode(token, options={"verify_signature": False})["perms"]
    assert sorted(said) == [
        "cache.manage:cache:acme/*/*",
        "cache.read:cache:acme/*/*",
        "cache.write:cache:acme/*/*",
        "ns.manage:namespace:acme/*",
        "rbac.assignment.manage:tenant:acme",
        "rbac.policy.manage:tenant:acme",
        "rbac.view:tenant:acme",
        "stream.manage:stream:acme/*/*",
        "stream.publish:stream:acme/*/*",
        "stream.subscribe:stream:acme/*/*",
        "tenant.manage:tenant:acme",
    ]
    caller = service.gate.caller_of_token(token)
    assert sorted(str(one) for one in caller.permissions) == sorted(said)


def test_a_rule_counts_from_the_next_exchange_on(service: Service) -> None:
    other = principal_id(ISSUER, "other")
    now_s = int(service.now_s)
    token = signed(claims(iat=now_s, exp=now_s + 60, sub="other"))
    with pytest.raises(NotAllowed):
        service.gate.exchange("acme", token, ExchangeRequest(), Call())
    rule = Rule(other, "stream:acme/pay/*", "stream.publish")
    service.do(ChangePolicies(tenant_id="acme", add=(rule,)))
    felix = service.gate.exchange("acme", token, ExchangeRequest(), Call()).felix_token
    service.do(ChangePolicies(tenant_id="acme", remove=(rule,)))
    assert service.gate.caller_of_token(felix).permissions == ()


def test_keys_rotate_and_a_revoked_one_voids_its_tokens(service: Service) -> None:
    first = service.issue().felix_token
    kid = service.do(StageSigningKey(tenant_id="acme"))
    (active, published) = service.gate.jwks("acme")
    assert published.kid == kid
    service.do(ActivateSigningKey(tenant_id="acme", kid=kid))
    second = service.issue().felix_token
    assert jwt.get_unverified_header(second)["kid"] == kid
    for token in (first, second):
        service.gate.caller_of_token(token)
    service.do(RetireSigningKey(tenant_id="acme", kid=active.kid, revoke=True))
    assert service.refusal(first) == "signature"
    service.do(RetireSigningKey(tenant_id="acme", kid=kid, revoke=True))
    assert service.refusal(second) == "signature"
    assert len(service.gate.jwks("acme")) == 1
    service.gate.caller_of_token(service.issue().felix_token)


def test_refresh_tokens_are_used_once_and_their_reuse_ends_the_family(service: Service) -> None:
    first = service.issue(refresh=True).refresh_token
    assert first is not None
    second = service.gate.refresh("acme", first, ExchangeRequest(), Call()).refresh_token
    assert second is not None
    for token in (first, second):
        with pytest.raises(NotProven) as caught:
            service.gate.refresh("acme", token, ExchangeRequest(), Call())
        assert caught.value.reason == "refresh_token"


def test_revoking_a_principal_voids_its_tokens_and_its_refresh_tokens(service: Service) -> None:
    issued = service.issue(refresh=True)
    assert issued.refresh_token is not None
    service.do(RevokeTokens(tenant_id="acme", principal=USER))
    assert service.refusal(issued.felix_token) == "revoked"
    with pytest.raises(NotProven):
        service.gate.refresh("acme", issued.refresh_token, ExchangeRequest(), Call())


def test_an_issuer_or_tenant_that_goes_takes_its_tokens_along(service: Service) -> None:
    issued = service.issue(refresh=True)
    assert issued.refresh_token is not None
    service.do(DeleteIssuer(tenant_id="acme", issuer=ISSUER))
    assert service.refusal(issued.felix_token) == "issuer_not_trusted"
    with pytest.raises(NotProven):
        service.gate.refresh("acme", issued.refresh_token, ExchangeRequest(), Call())
    service.do(DeleteTenant(tenant_id="acme"))
    assert service.refusal(issued.felix_token) == "unknown_tenant"
