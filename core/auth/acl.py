"""The access lists of the specification, as another way to say rules (seed, "ACL Management").

An access list has no state of its own: it is written as rules, and read back from them. Rules that
no access list can say are not seen through it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, get_args

import msgspec

from felix.core.auth.subjects import why_not_a_subject
from felix.proto.errors import ValidationFailed
from felix.proto.identity import Policy, Rule
from felix.proto.names import why_not_a_name
from felix.proto.permissions import read_object

AclPermission = Literal["PUBLISH", "SUBSCRIBE", "CACHE_READ", "CACHE_WRITE", "ADMIN"]

_SIMPLE: Final[dict[AclPermission, tuple[str, str]]] = {
    "PUBLISH": ("stream", "stream.publish"),
    "SUBSCRIBE": ("stream", "stream.subscribe"),
    "CACHE_READ": ("cache", "cache.read"),
    "CACHE_WRITE": ("cache", "cache.write"),
}
_ADMIN: Final = (("stream", "stream.manage"), ("cache", "cache.manage"))
"""On a name: both. On `*` it is `ns.manage` of the namespace."""


class Acl(msgspec.Struct, frozen=True, kw_only=True):
    """What a principal may do with a resource, or with all (`*`), of a namespace."""

    tenant_id: str
    namespace: str
    resource: str
    """Name of a stream, of a cache, or of both."""
    principal: str
    """Any subject of rules."""
    permissions: tuple[AclPermission, ...]
    """In the order of the specification, each once."""


def rules_of_acl(acl: Acl) -> tuple[Rule, ...]:
    """Write an access list as rules.

    Raises: ValidationFailed for a name or principal outside the grammar, or no permission.
    """
    _check(acl)
    place = f"{acl.tenant_id}/{acl.namespace}"
    said: list[tuple[str, str]] = []
    for permission in _in_order(acl.permissions):
        if permission != "ADMIN":
            kind, action = _SIMPLE[permission]
            said.append((f"{kind}:{place}/{acl.resource}", action))
        elif acl.resource == "*":
            said.append((f"namespace:{place}", "ns.manage"))
        else:
            said.extend((f"{kind}:{place}/{acl.resource}", action) for kind, action in _ADMIN)
    return tuple(Rule(acl.principal, target, action) for target, action in said)


def acls_of(policies: Iterable[Policy]) -> list[Acl]:
    """Read access lists from the rules of a tenant, in the order of their names."""
    held: dict[tuple[str, str, str, str], set[tuple[str, str]]] = {}
    for rule in policies:
        target = read_object(rule.object)
        if target is None or len(target.names) < 2 or "*" in target.names[:2]:
            continue
        resource = target.names[2] if len(target.names) == 3 else "*"
        place = (rule.tenant_id, target.names[1], resource, rule.subject)
        held.setdefault(place, set()).add((target.kind, rule.action))
    acls = []
    for (tenant_id, namespace, resource, principal), said in sorted(held.items()):
        permissions = _permissions_of(resource, said)
        if permissions:
            acls.append(
                Acl(
                    tenant_id=tenant_id,
                    namespace=namespace,
                    resource=resource,
                    principal=principal,
                    permissions=permissions,
                )
            )
    return acls


def _permissions_of(resource: str, said: set[tuple[str, str]]) -> tuple[AclPermission, ...]:
    found: set[AclPermission] = {name for name, pair in _SIMPLE.items() if pair in said}
    if said.issuperset({("namespace", "ns.manage")} if resource == "*" else _ADMIN):
        found.add("ADMIN")
    return _in_order(found)


def _in_order(permissions: Iterable[AclPermission]) -> tuple[AclPermission, ...]:
    chosen = set(permissions)
    return tuple(name for name in get_args(AclPermission) if name in chosen)


def _check(acl: Acl) -> None:
    wrong = {
        "tenant_id": why_not_a_name(acl.tenant_id),
        "namespace": why_not_a_name(acl.namespace),
        "resource": None if acl.resource == "*" else why_not_a_name(acl.resource),
        "principal": why_not_a_subject(acl.principal),
        "permissions": None if acl.permissions else "must not be empty",
    }
    for member, why in wrong.items():
        if why is not None:
            raise ValidationFailed(f"/{member}: {why}", details={"pointer": f"/{member}"})
