"""One feed of the existing HTTP contract: the recent changes whole, the older ones compacted.

What is compacted is always a part of what really happened, with its own numbers: the creation and
the last update of each object that lives, the last deletion of each key. A consumer that knows an
object sees its deletion before the next object of that name, because a broker cannot take a changed
`durable` for a stream it knows (contract, section 11.4).
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import islice
from typing import Final

import msgspec
from sortedcontainers import SortedDict

from felix.core.catalog.history import Change
from felix.core.catalog.renewal import Renewal
from felix.core.catalog.store import Store
from felix.proto.queries import FeedChange
from felix.proto.resources import Key, Resource, ResourceKind

TOMBSTONES: Final = "tombstones"
"""The table of the store, keyed by kind and names: the last deletion of each key."""
WITHOUT_UPDATES: Final = frozenset({"Tenant", "Namespace"})
"""A broker stops reading a feed of these at the first `updated` (contract, section 11.3)."""
TAKEN_BACK: Final = frozenset({"Stream"})
"""After a renewal each of these is told as deleted first: a broker may know another `durable`."""

_FROM_UNTIL: Final = (True, False)


class Tombstone(msgspec.Struct, frozen=True, gc=False):
    """What is left of a deleted object: the last deletion of its key."""

    kind: ResourceKind
    seq: int
    object: Resource


class Feed:
    """The changes of one kind of object.

    The tombstones are rows of the store, so that dumps hold them. The indexes beside them follow
    from the store; the recent changes are this replica's own and may be missing after a restart.
    """

    def __init__(
        self,
        kind: ResourceKind,
        store: Store,
        version: int,
        rows_max: int,
        tombstones_max: int,
        renewal: Renewal,
    ) -> None:
        """Begin after `version`: older changes are served compacted."""
        self.kind = kind
        self.last_seq = 0
        """0 for a feed that never had a change."""
        self._store = store
        self._rows_max = rows_max
        self._tombstones_max = tombstones_max
        self._renewal = renewal
        self._recent: list[FeedChange] = []
        self._recent_from = version + 1
        """Changes from this `seq` on are all in `_recent`."""
        self._live: dict[int, Key] = {}
        """`seq` of the creation and of the last update of each live object -> key; in ascending
        order, for every `seq` is higher than all before it."""
        self._buried: dict[int, Key] = {}
        """`seq` of each tombstone -> key; in ascending order too."""
        self._overtaken: SortedDict = SortedDict()
        """`seq` -> a deletion whose key was deleted again. Kept until the later one is not recent:
        so long there may be recent changes of the object that lived between the two."""
        self._overtaken_by: dict[int, int] = {}
        """`seq` of the later deletion -> of the one in `_overtaken`."""
        self._taken_back: dict[int, Key] = {}
        """`seq` -> an object of before the last renewal that is to be told anew; ascending."""

    @property
    def next_seq(self) -> int:
        """The cursor of a consumer that has seen everything (contract, section 5.2)."""
        return self.last_seq + 1 if self.last_seq else 0

    def restore(self, last_seq: int) -> None:
        """Take up what a dump held; the rows are in the store already."""
        self.last_seq = last_seq
        rows = self._store.tables[self.kind].rows
        live = {seq: key for key, row in rows.items() for seq in self._seqs_of(row)}
        self._live = {seq: live[seq] for seq in sorted(live)}
        told_at = self._renewal.told_at
        tombstones = self._store.tables[TOMBSTONES].rows
        buried = {
            told_at(one.seq): key[1:] for key, one in tombstones.items() if one.kind == self.kind
        }
        self._buried = dict(sorted(buried.items()))
        if self.kind in TAKEN_BACK:
            earlier = sorted(
                (row.created_version, row.key)
                for row in rows.values()
                if row.created_version <= self._renewal.version
            )
            self._taken_back = {
                self._renewal.taken_back_at(version): key for version, key in earlier
            }

    def add(self, change: Change) -> None:
        """Take note of a change of this kind."""
        seq, key, before, after = change.version, change.key, change.before, change.after
        if before is None:
            assert after is not None
            self._live[after.version] = key
            self._push(FeedChange(seq, "created", key, after))
        elif after is None:
            for old in self._seqs_of(before):
                del self._live[old]
            if before.created_version <= self._renewal.version:
                self._taken_back.pop(self._renewal.taken_back_at(before.created_version), None)
            self._bury(seq, key, before)
            self._push(FeedChange(seq, "deleted", key, before))
        elif self.kind not in WITHOUT_UPDATES:
            if before.version != before.created_version:
                del self._live[self._renewal.told_at(before.version)]
            self._live[after.version] = key
            self._push(FeedChange(seq, "updated", key, after))

    def changes(self, since: int, count: int) -> list[FeedChange]:
        """List the first `count` changes from `since` on, oldest first."""
        compacted = self._compacted(since, count) if since < self._recent_from else []
        start = bisect_left(self._recent, since, key=lambda one: one.seq)
        return compacted + self._recent[start : start + count - len(compacted)]

    def _compacted(self, since: int, count: int) -> list[FeedChange]:
        reach = (since, self._recent_from, _FROM_UNTIL)
        found = {seq: self._overtaken[seq] for seq in islice(self._overtaken.irange(*reach), count)}
        for seq in _slice(self._buried, since, self._recent_from, count):
            key = self._buried[seq]
            tombstone = self._store.tables[TOMBSTONES].rows[(self.kind, *key)]
            found[seq] = FeedChange(seq, "deleted", key, tombstone.object)
        rows = self._store.tables[self.kind].rows
        for seq in _slice(self._taken_back, since, self._recent_from, count):
            key = self._taken_back[seq]
            found[seq] = FeedChange(seq, "deleted", key, rows[key])
        for seq in _slice(self._live, since, self._recent_from, count):
            key = self._live[seq]
            row = rows[key]
            is_new = seq == self._renewal.told_at(row.created_version)
            found[seq] = FeedChange(seq, "created" if is_new else "updated", key, row)
        return [found[seq] for seq in sorted(found)[:count]]

    def _seqs_of(self, row: Resource) -> tuple[int, ...]:
        told_at = self._renewal.told_at
        if row.version == row.created_version or self.kind in WITHOUT_UPDATES:
            return (told_at(row.created_version),)
        return (told_at(row.created_version), told_at(row.version))

    def _push(self, change: FeedChange) -> None:
        self.last_seq = change.seq
        self._recent.append(change)
        if len(self._recent) > self._rows_max:
            count = max(1, len(self._recent) // 10)
            for one in self._recent[:count]:
                overtaken = self._overtaken_by.pop(one.seq, None)
                if overtaken is not None:
                    del self._overtaken[overtaken]
            self._recent_from = self._recent[count - 1].seq + 1
            del self._recent[:count]

    def _bury(self, seq: int, key: Key, row: Resource) -> None:
        place = (self.kind, *key)
        earlier: Tombstone | None = self._store.tables[TOMBSTONES].rows.get(place)
        if earlier is not None:
            told_at = self._renewal.told_at(earlier.seq)
            del self._buried[told_at]
            self._overtaken[told_at] = FeedChange(told_at, "deleted", key, earlier.object)
            self._overtaken_by[seq] = told_at
        self._store.put(TOMBSTONES, place, Tombstone(self.kind, seq, row))
        self._buried[seq] = key
        while len(self._buried) > self._tombstones_max:
            oldest = self._buried.pop(next(iter(self._buried)))
            self._store.remove(TOMBSTONES, (self.kind, *oldest))


def _slice(ascending: dict[int, Key], since: int, until: int, count: int) -> list[int]:
    """List up to `count` keys from `since` on and below `until`.

    Copies all keys, about 1 ms for 100,000: it serves consumers that were away for long, and keeps
    commits free of an index in order.
    """
    keys = list(ascending)
    start = bisect_left(keys, since)
    return keys[start : min(start + count, bisect_left(keys, until, start))]
