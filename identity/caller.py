"""Somebody who has proven who they are, and what they may do."""

from __future__ import annotations

from typing import Literal

import msgspec

from felix.proto.permissions import Object, Permission


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

    def scopes(self, action: str) -> tuple[Object, ...]:
        """List the objects on which an action is allowed."""
        return tuple(one.object for one in self.permissions if one.action == action)

    def may(self, action: str, target: Object) -> bool:
        """Tell whether an action is allowed on an object.

        Whoever manages the cluster may do everything, and whoever may view it may view all rules.
        """
        enough = {action, "cluster.manage"}
        if action in {"cluster.view", "rbac.view"}:
            enough.add("cluster.view")
        return any(one.action in enough and one.object.contains(target) for one in self.permissions)
