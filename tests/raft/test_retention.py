"""What stays of the log and of older snapshots when there is a new one."""

from __future__ import annotations

import pytest

from felix.core.raft.retention import retained
from felix.proto.ids import Index, Term
from felix.proto.raft import Membership, SnapshotMeta

ENTRIES = 100


def snapshot(index: int) -> SnapshotMeta:
    return SnapshotMeta(Index(index), Term(1), Membership(()), 1, "")


@pytest.mark.parametrize(("index", "first_kept"), [(100, 51), (30, 1)])
def test_behind_the_first_snapshot_only_the_trail_stays(index: int, first_kept: int) -> None:
    assert retained(snapshot(index), None, ENTRIES, trail_entries=50) == (first_kept, None)


@pytest.mark.parametrize(("trail", "first_kept"), [(50, 101), (150, 51)])
def test_the_snapshot_before_stays_with_the_log_back_to_it(trail: int, first_kept: int) -> None:
    older = snapshot(100)
    assert retained(snapshot(200), older, ENTRIES, trail) == (first_kept, older)


def test_a_snapshot_that_is_far_behind_goes_and_its_log_with_it() -> None:
    assert retained(snapshot(300), snapshot(100), ENTRIES, 50) == (101, snapshot(100))
    assert retained(snapshot(301), snapshot(100), ENTRIES, 50) == (252, None)
