"""Nobody gains what lies outside the scopes of whoever gave it: a search that says if they do."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

from felix.core.auth import delegation, rbac
from felix.core.auth.rbac import RuleBook, RuleSource, granted
from felix.proto.errors import Forbidden, ValidationFailed
from felix.proto.identity import Assignment, Grouping, Policy, Rule
from felix.proto.permissions import TENANT_ADMIN, Object, Permission, check_rule, read_object
from tests.support.rights_model import Atom, as_written, holdings, inside, of_rule

T = "acme"
CALLER = "mallory"
USERS = (CALLER, "alice", "bob", "group:ops")
ROLES = ("role:a", "role:b", "role:c", TENANT_ADMIN)
OBJECTS = (
    "tenant:acme", "namespace:acme/*", "namespace:acme/a", "namespace:acme/b", "stream:acme/a/*",
    "stream:acme/a/a", "stream:acme/b/*", "stream:acme/b/b", "cache:acme/a/*", "cache:acme/b/b",
    "tenant:*", "tenant:beta", "stream:beta/a/a", "stream:acme/*/*", "stream:acme/a/a*",
    "cluster:*",
)  # fmt: skip
ACTIONS = (
    "tenant.manage", "ns.manage", "stream.publish", "cache.read", "rbac.view",
    "rbac.policy.manage", "rbac.assignment.manage",
)  # fmt: skip
DELEGATING = ACTIONS[-2:]
STEPS = 40
Kept = TypeVar("Kept", Policy, Grouping)


class World:
    """The rules of a tenant, a caller with some rights, and what became of them."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.trace: list[str] = []
        self.policies = {
            Policy(T, TENANT_ADMIN, "tenant:acme", action)
            for action in ("tenant.manage", "rbac.policy.manage", "rbac.assignment.manage")
        }
        self.groupings = {Grouping(T, "alice", TENANT_ADMIN)}
        for _ in range(chance.randrange(6)):
            rule = self.any_rule()
            self.policies.add(Policy(T, rule.subject, rule.object, rule.action))
        for _ in range(chance.randrange(5)):
            # Neither the caller nor what it may later give is an administrator to begin with.
            self.groupings.add(Grouping(T, chance.choice(USERS[1:] + ROLES), chance.choice(ROLES)))
        for action in DELEGATING:
            if chance.random() < 0.8:
                self.policies.add(Policy(T, CALLER, chance.choice(OBJECTS[1:10]), action))

    def any_rule(self) -> Rule:
        choice = self.chance.choice
        text, action = choice(OBJECTS), choice(ACTIONS)
        while self.chance.random() < 0.8 and not of_rule(text, action):
            text, action = choice(OBJECTS), choice(ACTIONS)
        return Rule(choice(USERS + ROLES), text, action)

    def book(self) -> RuleBook:
        return RuleBook(T, by_key(self.policies), by_key(self.groupings))

    def scopes(self, action: str) -> tuple[str, ...]:
        return tuple(
            str(one.object) for one in granted(self.book(), T, [CALLER]) if one.action == action
        )

    def held(self) -> dict[str, frozenset[Atom]]:
        return holdings(
            [(rule.subject, rule.object, rule.action) for rule in self.policies],
            [(one.user, one.role) for one in self.groupings],
        )

    def step(self) -> set[str]:
        """Let the caller try something; give what may come of it, by the scopes it has."""
        choice = self.chance.choice
        is_rule, is_removal = choice((True, False)), self.chance.random() < 0.25
        scopes = self.scopes(DELEGATING[0] if is_rule else DELEGATING[1])
        change: Policy | Grouping
        if is_rule:
            rule = self.any_rule()
            change = Policy(T, rule.subject, rule.object, rule.action)
            if is_removal:
                change = choice(by_key(self.policies) or [change])
                rule = Rule(change.subject, change.object, change.action)
            delegation.check_policy_change(scopes, rule, T)
            (self.policies.discard if is_removal else self.policies.add)(change)
        else:
            change = Grouping(T, choice(USERS + ROLES), choice(ROLES + USERS))
            if is_removal:
                change = choice(by_key(self.groupings) or [change])
            check = delegation.check_unassignment if is_removal else delegation.check_assignment
            check(self.book(), scopes, Assignment(change.user, change.role), T)
            (self.groupings.discard if is_removal else self.groupings.add)(change)
        self.trace.append(f"{'-' if is_removal else '+'} {change}")
        return {thing for scope in scopes for thing in inside(scope)}


