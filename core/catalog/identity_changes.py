"""What all handlers of identity share, and commands on rules, assignments and issuers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from felix.core.auth.delegation import (
    check_assignment,
    check_policy_change,
    check_unassignment,
    has_admin,
)
from felix.core.catalog.identity_tables import (
    GROUPINGS,
    IDENTITIES,
    ISSUERS,
    OF_A_TENANT,
    POLICIES,
    REFRESH_GRANTS,
    StoredRules,
    identity_of,
    rows_of,
)
from felix.core.catalog.steps import Context, Outcome, Step
from felix.proto.commands import (
    ChangeGroupings,
    ChangePolicies,
    DeleteIssuer,
    NewIssuer,
    PutIssuer,
    RevokeTokens,
)
from felix.proto.errors import Forbidden, LastAdmin, NotFound, TooLarge
from felix.proto.identity import (
    Assignment,
    Done,
    Grouping,
    IdpIssuer,
    Policy,
    Rule,
    TenantIdentity,
)
from felix.proto.permissions import OPERATOR_TENANT
from felix.proto.resources import TokenRevocation

RULES_MAX: Final = 20_000
"""Rules, and assignments, of a tenant."""
ISSUERS_MAX: Final = 32
REVOCATION_KEPT_MS: Final = 3600 * 1000
"""Longer than any token lives."""
EVERYONE: Final = "*"
SHORT_ID_CHARS: Final = 12


def require_tenant(context: Context, tenant_id: str) -> None:
    """Raises: NotFound."""
    if (tenant_id,) not in context.store.tables["Tenant"].rows:
        raise NotFound(f"there is no tenant {tenant_id!r}")


def short_id(issuer: str) -> str:
    """Name an issuer where its URL is too long or would have to be escaped."""
    return hashlib.sha256(issuer.encode()).hexdigest()[:SHORT_ID_CHARS]


def touched(tenant_id: str, context: Context, *, bootstrapped: bool = False) -> list[Step]:
    """Note that something of a tenant's identity has changed, so that others ask again."""
    rows = context.store.tables[IDENTITIES].rows
    before: TenantIdentity | None = rows.get((tenant_id,))
    is_bootstrapped = bootstrapped or (before is not None and before.is_bootstrapped)
    after = TenantIdentity(tenant_id, context.index, is_bootstrapped)
    return [Step(IDENTITIES, after.key, before, after)]


def all_of_a_tenant(tenant_id: str, context: Context) -> list[Step]:
    """Delete whatever is kept of a tenant's identity, keys and revocations included."""
    tables = context.store.tables
    steps = [
        Step(table, row.key, row, None)
        for table in ("TokenRevocation", "SigningKey", *OF_A_TENANT)
        for row in rows_of(context.store, table, tenant_id)
    ]
    row = tables[IDENTITIES].rows.get((tenant_id,))
    return steps if row is None else [*steps, Step(IDENTITIES, row.key, row, None)]


# --- rules and assignments ----------------------------------------------------------------------


def change_policies(command: ChangePolicies, context: Context) -> Outcome:
    """Add and remove rules. Raises: NotFound, ValidationFailed, Forbidden, LastAdmin, TooLarge."""
    require_tenant(context, command.tenant_id)
    for rule in (*command.add, *command.remove):
        check_policy_change(command.scopes, rule, command.tenant_id)
    gone = [policy_of(command.tenant_id, rule) for rule in command.remove]
    new = [policy_of(command.tenant_id, rule) for rule in command.add]
    steps = _exchange(POLICIES, gone, new, context)
    whole = f"tenant:{command.tenant_id}"
    if any(step.after is None and step.before.object == whole for step in steps):
        _check_admin_is_left(command.tenant_id, steps, context)
    return _outcome(command.tenant_id, steps, context)


def change_groupings(command: ChangeGroupings, context: Context) -> Outcome:
    """Add and remove assignments. Raises: NotFound, Forbidden, LastAdmin, TooLarge."""
    tenant_id = command.tenant_id
    require_tenant(context, tenant_id)
    rules = StoredRules(context.store, tenant_id)
    for one in command.add:
        check_assignment(rules, command.scopes, one, tenant_id)
    for one in command.remove:
        check_unassignment(rules, command.scopes, one, tenant_id)
    gone = [grouping_of(tenant_id, one) for one in command.remove]
    new = [grouping_of(tenant_id, one) for one in command.add]
    steps = _exchange(GROUPINGS, gone, new, context)
    if any(step.after is None for step in steps):
        _check_admin_is_left(tenant_id, steps, context)
    return _outcome(tenant_id, steps, context)


def policy_of(tenant_id: str, rule: Rule) -> Policy:
    """Give a rule as it is kept."""
    return Policy(tenant_id, rule.subject, rule.object, rule.action)


def grouping_of(tenant_id: str, assignment: Assignment) -> Grouping:
    """Give an assignment as it is kept."""
    return Grouping(tenant_id, assignment.user, assignment.role)


def added(table: str, rows: Iterable[Policy | Grouping], context: Context) -> list[Step]:
    """Add what is not there yet. Raises: TooLarge."""
    return _exchange(table, [], rows, context)


def _exchange(
    table: str,
    gone: Iterable[Policy | Grouping],
    new: Iterable[Policy | Grouping],
    context: Context,
) -> list[Step]:
    """Remove and add rows; what is in both is as if nothing had been said. Raises: TooLarge."""
    there = context.store.tables[table]
    adding = {row.key: row for row in new}
    removing = {row.key: row for row in gone if row.key not in adding}
    steps = [Step(table, key, row, None) for key, row in removing.items() if key in there.rows]
    coming = [Step(table, key, None, row) for key, row in adding.items() if key not in there.rows]
    if coming:
        tenant_id = coming[0].key[0]
        if len(there.children((tenant_id,))) - len(steps) + len(coming) > RULES_MAX:
            raise TooLarge(f"a tenant has at most {RULES_MAX} {table}")
    return [*steps, *coming]


