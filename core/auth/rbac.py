"""What a principal may do: one evaluator for enforcement, `can-i` and `explain`.

Contract, chapter 8. A rule that today's grammar would refuse grants nothing, wherever it came from
(chapter 15, S2, S6 and S7).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

import msgspec

from felix.proto.errors import TooLarge, ValidationFailed
from felix.proto.identity import Grouping, Policy
from felix.proto.permissions import ROLE, Object, Permission, check_rule

REACH_MAX: Final = 20_000
"""Subjects that one evaluation looks at. It refuses beyond: to stop there in silence would let an
assignment pass of which not everything was seen."""
NEAREST_MAX: Final = 10
"""Rules named in the explanation of a refusal."""

_INSIDE: Final = (
    ("stream", ("stream.manage", "stream.publish", "stream.subscribe")),
    ("cache", ("cache.manage", "cache.read", "cache.write")),
)
"""What managing a namespace implies for all that is in it."""


class RuleSource(Protocol):
    """The rules and assignments of one tenant."""

    def rules_of(self, subject: str) -> Iterable[Policy]:
        """List the rules whose subject is exactly this one."""

    def roles_of(self, user: str) -> Iterable[str]:
        """List the roles that are assigned to exactly this user, group or role."""


class Grant(msgspec.Struct, frozen=True):
    """A permission that a rule gives."""

    permission: Permission
    text: str
    """The permission as tokens hold it."""
    rule: Policy
    implied_by: Permission | None = None
    """What the rule says, where the permission only follows from it (contract, section 8.4)."""


class RuleBook:
    """The rules and assignments of a tenant, indexed; built anew after a change.

    What a rule grants is worked out when its subject is first looked at, and kept: rules of others
    cost an evaluation nothing.
    """

    def __init__(
        self, tenant_id: str, policies: Iterable[Policy], groupings: Iterable[Grouping]
    ) -> None:
        self.tenant_id = tenant_id
        self._rules: dict[str, list[Policy]] = {}
        self._roles: dict[str, list[str]] = {}
        self._grants: dict[str, tuple[Grant, ...]] = {}
        for rule in policies:
            if rule.tenant_id == tenant_id:
                self._rules.setdefault(rule.subject, []).append(rule)
        for assigned in groupings:
            if assigned.tenant_id == tenant_id:
                self._roles.setdefault(assigned.user, []).append(assigned.role)

    def rules_of(self, subject: str) -> Sequence[Policy]:
        """List the rules whose subject is exactly this one."""
        return self._rules.get(subject, ())

    def roles_of(self, user: str) -> Sequence[str]:
        """List the roles that are assigned to exactly this user, group or role."""
        return self._roles.get(user, ())

    def grants_of(self, subject: str) -> tuple[Grant, ...]:
        """List what the rules of exactly this subject grant."""
        if subject not in self._rules:
            return ()
        known = self._grants.get(subject)
        if known is None:
            known = self._grants[subject] = _read(self.tenant_id, self._rules[subject])
        return known

    def mentions(self, subject: str) -> bool:
        """Tell whether any rule or assignment is about a subject."""
        return subject in self._rules or subject in self._roles


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why an action is allowed on an object, or not."""

    allowed: bool
    permission: Permission | None = None
    """What allows it."""
    rule: Policy | None = None
    """Where that comes from."""
    implied_by: Permission | None = None
    """What the rule says, where the permission only follows from it."""
    chain: tuple[str, ...] = ()
    """From the subject that was asked about, through its roles, to the subject of the rule."""
    nearest: tuple[Policy, ...] = ()
    """If it is not allowed: rules with the same action on other objects, the closest first."""


def closure(source: RuleSource, subjects: Iterable[str]) -> tuple[str, ...]:
    """List subjects and every role that they reach, the nearest first; cycles are harmless.

    Raises: TooLarge beyond `REACH_MAX`.
    """
    return tuple(_walk(source, subjects))


