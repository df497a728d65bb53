"""A consumer of one feed that is as strict as the brokers there are (contract, section 11)."""

from __future__ import annotations

from felix.core.catalog.catalog import Catalog
from felix.core.catalog.feed import WITHOUT_UPDATES
from felix.core.catalog.feeds import KINDS
from felix.proto.queries import (
    Feed,
    FeedChange,
    FeedChanges,
    FeedSnapshot,
    GetFeedChanges,
    GetFeedSnapshot,
)
from felix.proto.resources import Key, Resource, Stream


class FeedConsumer:
    """Believes what the feed says; chokes on what a broker chokes on."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.known: dict[Key, Resource] = {}
        self.cursor = 0

    def seed(self, catalog: Catalog) -> None:
        """Take a snapshot, as a broker does once per process."""
        answer = catalog.answer(GetFeedSnapshot(feed=self.feed))
        assert isinstance(answer, FeedSnapshot)
        self.known = {item.key: item for item in answer.items}
        self.cursor = answer.next_seq

    def catch_up(self, catalog: Catalog, limit: int = 1000) -> None:
        """Ask until there is nothing more."""
        while self.poll(catalog, limit):
            pass

    def poll(self, catalog: Catalog, limit: int = 1000) -> int:
        """Ask once, apply what comes and return how much that was."""
        answer = catalog.answer(GetFeedChanges(feed=self.feed, since=self.cursor, limit=limit))
        assert isinstance(answer, FeedChanges)
        assert len(answer.items) <= limit
        for change in answer.items:
            assert change.seq >= self.cursor, "numbers must grow"
            self.cursor = change.seq + 1
            self._apply(change)
        assert answer.next_seq >= self.cursor
        self.cursor = answer.next_seq
        return len(answer.items)

    def check(self, catalog: Catalog) -> None:
        """Make sure that this is what the catalog holds.

        The feeds of tenants and namespaces never tell of a patch: there only the names count.
        """
        rows = catalog.store.tables[KINDS[self.feed]].rows
        if KINDS[self.feed] in WITHOUT_UPDATES:
            assert self.known.keys() == rows.keys()
        else:
            assert self.known == rows

    def _apply(self, change: FeedChange) -> None:
        if change.op == "deleted":
            self.known.pop(change.key, None)
            return
        assert change.op == "created" or KINDS[self.feed] not in WITHOUT_UPDATES
        assert change.object is not None
        assert change.object.key == change.key
        known = self.known.get(change.key)
        if isinstance(known, Stream):
            assert isinstance(change.object, Stream)
            durability = change.object.spec.durability
            assert durability == known.spec.durability, "a broker would stop here for ever"
        self.known[change.key] = change.object