def _check_admin_is_left(tenant_id: str, steps: list[Step], context: Context) -> None:
    """Raises: LastAdmin."""
    if not identity_of(context.store, tenant_id).is_bootstrapped:
        return
    gone = {(step.kind, step.key) for step in steps if step.after is None}
    left: dict[str, list[Policy] | list[Grouping]] = {
        table: [
            *(
                row
                for row in rows_of(context.store, table, tenant_id)
                if (table, row.key) not in gone
            ),
            *(step.after for step in steps if step.kind == table and step.after is not None),
        ]
        for table in (POLICIES, GROUPINGS)
    }
    if not has_admin(left[POLICIES], left[GROUPINGS], tenant_id):  # type: ignore[arg-type]
        raise LastAdmin("nobody would be left who can give rights in the whole tenant")


# --- issuers ------------------------------------------------------------------------------------


def put_issuer(command: PutIssuer, context: Context) -> Outcome:
    """Trust an identity provider, or change how. Raises: NotFound, Forbidden, TooLarge."""
    tenant_id = command.tenant_id
    require_tenant(context, tenant_id)
    table = context.store.tables[ISSUERS]
    if not command.may_change and (
        tenant_id == OPERATOR_TENANT
        or command.issuer.plain_groups  # it could claim what rules give to groups of the others
        or any(key[1] == command.issuer.issuer for key in table.keys)
    ):
        raise Forbidden(
            "to change an identity provider, to trust one that another tenant trusts or that of "
            "the operators, or to take its groups by their plain names, takes cluster.manage here"
        )
    steps = issuer_steps(tenant_id, (command.issuer,), context)
    result = Done(changed=bool(steps), id=short_id(command.issuer.issuer))
    return Outcome([*steps, *touched(tenant_id, context)] if steps else [], result)


def issuer_steps(tenant_id: str, issuers: tuple[NewIssuer, ...], context: Context) -> list[Step]:
    """Insert or replace issuers. Raises: TooLarge."""
    table = context.store.tables[ISSUERS]
    steps = []
    for new in issuers:
        row = IdpIssuer(
            tenant_id=tenant_id,
            updated_at_ms=context.stamp.time_ms,
            **msgspec.structs.asdict(new),
        )
        before: IdpIssuer | None = table.rows.get(row.key)
        if (
            before is None
            or msgspec.structs.replace(row, updated_at_ms=before.updated_at_ms) != before
        ):
            steps.append(Step(ISSUERS, row.key, before, row))
    known = {*table.children((tenant_id,)), *(step.key for step in steps)}
    if len(known) > ISSUERS_MAX:
        raise TooLarge(f"a tenant trusts at most {ISSUERS_MAX} identity providers")
    return steps


def delete_issuer(command: DeleteIssuer, context: Context) -> Outcome:
    """Trust an identity provider no longer. Raises: NotFound."""
    tenant_id = command.tenant_id
    require_tenant(context, tenant_id)
    row = context.store.tables[ISSUERS].rows.get((tenant_id, command.issuer))
    name = short_id(command.issuer)
    if row is None:
        return Outcome([], Done(changed=False, id=name))
    grants = [
        Step(REFRESH_GRANTS, one.key, one, None)
        for one in rows_of(context.store, REFRESH_GRANTS, tenant_id)
        if one.issuer == command.issuer
    ]
    steps = [
        Step(ISSUERS, row.key, row, None),
        *grants,
        *_revocation(tenant_id, f"issuer:{name}", context),
    ]
    return Outcome([*steps, *touched(tenant_id, context)], Done(id=name))


# --- revocation ---------------------------------------------------------------------------------


def revoke_tokens(command: RevokeTokens, context: Context) -> Outcome:
    """Void what was issued to a principal, or to everyone, up to now. Raises: NotFound."""
    tenant_id = command.tenant_id
    require_tenant(context, tenant_id)
    grants = context.store.tables[REFRESH_GRANTS]
    if command.principal == EVERYONE:
        keys = grants.children((tenant_id,))
    else:
        keys = context.refresh.of(tenant_id, command.principal)
    steps = [
        *(Step(REFRESH_GRANTS, key, grants.rows[key], None) for key in keys),
        *_revocation(tenant_id, command.principal, context),
    ]
    return Outcome([*steps, *touched(tenant_id, context)], Done())


def _revocation(tenant_id: str, principal: str, context: Context) -> list[Step]:
    """Write the revocation down; drop those of the tenant that no token can meet any more."""
    rows: list[TokenRevocation] = rows_of(context.store, "TokenRevocation", tenant_id)
    steps = [
        Step("TokenRevocation", row.key, row, None)
        for row in rows
        if row.before_ms + REVOCATION_KEPT_MS < context.now_ms and row.principal != principal
    ]
    before = next((row for row in rows if row.principal == principal), None)
    version = context.next_version + len(steps)
    after = TokenRevocation(
        tenant_id=tenant_id,
        principal=principal,
        before_ms=context.now_ms,
        version=version,
        created_version=before.created_version if before else version,
        created_at_ms=before.created_at_ms if before else context.stamp.time_ms,
        updated_at_ms=context.stamp.time_ms,
    )
    return [*steps, Step("TokenRevocation", after.key, before, after)]


def _outcome(tenant_id: str, steps: list[Step], context: Context) -> Outcome:
    if not steps:
        return Outcome([], Done(changed=False))
    return Outcome([*steps, *touched(tenant_id, context)], Done())
