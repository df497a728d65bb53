"""What rights come to, in plain sets: a second opinion that shares no code with the first.

The universe is small. An atom is an action on one thing that there is, and wildcards are all the
things they match. The things called `new` are named by no rule: whatever may come to be later.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

Atom = tuple[str, str]
"""An action and a thing."""

TENANTS = ("acme", "beta")
NAMES = ("a", "b", "new")

_STREAM = frozenset({"stream.manage", "stream.publish", "stream.subscribe"})
_CACHE = frozenset({"cache.manage", "cache.read", "cache.write"})
_RBAC = frozenset({"rbac.view", "rbac.policy.manage", "rbac.assignment.manage"})
ACTIONS_ON = {
    "tenant": _RBAC | {"tenant.manage"},
    "namespace": _RBAC | {"ns.manage"},
    "stream": _RBAC | _STREAM,
    "cache": _RBAC | _CACHE,
}
THINGS = frozenset(
    [f"tenant:{t}" for t in TENANTS]
    + [f"namespace:{t}/{n}" for t in TENANTS for n in NAMES]
    + [
        f"{k}:{t}/{n}/{x}"
        for k in ("stream", "cache")
        for t in TENANTS
        for n in NAMES
        for x in NAMES
    ]
)
_GRAMMAR = re.compile(r"tenant:acme|namespace:acme/(\w+|\*)|(stream|cache):acme/\w+/(\w+|\*)")


@functools.cache
def inside(text: str) -> frozenset[str]:
    """List the things that an object may be taken to stand for, by whoever is most generous.

    Every `*` is read as brokers read it: as any characters, slashes included.
    """
    kind, _, names = text.partition(":")
    pattern = re.compile(re.escape(names).replace(r"\*", ".*"))
    if kind in {"stream", "cache"}:
        return frozenset(
            thing
            for thing in THINGS
            if thing.startswith(f"{kind}:") and pattern.fullmatch(thing.partition(":")[2])
        )
    depth = {"tenant": 1, "namespace": 2}.get(kind, 9)
    return frozenset(
        thing
        for thing in THINGS
        if len(path := thing.partition(":")[2].split("/")) >= depth
        and pattern.fullmatch("/".join(path[:depth]))
    )


@functools.cache
def as_written(permission: str) -> frozenset[Atom]:
    """Give the atoms of a permission of a token, which implies nothing more."""
    action, _, text = permission.partition(":")
    return frozenset(
        (action, thing) for thing in inside(text) if action in ACTIONS_ON[thing.partition(":")[0]]
    )


@functools.cache
def of_rule(text: str, action: str) -> frozenset[Atom]:
    """Give the atoms of a rule of the tenant `acme`, with all that follows from them."""
    kind = text.partition(":")[0]
    if not _GRAMMAR.fullmatch(text) or action not in ACTIONS_ON[kind]:
        return frozenset()
    atoms = set(as_written(f"{action}:{text}"))
    if action in {"tenant.manage", "ns.manage"}:
        for thing in inside(text):
            below = thing.partition(":")[0]
            atoms |= {(one, thing) for one in ACTIONS_ON[below] - _RBAC}
    return frozenset(atoms)


def holdings(
    rules: Iterable[tuple[str, str, str]], assigned: Iterable[tuple[str, str]]
) -> dict[str, frozenset[Atom]]:
    """Give what every subject holds: grown along the assignments until nothing changes."""
    held: dict[str, frozenset[Atom]] = {}
    for subject, text, action in rules:
        held[subject] = held.get(subject, frozenset()) | of_rule(text, action)
    edges = [(user, role) for user, role in assigned if role.startswith("role:")]
    grows = True
    while grows:
        grows = False
        for user, role in edges:
            more = held.get(role, frozenset())
            if not more <= held.get(user, frozenset()):
                held[user] = held.get(user, frozenset()) | more
                grows = True
    return held
