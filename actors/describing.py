"""The cluster as one node sees it, and that node's own numbers."""

from __future__ import annotations

import msgspec

from felix.actors.consensus import Consensus
from felix.core.catalog.catalog import Catalog
from felix.proto.ids import Epoch, Index, NodeId, Version
from felix.proto.queries import ClusterStatus


class CatalogStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of catalog and API at one moment."""

    applied_index: Index
    version: Version
    epoch: Epoch
    digest: str
    counts: dict[str, int]
    brokers: dict[str, int]
    """By status."""
    requests: int
    commands_pending: int
    queries_pending: int
    forwards_pending: int
    watchers: int
    gaps_repaired: int
    """Batches of updates that somebody had missed, handed out by RPC."""
    snapshots_rendered: int
    malformed: int
    replies_dropped: int


def cluster_status(
    node_id: NodeId, catalog: Catalog, consensus: Consensus, alarms: list[str]
) -> ClusterStatus:
    """Describe the cluster; `node_id` is that of the node that does."""
    core = consensus.core
    return ClusterStatus(
        cluster_id=catalog.cluster_id,
        node_id=node_id,
        leader_id=core.leader_id,
        term=core.term,
        commit_index=core.commit,
        applied_index=catalog.applied_index,
        version=catalog.version,
        epoch=catalog.epoch,
        digest=catalog.digest,
        members=consensus.members(),
        alarms=alarms,
        change_under_way=core.change_is_under_way,
        feature_level=catalog.feature_level,
        removed=[one.id for one in core.membership_at(core.commit).removed],
    )
