"""From the configuration tree to the slices that the parts of a node are given."""

from __future__ import annotations

from pathlib import Path

import structlog

from felix.actors.consensus import TICK_S
from felix.actors.key_manager import KeyTimes
from felix.actors.node_settings import NodeSettings
from felix.actors.placement_planner import PlanTimes
from felix.cli.config import LISTENERS, Config, MemberConfig
from felix.core.brokers.heartbeats import BeatTimes
from felix.core.catalog.catalog import CatalogLimits
from felix.core.enrolment import Newcomer
from felix.core.raft.config import RaftConfig
from felix.proto.ids import NodeId
from felix.proto.levels import FEATURE_LEVEL
from felix.proto.raft import Addresses
from felix.storage.ports import Identity, Owner
from felix.storage.sealed import Sealer, load_keks
from felix.transport.allow_list import AllowList
from felix.transport.curve import read_key_pair
from felix.transport.node_curve import NodeCurve

log = structlog.get_logger("felix.serve")


def owner_of(config: Config) -> Owner:
    """Say whose the data directory must be."""
    return Owner(config.cluster.name, config.name)


def seeds_of(config: Config) -> dict[str, Addresses]:
    """Say where the other members are, by name."""
    return {
        member.name: addresses_of(member)
        for member in config.cluster.members
        if member.name != config.name
    }


def addresses_of(member: MemberConfig) -> Addresses:
    """Say where a member is."""
    return Addresses(**{name: getattr(member, name) for name in LISTENERS})


def node_curve(config: Config) -> NodeCurve | None:
    """Read the keys of the ZeroMQ sockets; None: they are not encrypted.

    Raises: OSError (`BadKeyFile`).
    """
    files = config.curve
    if not files.secret_key_file and not files.allow_list_file:
        return None
    if not files.secret_key_file or not files.allow_list_file:
        raise OSError("curve.secret_key_file and curve.allow_list_file belong together")
    own = read_key_pair(Path(files.secret_key_file))
    allowed = AllowList(Path(files.allow_list_file))
    if allowed.node_key(config.name) != own.public:
        log.warning(
            "the allow-list has another key of this node, or none: if other nodes have that list, "
            "they do not meet this one",
            name=config.name,
            public_key=own.public,
        )
    return NodeCurve(own, allowed)


def node_settings(config: Config, identity: Identity, rpc_local: str) -> NodeSettings:
    """Cut out what the actors need."""
    return NodeSettings(
        newcomer=Newcomer(
            id=NodeId(identity.node_id),
            name=identity.name,
            addresses=addresses_of(config.self_as_member),
            level=FEATURE_LEVEL,
            cluster_id=identity.cluster_id,
            is_founder=identity.founder,
            founders=tuple(sorted(member.name for member in config.cluster.members)),
        ),
        seeds=seeds_of(config),
        listen_peers=config.listen.peers,
        listen_rpc=config.listen.rpc,
        listen_watch=config.listen.watch,
        rpc_local=rpc_local,
        raft=RaftConfig(
            heartbeat_ticks=_ticks(config.raft.heartbeat_ms),
            election_ticks_min=_ticks(config.raft.election_min_ms),
            election_ticks_max=_ticks(config.raft.election_max_ms),
            promote_after_ticks=_ticks(config.raft.promote_after_ms),
        ),
        catalog=catalog_limits(config),
        snapshot_entries=config.raft.snapshot_entries,
        trail_entries=config.raft.trail_entries,
        in_flight_max=config.limits.in_flight_max,
        disk_free_min_mb=config.limits.disk_free_min_mb,
        idp_private_addresses=config.auth.idp_private_addresses,
        keys=KeyTimes(
            rotation_period_s=config.keys.rotation_period_s,
            publish_lead_s=config.keys.publish_lead_s,
            retire_after_s=config.keys.retire_after_s,
        ),
        broker_waiters_max=config.limits.broker_waiters_max,
        beats=BeatTimes(
            interval_s=config.brokers.heartbeat_interval_ms / 1000,
            missed=config.brokers.missed_heartbeats,
        ),
        planning=PlanTimes(
            rebuild_after_s=config.brokers.rebuild_after_s,
            moves_per_broker=config.brokers.moves_per_broker,
        ),
    )


def sealer_of(config: Config) -> Sealer | None:
    """Read the key-encryption keys, if there are any. Raises: `storage.sealed.Unsealable`."""
    keys = config.keys
    if not (keys.kek_file or keys.kek or keys.previous_kek_files):
        return None
    return Sealer(load_keks(keys.kek_file, keys.kek, keys.previous_kek_files))


def catalog_limits(config: Config) -> CatalogLimits:
    """Say how much the catalog keeps."""
    return CatalogLimits(
        history_updates_max=config.limits.history_updates_max,
        feed_rows_max=max(config.changes_limit, config.change_retention_max_rows),
    )


def _ticks(milliseconds: int) -> int:
    return max(1, round(milliseconds / (TICK_S * 1000)))
