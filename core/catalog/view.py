"""The metadata at one version, to be read in slices while commands go on."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from felix.core.catalog.store import Row, StoreView
from felix.proto.resources import Key

_NONE_LARGE: Final[Mapping[str, int]] = MappingProxyType({})


class CatalogView:
    """Used by the thread that applies commands; close it when done."""

    def __init__(self, rows: StoreView, version: int, epoch: int, digest: str) -> None:
        self._rows = rows
        self.version = version
        self.epoch = epoch
        self.digest = digest

    def slice(self, table: str, after: Key | None, count: int) -> tuple[list[Row], Key | None]:
        """Read up to `count` rows behind a key, in order, and where to go on (None: the end)."""
        return self._rows.slice(table, after, count)

    @property
    def held(self) -> int:
        """How many rows that have changed since are kept for this view."""
        return self._rows.held

    def close(self) -> None:
        """Let go."""
        self._rows.close()


class Walk:
    """Goes through some tables of a view from the first row to the last, slice by slice."""

    def __init__(
        self, view: CatalogView, tables: tuple[str, ...], large: Mapping[str, int] = _NONE_LARGE
    ) -> None:
        """`large` says of how many usual rows one counts, in a table where rows are large."""
        self._view = view
        self._large = large
        self._tables = list(tables)
        self._after: Key | None = None

    def next(self, count: int) -> tuple[str, list[Row]] | None:
        """Read the next slice and the table it is of; None at the end, and the view is closed."""
        if not self._tables:
            return None
        table = self._tables[0]
        count = max(1, count // self._large.get(table, 1))
        rows, self._after = self._view.slice(table, self._after, count)
        if self._after is None:
            del self._tables[0]
            if not self._tables:
                self._view.close()
        return table, rows

    def close(self) -> None:
        """Stop before the end."""
        if self._tables:
            self._tables.clear()
            self._view.close()
