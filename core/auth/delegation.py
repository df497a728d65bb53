"""What somebody with rights over rules may give to others: never more than lies in their scopes.

Every check is made when the change is applied, against the state that it meets. No later change can
widen what was checked: a rule that comes to a role later is inside the scopes of whoever brings it,
and so is everything behind a role that is assigned to a role later. An assignment whose user is a
role gives something to all its members, which is fine for the same reason: it is the caller's to
give.
"""

from __future__ import annotations

from collections.abc import Iterable

from felix.core.auth.rbac import RuleSource, closure
from felix.core.auth.subjects import why_not_a_role, why_not_a_subject
from felix.proto.errors import Forbidden, TooLarge, ValidationFailed
from felix.proto.identity import Assignment, Grouping, Policy, Rule
from felix.proto.permissions import ROLE, Object, check_rule, read_object


def check_policy_change(scopes: tuple[str, ...] | None, rule: Rule, tenant_id: str) -> None:
    """Check that a rule may be added or removed by somebody with these scopes.

    Raises: ValidationFailed for what no rule can say, Forbidden for an object outside the scopes.
    """
    wrong = why_not_a_subject(rule.subject)
    if wrong is not None:
        raise ValidationFailed(f"/subject: {wrong}", details={"pointer": "/subject"})
    target = check_rule(rule.action, rule.object, tenant_id)
    if not _is_within(_read(scopes), target):
        raise Forbidden(f"{rule.object} is not within what the caller may give")


def check_assignment(
    source: RuleSource, scopes: tuple[str, ...] | None, assignment: Assignment, tenant_id: str
) -> None:
    """Check that a role may be assigned by somebody with these scopes.

    All that the role brings, through any chain of roles, must be within them (contract, chapter 15,
    S3), and it must bring something.

    Raises: Forbidden, whatever is wrong (contract, section 9.2).
    """
    wrong = why_not_a_subject(assignment.user)
    if wrong is not None:
        raise Forbidden(f"the user {wrong}")
    if _check_reach(source, scopes, assignment.role, tenant_id) == 0:
        raise Forbidden(f"{assignment.role} has no rules")


def check_unassignment(
    source: RuleSource, scopes: tuple[str, ...] | None, assignment: Assignment, tenant_id: str
) -> None:
    """Check that a role may be taken from somebody by somebody with these scopes.

    As for giving it; but a role that has lost all its rules may be taken.

    Raises: Forbidden.
    """
    _check_reach(source, scopes, assignment.role, tenant_id)


def has_admin(policies: Iterable[Policy], groupings: Iterable[Grouping], tenant_id: str) -> bool:
    """Tell whether a user or group may change both rules and assignments of the whole tenant.

    No action implies these, and only `tenant:{t}` contains the tenant; so it is enough to go back
    from the rules that say it to whoever has their subjects as roles.
    """
    whole = f"tenant:{tenant_id}"
    givers: dict[str, set[str]] = {"rbac.policy.manage": set(), "rbac.assignment.manage": set()}
    for rule in policies:
        if rule.tenant_id == tenant_id and rule.object == whole and rule.action in givers:
            givers[rule.action].add(rule.subject)
    users: dict[str, list[str]] = {}
    for assigned in groupings:
        if assigned.tenant_id == tenant_id and assigned.role.startswith(ROLE):
            users.setdefault(assigned.role, []).append(assigned.user)
    for holders in givers.values():
        queue = list(holders)
        for role in queue:
            for user in users.get(role, ()):
                if user not in holders:
                    holders.add(user)
                    queue.append(user)
    both = set.intersection(*givers.values())
    return any(not holder.startswith(ROLE) for holder in both)


def _check_reach(
    source: RuleSource, scopes: tuple[str, ...] | None, role: str, tenant_id: str
) -> int:
    """Check all that a role brings; give the number of rules behind it."""
    wrong = why_not_a_role(role)
    if wrong is not None:
        raise Forbidden(f"the role {wrong}")
    allowed = _read(scopes)
    count = 0
    try:
        for subject in closure(source, (role,)):
            for rule in source.rules_of(subject):
                count += 1
                if not _is_within(allowed, check_rule(rule.action, rule.object, tenant_id)):
                    raise Forbidden(f"{role} reaches beyond what the caller may give")
    except (ValidationFailed, TooLarge) as error:
        raise Forbidden(f"{role} cannot be judged: {error.message}") from error
    return count


def _read(scopes: tuple[str, ...] | None) -> tuple[Object, ...] | None:
    if scopes is None:
        return None
    return tuple(found for found in map(read_object, scopes) if found is not None)


def _is_within(scopes: tuple[Object, ...] | None, target: Object) -> bool:
    return scopes is None or any(scope.contains(target) for scope in scopes)
