"""What a listing shows to whom."""

from __future__ import annotations

from collections.abc import Iterable

from felix.proto.permissions import Object, Permission


class Sight:
    """Whatever some permissions let their holder know of, whatever the action.

    An object is seen by whoever has a permission on it, on something it is in, or on something in
    it: whoever may read one stream sees its namespace and its tenant. Made once for a listing; then
    each of its objects costs a few look-ups, however many permissions there are.
    """

    def __init__(self, permissions: Iterable[Permission]) -> None:
        objects = {one.object for one in permissions}
        self.sees_all = Object("cluster") in objects
        self._held = {(one.kind, *one.names) for one in objects}
        self._tenants = {one.names[0] for one in objects if one.names}
        self._namespaces = {one.names[:2] for one in objects if len(one.names) > 1}
        """Those in which something is held."""

    def sees(self, target: Object) -> bool:
        """Tell whether a listing shows an object, the names of which are exact."""
        if self.sees_all:
            return True
        if target.kind == "cluster":
            return False
        tenant = target.names[0]
        if target.kind == "tenant":
            return tenant in self._tenants
        if ("tenant", tenant) in self._held:
            return True
        namespace = target.names[1]
        if target.kind == "namespace":
            return not self._namespaces.isdisjoint({(tenant, namespace), (tenant, "*")})
        return not self._held.isdisjoint(
            {
                ("namespace", tenant, namespace),
                ("namespace", tenant, "*"),
                (target.kind, *target.names),
                (target.kind, tenant, namespace, "*"),
                (target.kind, tenant, "*", "*"),
            }
        )


def sees(permissions: Iterable[Permission], target: Object) -> bool:
    """Tell whether a listing shows an object to the holder of some permissions; see `Sight`."""
    return Sight(permissions).sees(target)
