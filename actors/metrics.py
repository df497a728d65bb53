"""The node's numbers in Prometheus' form: read from the actors at each scrape, kept nowhere.

`docs/metrics.md` is made from the tables here and in `felix.cli.scraping`. No series is named after
a tenant, a stream or a broker: there is no bound on how many of these there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias, get_args

import pykka
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from felix.actors.disk_space import MB
from felix.actors.metric_family import Family, Reading, Section, rendered
from felix.actors.node_settings import NodeStatistics
from felix.proto.brokers import ACTIVE_STEPS, BrokerStatus
from felix.proto.errors import BY_CODE

KEY_STATES: Final = ("published", "active", "retiring")
ROLES: Final = ("follower", "pre_candidate", "candidate", "leader")
OTHER_CODE: Final = "other"
"""Stands for codes that only a newer node knows."""

Read: TypeAlias = Callable[[NodeStatistics], Reading]


def _gauge(name: str, text: str, read: Read, *labels: str) -> Family[NodeStatistics]:
    return Family(name, "gauge", text, read, labels)


def _counter(name: str, text: str, read: Read, *labels: str) -> Family[NodeStatistics]:
    return Family(name, "counter", text, read, labels)


def _histogram(name: str, text: str, read: Read) -> Family[NodeStatistics]:
    return Family(name, "histogram", text, read)


UP: Final[Family[bool]] = Family(
    "felix_up",
    "gauge",
    "Whether all actors of the node answer; without them there is nothing else about the node.",
    float,
)


class NodeCollector(Collector):
    """Collects from a running node; an actor that does not answer leaves `felix_up` at 0."""

    def __init__(self, statistics: Callable[[], NodeStatistics]) -> None:
        self._statistics = statistics

    def collect(self) -> Iterable[Metric]:
        """Read every number once."""
        try:
            now = self._statistics()
        except (pykka.Timeout, pykka.ActorDeadError):
            yield from rendered([Section("", (UP,))], source=False)
            return
        yield from rendered([Section("", (UP,))], source=True)
        yield from rendered(SECTIONS, now)


def _each(values: Iterable[str], found: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    """Give a value for every one there can be, so that no series comes and goes."""
    return {(one,): found.get(one, 0) for one in values}


def _role(now: NodeStatistics) -> Reading:
    return _each(ROLES, {now.raft.role: 1})


def _refused(now: NodeStatistics) -> Reading:
    found = {OTHER_CODE: 0, **dict.fromkeys(BY_CODE, 0)}
    for code, count in now.catalog.refused.items():
        found[code if code in BY_CODE else OTHER_CODE] += count
    return _each(found, found)


def _pending(now: NodeStatistics) -> Reading:
    catalog = now.catalog
    found = {
        "commands": catalog.commands_pending,
        "queries": catalog.queries_pending,
        "forwards": catalog.forwards_pending,
    }
    return _each(found, found)


def _not_let_in(now: NodeStatistics) -> Reading:
    found: dict[tuple[str, ...], float] = {}
    found.update(sorted(now.handshake_failures.items()))
    return found


CONSENSUS: Final[Section[NodeStatistics]] = Section("Consensus", (
    _gauge("felix_raft_role", "1 for the role the node has.", _role, "role"),
    _gauge("felix_raft_term", "Current term.", lambda now: now.raft.term),
    _gauge(
        "felix_raft_has_leader",
        "Whether a live leader is known.",
        lambda now: now.raft.hears_a_leader,
    ),
    _counter(
        "felix_raft_leader_changes_total", "New leaders seen.", lambda now: now.raft.leader_changes
    ),
    _counter(
        "felix_raft_heartbeats_missed_total",
        "Silences of two heartbeat intervals: of the leader, or of a follower at the leader.",
        lambda now: now.raft.heartbeats_missed,
    ),
    _gauge("felix_raft_voters", "Members with a say.", lambda now: now.raft.members.voters),
    _gauge(
        "felix_raft_learners",
        "Members that have not caught up yet.",
        lambda now: now.raft.members.learners,
    ),
    _gauge(
        "felix_raft_voters_active",
        "Voters heard from within the last election timeout; on the leader, elsewhere 0.",
        lambda now: now.raft.members.active,
    ),
    _gauge(
        "felix_raft_follower_lag_entries",
        "Entries that the voter furthest behind has still to get; on the leader, elsewhere 0.",
        lambda now: now.raft.members.lag,
    ),
    _gauge(
        "felix_raft_staleness_seconds",
        "How old what this node has may be; a day when there is no bound.",
        lambda now: now.raft.age_s,
    ),
    _gauge("felix_raft_commit_index", "Last committed entry.", lambda now: now.raft.commit_index),
    _gauge(
        "felix_raft_applied_index", "Last applied entry.", lambda now: now.catalog.applied_index
    ),
    _gauge("felix_raft_last_index", "Last entry of the log.", lambda now: now.raft.last_index),
    _gauge(
        "felix_raft_snapshot_index",
        "Last entry in the snapshot.",
        lambda now: now.raft.snapshot_index,
    ),
    _histogram(
        "felix_raft_commit_seconds",
        "Commit latency: from a proposal's batch to its commit, on the leader.",
        lambda now: now.raft.commit_seconds,
    ),
    _histogram(
        "felix_raft_fsync_seconds",
        "Durable writes of the journal.",
        lambda now: now.raft.fsync_seconds,
    ),
    _counter(
        "felix_peer_messages_dropped_total",
        "Messages to peers that were away or too slow.",
        lambda now: now.raft.peer_messages_dropped,
    ),
    _counter(
        "felix_peer_messages_refused_total",
        "Damaged or foreign messages on the peer socket.",
        lambda now: now.raft.peer_messages_refused,
    ),
))  # fmt: skip

SNAPSHOTS: Final[Section[NodeStatistics]] = Section("Snapshots and backups", (
    _counter(
        "felix_snapshots_taken_total",
        "Snapshots of the log taken; its rate is their frequency.",
        lambda now: now.snapshots.taken,
    ),
    _gauge(
        "felix_snapshot_size_bytes",
        "Size of the last one taken; 0: none since this process began.",
        lambda now: now.snapshots.last_size_bytes,
    ),
    _gauge(
        "felix_snapshot_seconds",
        "How long the last one took.",
        lambda now: now.snapshots.last_seconds,
    ),
    _gauge(
        "felix_snapshot_timestamp_seconds",
        "When the last one was done, in Unix time; 0: none since this process began.",
        lambda now: now.snapshots.last_at_s,
    ),
    _counter(
        "felix_snapshots_installed_total",
        "Snapshots that came from a leader.",
        lambda now: now.raft.snapshots_installed,
    ),
    _counter(
        "felix_snapshot_sent_bytes_total",
        "Sent to followers that needed what was trimmed.",
        lambda now: now.raft.snapshot_bytes_sent,
    ),
    _counter(
        "felix_backups_total", "Backups read to their end here.", lambda now: now.catalog.backups
    ),
    _gauge(
        "felix_backup_timestamp_seconds",
        "When a backup was last read to its end here, in Unix time; 0: not since this process "
        "began.",
        lambda now: now.catalog.backup_at_s,
    ),
))  # fmt: skip

CATALOG: Final[Section[NodeStatistics]] = Section("Metadata and the native API", (
    _gauge("felix_catalog_version", "Version of the metadata.", lambda now: now.catalog.version),
    _gauge("felix_catalog_epoch", "Epoch of the metadata.", lambda now: now.catalog.epoch),
    _gauge(
        "felix_catalog_objects",
        "Live objects.",
        lambda now: _each(now.catalog.counts, now.catalog.counts),
        "kind",
    ),
    # The names of the contract (section 3.5).
    _gauge("felix_streams_total", "Live streams.", lambda now: now.catalog.counts["Stream"]),
    _gauge("felix_caches_total", "Live caches.", lambda now: now.catalog.counts["Cache"]),
    _counter("felix_rpc_requests_total", "Requests received.", lambda now: now.catalog.requests),
    _counter(
        "felix_rpc_refusals_total",
        "Requests answered with an error, by its code; those of the HTTP processes are among them.",
        _refused,
        "code",
    ),
    _counter(
        "felix_rpc_malformed_total",
        "Frames too broken to answer.",
        lambda now: now.catalog.malformed,
    ),
    _counter(
        "felix_rpc_replies_dropped_total",
        "Replies to callers that were gone or did not read.",
        lambda now: now.catalog.replies_dropped,
    ),
    _gauge("felix_rpc_pending", "Requests in flight.", _pending, "what"),
    _counter(
        "felix_audit_refusals_dropped_total",
        "Refused requests that the audit trail had no room for.",
        lambda now: now.refusals_dropped,
    ),
))  # fmt: skip

WATCH: Final[Section[NodeStatistics]] = Section("Pushing metadata to brokers", (
    _gauge(
        "felix_watch_subscribers",
        "Subscribers of the watch socket.",
        lambda now: now.fanout.subscribers,
    ),
    _counter(
        "felix_watch_updates_total",
        "Updates published.",
        lambda now: now.fanout.updates_published,
    ),
    _counter(
        "felix_watch_frames_total",
        "Messages they went out in.",
        lambda now: now.fanout.frames_published,
    ),
    _counter(
        "felix_watch_bookmarks_total",
        "Bookmarks published.",
        lambda now: now.fanout.bookmarks_published,
    ),
    _counter(
        "felix_watch_frames_unsent_total",
        "Messages that nobody got because the socket was being opened anew.",
        lambda now: now.fanout.frames_unsent,
    ),
    _counter(
        "felix_watch_gaps_repaired_total",
        "Batches of missed updates handed to clients that asked for them: what the socket drops "
        "for a subscriber that does not keep up shows here, and nowhere else.",
        lambda now: now.catalog.gaps_repaired,
    ),
    _gauge("felix_watch_waiting", "Long polls that wait.", lambda now: now.catalog.watchers),
    _counter(
        "felix_watch_snapshots_rendered_total",
        "Snapshots rendered for brokers.",
        lambda now: now.catalog.snapshots_rendered,
    ),
))  # fmt: skip

BROKERS: Final[Section[NodeStatistics]] = Section("Brokers and placement", (
    _gauge(
        "felix_brokers",
        "Registered brokers.",
        lambda now: _each(get_args(BrokerStatus), now.catalog.brokers),
        "status",
    ),
    _gauge(
        "felix_broker_sync_lag_versions",
        "Versions that the last of the brokers that report is behind; on the leader.",
        lambda now: now.beats.sync_lag_versions,
    ),
    _gauge(
        "felix_brokers_wrong",
        "Brokers that have other metadata than the cluster at the same version; on the leader.",
        lambda now: now.beats.wrong,
    ),
    _counter(
        "felix_broker_reports_total", "Reports heard as leader.", lambda now: now.beats.reports
    ),
    _gauge(
        "felix_brokers_judging",
        "Whether this node leads and has listened long enough to find a broker down.",
        lambda now: now.beats.is_judging,
    ),
    _gauge(
        "felix_broker_waits",
        "Requests that wait until brokers have a change in force; on the leader.",
        lambda now: now.beats.waiting,
    ),
    _gauge("felix_shards_led", "Shards with a leader.", lambda now: now.catalog.shards_led),
    _gauge("felix_shard_copies", "Copies of all shards.", lambda now: now.catalog.shard_copies),
    _gauge(
        "felix_shards_unplaced",
        "Shards without any copy.",
        lambda now: now.catalog.missing.unplaced,
    ),
    _gauge(
        "felix_shards_leaderless",
        "Shards that have copies and no leader.",
        lambda now: now.catalog.missing.leaderless,
    ),
    _gauge(
        "felix_shards_under_replicated",
        "Shards with fewer copies in sync than their stream wants.",
        lambda now: now.catalog.missing.under_replicated,
    ),
    _gauge(
        "felix_shards_short",
        "Shards with some copies, in sync or not, but fewer than their stream wants.",
        lambda now: now.catalog.missing.short,
    ),
    _gauge(
        "felix_moves",
        "Moves of shards that are not over.",
        lambda now: _each(ACTIVE_STEPS, now.catalog.moves),
        "step",
    ),
    _histogram(
        "felix_planner_turn_seconds",
        "How long the planner thought each time that it looked; on the leader.",
        lambda now: now.planning.turn_seconds,
    ),
    _counter(
        "felix_planner_commands_total",
        "Decisions about placement proposed.",
        lambda now: now.planning.planned,
    ),
    _counter(
        "felix_planner_refusals_total",
        "Batches of decisions that were refused, or lost with the leadership.",
        lambda now: now.planning.refused,
    ),
))  # fmt: skip

DISK: Final[Section[NodeStatistics]] = Section("Disk", (
    _gauge(
        "felix_disk_free_bytes",
        "Free space below the data directory.",
        lambda now: now.disk.free_mb * MB,
    ),
    _gauge(
        "felix_disk_size_bytes",
        "Size of the file system that the data directory is on.",
        lambda now: now.disk.size_mb * MB,
    ),
    _gauge(
        "felix_disk_low",
        "Whether only deletes are taken for want of space.",
        lambda now: now.disk.is_low,
    ),
))  # fmt: skip

IDENTITY: Final[Section[NodeStatistics]] = Section("Keys and identity", (
    _counter(
        "felix_zmq_handshake_failures_total",
        "Connections that were not let in at an encrypted socket.",
        _not_let_in,
        "socket",
        "reason",
    ),
    _counter(
        "felix_idp_fetches_total",
        "Documents asked of identity providers.",
        lambda now: _each(sorted({"ok", *now.idp.fetches}), now.idp.fetches),
        "result",
    ),
    _gauge(
        "felix_idp_cache_urls", "URLs of identity providers known of.", lambda now: now.idp.urls
    ),
    _gauge(
        "felix_idp_waiting",
        "Requests that wait for identity providers.",
        lambda now: now.idp.waiting,
    ),
    _gauge(
        "felix_signing_keys",
        "Keys of all tenants.",
        lambda now: _each(KEY_STATES, now.keys.states),
        "state",
    ),
    _gauge(
        "felix_signing_key_oldest_timestamp_seconds",
        "Since when the oldest key that signs does so, in Unix time; 0: there is none.",
        lambda now: now.keys.oldest_since_s,
    ),
    _gauge(
        "felix_signing_keys_overdue",
        "Keys that sign, and should have been replaced by now.",
        lambda now: now.keys.overdue,
    ),
    _gauge(
        "felix_keys_unsealable",
        "Signing keys that no key-encryption key of this node can decrypt.",
        lambda now: now.keys.unsealable,
    ),
))  # fmt: skip

SECTIONS: Final = (CONSENSUS, SNAPSHOTS, CATALOG, WATCH, BROKERS, DISK, IDENTITY)
