"""The four feeds of the existing HTTP contract (chapter 5), on top of the one version counter.

A change's `seq` is its version. Recent changes are served whole. Older ones are compacted: of an
object that lives its last change, of one that is gone its tombstone; so a consumer that asks from
any point, however old, ends up with the truth.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from heapq import merge
from typing import Final

import msgspec

from felix.core.catalog.history import Change
from felix.core.catalog.store import Store
from felix.proto.errors import ValidationFailed
from felix.proto.queries import Feed, FeedChange, FeedChanges, FeedSnapshot
from felix.proto.resources import Key, Resource, ResourceKind

KINDS: Final[dict[Feed, ResourceKind]] = {
    "tenants": "Tenant",
    "namespaces": "Namespace",
    "streams": "Stream",
    "caches": "Cache",
}
WITHOUT_UPDATES: Final = frozenset({"Tenant", "Namespace"})
"""A broker stops reading a feed of these at the first `updated` (contract, section 11.3)."""
TOMBSTONES: Final = "tombstones"
PAGE_MAX: Final = 10_000


class Tombstone(msgspec.Struct, frozen=True, gc=False):
    """What is left of a deleted object: the last deletion of its key."""

    kind: ResourceKind
    seq: int
    object: Resource


class Feeds:
    """What the feeds need besides the store; `tombstones` is a table of it."""

    def __init__(self, store: Store, version: int, rows_max: int, tombstones_max: int) -> None:
        """Begin after `version`: older changes are served compacted."""
        self._store = store
        self._rows_max = rows_max
        self._tombstones_max = tombstones_max
        self.last_seq: dict[ResourceKind, int] = dict.fromkeys(KINDS.values(), 0)
        """0 for a feed that never had a change."""
        self._recent: dict[ResourceKind, list[FeedChange]] = {kind: [] for kind in KINDS.values()}
        self._recent_from = dict.fromkeys(KINDS.values(), version + 1)
        """Changes from this `seq` on are all in `_recent`."""
        self._tombstone_keys: dict[ResourceKind, dict[Key, None]] = {
            kind: {} for kind in KINDS.values()
        }

    def add(self, change: Change) -> None:
        """Take note of a change."""
        kind, seq = change.kind, change.version
        if change.after is None:
            assert change.before is not None
            self._bury(Tombstone(kind, seq, change.before))
            one = FeedChange(seq, "deleted", change.key, change.before)
        elif change.before is None:
            one = FeedChange(seq, "created", change.key, change.after)
        elif kind in WITHOUT_UPDATES:
            return
        else:
            one = FeedChange(seq, "updated", change.key, change.after)
        self.last_seq[kind] = seq
        recent = self._recent[kind]
        recent.append(one)
        if len(recent) > self._rows_max:
            count = max(1, len(recent) // 10)
            del recent[:count]
            self._recent_from[kind] = recent[0].seq

    def restore(self, last_seq: dict[ResourceKind, int]) -> None:
        """Take up what a dump held; the tombstones are in the store already."""
        self.last_seq.update(last_seq)
        rows: Iterable[Tombstone] = self._store.tables[TOMBSTONES].rows.values()
        for tombstone in sorted(rows, key=lambda one: one.seq):
            self._tombstone_keys[tombstone.kind][tombstone.object.key] = None

    def snapshot(self, feed: Feed) -> FeedSnapshot:
        """Answer `GetFeedSnapshot`: items and cursor of one moment."""
        kind = KINDS[feed]
        table = self._store.tables[kind]
        return FeedSnapshot([table.rows[key] for key in table.keys], self._next_seq(kind))

    def changes(self, feed: Feed, since: int, limit: int) -> FeedChanges:
        """Answer `GetFeedChanges`. Raises: ValidationFailed."""
        if not 1 <= limit <= PAGE_MAX:
            raise ValidationFailed(f"limit must be 1 to {PAGE_MAX}")
        kind = KINDS[feed]
        recent = self._recent[kind]
        items: list[FeedChange] = []
        if since < self._recent_from[kind]:
            items = self._compacted(kind, since)[: limit + 1]
        start = bisect_left(recent, since, key=lambda one: one.seq)
        items += recent[start : start + limit + 1 - len(items)]
        if len(items) > limit:
            return FeedChanges(items[:limit], items[limit - 1].seq + 1)
        return FeedChanges(items, self._next_seq(kind))

    def _next_seq(self, kind: ResourceKind) -> int:
        return self.last_seq[kind] + 1 if self.last_seq[kind] else 0

    def _compacted(self, kind: ResourceKind, since: int) -> list[FeedChange]:
        end = self._recent_from[kind]
        return list(
            merge(
                sorted(self._live_changes(kind, since, end), key=lambda one: one.seq),
                sorted(self._tombstones(kind, since, end), key=lambda one: one.seq),
                key=lambda one: one.seq,
            )
        )

    def _live_changes(self, kind: ResourceKind, since: int, end: int) -> Iterator[FeedChange]:
        for key, row in self._store.tables[kind].rows.items():
            seq = row.created_version if kind in WITHOUT_UPDATES else row.version
            if since <= seq < end:
                known = kind not in WITHOUT_UPDATES and row.created_version < since
                yield FeedChange(seq, "updated" if known else "created", key, row)

    def _tombstones(self, kind: ResourceKind, since: int, end: int) -> Iterator[FeedChange]:
        rows = self._store.tables[TOMBSTONES].rows
        for key in self._tombstone_keys[kind]:
            tombstone: Tombstone = rows[(kind, *key)]
            if since <= tombstone.seq < end:
                yield FeedChange(tombstone.seq, "deleted", key, tombstone.object)

    def _bury(self, tombstone: Tombstone) -> None:
        keys = self._tombstone_keys[tombstone.kind]
        key = tombstone.object.key
        keys.pop(key, None)
        keys[key] = None
        self._store.put(TOMBSTONES, (tombstone.kind, *key), tombstone)
        if len(keys) > self._tombstones_max:
            oldest = next(iter(keys))
            del keys[oldest]
            self._store.remove(TOMBSTONES, (tombstone.kind, *oldest))
