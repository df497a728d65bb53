"""What only the control plane keeps of placement: moves, plans, settings, streams that go."""

from __future__ import annotations

from typing import Final, TypeAlias

from felix.core.catalog.store import Store
from felix.proto.brokers import MovePlan, PlacementSettings, ShardMove
from felix.proto.resources import Key, Stream

MOVES: Final = "moves"
PLANS: Final = "plans"
PLACEMENT_SETTINGS: Final = "placement_settings"
DELETED_STREAMS: Final = "deleted_streams"
"""Streams whose deletion can be taken back. Brokers see them gone, and their placement still there:
they serve such a stream no more, and keep its data."""

PLACEMENT_ROWS: Final[dict[str, type]] = {
    MOVES: ShardMove,
    PLANS: MovePlan,
    PLACEMENT_SETTINGS: PlacementSettings,
    DELETED_STREAMS: Stream,
}
"""The type of the rows of each table."""
INDEX_DIGITS: Final = 20
NUMBER_DIGITS: Final = 6
SETTINGS_KEY: Final[Key] = ("settings",)
"""Of the only row of its table."""


PlacementRow: TypeAlias = ShardMove | MovePlan | PlacementSettings | Stream


def key_of(row: PlacementRow) -> Key:
    """Say where a row is kept: names sort as their numbers do."""
    if isinstance(row, ShardMove):
        return move_key(row.move_id)
    if isinstance(row, Stream):
        return row.key
    if isinstance(row, MovePlan):
        return plan_key(row.plan_id)
    return SETTINGS_KEY


def move_key(move_id: str) -> Key:
    """Say where a move is kept, the oldest first; of what is no move's id, where nothing is."""
    index, _, number = move_id.partition("-")
    return (index.zfill(INDEX_DIGITS), number.zfill(NUMBER_DIGITS))


def plan_key(plan_id: str) -> Key:
    """Say where a plan is kept, the oldest first."""
    return (plan_id.zfill(INDEX_DIGITS),)


def settings_of(store: Store) -> PlacementSettings:
    """Give the settings in force."""
    row: PlacementSettings | None = store.tables[PLACEMENT_SETTINGS].rows.get(SETTINGS_KEY)
    return row or PlacementSettings()
