"""The eight feeds that existing brokers poll: contract, section 5.

The records here are exactly those of section 5.1. A cut answer ends its `next_seq` after the last
item, so following `next_seq` never skips a change; items and cursor are one answer of the catalog,
so nothing falls between them (contract, chapter 15, C1 and C2).
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

import falcon
import msgspec

from felix.http.bodies import INTEGER_MAX
from felix.http.desk import Desk, answer
from felix.http.views import CacheView, NamespaceView, StreamView, TenantView, view
from felix.proto.queries import (
    Feed,
    FeedChange,
    FeedChanges,
    FeedSnapshot,
    GetFeedChanges,
    GetFeedSnapshot,
)

Op = Literal["created", "updated", "deleted"]
ShortOp = Literal["created", "deleted"]

_DIGITS: Final = re.compile(r"[0-9]+", re.ASCII)


class NamespaceKey(msgspec.Struct, frozen=True):
    """Where a namespace is."""

    tenant_id: str
    namespace: str


class StreamKey(msgspec.Struct, frozen=True):
    """Where a stream is."""

    tenant_id: str
    namespace: str
    stream: str


class CacheKey(msgspec.Struct, frozen=True):
    """Where a cache is."""

    tenant_id: str
    namespace: str
    cache: str


class TenantChange(msgspec.Struct, frozen=True):
    """One change of the tenants feed."""

    seq: int
    op: ShortOp
    tenant_id: str
    tenant: TenantView | None


class NamespaceChange(msgspec.Struct, frozen=True):
    """One change of the namespaces feed."""

    seq: int
    op: ShortOp
    key: NamespaceKey
    namespace: NamespaceView | None


class StreamChange(msgspec.Struct, frozen=True):
    """One change of the streams feed."""

    seq: int
    op: Op
    key: StreamKey
    stream: StreamView | None


class CacheChange(msgspec.Struct, frozen=True):
    """One change of the caches feed."""

    seq: int
    op: Op
    key: CacheKey
    cache: CacheView | None


class TenantsSnapshot(msgspec.Struct, frozen=True):
    """All tenants."""

    items: list[TenantView]
    next_seq: int


class NamespacesSnapshot(msgspec.Struct, frozen=True):
    """All namespaces."""

    items: list[NamespaceView]
    next_seq: int


class StreamsSnapshot(msgspec.Struct, frozen=True):
    """All streams."""

    items: list[StreamView]
    next_seq: int


class CachesSnapshot(msgspec.Struct, frozen=True):
    """All caches."""

    items: list[CacheView]
    next_seq: int


class TenantsChanges(msgspec.Struct, frozen=True):
    """Changes of the tenants feed, oldest first."""

    items: list[TenantChange]
    next_seq: int


class NamespacesChanges(msgspec.Struct, frozen=True):
    """Changes of the namespaces feed, oldest first."""

    items: list[NamespaceChange]
    next_seq: int


class StreamsChanges(msgspec.Struct, frozen=True):
    """Changes of the streams feed, oldest first."""

    items: list[StreamChange]
    next_seq: int


class CachesChanges(msgspec.Struct, frozen=True):
    """Changes of the caches feed, oldest first."""

    items: list[CacheChange]
    next_seq: int


class Shapes(NamedTuple):
    """The records of one feed (contract, section 5.1)."""

    snapshot: type[msgspec.Struct]
    changes: type[msgspec.Struct]
    object_member: str
    key_members: tuple[str, ...]
    """Outermost first; the one member of a tenant's key stands in the change itself."""


SHAPES: Final[dict[Feed, Shapes]] = {
    "tenants": Shapes(TenantsSnapshot, TenantsChanges, "tenant", ("tenant_id",)),
    "namespaces": Shapes(
        NamespacesSnapshot, NamespacesChanges, "namespace", ("tenant_id", "namespace")
    ),
    "streams": Shapes(
        StreamsSnapshot, StreamsChanges, "stream", ("tenant_id", "namespace", "stream")
    ),
    "caches": Shapes(CachesSnapshot, CachesChanges, "cache", ("tenant_id", "namespace", "cache")),
}


class SnapshotOfFeed:
    """/v1/<feed>/snapshot"""

    def __init__(self, desk: Desk, feed: Feed) -> None:
        self._desk = desk
        self._feed = feed

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Read everything, and where to go on."""
        snapshot = self._desk.ask(req, resp, GetFeedSnapshot(feed=self._feed), FeedSnapshot)
        items = [view(item) for item in snapshot.items]
        body = {"items": items, "next_seq": snapshot.next_seq}
        answer(resp, msgspec.convert(body, SHAPES[self._feed].snapshot))

    on_head = on_get


class ChangesOfFeed:
    """/v1/<feed>/changes"""

    def __init__(self, desk: Desk, feed: Feed) -> None:
        self._desk = desk
        self._feed = feed

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Read the changes from `since` on."""
        query = GetFeedChanges(
            feed=self._feed, since=since_of(req), limit=self._desk.settings.changes_limit
        )
        changes = self._desk.ask(req, resp, query, FeedChanges)
        shapes = SHAPES[self._feed]
        items = [_members_of(change, shapes) for change in changes.items]
        body = {"items": items, "next_seq": changes.next_seq}
        answer(resp, msgspec.convert(body, shapes.changes))

    on_head = on_get


def since_of(req: falcon.Request) -> int:
    """Read `?since=`: whatever is no number is 0 (contract, section 5.2)."""
    value = req.get_param("since") or ""
    if not _DIGITS.fullmatch(value):
        return 0
    digits = value.lstrip("0") or "0"
    return INTEGER_MAX if len(digits) > 18 else int(digits)


def _members_of(change: FeedChange, shapes: Shapes) -> dict[str, object]:
    key = dict(zip(shapes.key_members, change.key, strict=True))
    return {
        "seq": change.seq,
        "op": change.op,
        **(key if len(key) == 1 else {"key": key}),
        shapes.object_member: None if change.object is None else view(change.object),
    }
