"""How much of the log stays behind a new snapshot (section 5.1), and which older snapshot."""

from __future__ import annotations

from typing import Final

from felix.proto.ids import Index
from felix.proto.raft import SnapshotMeta

OLDER_WITHIN: Final = 2
"""An older snapshot stays if it is at most so many times `snapshot_entries` behind the new one: the
log that reaches back to it is held in memory."""


def retained(
    snapshot: SnapshotMeta, older: SnapshotMeta | None, snapshot_entries: int, trail_entries: int
) -> tuple[Index, SnapshotMeta | None]:
    """Say what is the first entry to keep, and whether the snapshot before the new one stays.

    It stays together with the log back to it, or not at all: alone it could not stand in for a new
    one that turns out to be damaged.
    """
    first_kept = Index(max(1, snapshot.index + 1 - trail_entries))
    if older is None or snapshot.index - older.index > OLDER_WITHIN * snapshot_entries:
        return first_kept, None
    return Index(min(first_kept, older.index + 1)), older
