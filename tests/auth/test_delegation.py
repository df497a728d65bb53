"""What somebody with rights over rules may give to others (contract, sections 9.2 to 9.4)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from felix.core.auth.delegation import (
    check_assignment,
    check_policy_change,
    check_unassignment,
    has_admin,
)
from felix.core.auth.rbac import RuleBook, granted
from felix.proto.errors import Forbidden, ValidationFailed
from felix.proto.identity import Assignment, Grouping, Policy, Rule
from felix.proto.permissions import CLUSTER_ADMIN, OPERATOR_TENANT, TENANT_ADMIN

T = "acme"
ADMIN_RULES = [
    Policy(T, TENANT_ADMIN, "tenant:acme", "rbac.policy.manage"),
    Policy(T, TENANT_ADMIN, "tenant:acme", "rbac.assignment.manage"),
]


@pytest.mark.parametrize(
    ("scope", "about", "action"),
    [
        ("tenant:acme", "cache:acme/billing/*", "cache.read"),
        ("tenant:acme", "namespace:acme/*", "ns.manage"),
        ("tenant:acme", "tenant:acme", "tenant.manage"),
        ("namespace:acme/billing", "stream:acme/billing/*", "stream.publish"),
        ("namespace:acme/billing", "namespace:acme/billing", "rbac.policy.manage"),
        ("namespace:acme/*", "stream:acme/hr/*", "rbac.view"),
        ("stream:acme/billing/invoices", "stream:acme/billing/invoices", "stream.publish"),
        ("stream:acme/billing/*", "stream:acme/billing/*", "stream.subscribe"),
        ("stream:acme/billing/*", "stream:acme/billing/invoices", "stream.manage"),
        ("cluster:*", "tenant:acme", "tenant.manage"),
    ],
)
def test_a_rule_inside_a_scope_may_be_given(scope: str, about: str, action: str) -> None:
    check_policy_change((scope,), Rule("bob", about, action), T)
    check_policy_change(("stream:acme/z/z", scope), Rule("bob", about, action), T)
    check_policy_change(None, Rule("bob", about, action), T)


@pytest.mark.parametrize(
    ("scope", "about", "action"),
    [
        ("namespace:acme/billing", "stream:acme/hr/*", "stream.publish"),
        ("namespace:acme/billing", "tenant:acme", "rbac.view"),
        ("namespace:acme/*", "tenant:acme", "tenant.manage"),
        ("namespace:acme/a", "namespace:acme/*", "ns.manage"),
        ("stream:acme/billing/invoices", "stream:acme/billing/*", "stream.publish"),
        ("stream:acme/billing/*", "cache:acme/billing/x", "cache.read"),
        ("stream:acme/billing/*", "namespace:acme/billing", "ns.manage"),
        ("tenant:beta", "tenant:acme", "tenant.manage"),
        ("stream:acme/bill*/x", "stream:acme/billing/x", "stream.publish"),
        ("tenant:*", "tenant:acme", "tenant.manage"),
        ("nonsense", "tenant:acme", "tenant.manage"),
    ],
)
def test_a_rule_outside_every_scope_is_forbidden(scope: str, about: str, action: str) -> None:
    with pytest.raises(Forbidden):
        check_policy_change((scope,), Rule("bob", about, action), T)
    with pytest.raises(Forbidden):
        check_policy_change((), Rule("bob", about, action), T)


@pytest.mark.parametrize(
    ("about", "action"),
    [
        ("tenant:*", "tenant.manage"),
        ("stream:beta/x/y", "stream.publish"),
        ("stream:*", "stream.publish"),
        ("stream:*/*", "stream.publish"),
        ("stream:acme/*/*", "stream.publish"),
        ("cache:acme/*/*", "cache.read"),
        ("namespace:acme", "ns.manage"),
        ("queue:acme/a/b", "stream.publish"),
        ("stream:acme/a/", "stream.publish"),
        ("stream:acme/a/b:c", "stream.publish"),
        ("stream:acme/a/ord*", "stream.publish"),  # S6
        ("stream:acme/p*/x", "stream.publish"),
        ("stream:acme/a/b", "tenant.manage"),  # S2
        ("tenant:acme", "stream.publish"),
        ("tenant:acme", "tenant.destroy"),
        ("cluster:*", "cluster.manage"),
    ],
)
def test_s2_s6_what_no_rule_can_say_is_invalid_whoever_says_it(about: str, action: str) -> None:
    for scopes in (None, ("tenant:acme",), ("cluster:*",), ()):
        with pytest.raises(ValidationFailed):
            check_policy_change(scopes, Rule("bob", about, action), T)


BAD_SUBJECTS = ["", " ", "a b", "a\nb", "role:", "role: ", "group:", "group: x", "x" * 513, "a\x00"]


@pytest.mark.parametrize("subject", BAD_SUBJECTS)
def test_s7_a_malformed_subject_is_invalid(subject: str) -> None:
    with pytest.raises(ValidationFailed, match="/subject"):
        check_policy_change(None, Rule(subject, "tenant:acme", "rbac.view"), T)


@pytest.mark.parametrize("subject", ["alice@acme.com", "group:Domain Admins", "group:https://i#x"])
def test_principals_and_groups_of_all_kinds_are_subjects(subject: str) -> None:
    check_policy_change(None, Rule(subject, "tenant:acme", "rbac.view"), T)


def test_the_cluster_is_given_by_whoever_has_it_and_in_the_operators_tenant_only() -> None:
    rule = Rule(CLUSTER_ADMIN, "cluster:*", "cluster.manage")
    check_policy_change(None, rule, OPERATOR_TENANT)
    check_policy_change(("cluster:*",), rule, OPERATOR_TENANT)
    with pytest.raises(Forbidden):
        check_policy_change((f"tenant:{OPERATOR_TENANT}",), rule, OPERATOR_TENANT)
    kept = Policy(OPERATOR_TENANT, rule.subject, rule.object, rule.action)
    source = RuleBook(OPERATOR_TENANT, [kept], [])
    with pytest.raises(Forbidden):
        check_assignment(
            source,
            (f"tenant:{OPERATOR_TENANT}",),
            Assignment("bob", CLUSTER_ADMIN),
            OPERATOR_TENANT,
        )
    check_assignment(source, ("cluster:*",), Assignment("bob", CLUSTER_ADMIN), OPERATOR_TENANT)


def roles() -> RuleBook:
    return RuleBook(
        T,
        [
            *ADMIN_RULES,
            Policy(T, "role:reader", "stream:acme/billing/*", "stream.subscribe"),
            Policy(T, "role:hr", "stream:acme/hr/*", "stream.subscribe"),
            Policy(T, "role:odd", "stream:acme/billing/ord*", "stream.subscribe"),
            Policy(T, "alice", "stream:acme/billing/*", "stream.subscribe"),
            Policy(T, "role:hook", "stream:acme/billing/*", "stream.subscribe"),
        ],
        [
            Grouping(T, "role:outer", "role:reader"),
            Grouping(T, "role:hook", "role:middle"),
            Grouping(T, "role:middle", TENANT_ADMIN),
            Grouping(T, "alice", TENANT_ADMIN),
        ],
    )


@pytest.mark.parametrize("user", ["bob", "group:analysts", "role:some"])
@pytest.mark.parametrize("role", ["role:reader", "role:outer"])
def test_a_role_inside_the_scopes_may_be_assigned(user: str, role: str) -> None:
    check_assignment(roles(), ("namespace:acme/billing",), Assignment(user, role), T)
    check_assignment(roles(), None, Assignment(user, role), T)


@pytest.mark.parametrize(
    ("user", "role"),
    [
        ("bob", "role:hr"),
        ("bob", "role:nothing"),
        ("bob", "role:odd"),
        ("bob", "role:hook"),  # S3: what it inherits counts
        ("bob", "alice"),  # S3: a principal is no role
        ("bob", "group:analysts"),
        ("bob", ""),
        ("bob", "role:"),
        ("bob", "reader"),
        *((user, "role:reader") for user in BAD_SUBJECTS),
    ],
)
def test_s3_every_other_assignment_is_forbidden(user: str, role: str) -> None:
    with pytest.raises(Forbidden):
        check_assignment(roles(), ("namespace:acme/billing",), Assignment(user, role), T)


def test_a_role_with_a_rule_that_does_not_parse_is_assigned_by_nobody() -> None:
    for role in ("role:odd", "role:nothing"):
        with pytest.raises(Forbidden):
            check_assignment(roles(), None, Assignment("bob", role), T)


def test_an_assignment_is_taken_away_by_whoever_could_give_it() -> None:
    scopes = ("namespace:acme/billing",)
    check_unassignment(roles(), scopes, Assignment("bob", "role:reader"), T)
    check_unassignment(roles(), scopes, Assignment("bob", "role:nothing"), T)
    for role in (TENANT_ADMIN, "role:hook", "alice"):
        with pytest.raises(Forbidden):
            check_unassignment(roles(), scopes, Assignment("alice", role), T)


def test_a_tenant_has_an_admin_while_someone_can_change_rules_and_assignments() -> None:
    assert has_admin(ADMIN_RULES, [Grouping(T, "alice", TENANT_ADMIN)], T)
    assert has_admin(
        ADMIN_RULES, [Grouping(T, "group:a", "role:x"), Grouping(T, "role:x", TENANT_ADMIN)], T
    )
    assert not has_admin(ADMIN_RULES, [], T)
    assert not has_admin(ADMIN_RULES, [Grouping(T, "role:x", TENANT_ADMIN)], T)
    assert not has_admin(ADMIN_RULES[:1], [Grouping(T, "alice", TENANT_ADMIN)], T)
    assert not has_admin(ADMIN_RULES, [Grouping(T, "alice", TENANT_ADMIN)], "beta")


SUBJECTS = st.sampled_from(["alice", "bob", "group:ops", "role:a", "role:b", "role:c"])
POLICIES = st.lists(
    st.builds(
        Policy,
        st.just(T),
        SUBJECTS,
        st.sampled_from(["tenant:acme", "namespace:acme/*", "tenant:beta"]),
        st.sampled_from(["rbac.policy.manage", "rbac.assignment.manage", "tenant.manage"]),
    ),
    max_size=8,
)
GROUPINGS = st.lists(st.builds(Grouping, st.just(T), SUBJECTS, SUBJECTS), max_size=8)


@settings(deadline=None, max_examples=300)
@given(POLICIES, GROUPINGS)
def test_the_search_for_an_admin_agrees_with_the_evaluation(
    rules: list[Policy], assigned: list[Grouping]
) -> None:
    source = RuleBook(T, rules, assigned)
    needed = {"rbac.policy.manage:tenant:acme", "rbac.assignment.manage:tenant:acme"}
    expected = any(
        needed.issubset(map(str, granted(source, T, [user])))
        for user in ("alice", "bob", "group:ops")
    )
    assert has_admin(rules, assigned, T) == expected
