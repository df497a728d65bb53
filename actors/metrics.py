"""The node's numbers in Prometheus' form: read from the actors at each scrape, kept nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import get_args

import pykka
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from felix.actors.disk_space import MB
from felix.actors.node_settings import NodeStatistics
from felix.core.histogram import HistogramValues
from felix.proto.brokers import BrokerStatus

KEY_STATES = ("published", "active", "retiring")
ROLES = ("follower", "pre_candidate", "candidate", "leader")


class NodeCollector(Collector):
    """Collects from a running node; an actor that does not answer leaves `felix_up` at 0."""

    def __init__(self, statistics: Callable[[], NodeStatistics]) -> None:
        self._statistics = statistics

    def collect(self) -> Iterable[Metric]:
        """Read every number once."""
        try:
            now = self._statistics()
        except (pykka.Timeout, pykka.ActorDeadError):
            yield _gauge("felix_up", "Whether all actors of the node answer.", 0)
            return
        yield _gauge("felix_up", "Whether all actors of the node answer.", 1)
        yield from _raft(now)
        yield from _catalog(now)
        yield from _watch(now)
        yield from _disk(now)
        yield _counter(
            "felix_audit_refusals_dropped",
            "Refused requests that the audit trail had no room for.",
            now.refusals_dropped,
        )
        yield from _handshakes(now)
        yield from _idp(now)
        yield from _keys(now)
        yield from _brokers(now)


def _raft(now: NodeStatistics) -> Iterable[Metric]:
    raft = now.raft
    role = GaugeMetricFamily("felix_raft_role", "1 for the role the node has.", labels=["role"])
    for name in ROLES:
        role.add_metric([name], float(raft.role == name))
    yield role
    yield _gauge("felix_raft_term", "Current term.", raft.term)
    yield _gauge("felix_raft_has_leader", "Whether a live leader is known.", raft.hears_a_leader)
    yield _counter("felix_raft_leader_changes", "New leaders seen.", raft.leader_changes)
    yield _counter(
        "felix_raft_heartbeats_missed",
        "Silences of two heartbeat intervals: of the leader, or of a follower at the leader.",
        raft.heartbeats_missed,
    )
    yield _gauge("felix_raft_commit_index", "Last committed entry.", raft.commit_index)
    yield _gauge("felix_raft_applied_index", "Last applied entry.", now.catalog.applied_index)
    yield _gauge("felix_raft_last_index", "Last entry of the log.", raft.last_index)
    yield _gauge("felix_raft_snapshot_index", "Last entry in the snapshot.", raft.snapshot_index)
    yield _histogram(
        "felix_raft_commit_seconds",
        "From a proposal's batch to its commit, on the leader.",
        raft.commit_seconds,
    )
    yield _histogram(
        "felix_raft_fsync_seconds", "Durable writes of the journal.", raft.fsync_seconds
    )
    yield _counter(
        "felix_peer_messages_dropped",
        "Messages to peers that were away or too slow.",
        raft.peer_messages_dropped,
    )
    yield _counter(
        "felix_peer_messages_refused",
        "Damaged or foreign messages on the peer socket.",
        raft.peer_messages_refused,
    )
    yield _counter(
        "felix_snapshots_installed",
        "Snapshots that came from a leader.",
        raft.snapshots_installed,
    )
    yield _counter(
        "felix_snapshot_sent_bytes",
        "Sent to followers that needed what was trimmed.",
        raft.snapshot_bytes_sent,
    )
    yield _counter("felix_snapshots_taken", "Snapshots of the log taken.", now.snapshots.taken)
    yield _gauge(
        "felix_snapshot_size_bytes", "Size of the last one.", now.snapshots.last_size_bytes
    )
    yield _gauge(
        "felix_snapshot_seconds", "How long the last one took.", now.snapshots.last_seconds
    )


def _catalog(now: NodeStatistics) -> Iterable[Metric]:
    catalog = now.catalog
    yield _gauge("felix_catalog_version", "Version of the metadata.", catalog.version)
    yield _gauge("felix_catalog_epoch", "Epoch of the metadata.", catalog.epoch)
    objects = GaugeMetricFamily("felix_catalog_objects", "Live objects.", labels=["kind"])
    for kind, count in catalog.counts.items():
        objects.add_metric([kind], count)
    yield objects
    # The names of the contract (section 3.5).
    yield _gauge("felix_streams_total", "Live streams.", catalog.counts["Stream"])
    yield _gauge("felix_caches_total", "Live caches.", catalog.counts["Cache"])
    yield _counter("felix_rpc_requests", "Requests received.", catalog.requests)
    yield _counter("felix_rpc_malformed", "Frames too broken to answer.", catalog.malformed)
    yield _counter(
        "felix_rpc_replies_dropped",
        "Replies to callers that were gone or did not read.",
        catalog.replies_dropped,
    )
    pending = GaugeMetricFamily("felix_rpc_pending", "Requests in flight.", labels=["what"])
    pending.add_metric(["commands"], catalog.commands_pending)
    pending.add_metric(["queries"], catalog.queries_pending)
    pending.add_metric(["forwards"], catalog.forwards_pending)
    yield pending


def _watch(now: NodeStatistics) -> Iterable[Metric]:
    fanout = now.fanout
    yield _gauge("felix_watch_subscribers", "Subscribers of the watch socket.", fanout.subscribers)
    yield _counter("felix_watch_updates", "Updates published.", fanout.updates_published)
    yield _counter("felix_watch_frames", "Messages they went out in.", fanout.frames_published)
    yield _counter("felix_watch_bookmarks", "Bookmarks published.", fanout.bookmarks_published)
    yield _counter(
        "felix_watch_gaps_repaired",
        "Batches of missed updates handed to clients that asked for them.",
        now.catalog.gaps_repaired,
    )
    yield _gauge("felix_watch_waiting", "Long polls that wait.", now.catalog.watchers)
    yield _counter(
        "felix_watch_snapshots_rendered",
        "Snapshots rendered for brokers.",
        now.catalog.snapshots_rendered,
    )


def _handshakes(now: NodeStatistics) -> Iterable[Metric]:
    failures = CounterMetricFamily(
        "felix_zmq_handshake_failures",
        "Connections that were not let in at an encrypted socket.",
        labels=["socket", "reason"],
    )
    for labels, count in sorted(now.handshake_failures.items()):
        failures.add_metric(labels, count)
    yield failures


def _disk(now: NodeStatistics) -> Iterable[Metric]:
    disk = now.disk
    yield _gauge("felix_disk_free_bytes", "Free space below the data directory.", disk.free_mb * MB)
    yield _gauge("felix_disk_low", "Whether only deletes are taken for want of space.", disk.is_low)


def _idp(now: NodeStatistics) -> Iterable[Metric]:
    idp = now.idp
    fetches = CounterMetricFamily(
        "felix_idp_fetches", "Documents asked of identity providers.", labels=["result"]
    )
    for result, count in sorted(({"ok": 0} | idp.fetches).items()):
        fetches.add_metric([result], count)
    yield fetches
    yield _gauge("felix_idp_cache_urls", "URLs of identity providers known of.", idp.urls)
    yield _gauge("felix_idp_waiting", "Requests that wait for identity providers.", idp.waiting)


def _keys(now: NodeStatistics) -> Iterable[Metric]:
    keys = GaugeMetricFamily("felix_signing_keys", "Keys of all tenants.", labels=["state"])
    for state in KEY_STATES:
        keys.add_metric([state], now.keys.states.get(state, 0))
    yield keys
    yield _gauge(
        "felix_keys_unsealable",
        "Signing keys that no key-encryption key of this node can decrypt.",
        now.keys.unsealable,
    )


def _brokers(now: NodeStatistics) -> Iterable[Metric]:
    brokers = GaugeMetricFamily("felix_brokers", "Registered brokers.", labels=["status"])
    for status in get_args(BrokerStatus):
        brokers.add_metric([status], now.catalog.brokers.get(status, 0))
    yield brokers
    yield _gauge(
        "felix_broker_sync_lag_versions",
        "Versions that the last of the brokers that report is behind; on the leader.",
        now.beats.sync_lag_versions,
    )
    yield _counter("felix_broker_reports", "Reports heard as leader.", now.beats.reports)
    yield _gauge(
        "felix_brokers_judging",
        "Whether this node leads and has listened long enough to find a broker down.",
        now.beats.is_judging,
    )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=float(value))


def _histogram(name: str, text: str, values: HistogramValues) -> Metric:
    family = HistogramMetricFamily(name, text)
    cumulative, buckets = 0, []
    for bound, count in zip((*values.bounds, float("inf")), values.counts, strict=True):
        cumulative += count
        buckets.append((str(bound) if bound != float("inf") else "+Inf", cumulative))
    family.add_metric([], buckets, sum_value=values.total)
    return family