def granted(source: RuleSource, tenant_id: str, subjects: Iterable[str]) -> tuple[Permission, ...]:
    """List what subjects together may do, in the order of the permissions' text.

    Raises: TooLarge, see `closure`.
    """
    found = {
        grant.text: grant.permission
        for subject in _walk(source, subjects)
        for grant in _grants_of(source, tenant_id, subject)
    }
    return tuple([found[text] for text in sorted(found)])


def allows(permission: Permission, action: str, target: Object) -> bool:
    """Tell whether a permission allows an action on an object.

    Whoever manages the cluster may do everything, and whoever may view it may view all rules.
    """
    enough = permission.action in {action, "cluster.manage"} or (
        permission.action == "cluster.view" and action == "rbac.view"
    )
    return enough and permission.object.contains(target)


def explain(
    source: RuleSource, tenant_id: str, subjects: Iterable[str], action: str, target: Object
) -> Explanation:
    """Say why subjects may do something to an object, or what comes nearest to it.

    Raises: TooLarge, see `closure`.
    """
    reached_from = _walk(source, subjects)
    close: dict[Policy, int] = {}
    for subject in reached_from:
        for grant in _grants_of(source, tenant_id, subject):
            if allows(grant.permission, action, target):
                return Explanation(
                    allowed=True,
                    permission=grant.permission,
                    rule=grant.rule,
                    implied_by=grant.implied_by,
                    chain=_chain(reached_from, subject),
                )
            if grant.permission.action == action:
                close[grant.rule] = -_likeness(grant.permission.object, target)
    nearest = sorted(close, key=lambda rule: (close[rule], rule.object, rule.subject))
    return Explanation(allowed=False, nearest=tuple(nearest[:NEAREST_MAX]))


def implied(permission: Permission) -> Iterator[Permission]:
    """List what follows from a permission (contract, section 8.4).

    Only managing a whole tenant, or a namespace, implies anything (chapter 15, S2).
    """
    whole = permission.object
    if (permission.action, whole.kind) == ("tenant.manage", "tenant"):
        whole = Object("namespace", (*whole.names, "*"))
        yield Permission("ns.manage", whole)
    elif (permission.action, whole.kind) != ("ns.manage", "namespace"):
        return
    for kind, actions in _INSIDE:
        inside = Object(kind, (*whole.names, "*"))  # type: ignore[arg-type]  # stream or cache
        for action in actions:
            yield Permission(action, inside)


def _walk(source: RuleSource, subjects: Iterable[str]) -> dict[str, str]:
    """Reach every role from some subjects; of each, in order, from where it was reached first."""
    reached_from = dict.fromkeys(sorted(subjects), "")
    # The dictionary is the queue as well: it keeps the order in which subjects come in.
    queue = list(reached_from)
    for user in queue:
        for role in sorted(source.roles_of(user)):
            if role.startswith(ROLE) and role not in reached_from:
                reached_from[role] = user
                queue.append(role)
        if len(queue) > REACH_MAX:
            raise TooLarge(f"more than {REACH_MAX} roles are reached from {queue[0]!r}")
    return reached_from


def _chain(reached_from: dict[str, str], subject: str) -> tuple[str, ...]:
    chain = [subject]
    while reached_from[chain[-1]]:
        chain.append(reached_from[chain[-1]])
    return tuple(reversed(chain))


def _grants_of(source: RuleSource, tenant_id: str, subject: str) -> tuple[Grant, ...]:
    if isinstance(source, RuleBook) and source.tenant_id == tenant_id:
        return source.grants_of(subject)  # the same, and kept
    return _read(tenant_id, source.rules_of(subject))


def _read(tenant_id: str, rules: Iterable[Policy]) -> tuple[Grant, ...]:
    grants = []
    for rule in rules:
        try:
            said = Permission(rule.action, check_rule(rule.action, rule.object, tenant_id))
        except ValidationFailed:
            continue
        grants.append(Grant(said, str(said), rule))
        grants.extend(Grant(more, str(more), rule, said) for more in implied(said))
    return tuple(grants)


def _likeness(one: Object, other: Object) -> int:
    """Count the outermost names that two objects share."""
    count = 0
    for mine, its in zip(one.names, other.names, strict=False):
        if mine not in {its, "*"}:
            break
        count += 1
    return count
