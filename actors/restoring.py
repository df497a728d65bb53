"""From what a data directory holds to the state machine that a node starts with."""

from __future__ import annotations

import msgspec
import structlog

from felix.core.catalog.catalog import Catalog, CatalogLimits
from felix.core.catalog.dump import BadDump, restore
from felix.proto.raft import SnapshotMeta
from felix.storage.errors import Damaged
from felix.storage.ports import Recovered, SnapshotStore

log = structlog.get_logger("felix.restoring")


def restored(
    recovered: Recovered, snapshots: SnapshotStore, cluster_id: str, limits: CatalogLimits
) -> tuple[Recovered, Catalog]:
    """Build the catalog from the newest snapshot that can be believed; say which it was.

    A snapshot that is damaged or gone is replaced by an older one, or by none, if the log reaches
    back that far. That is safe: the older one is a state that this node was in, every entry behind
    it is checked and there, and applying them again leads to the state that was lost, because an
    entry's effect depends on nothing but the entries before it. It is as if the log had been
    trimmed less; what is committed is learned anew from the leader, and the vote is not touched.
    Where the log does not reach back, nothing can stand in: the snapshot is never taken for empty.

    Raises: Damaged.
    """
    if recovered.snapshot is None:
        return recovered, Catalog(cluster_id, limits=limits)
    try:
        return recovered, load(recovered.snapshot, snapshots, cluster_id, limits)
    except Damaged as damage:
        found = _stand_in(recovered, snapshots, cluster_id, limits)
        if found is None:
            raise
        log.warning(
            "a snapshot is damaged, an older state and the log stand in for it",
            reason=str(damage),
            from_index=found[0].snapshot.index if found[0].snapshot else 0,
        )
        return found


def older_of(recovered: Recovered, snapshots: SnapshotStore) -> SnapshotMeta | None:
    """Find the snapshot that could stand in for the one that a node starts with.

    Raises: storage.errors.DiskFailed, TooOld.
    """
    if recovered.snapshot is None or not recovered.entries:
        return None
    older = snapshots.older(recovered.snapshot)
    return next((one for one in older if _follows(one, recovered)), None)


def load(
    snapshot: SnapshotMeta, snapshots: SnapshotStore, cluster_id: str, limits: CatalogLimits
) -> Catalog:
    """Read one snapshot; nothing of it counts before all of it was checked. Raises: Damaged."""
    try:
        catalog = restore(snapshots.chunks(snapshot), limits)
    except BadDump as error:
        raise Damaged(f"the snapshot at entry {snapshot.index} is damaged: {error}") from error
    if catalog.cluster_id != cluster_id:
        raise Damaged(
            f"the snapshot at entry {snapshot.index} belongs to cluster {catalog.cluster_id}, "
            f"and this node to cluster {cluster_id}"
        )
    if catalog.applied_index != snapshot.index:
        raise Damaged(
            f"the snapshot at entry {snapshot.index} holds the state after {catalog.applied_index}"
        )
    return catalog


def _stand_in(
    recovered: Recovered, snapshots: SnapshotStore, cluster_id: str, limits: CatalogLimits
) -> tuple[Recovered, Catalog] | None:
    assert recovered.snapshot is not None
    if not recovered.entries:
        return None
    for older in snapshots.older(recovered.snapshot):
        if not _follows(older, recovered):
            continue
        try:
            catalog = load(older, snapshots, cluster_id, limits)
        except Damaged as error:
            log.warning("an older snapshot is damaged too", reason=str(error))
        else:
            return msgspec.structs.replace(recovered, snapshot=older), catalog
    if recovered.entries[0].index == 1:
        return msgspec.structs.replace(recovered, snapshot=None), Catalog(cluster_id, limits=limits)
    return None


def _follows(snapshot: SnapshotMeta, recovered: Recovered) -> bool:
    """Say whether the log goes on where a snapshot ends, or holds its last entry."""
    first, last = recovered.entries[0].index, recovered.entries[-1].index
    if first == snapshot.index + 1:
        return True
    if not first <= snapshot.index <= last:
        return False
    return recovered.entries[snapshot.index - first].term == snapshot.term
