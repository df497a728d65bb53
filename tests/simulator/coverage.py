"""What the histories went through: a simulator that tries nothing finds nothing."""

from __future__ import annotations

import msgspec

SEEDS_FOR_FULL_COVERAGE = 500
"""With fewer, a rare fault may be missing by chance."""


class Coverage(msgspec.Struct):
    """Counts of what happened, over one history or many."""

    elections: int = 0
    terms: int = 0
    leaders_that_stepped_down: int = 0
    crashes: int = 0
    power_cuts: int = 0
    writes_lost_in_crashes: int = 0
    writes_kept_in_crashes: int = 0
    pauses: int = 0
    partitions: int = 0
    one_way_partitions: int = 0
    clock_steps: int = 0
    slow_disks: int = 0
    slow_links: int = 0
    held_links: int = 0
    messages_sent: int = 0
    messages_dropped: int = 0
    messages_duplicated: int = 0
    messages_reordered: int = 0
    entries_committed: int = 0
    log_truncations: int = 0
    snapshots_taken: int = 0
    snapshot_chunks_received: int = 0
    snapshot_chunks_damaged: int = 0
    snapshots_refused_as_damaged: int = 0
    snapshots_installed: int = 0
    restarts_from_a_snapshot: int = 0
    snapshots_older_than_their_receiver: int = 0
    learners_added: int = 0
    joint_configurations: int = 0
    learners_promoted: int = 0
    members_removed: int = 0
    members_replaced: int = 0
    leaders_removed: int = 0
    addresses_changed: int = 0
    changes_taken_back: int = 0
    changes_refused: int = 0
    dismissals: int = 0
    old_disks_that_came_back: int = 0
    disks_lost: int = 0
    disks_found_damaged: int = 0
    states_gone_wrong: int = 0
    quarantines: int = 0
    transfers_done: int = 0
    transfers_failed: int = 0
    transfers_refused: int = 0
    writes_held_in_transfers: int = 0
    writes_acknowledged: int = 0
    writes_refused: int = 0
    writes_overwritten: int = 0
    reads_answered: int = 0
    reads_answered_by_followers: int = 0
    reads_refused: int = 0

    def add(self, other: Coverage) -> None:
        """Add the counts of another history."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def missing(self) -> list[str]:
        """List what never happened."""
        return [name for name in self.__struct_fields__ if getattr(self, name) == 0]

    def table(self) -> str:
        """Show the counts, one to a line."""
        return "\n".join(
            f"{getattr(self, name):>12,}  {name.replace('_', ' ')}"
            for name in self.__struct_fields__
        )
