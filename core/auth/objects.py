"""What two objects have in common."""

from __future__ import annotations

from felix.proto.permissions import Object


def overlap(one: Object, other: Object) -> Object | None:
    """Give the object that stands for exactly what is inside both; None where nothing is."""
    if one.contains(other):
        return other
    if other.contains(one):
        return one
    # What is left are a namespace and all streams, or caches, of all namespaces of its tenant.
    for outer, inner in ((one, other), (other, one)):
        if outer.kind == "namespace" and inner.names[:2] == (outer.names[0], "*"):
            return Object(inner.kind, (*outer.names, "*"))
    return None
