"""The first administrators of a tenant: contract, chapter 6, and chapter 15, C10 to C12 and S7."""

from __future__ import annotations

from typing import Any

import pytest

from felix.proto.commands import (
    ActivateSigningKey,
    CreateTenant,
    DeleteTenant,
    PutIssuer,
    StageSigningKey,
)
from felix.proto.errors import ErrorReply
from felix.proto.identity import Assignment, Done, Grouping, Policy, Rule
from felix.proto.permissions import OPERATOR_TENANT
from felix.proto.queries import GetTenant
from felix.proto.resources import Tenant
from tests.support.identity_log import ADMIN, ALICE, BOB, IdentityLog, bootstrap, issuer, told

SEEDED = [
    Policy("acme", ADMIN, "namespace:acme/*", "ns.manage"),
    Policy("acme", ADMIN, "tenant:acme", "rbac.assignment.manage"),
    Policy("acme", ADMIN, "tenant:acme", "rbac.policy.manage"),
    Policy("acme", ADMIN, "tenant:acme", "rbac.view"),
    Policy("acme", ADMIN, "tenant:acme", "tenant.manage"),
]
KID = f"{1:032x}"


def named(log: IdentityLog, tenant_id: str = "acme") -> Tenant:
    answer = log.catalog.answer(GetTenant(tenant_id=tenant_id))
    assert isinstance(answer, Tenant)
    return answer


def test_a_tenant_is_made_with_its_key_its_issuers_and_its_administrators() -> None:
    log = IdentityLog()
    applied = log.apply(bootstrap())
    assert applied.result == Done(id=KID)
    assert told(applied) == [("CREATE", "Tenant", "acme"), ("CREATE", "SigningKey", KID)]
    view = log.view()
    assert named(log).display_name == "Acme"
    assert view.is_bootstrapped
    assert list(view.policies) == SEEDED
    assert list(view.groupings) == [Grouping("acme", ALICE, ADMIN)]
    assert [one.issuer for one in view.issuers] == [issuer().issuer]
    assert log.states() == {KID: "active"}


def test_a_tenant_that_is_there_is_taken_as_it_is() -> None:
    log = IdentityLog()
    log.apply(CreateTenant(tenant_id="acme", display_name="As before"))
    log.done(PutIssuer(tenant_id="acme", issuer=issuer("https://old.test")))
    tenant = named(log)
    applied = log.apply(bootstrap())
    assert applied.result == Done(id=KID)
    assert applied.updates == ()
    assert named(log) == tenant
    assert [one.issuer for one in log.view().issuers] == [issuer().issuer, "https://old.test"]


def test_a_tenant_without_a_key_that_signs_gets_one() -> None:
    log = IdentityLog()
    log.apply(CreateTenant(tenant_id="acme"), new_key=None)
    staged = log.done(StageSigningKey(tenant_id="acme")).id
    kid = log.bootstrap().id
    assert log.states() == {staged: "published", kid: "active"}


def test_the_key_that_signs_is_kept_whichever_it_is() -> None:
    log = IdentityLog()
    log.apply(CreateTenant(tenant_id="acme"))
    staged = log.done(StageSigningKey(tenant_id="acme")).id
    log.done(ActivateSigningKey(tenant_id="acme", kid=staged))
    assert log.bootstrap().id == staged


def test_without_a_kek_nothing_is_made() -> None:
    log = IdentityLog()
    assert log.code_of(bootstrap(), new_key=None) == "not_enabled"
    assert log.leftovers("acme") == []


def test_it_happens_once_whoever_comes_second() -> None:
    """C10: two at the same time are one after the other in the log."""
    log = IdentityLog()
    log.bootstrap()
    view = log.view()
    assert log.code_of(bootstrap(admins=(BOB,))) == "already_initialized"
    assert log.view() == view
    log.apply(DeleteTenant(tenant_id="acme"))
    log.bootstrap(admins=(BOB,))
    assert list(log.view().groupings) == [Grouping("acme", BOB, ADMIN)]


