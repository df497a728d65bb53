"""The cluster as one node sees it, and that node's own numbers."""

from __future__ import annotations

from collections import Counter

import msgspec

from felix.actors.backups import Backups
from felix.actors.consensus import Consensus
from felix.core.catalog.catalog import Catalog
from felix.core.catalog.placement_index import Missing
from felix.core.commit_times import WINDOW_S
from felix.proto.ids import Epoch, Index, NodeId, Version
from felix.proto.queries import ClusterStatus
from felix.transport.rpc_server import RpcServer


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
    refused: dict[str, int]
    """Answers that were errors, by code."""
    missing: Missing
    """What shards lack."""
    shards_led: int
    shard_copies: int
    moves: dict[str, int]
    """Moves that are not over, by step."""
    backups: int
    backup_at_s: float
    """When a backup was read to its end at this node; Unix seconds, 0: not since it began."""


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
        commit_window_s=WINDOW_S,
        commit_windows=consensus.commit_windows(),
    )


def catalog_statistics(
    catalog: Catalog,
    *,
    requests: int,
    commands_pending: int,
    queries_pending: int,
    forwards_pending: int,
    watchers: int,
    gaps_repaired: int,
    snapshots_rendered: int,
    rpc: RpcServer,
    backups: Backups,
) -> CatalogStatistics:
    """Put the numbers of the API beside those of the catalog."""
    brokers = catalog.store.tables["Broker"].rows.values()
    placement = catalog.placement
    return CatalogStatistics(
        applied_index=catalog.applied_index,
        version=Version(catalog.version),
        epoch=Epoch(catalog.epoch),
        digest=catalog.digest,
        counts=catalog.counts(),
        brokers=Counter(one.status for one in brokers),
        requests=requests,
        commands_pending=commands_pending,
        queries_pending=queries_pending,
        forwards_pending=forwards_pending,
        watchers=watchers,
        gaps_repaired=gaps_repaired,
        snapshots_rendered=snapshots_rendered,
        malformed=rpc.malformed,
        replies_dropped=rpc.replies_dropped,
        refused=dict(rpc.refused),
        missing=placement.totals,
        shards_led=placement.led,
        shard_copies=placement.shard_copies,
        moves=Counter(move.step for move in placement.moves()),
        backups=backups.completed,
        backup_at_s=backups.completed_at_s,
    )
