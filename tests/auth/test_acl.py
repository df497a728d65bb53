"""Access lists of the specification, as another way to say rules."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from felix.core.auth.acl import Acl, AclPermission, acls_of, rules_of_acl
from felix.core.auth.delegation import check_policy_change
from felix.proto.errors import ValidationFailed
from felix.proto.identity import Policy, Rule

ALL: tuple[AclPermission, ...] = ("PUBLISH", "SUBSCRIBE", "CACHE_READ", "CACHE_WRITE", "ADMIN")


def acl(
    resource: str,
    *permissions: AclPermission,
    namespace: str = "billing",
    principal: str = "admin@acme.com",
) -> Acl:
    return Acl(
        tenant_id="acme",
        namespace=namespace,
        resource=resource,
        principal=principal,
        permissions=permissions,
    )


def kept(*rules: Rule) -> list[Policy]:
    return [Policy("acme", rule.subject, rule.object, rule.action) for rule in rules]


def test_permissions_on_a_name_are_rules_on_the_stream_and_the_cache_of_that_name() -> None:
    assert [(rule.object, rule.action) for rule in rules_of_acl(acl("orders", *ALL))] == [
        ("stream:acme/billing/orders", "stream.publish"),
        ("stream:acme/billing/orders", "stream.subscribe"),
        ("cache:acme/billing/orders", "cache.read"),
        ("cache:acme/billing/orders", "cache.write"),
        ("stream:acme/billing/orders", "stream.manage"),
        ("cache:acme/billing/orders", "cache.manage"),
    ]


def test_to_administer_all_of_a_namespace_is_to_manage_it() -> None:
    assert rules_of_acl(acl("*", "ADMIN", "PUBLISH")) == (
        Rule("admin@acme.com", "stream:acme/billing/*", "stream.publish"),
        Rule("admin@acme.com", "namespace:acme/billing", "ns.manage"),
    )


@pytest.mark.parametrize(
    ("wrong", "member"),
    [
        (acl("or*", "PUBLISH"), "resource"),
        (acl("a/b", "PUBLISH"), "resource"),
        (acl("*", "PUBLISH", namespace="*"), "namespace"),
        (acl("*", "PUBLISH", principal="a b"), "principal"),
        (acl("*"), "permissions"),
    ],
)
def test_an_access_list_outside_the_grammar_is_invalid(wrong: Acl, member: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        rules_of_acl(wrong)
    assert caught.value.details == {"pointer": f"/{member}"}


def test_rules_that_no_access_list_can_say_are_not_seen() -> None:
    assert (
        acls_of(
            kept(
                Rule("bob", "tenant:acme", "tenant.manage"),
                Rule("bob", "namespace:acme/*", "ns.manage"),
                Rule("bob", "namespace:acme/billing", "rbac.view"),
                Rule("bob", "stream:acme/billing/orders", "stream.manage"),
                Rule("bob", "stream:acme/billing/*", "stream.manage"),
                Rule("bob", "stream:acme/billing/orders", "rbac.view"),
            )
        )
        == []
    )


ACLS = st.lists(
    st.builds(
        lambda namespace, resource, principal, permissions: acl(
            resource,
            *[name for name in ALL if name in permissions],
            namespace=namespace,
            principal=principal,
        ),
        st.sampled_from(["billing", "hr"]),
        st.sampled_from(["*", "orders", "rates"]),
        st.sampled_from(["alice", "group:Domain Admins", "role:reader"]),
        st.sets(st.sampled_from(ALL), min_size=1),
    ),
    unique_by=lambda one: (one.namespace, one.resource, one.principal),
)


@settings(deadline=None, max_examples=100)
@given(ACLS, st.randoms())
def test_access_lists_come_back_exactly_as_they_went(acls: list[Acl], chance: Random) -> None:
    rules = [rule for one in acls for rule in rules_of_acl(one)]
    assert len(set(rules)) == len(rules)
    for rule in rules:
        check_policy_change(None, rule, "acme")
    chance.shuffle(rules)
    expected = sorted(acls, key=lambda one: (one.namespace, one.resource, one.principal))
    assert acls_of(kept(*rules)) == expected
