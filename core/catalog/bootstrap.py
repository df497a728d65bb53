"""The first administrators of a tenant (contract, chapter 6): once, whole or not at all."""

from __future__ import annotations

from typing import Final

from felix.core.auth.delegation import check_policy_change, has_admin
from felix.core.auth.subjects import why_not_a_role, why_not_a_subject
from felix.core.catalog.identity_changes import (
    added,
    grouping_of,
    issuer_steps,
    policy_of,
    touched,
)
from felix.core.catalog.identity_tables import GROUPINGS, POLICIES, identity_of, rows_of
from felix.core.catalog.signing_keys import ensure_key
from felix.core.catalog.steps import Context, Outcome, Step
from felix.proto.commands import BootstrapTenant
from felix.proto.errors import AlreadyInitialized, ValidationFailed
from felix.proto.identity import Assignment, Done, Rule
from felix.proto.permissions import (
    CLUSTER,
    CLUSTER_ADMIN,
    CLUSTER_VIEWER,
    OPERATOR_TENANT,
    TENANT_ADMIN,
)
from felix.proto.resources import Tenant

_OF_THE_TENANT: Final = (
    "tenant.manage",
    "rbac.view",
    "rbac.policy.manage",
    "rbac.assignment.manage",
)


def bootstrap(command: BootstrapTenant, context: Context) -> Outcome:
    """Give a tenant its first administrators.

    Raises: AlreadyInitialized, ValidationFailed, TooLarge, NotEnabled.
    """
    tenant_id = command.tenant_id
    if identity_of(context.store, tenant_id).is_bootstrapped:
        raise AlreadyInitialized(f"the tenant {tenant_id!r} has its first administrators")
    rules, assignments = _rules_of(command), _assignments_of(command)
    for rule in rules:
        check_policy_change(None, rule, tenant_id)
    for one in assignments:
        wrong = why_not_a_subject(one.user) or why_not_a_role(one.role)
        if wrong is not None:
            raise _invalid("/groupings", f"{one.user} -> {one.role}: {wrong}")
    steps = _tenant_step(command, context)
    key_steps, kid = ensure_key(tenant_id, context, len(steps))
    policies = [policy_of(tenant_id, rule) for rule in rules]
    groupings = [grouping_of(tenant_id, one) for one in assignments]
    known_policies = rows_of(context.store, POLICIES, tenant_id)
    known_groupings = rows_of(context.store, GROUPINGS, tenant_id)
    if not has_admin([*known_policies, *policies], [*known_groupings, *groupings], tenant_id):
        raise _invalid("/initial_admin_principals", "none of them would be an administrator")
    steps = [
        *steps,
        *key_steps,
        *issuer_steps(tenant_id, command.issuers, context),
        *added(POLICIES, policies, context),
        *added(GROUPINGS, groupings, context),
        *touched(tenant_id, context, bootstrapped=True),
    ]
    return Outcome(steps, Done(id=kid))


def _tenant_step(command: BootstrapTenant, context: Context) -> list[Step]:
    place = (command.tenant_id,)
    if place in context.store.tables["Tenant"].rows:
        return []
    tenant = Tenant(
        tenant_id=command.tenant_id,
        display_name=command.display_name,
        version=context.next_version,
        created_version=context.next_version,
        created_at_ms=context.stamp.time_ms,
        updated_at_ms=context.stamp.time_ms,
    )
    return [Step("Tenant", place, None, tenant)]


def _rules_of(command: BootstrapTenant) -> list[Rule]:
    """List the rules that are given and those that every tenant begins with, each once."""
    tenant_id = command.tenant_id
    whole = f"tenant:{tenant_id}"
    rules = [
        *command.policies,
        *(Rule(TENANT_ADMIN, whole, action) for action in _OF_THE_TENANT),
        Rule(TENANT_ADMIN, f"namespace:{tenant_id}/*", "ns.manage"),
    ]
    if tenant_id == OPERATOR_TENANT:
        rules += [
            Rule(CLUSTER_ADMIN, CLUSTER, "cluster.manage"),
            Rule(CLUSTER_VIEWER, CLUSTER, "cluster.view"),
        ]
    return list(dict.fromkeys(rules))


def _assignments_of(command: BootstrapTenant) -> list[Assignment]:
    roles = [TENANT_ADMIN]
    if command.tenant_id == OPERATOR_TENANT:
        roles.append(CLUSTER_ADMIN)
    given = [Assignment(admin, role) for admin in command.admins for role in roles]
    return list(dict.fromkeys([*command.groupings, *given]))


def _invalid(pointer: str, why: str) -> ValidationFailed:
    return ValidationFailed(f"{pointer}: {why}", details={"pointer": pointer})
