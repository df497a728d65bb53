"""Quotas that the control plane keeps itself: how much is used, and whether there is room.

What is used is counted in the tables whenever somebody asks. It is stored nowhere, so there is
nothing that could disagree with it: not after a failed command, a snapshot, or a restored backup.
The other quotas are the brokers' business, who hear of them with the tenant and the namespace.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from felix.core.catalog.placement_tables import DELETED_STREAMS
from felix.core.catalog.store import Store
from felix.proto.errors import NotFound, QuotaExceeded
from felix.proto.queries import GetUsage, Usage
from felix.proto.resources import Key, Namespace, Tenant

_SCOPES: Final = ("tenant", "namespace")
"""By the length of the key that leads there, less one."""


class StreamCount(msgspec.Struct, frozen=True):
    """How many streams there are below a tenant or namespace."""

    all: int
    """Those whose deletion can be taken back included: their data is still there, and to have one
    back must not fail for want of room."""
    deleted: int


def streams_below(store: Store, parent: Key) -> StreamCount:
    """Count the streams of a tenant or namespace; costs no more the more there are."""
    deleted = store.tables[DELETED_STREAMS].count(parent)
    return StreamCount(store.tables["Stream"].count(parent) + deleted, deleted)


def check_room_for_stream(store: Store, key: Key) -> None:
    """Make sure that one more stream may be. The namespace exists. Raises: QuotaExceeded."""
    for parent in (key[:2], key[:1]):
        limit = _limit(store, parent)
        if limit is None:
            continue
        count = streams_below(store, parent)
        if count.all >= limit:
            raise _no_room(parent, limit, count)


def usage(store: Store, query: GetUsage) -> Usage:
    """Say what a tenant or namespace may have and has. Raises: NotFound."""
    tables = store.tables
    tenant: Tenant | None = tables["Tenant"].rows.get((query.tenant_id,))
    if tenant is None:
        raise NotFound(f"there is no tenant {query.tenant_id!r}")
    place: Tenant | Namespace = tenant
    if query.namespace:
        found: Namespace | None = tables["Namespace"].rows.get((query.tenant_id, query.namespace))
        if found is None:
            raise NotFound(f"there is no namespace {query.tenant_id + '/' + query.namespace!r}")
        place = found
    count = streams_below(store, place.key)
    return Usage(
        tenant_id=query.tenant_id,
        namespace=query.namespace,
        quotas=place.quotas,
        namespaces=0 if query.namespace else tables["Namespace"].count(place.key),
        streams=count.all,
        deleted_streams=count.deleted,
        caches=tables["Cache"].count(place.key),
        streams_left=_left(store, place.key),
    )


def _left(store: Store, key: Key) -> int | None:
    """Say how many streams may still be made there, under all quotas that hold; None: any."""
    left: int | None = None
    for parent in {key[:1]: None, key: None}:
        limit = _limit(store, parent)
        if limit is not None:
            room = max(0, limit - streams_below(store, parent).all)
            left = room if left is None else min(left, room)
    return left


def _limit(store: Store, parent: Key) -> int | None:
    row: Any = store.tables["Tenant" if len(parent) == 1 else "Namespace"].rows[parent]
    return None if row.quotas is None else row.quotas.max_streams


def _no_room(parent: Key, limit: int, count: StreamCount) -> QuotaExceeded:
    scope, name = _SCOPES[len(parent) - 1], "/".join(parent)
    gone = f", of which {count.deleted} are deleted and not purged" if count.deleted else ""
    first = "purge deleted ones, " if count.deleted else ""
    return QuotaExceeded(
        f"max_streams of the {scope} {name!r} is {limit}, and it has {count.all} streams{gone}: "
        f"{first}delete streams, or raise the quota",
        details={
            "quota": "max_streams",
            "scope": scope,
            "of": name,
            "limit": limit,
            "used": count.all,
            "deleted": count.deleted,
        },
    )
