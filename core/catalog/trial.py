"""Changes that are made in the tables for a moment only, so that the next ones are held to them."""

from __future__ import annotations

from typing import Any

from felix.core.catalog.identity_tables import REFRESH_GRANTS, RefreshIndex
from felix.core.catalog.placement_index import FOLLOWED, PlacementIndex
from felix.core.catalog.steps import Step
from felix.core.catalog.store import Store
from felix.proto.resources import RESOURCE_TYPES, Key


class Trial:
    """Takes steps one after the other; all of them have to be taken back before anybody looks."""

    def __init__(self, store: Store, placement: PlacementIndex, refresh: RefreshIndex) -> None:
        self._store = store
        self._placement = placement
        self._refresh = refresh
        self.steps: list[Step] = []
        """Those that were taken, in their order."""

    @property
    def updates(self) -> int:
        """How many of the steps cost a version."""
        return sum(step.kind in RESOURCE_TYPES for step in self.steps)

    def take(self, steps: list[Step]) -> None:
        """Make some changes."""
        for step in steps:
            self._put(step.kind, step.key, step.before, step.after)
            self.steps.append(step)

    def take_back(self, start: int = 0) -> list[Step]:
        """Let everything be as it was when there were so many steps; give those that came after."""
        gone = self.steps[start:]
        for step in reversed(gone):
            self._put(step.kind, step.key, step.after, step.before)
        del self.steps[start:]
        return gone

    def _put(self, table: str, key: Key, before: Any, after: Any) -> None:
        if after is None:
            self._store.remove(table, key)
        else:
            self._store.put(table, key, after)
        if table == REFRESH_GRANTS:
            if before is not None:
                self._refresh.remove(before)
            if after is not None:
                self._refresh.put(after)
        if table in FOLLOWED:
            self._placement.follow(table, before, after)
