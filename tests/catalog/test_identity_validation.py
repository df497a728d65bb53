"""What a command about identity must look like before it may be proposed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from felix.core.catalog.identity_validation import CHANGES_MAX
from felix.core.catalog.validation import check
from felix.proto.commands import (
    ActivateSigningKey,
    AnyCommand,
    BootstrapTenant,
    ChangeGroupings,
    ChangePolicies,
    DeleteBrokerCredential,
    DeleteIssuer,
    GrantRefresh,
    PutBrokerCredential,
    PutIssuer,
    RecordRefusals,
    RetireSigningKey,
    RevokeTokens,
    RewrapSigningKey,
    StageSigningKey,
    UseRefresh,
)
from felix.proto.errors import Unprocessable, ValidationFailed
from felix.proto.identity import Assignment, RefreshGrant, Refusal, Rule
from tests.support.identity_log import ADMIN, ALICE, ISSUER, bootstrap, issuer

RULE = Rule("role:reader", "stream:acme/prod/*", "stream.subscribe")
ASSIGNMENT = Assignment("group:data people", "role:reader")
REFUSAL = Refusal(time_ms=1, operation="GetTenant", code="forbidden")
GRANT = RefreshGrant(
    tenant_id="acme",
    grant_id="a" * 32,
    secret_hash=b"h" * 32,
    family="a" * 32,
    principal=ALICE,
    issuer=ISSUER,
    groups=("group:x",),
    permissions=("rbac.view:tenant:acme",),
    audience="felix-broker",
    expires_at_ms=1,
)


def put(name: str = ISSUER, **members: Any) -> PutIssuer:
    return PutIssuer(tenant_id="acme", issuer=issuer(name, **members))


def policies(*add: Rule, **members: Any) -> ChangePolicies:
    return ChangePolicies(tenant_id="acme", add=add, **members)


def groupings(*add: Assignment, **members: Any) -> ChangeGroupings:
    return ChangeGroupings(tenant_id="acme", add=add, **members)


def grant(**members: Any) -> GrantRefresh:
    return GrantRefresh(grant=msgspec.structs.replace(GRANT, **members))


def use(**members: Any) -> UseRefresh:
    given: dict[str, Any] = {
        "tenant_id": "acme",
        "grant_id": "a" * 32,
        "secret_hash": b"h" * 32,
        "next_id": "b" * 32,
        "next_secret_hash": b"n" * 32,
    }
    return UseRefresh(**given | members)


def credential(**members: Any) -> PutBrokerCredential:
    return PutBrokerCredential(**{"broker_id": "b1", "curve_key": "k" * 40} | members)


def rewrap(**members: Any) -> RewrapSigningKey:
    given: dict[str, Any] = {"kid": "k", "kek_id": "0" * 16, "sealed": b"x"}
    return RewrapSigningKey(tenant_id="acme", **given | members)


@pytest.mark.parametrize(
    "command",
    [
        bootstrap(),
        bootstrap(issuers=(), admins=("group:admins", "p:alice"), groupings=(ASSIGNMENT,)),
        put("http://127.0.0.1:9080"),
        put("https://[::1]:8443/a/b?c=d"),
        put("https://idp.test/realms/%41/", jwks_url="https://keys.test/@v2"),
        put(audiences=("a b",) * 32, discovery_url="https://idp.test/x", groups_claim="c" * 128),
        DeleteIssuer(tenant_id="acme", issuer="anything | whatever"),
        policies(),
        policies(*(RULE,) * CHANGES_MAX, scopes=("cluster:*", "stream:acme/*/*")),
        policies(Rule("group:https://idp.test#data people", "tenant:acme", "rbac.view")),
        groupings(ASSIGNMENT, remove=(Assignment("role:a", ADMIN),)),
        StageSigningKey(tenant_id="acme"),
        ActivateSigningKey(tenant_id="acme", kid="k", lead_ms=1),
        RetireSigningKey(tenant_id="acme", kid="k", after_ms=1),
        rewrap(),
        GrantRefresh(grant=GRANT),
        grant(groups=("group:x",) * 200, permissions=("p",) * 2000),
        use(),
        RevokeTokens(tenant_id="acme", principal="*"),
        RevokeTokens(tenant_id="acme", principal=ALICE),
        credential(),
        credential(curve_key="", secret_hash=b"h" * 32),
        DeleteBrokerCredential(broker_id="b1"),
        RecordRefusals(node="n1", refusals=(REFUSAL,) * 100, dropped=7),
    ],
)
def test_what_is_within_the_rules_passes(command: AnyCommand) -> None:
    check(command)


@pytest.mark.parametrize(
    ("command", "pointer"),
    [
        (bootstrap("a/b"), "/tenant_id"),
        (bootstrap(display_name=" \t"), "/display_name"),
        (bootstrap(display_name="x" * 1025), "/display_name"),
        (bootstrap(display_name="a\nb"), "/display_name"),
        (bootstrap(admins=()), "/initial_admin_principals"),
        (bootstrap(admins=(ALICE, "")), "/initial_admin_principals/1"),
        (bootstrap(admins=("al ice",)), "/initial_admin_principals/0"),
        (bootstrap(admins=("\x07",)), "/initial_admin_principals/0"),
        (bootstrap(issuers=(issuer(" "),)), "/idp_issuers/0/issuer"),
        (bootstrap(issuers=(issuer(), issuer(audiences=()))), "/idp_issuers/1/audiences"),
        (bootstrap(issuers=(issuer(),) * 33), "/idp_issuers"),
        (bootstrap(policies=(RULE, Rule("", "tenant:acme", "rbac.view"))), "/policies/1/subject"),
        (bootstrap(policies=(Rule(ADMIN, "tenant:b", "rbac.view"),)), "/policies/0/object"),
        (bootstrap(policies=(RULE,) * 1001), "/policies"),
        (bootstrap(groupings=(Assignment(ALICE, "admin"),)), "/groupings/0/role"),
        (put("", audiences=("a",)), "/issuer"),
        (put(audiences=()), "/audiences"),
        (put(audiences=("a",) * 33), "/audiences"),
        (put(audiences=("a", " ")), "/audiences/1"),
        (put(audiences=("a" * 513,)), "/audiences/0"),
        (put(subject_claim=""), "/claim_mappings/subject_claim"),
        (put(groups_claim=""), "/claim_mappings/groups_claim"),
        (put(groups_claim="g" * 129), "/claim_mappings/groups_claim"),
        (put(discovery_url="idp.test"), "/discovery_url"),
        (put(jwks_url=""), "/jwks_url"),
        (put(jwks_url="https://a.test", discovery_url="https://a.test"), "/jwks_url"),
        (DeleteIssuer(tenant_id="acme", issuer=""), "/issuer"),
        (policies(Rule("a b", "tenant:acme", "rbac.view")), "/subject"),
        (policies(Rule("role:", "tenant:acme", "rbac.view")), "/subject"),
        (policies(RULE, Rule(ALICE, "tenant:acme", "fly")), "/add/1/action"),
        (policies(RULE, remove=(Rule(ALICE, "x", "rbac.view"),)), "/remove/0/object"),
        (policies(*(RULE,) * 500, remove=(RULE,) * 501), ""),
        (policies(RULE, scopes=("stream:acme",)), "/scopes/0"),
        (groupings(Assignment("", "role:a")), "/user"),
        (groupings(ASSIGNMENT, Assignment(ALICE, "group:x")), "/add/1/role"),
        (groupings(*(ASSIGNMENT,) * 1001), ""),
        (StageSigningKey(tenant_id="*"), "/tenant_id"),
        (ActivateSigningKey(tenant_id="acme", kid=""), "/kid"),
        (ActivateSigningKey(tenant_id="acme", kid="k", lead_ms=-1), "/lead_ms"),
        (RetireSigningKey(tenant_id="acme", kid="k", after_ms=-1), "/after_ms"),
        (rewrap(kek_id="x"), "/kek_id"),
        (rewrap(sealed=b""), "/sealed"),
        (rewrap(sealed=b"x" * 257), "/sealed"),
        (grant(tenant_id="a/b"), "/grant/tenant_id"),
        (grant(grant_id="A" * 32), "/grant/grant_id"),
        (grant(family="b" * 32), "/grant/family"),
        (grant(is_used=True), "/grant/family"),
        (grant(secret_hash=b"short"), "/grant/secret_hash"),
        (grant(principal="role:a"), "/grant/principal"),
        (grant(audience=""), "/grant/audience"),
        (grant(expires_at_ms=0), "/grant/expires_at_ms"),
        (grant(groups=("group:x",) * 201), "/grant/groups"),
        (grant(permissions=("p",) * 2001), "/grant/permissions"),
        (use(grant_id="g"), "/grant_id"),
        (use(secret_hash=b""), "/secret_hash"),
        (use(next_id="a" * 32), "/next_id"),
        (use(next_secret_hash=b"n" * 33), "/next_secret_hash"),
        (RevokeTokens(tenant_id="acme", principal="role:a"), "/principal"),
        (RevokeTokens(tenant_id="acme", principal=""), "/principal"),
        (credential(broker_id="b/1"), "/broker_id"),
        (credential(curve_key="k" * 39), "/curve_key"),
        (credential(curve_key="k" * 39 + '"'), "/curve_key"),
        (credential(secret_hash=b"h" * 31), "/secret_hash"),
        (credential(curve_key=""), ""),
        (DeleteBrokerCredential(broker_id=""), "/broker_id"),
        (RecordRefusals(node="n1", refusals=(REFUSAL,) * 101), "/refusals"),
        (RecordRefusals(node="n1", refusals=(), dropped=-1), "/dropped"),
        (RecordRefusals(node="n" * 513, refusals=()), "/node"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_a_pointer_to_it(
    command: AnyCommand, pointer: str
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        check(command)
    assert refused.value.details == {"pointer": pointer}


def test_a_group_is_not_revoked_for_its_tokens_cannot_be_told_apart() -> None:
    with pytest.raises(Unprocessable, match="revoke its members one by one") as refused:
        check(RevokeTokens(tenant_id="acme", principal="group:https://idp.test#ops"))
    assert refused.value.details == {"pointer": "/principal"}
    with pytest.raises(ValidationFailed):
        check(RevokeTokens(tenant_id="acme", principal="group:"))


@pytest.mark.parametrize("count", [0, -1])
def test_a_refusal_counts_for_at_least_one(count: int) -> None:
    one = msgspec.structs.replace(REFUSAL, count=count)
    with pytest.raises(ValidationFailed, match=r"^/refusals/0/count"):
        check(RecordRefusals(node="n1", refusals=(one,)))


def test_a_text_of_a_refusal_may_be_strange_but_not_long() -> None:
    strange = msgspec.structs.replace(REFUSAL, reason="\x00\n" * 256)
    check(RecordRefusals(node="n1", refusals=(strange,)))
    long = msgspec.structs.replace(REFUSAL, request_id="r" * 513)
    with pytest.raises(ValidationFailed, match=r"^/refusals/0/request_id"):
        check(RecordRefusals(node="n1", refusals=(long,)))


@pytest.mark.parametrize(
    "url",
    [
        "idp.test", "//idp.test", "ftp://idp.test", "https://", "https:///a", "https://:443",
        "https://user@idp.test", "https://user:pw@idp.test", "https://idp.test#a",
        "https://idp.test/#", "https://idp.test/a|b", "https://idp.test/a b", " https://idp.test",
        "https://idp.test\n", "https://idp.test/\x00", "https://idp.test/\u2003", "HTTPS://idp.test",
        "https://idp.test:port", "https://[::1", "https://idp.test/" + "a" * 512,
        "https://idp.test\\@evil.test",
    ],
)  # fmt: skip
def test_an_issuer_is_an_absolute_url_that_no_other_pair_can_be_taken_for(url: str) -> None:
    """Chapter 15, S11: `|` divides issuer and subject where principals are named."""
    with pytest.raises(ValidationFailed, match=r"^/issuer: "):
        check(put(url))
    with pytest.raises(ValidationFailed):
        check(
            BootstrapTenant(
                tenant_id="a", display_name="A", admins=(ALICE,), issuers=(issuer(url),)
            )
        )