def by_key(kept: set[Kept]) -> list[Kept]:
    return sorted(kept, key=lambda one: one.key)


def outside(
    before: dict[str, frozenset[Atom]], after: dict[str, frozenset[Atom]], things: set[str]
) -> list[tuple[str, Atom]]:
    """List who gained what on a thing that is none of these."""
    return sorted(
        (subject, atom)
        for subject, atoms in after.items()
        for atom in atoms - before.get(subject, frozenset())
        if atom[1] not in things
    )


def misjudged(world: World, held: dict[str, frozenset[Atom]]) -> list[str]:
    """List the subjects whose permissions are not what they hold."""
    source = world.book()
    return [
        subject
        for subject in (*USERS, *ROLES)
        if frozenset().union(*(as_written(str(one)) for one in granted(source, T, [subject])))
        != held.get(subject, frozenset())
    ]


def live(seed: int) -> tuple[str | None, int]:
    """Let a caller try its luck; say what was gained that should not be, and count changes."""
    world = World(random.Random(seed))
    first = before = world.held()
    reach = {
        thing for action in DELEGATING for scope in world.scopes(action) for thing in inside(scope)
    }
    changes = 0
    for _ in range(STEPS):
        try:
            things = world.step()
        except (Forbidden, ValidationFailed):
            continue
        changes += 1
        after = world.held()
        gained = outside(before, after, things)
        if gained:
            return f"seed {seed}: {gained[0]} after {world.trace}", changes
        before = after
    gained, wrong = outside(first, before, reach), misjudged(world, before)
    if gained or wrong:
        return f"seed {seed}: {gained[:1]} gained, {wrong} misjudged after {world.trace}", changes
    return None, changes


def search(histories: int) -> tuple[str | None, int]:
    """Live many histories; stop at the first escalation."""
    first = random.SystemRandom().randrange(1 << 32)
    print(f"seeds from {first}")
    total = 0
    for seed in range(first, first + histories):
        found, changes = live(seed)
        total += changes
        if found is not None:
            return found, total
    return None, total


def test_s3_nobody_gains_anything_outside_the_scopes_of_whoever_gave_it() -> None:
    begun = time.perf_counter()
    found, changes = search(2_000)
    print(f"{changes} changes in {time.perf_counter() - begun:.1f} s")
    assert found is None, found
    assert changes > 2_000, "the search was refused too much to have looked at anything"


def without_closure(patch: pytest.MonkeyPatch) -> None:
    def only_itself(source: RuleSource, subjects: tuple[str, ...]) -> tuple[str, ...]:
        return subjects

    patch.setattr(delegation, "closure", only_itself)


def without_scopes(patch: pytest.MonkeyPatch) -> None:
    def always(scopes: object, target: Object) -> bool:
        return True

    patch.setattr(delegation, "_is_within", always)


def with_wildcards_inside_names(patch: pytest.MonkeyPatch) -> None:
    honest = delegation._is_within

    def generous(scopes: tuple[Object, ...] | None, target: Object) -> bool:
        assert scopes is not None
        like_names = [
            scope
            for scope in scopes
            if scope.kind == target.kind
            and scope.names[:-1] == target.names[:-1]
            and target.names[-1] == "*"
        ]
        return bool(like_names) or honest(scopes, target)

    patch.setattr(delegation, "_is_within", generous)


def with_tenant_manage_on_anything(patch: pytest.MonkeyPatch) -> None:
    honest_implied = rbac.implied

    def any_kind(action: str, text: str, tenant_id: str) -> Object:
        check_rule("rbac.view" if action == "tenant.manage" else action, text, tenant_id)
        found = read_object(text)
        assert found is not None
        return found

    def any_object(permission: Permission) -> list[Permission]:
        if permission.action == "tenant.manage":
            permission = Permission("tenant.manage", Object("tenant", permission.object.names[:1]))
        return list(honest_implied(permission))

    for module in (rbac, delegation):
        patch.setattr(module, "check_rule", any_kind)
    patch.setattr(rbac, "implied", any_object)


@pytest.mark.parametrize(
    "breaking",
    [without_closure, without_scopes, with_wildcards_inside_names, with_tenant_manage_on_anything],
)
def test_the_search_finds_what_is_broken_on_purpose(
    breaking: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking(monkeypatch)
    found, _ = search(2_000)
    assert found is not None
    print(found)
