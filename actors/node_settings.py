"""What a node must know to start, and its numbers."""

from __future__ import annotations

import msgspec

from felix.actors.consensus import RaftStatistics
from felix.actors.describing import CatalogStatistics
from felix.actors.disk_space import DiskStatistics
from felix.actors.heartbeat_monitor import BeatStatistics
from felix.actors.idp_keys import IdpStatistics
from felix.actors.key_manager import KeyStatistics, KeyTimes
from felix.actors.placement_planner import PlanStatistics, PlanTimes
from felix.actors.snapshot_writer import SnapshotStatistics
from felix.actors.watch_fanout import FanoutStatistics
from felix.core.brokers.heartbeats import BeatTimes
from felix.core.catalog.catalog import CatalogLimits
from felix.core.enrolment import Newcomer
from felix.core.raft.config import RaftConfig
from felix.proto.raft import Addresses


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a node must know to start. Addresses are `host:port`."""

    newcomer: Newcomer
    """Who this node is."""
    seeds: dict[str, Addresses]
    """Where the other members are by the configuration, by name."""
    listen_peers: str
    listen_rpc: str
    listen_watch: str
    rpc_local: str
    """Endpoint of the RPC socket for this machine (`ipc://...`)."""
    raft: RaftConfig = RaftConfig()
    catalog: CatalogLimits = CatalogLimits()
    snapshot_entries: int = 20_000
    trail_entries: int = 10_000
    in_flight_max: int = 4096
    broker_waiters_max: int = 256
    """Requests that wait at the leader until brokers have a version."""
    applied_lag_max: int = 10_000
    """A node that has this many entries still to apply is not ready."""
    disk_free_min_mb: int = 256
    """With less space on the disk only deletes are taken; 0: never mind."""
    idp_private_addresses: bool = False
    """Identity providers may be at private addresses, and at loopback ones without TLS."""
    keys: KeyTimes = KeyTimes()
    beats: BeatTimes = BeatTimes()
    planning: PlanTimes = PlanTimes()


class NodeStatistics(msgspec.Struct, frozen=True):
    """All actors' numbers at one moment."""

    raft: RaftStatistics
    catalog: CatalogStatistics
    fanout: FanoutStatistics
    snapshots: SnapshotStatistics
    disk: DiskStatistics
    refusals_dropped: int
    """Refused requests that are missing in the audit trail."""
    handshake_failures: dict[tuple[str, str], int]
    """By socket and reason."""
    idp: IdpStatistics
    keys: KeyStatistics
    beats: BeatStatistics
    planning: PlanStatistics
