"""From the configuration tree to the slices that the parts of a node are given."""

from __future__ import annotations

from felix.actors.consensus import TICK_S, Member
from felix.actors.node import NodeSettings
from felix.cli.config import LISTENERS, Config
from felix.core.catalog.catalog import CatalogLimits
from felix.core.raft.config import RaftConfig
from felix.storage.ports import Identity


def identity_of(config: Config) -> Identity:
    """Say whose data directory it must be."""
    return Identity(config.cluster_id, config.node_id(config.name), config.name)


def node_settings(config: Config, rpc_local: str) -> NodeSettings:
    """Cut out what the actors need."""
    members = {
        config.node_id(member.name): Member(
            member.name, {listener: getattr(member, listener) for listener in LISTENERS}
        )
        for member in config.cluster.members
    }
    return NodeSettings(
        cluster_id=config.cluster_id,
        node_id=config.node_id(config.name),
        members=members,
        listen_peers=config.listen.peers,
        listen_rpc=config.listen.rpc,
        listen_watch=config.listen.watch,
        rpc_local=rpc_local,
        raft=RaftConfig(
            heartbeat_ticks=_ticks(config.raft.heartbeat_ms),
            election_ticks_min=_ticks(config.raft.election_min_ms),
            election_ticks_max=_ticks(config.raft.election_max_ms),
        ),
        catalog=CatalogLimits(
            history_updates_max=config.limits.history_updates_max,
            feed_rows_max=max(config.changes_limit, config.change_retention_max_rows),
        ),
        snapshot_entries=config.raft.snapshot_entries,
        trail_entries=config.raft.trail_entries,
        in_flight_max=config.limits.in_flight_max,
        disk_free_min_mb=config.limits.disk_free_min_mb,
    )


def _ticks(milliseconds: int) -> int:
    return max(1, round(milliseconds / (TICK_S * 1000)))
