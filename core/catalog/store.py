"""Tables of immutable rows, with views of a moment that cost nothing to open."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, TypeAlias

from sortedcontainers import SortedDict, SortedList

from felix.proto.errors import Overloaded
from felix.proto.resources import Key

VIEWS_MAX: Final = 32
_AFTER_ALL_NAMES: Final = "\U0010ffff"
_BEHIND: Final = (False, True)

Row: TypeAlias = Any
"""An immutable record; what kind is the table's business."""


class Table:
    """Rows by key, and the keys in order."""

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}
        self.keys: SortedList = SortedList()

    def fill(self, rows: dict[Key, Row]) -> None:
        """Take these rows, and no others; fastest when they come in the order of their keys."""
        self.rows = rows
        self.keys = SortedList(rows)

    def children(self, parent: Key) -> list[Key]:
        """List the keys below a parent, in order, without touching any other."""
        return list(self.keys.irange((*parent, ""), (*parent, _AFTER_ALL_NAMES)))

    def count(self, parent: Key) -> int:
        """Count the keys below a parent, at a cost that hardly grows with their number."""
        first: int = self.keys.bisect_left((*parent, ""))
        behind: int = self.keys.bisect_right((*parent, _AFTER_ALL_NAMES))
        return behind - first

    def after(self, parent: Key, name: str) -> Iterator[Key]:
        """Iterate over the keys below a parent, behind a name, in order."""
        low, high = (*parent, name), (*parent, _AFTER_ALL_NAMES)
        found: Iterator[Key] = self.keys.irange(low, high, inclusive=(False, True))
        return found


class Store:
    """Named tables. A change first leaves the row it replaces with every view that is open."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.tables = {name: Table() for name in names}
        self._views: list[StoreView] = []

    @property
    def size(self) -> int:
        """How many rows there are in all tables."""
        return sum(len(table.rows) for table in self.tables.values())

    def put(self, name: str, key: Key, row: Row) -> Row | None:
        """Insert or replace a row; return the one that was there."""
        table = self.tables[name]
        before = table.rows.get(key)
        for view in self._views:
            view.remember(name, key, before)
        if before is None:
            table.keys.add(key)
        table.rows[key] = row
        return before

    def remove(self, name: str, key: Key) -> Row:
        """Delete a row that exists; return it."""
        table = self.tables[name]
        before = table.rows.pop(key)
        for view in self._views:
            view.remember(name, key, before)
        table.keys.remove(key)
        return before

    def view(self) -> StoreView:
        """Open a view of this moment; its cost does not depend on the size of the store.

        Raises: Overloaded when too many are open.
        """
        if len(self._views) >= VIEWS_MAX:
            raise Overloaded("too many snapshots are being read", retry_after_ms=500)
        view = StoreView(self)
        self._views.append(view)
        return view

    def close(self, view: StoreView) -> None:
        """Stop keeping rows for a view."""
        self._views.remove(view)


class StoreView:
    """The store as it was when the view was opened; read it in slices while changes go on.

    Used by the thread that changes the store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._before: dict[str, SortedDict] = {name: SortedDict() for name in store.tables}
        """Rows as they were, by table and key; None where there was none."""

    @property
    def held(self) -> int:
        """How many rows are kept that are not in the store any more."""
        return sum(map(len, self._before.values()))

    def remember(self, name: str, key: Key, row: Row | None) -> None:
        """Keep a row that is about to change; only the first change counts."""
        self._before[name].setdefault(key, row)

    def remember_older(self, name: str, key: Key, row: Row | None) -> None:
        """Go further back in time: this is what was there before what is remembered."""
        self._before[name][key] = row

    def slice(self, name: str, after: Key | None, count: int) -> tuple[list[Row], Key | None]:
        """Read up to `count` rows behind a key, in order; the second value is where to go on.

        None as the second value: that was the end.
        """
        table = self._store.tables[name]
        before = self._before[name]
        live = table.keys.irange(after, None, _BEHIND)
        if not before:
            keys: list[Key] = list(islice(live, count))
            rows = [table.rows[key] for key in keys]
        else:
            unchanged = (key for key in live if key not in before)
            changed = before.irange(after, None, _BEHIND)
            earlier = (key for key in changed if before[key] is not None)
            keys = sorted([*islice(unchanged, count), *islice(earlier, count)])[:count]
            rows = [before[key] if key in before else table.rows[key] for key in keys]
        return rows, keys[-1] if len(keys) == count else None

    def close(self) -> None:
        """Let go; the view must not be read any more."""
        self._store.close(self)
