"""The grammar of permissions: actions, objects, and what an object contains.

An object is `tenant:{t}`, `namespace:{t}/{ns}`, `stream:{t}/{ns}/{s}` or `cache:{t}/{ns}/{c}`; the
last segment of the latter three may be `*` (seed, "Admin API: RBAC"; contract, sections 9.3 and
9.4). `cluster:*` is the one object outside every tenant. Tokens may also hold `stream:{t}/*/*` and
`cache:{t}/*/*`, which no rule can say: they come of expansion (contract, section 8.4).
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from felix.proto.errors import ValidationFailed
from felix.proto.names import why_not_a_name

ObjectKind = Literal["cluster", "tenant", "namespace", "stream", "cache"]

BROKER_ACTIONS: Final = frozenset({
    "rbac.view", "rbac.policy.manage", "rbac.assignment.manage", "tenant.manage", "ns.manage",
    "stream.manage", "cache.manage", "stream.publish", "stream.subscribe", "cache.read",
    "cache.write",
})  # fmt: skip
"""The closed set that brokers know: one more in a token makes it unusable to them."""
CLUSTER_ACTIONS: Final = frozenset({"cluster.view", "cluster.manage"})
"""On `cluster:*` only; in tokens for this API only."""
ACTIONS: Final = BROKER_ACTIONS | CLUSTER_ACTIONS

CLUSTER: Final = "cluster:*"
OPERATOR_TENANT: Final = "felix-operators"
"""The one tenant whose rules may speak of `cluster:*`. Only bootstrap makes it."""
TENANT_ADMIN: Final = "role:tenant-admin"
CLUSTER_ADMIN: Final = "role:cluster-admin"
CLUSTER_VIEWER: Final = "role:cluster-viewer"

ROLE: Final = "role:"
GROUP: Final = "group:"

_KINDS_OF: Final[dict[str, frozenset[ObjectKind]]] = {
    "rbac.view": frozenset({"tenant", "namespace", "stream", "cache"}),
    "rbac.policy.manage": frozenset({"tenant", "namespace", "stream", "cache"}),
    "rbac.assignment.manage": frozenset({"tenant", "namespace", "stream", "cache"}),
    "tenant.manage": frozenset({"tenant"}),
    "ns.manage": frozenset({"namespace"}),
    "stream.manage": frozenset({"stream"}),
    "stream.publish": frozenset({"stream"}),
    "stream.subscribe": frozenset({"stream"}),
    "cache.manage": frozenset({"cache"}),
    "cache.read": frozenset({"cache"}),
    "cache.write": frozenset({"cache"}),
    "cluster.view": frozenset({"cluster"}),
    "cluster.manage": frozenset({"cluster"}),
}
_SEGMENTS: Final[dict[str, int]] = {"tenant": 1, "namespace": 2, "stream": 3, "cache": 3}


class Object(msgspec.Struct, frozen=True, gc=False):
    """What a permission is on; `*` as a name stands for all names in its place."""

    kind: ObjectKind
    names: tuple[str, ...] = ()
    """Outermost first: tenant, namespace, stream or cache. Empty for the cluster."""

    def __str__(self) -> str:
        """Write it as rules and tokens do."""
        return f"{self.kind}:{'/'.join(self.names) or '*'}"

    def contains(self, other: Object) -> bool:
        """Tell whether whatever `other` stands for is inside this (contract, section 9.4).

        The cluster contains everything; an exact name never contains a wildcard.
        """
        if self.kind == "cluster":
            return True
        is_above = self.kind in {"tenant", "namespace"} and len(self.names) <= len(other.names)
        if not is_above and self.kind != other.kind:
            return False
        return all(
            mine in {"*", its} for mine, its in zip(self.names, other.names, strict=False)
        ) and bool(other.names)


class Permission(msgspec.Struct, frozen=True, gc=False):
    """An action on an object."""

    action: str
    object: Object

    def __str__(self) -> str:
        """Write it as tokens do: `stream.publish:stream:acme/billing/*`."""
        return f"{self.action}:{self.object}"


def read_object(text: str) -> Object | None:
    """Read an object of any tenant as tokens hold them; None for what is none."""
    if text == CLUSTER:
        return Object("cluster")
    kind, _, rest = text.partition(":")
    names = tuple(rest.split("/"))
    if len(names) != _SEGMENTS.get(kind):
        return None
    inner = names[1:] if kind in {"stream", "cache"} else names[1:2]
    for position, name in enumerate(names):
        is_wild = name == "*" and position > 0 and name in inner
        if not is_wild and why_not_a_name(name) is not None:
            return None
    if len(names) == 3 and names[1] == "*" and names[2] != "*":
        return None
    return Object(kind, names)  # type: ignore[arg-type]  # one of the keys of _SEGMENTS


def read_permission(text: str) -> Permission | None:
    """Read a permission of a token; None for one with an unknown action or object."""
    action, _, rest = text.partition(":")
    found = read_object(rest) if action in ACTIONS else None
    return None if found is None else Permission(action, found)


def check_rule(action: str, text: str, tenant_id: str) -> Object:
    """Check what a rule of a tenant may say, and give its object.

    Raises: ValidationFailed for an unknown action, an object outside the grammar or of another
    tenant, and an action that does not fit the object (contract, chapter 15, S2 and S6).
    """
    if action not in ACTIONS:
        known = ", ".join(sorted(ACTIONS))
        raise _invalid("action", f"{action!r} is not an action; they are {known}")
    found = read_object(text)
    if found is None or "*" in found.names[1:-1]:
        raise _invalid("object", f"{text!r} is not an object that a rule can be about")
    if found.kind == "cluster":
        if tenant_id != OPERATOR_TENANT:
            raise _invalid("object", f"only the tenant {OPERATOR_TENANT!r} has rules on {CLUSTER}")
    elif found.names[0] != tenant_id:
        raise _invalid("object", f"{text!r} is not in the tenant {tenant_id!r}")
    if found.kind not in _KINDS_OF[action]:
        raise _invalid("object", f"{action} is not an action on a {found.kind}")
    return found


def _invalid(member: str, why: str) -> ValidationFailed:
    return ValidationFailed(f"/{member}: {why}", details={"pointer": f"/{member}"})
