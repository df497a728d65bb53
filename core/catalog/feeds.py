"""The four feeds of the existing HTTP contract (chapter 5), on top of the one version counter.

A change's `seq` is its version, so the numbers of a feed have gaps and never go back.
"""

from __future__ import annotations

from typing import Final

from felix.core.catalog.feed import Feed
from felix.core.catalog.history import Change
from felix.core.catalog.renewal import Renewal
from felix.core.catalog.store import Store
from felix.proto.errors import ValidationFailed
from felix.proto.queries import PAGE_SIZE_MAX, FeedChanges, FeedSnapshot
from felix.proto.queries import Feed as FeedName
from felix.proto.resources import ResourceKind

KINDS: Final[dict[FeedName, ResourceKind]] = {
    "tenants": "Tenant",
    "namespaces": "Namespace",
    "streams": "Stream",
    "caches": "Cache",
}


class Feeds:
    """One feed for each kind of object."""

    def __init__(
        self, store: Store, version: int, rows_max: int, tombstones_max: int, renewal: Renewal
    ) -> None:
        """Begin after `version`: older changes are served compacted."""
        self._store = store
        self._feeds = {
            kind: Feed(kind, store, version, rows_max, tombstones_max, renewal)
            for kind in KINDS.values()
        }

    @property
    def last_seq(self) -> dict[ResourceKind, int]:
        """The newest `seq` of each feed; 0 for a feed that never had a change."""
        return {kind: feed.last_seq for kind, feed in self._feeds.items()}

    def restore(self, last_seq: dict[ResourceKind, int]) -> None:
        """Take up what a dump held; the rows are in the store already."""
        for kind, feed in self._feeds.items():
            feed.restore(last_seq.get(kind, 0))

    def add(self, change: Change) -> None:
        """Take note of a change, unless no feed is about it."""
        feed = self._feeds.get(change.kind)
        if feed is not None:
            feed.add(change)

    def snapshot(self, feed: FeedName) -> FeedSnapshot:
        """Answer `GetFeedSnapshot`: items and cursor of one moment."""
        kind = KINDS[feed]
        table = self._store.tables[kind]
        return FeedSnapshot([table.rows[key] for key in table.keys], self._feeds[kind].next_seq)

    def changes(self, feed: FeedName, since: int, limit: int) -> FeedChanges:
        """Answer `GetFeedChanges`. Raises: ValidationFailed."""
        if not 1 <= limit <= PAGE_SIZE_MAX:
            raise ValidationFailed(
                f"/limit: must be 1 to {PAGE_SIZE_MAX}", details={"pointer": "/limit"}
            )
        one = self._feeds[KINDS[feed]]
        items = one.changes(since, limit + 1)
        if len(items) > limit:
            return FeedChanges(items[:limit], items[limit - 1].seq + 1)
        return FeedChanges(items, one.next_seq)
