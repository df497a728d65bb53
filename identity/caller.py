"""Somebody who has proven who they are, and what they may do."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from felix.core.auth.rbac import allows
from felix.proto.permissions import CLUSTER, Object, Permission, read_permission


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The result of authentication."""

    kind: Literal["token", "broker", "anonymous"]
    principal: str = ""
    """As it stands in stamps and the audit trail: a principal id, or `broker:{id}`."""
    tenant_id: str = ""
    """Whose token it is."""
    permissions: tuple[Permission, ...] = ()
    """Those of the token that its bearer still has."""
    groups: tuple[str, ...] = ()
    """Subjects of the groups that the token says its bearer is in."""

    @property
    def is_operator(self) -> bool:
        """Whether the caller manages the cluster, and so every tenant."""
        return self._holds("cluster.manage")

    @property
    def sees_all(self) -> bool:
        """Whether the caller may look at every tenant."""
        return self._holds("cluster.manage", "cluster.view")

    def _holds(self, *actions: str) -> bool:
        return any(
            one.action in actions and one.object.kind == "cluster" for one in self.permissions
        )

    def scopes(self, action: str) -> tuple[Object, ...]:
        """List the objects on which an action is allowed."""
        return tuple(one.object for one in self.permissions if one.action == action)

    def may(self, action: str, target: Object) -> bool:
        """Tell whether an action is allowed on an object."""
        return any(allows(one, action, target) for one in self.permissions)

    def names_seen(self, kind: str, parent: tuple[str, ...]) -> frozenset[str] | None:
        """Name the objects below a parent that the caller may know of; None: all of them.

        That is what a permission contains, and what leads to something it contains: whoever may
        read one stream sees its namespace.
        """
        if self.sees_all:
            return None
        found: set[str] = set()
        depth = len(parent)
        for one in self.permissions:
            names, its_kind = one.object.names, one.object.kind
            if not _agree(names, parent):
                continue
            if len(names) <= depth:
                return None
            if kind in {"stream", "cache"} and its_kind != kind:
                continue
            if names[depth] == "*":
                return None
            found.add(names[depth])
        return frozenset(found)

    def sees(self, target: Object) -> bool:
        """Tell whether a listing would show this object to the caller."""
        seen = self.names_seen(target.kind, target.names[:-1])
        return seen is None or target.names[-1] in seen


def _agree(names: tuple[str, ...], parent: tuple[str, ...]) -> bool:
    """Tell whether an object lies below a parent, or above or around it."""
    return bool(names) and all(mine in {"*", its} for mine, its in zip(names, parent, strict=False))


_EVERYTHING: Final = read_permission(f"cluster.manage:{CLUSTER}")
assert _EVERYTHING is not None
ANYONE: Final = Caller(kind="anonymous", permissions=(_EVERYTHING,))
"""Whoever comes through a door that the configuration leaves open."""