def test_what_was_given_before_is_not_there_twice() -> None:
    """C11: nor is what is given twice, or given and seeded."""
    log = IdentityLog()
    rule = Rule("role:reader", "stream:acme/prod/*", "stream.subscribe")
    seeded = Rule(ADMIN, "tenant:acme", "rbac.view")
    assigned = Assignment(ALICE, ADMIN)
    log.bootstrap(
        policies=(rule, seeded, rule), groupings=(assigned, assigned), admins=(ALICE, ALICE)
    )
    view = log.view()
    assert sorted(view.policies, key=lambda one: one.key) == sorted(
        [*SEEDED, Policy("acme", rule.subject, rule.object, rule.action)], key=lambda one: one.key
    )
    assert list(view.groupings) == [Grouping("acme", ALICE, ADMIN)]


@pytest.mark.parametrize(
    "rule",
    [Rule(ADMIN, "namespace:acme/prod", "ns.manage"), Rule(BOB, "tenant:acme", "rbac.view")],
)
def test_nothing_that_is_given_takes_the_place_of_what_is_seeded(rule: Rule) -> None:
    """C12: only the very same rule does."""
    log = IdentityLog()
    log.bootstrap(policies=(rule,))
    assert set(SEEDED) < set(log.view().policies)


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"policies": (Rule(ADMIN, "tenant:other", "rbac.view"),)}, "/object"),
        ({"policies": (Rule(ADMIN, "tenant:anything", "rbac.policy.manage"),)}, "/object"),
        ({"policies": (Rule(ADMIN, "stream:acme/a/ord*", "stream.publish"),)}, "/object"),
        ({"policies": (Rule(ADMIN, "tenant:acme", "fly"),)}, "/action"),
        ({"policies": (Rule(ADMIN, "cluster:*", "cluster.manage"),)}, "/object"),
        ({"policies": (Rule("", "tenant:acme", "rbac.view"),)}, "/subject"),
        ({"groupings": (Assignment(BOB, ""),)}, "/groupings"),
        ({"groupings": (Assignment(BOB, ALICE),)}, "/groupings"),
        ({"groupings": (Assignment("", "role:x"),)}, "/groupings"),
        ({"admins": ("role:nobody",)}, "/initial_admin_principals"),
    ],
)
def test_what_no_rule_can_say_is_refused_and_nothing_is_left(
    members: dict[str, Any], pointer: str
) -> None:
    """S7: also where a node of another mind has let it into the log."""
    log = IdentityLog()
    refusal = log.refusal(bootstrap(**members))
    assert (refusal.code, refusal.details["pointer"]) == ("validation_error", pointer)
    assert log.leftovers("acme") == []


def test_a_group_may_be_the_administrator() -> None:
    log = IdentityLog()
    log.bootstrap(admins=("group:admins",))
    assert list(log.view().groupings) == [Grouping("acme", "group:admins", ADMIN)]


def test_an_administrator_may_come_by_another_role() -> None:
    log = IdentityLog()
    log.bootstrap(admins=("role:staff",), groupings=(Assignment(BOB, "role:staff"),))
    assert len(log.view().groupings) == 2


def test_the_operators_tenant_may_run_the_cluster_and_comes_by_bootstrap_only() -> None:
    log = IdentityLog()
    refused = log.apply(CreateTenant(tenant_id=OPERATOR_TENANT)).result
    assert isinstance(refused, ErrorReply)
    assert refused.code == "validation_error"
    log.bootstrap(OPERATOR_TENANT)
    view = log.view(OPERATOR_TENANT)
    assert {(one.subject, one.action) for one in view.policies if one.object == "cluster:*"} == {
        ("role:cluster-admin", "cluster.manage"),
        ("role:cluster-viewer", "cluster.view"),
    }
    assert {one.role for one in view.groupings} == {ADMIN, "role:cluster-admin"}
    assert {one.user for one in view.groupings} == {ALICE}


def test_the_operators_tenant_does_not_go() -> None:
    log = IdentityLog()
    log.bootstrap(OPERATOR_TENANT)
    assert log.code_of(DeleteTenant(tenant_id=OPERATOR_TENANT)) == "forbidden"


def test_too_many_issuers_are_refused_whole() -> None:
    log = IdentityLog()
    many = tuple(issuer(f"https://idp-{number}.test") for number in range(33))
    assert log.code_of(bootstrap(issuers=many)) == "too_large"
    assert log.leftovers("acme") == []
