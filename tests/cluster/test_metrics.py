"""What real nodes show on their metrics listener, and that alerts and dashboard find it there."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Final

import pytest
from prometheus_client import Metric

from felix.http.request_counts import STATUSES
from felix.proto.commands import CreateStream, CreateTenant
from felix.proto.errors import NotFound
from felix.proto.queries import BackupPiece, GetBackup, GetTenant
from felix.proto.resources import StreamSpec
from tests.metrics.deployed import queries
from tests.metrics.exposition import FAMILIES, read
from tests.support.cluster import NAMESPACE, TENANT, RunningNode, children_of, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ONLY_WITH_TLS: Final = {"felix_tls_certificate_expiry_timestamp_seconds"}


@pytest.fixture(scope="module")
def one() -> Iterator[RunningNode]:
    """Run a node with HTTP that has answered a little of everything."""
    with cluster(nodes=1, http=True) as found:
        found.make_namespace()
        (node,) = found.nodes
        node.ask(
            CreateStream(
                tenant_id=TENANT, namespace=NAMESPACE, stream="s", spec=StreamSpec(shards=3)
            )
        )
        for path in ("/v1/cluster", "/v1/tenants/nobody", "/nothing"):
            node.http("GET", path)
        yield node


def shown(node: RunningNode) -> dict[str, Metric]:
    return read(node.probe("/metrics").data.decode())


def test_a_node_shows_every_metric_of_the_tables_in_a_format_that_is_right(
    one: RunningNode,
) -> None:
    found = shown(one)
    ours = {name for name in found if name.startswith("felix_")}
    assert ours == set(FAMILIES)
    empty = {name for name in ours if not found[name].samples}
    assert empty == ONLY_WITH_TLS | {"felix_zmq_handshake_failures_total"}


def test_alerts_and_dashboard_ask_for_series_that_a_node_shows(one: RunningNode) -> None:
    samples = [sample for metric in shown(one).values() for sample in metric.samples]
    names = {sample.name for sample in samples} | ONLY_WITH_TLS
    names |= {"felix_zmq_handshake_failures_total"}  # has series only with CURVE
    values = {
        (sample.name, label, value) for sample in samples for label, value in sample.labels.items()
    }
    values |= {("felix_http_requests_total", "status", status) for status in STATUSES}
    for where, query in queries():
        assert set(query.metrics) <= names, where
        for use in query.uses:
            if use.values.startswith("=") and not use.values.startswith(("=~", "=$")):
                assert (use.metric, use.label, use.values[1:]) in values, f"{where}: {use}"


def test_what_was_done_is_counted(one: RunningNode) -> None:
    before = one.metrics()
    one.http("GET", "/v1/tenants/nobody")
    with pytest.raises(NotFound):
        one.ask(GetTenant(tenant_id="nobody"))
    one.ask(CreateTenant(tenant_id="counted"))
    after = one.metrics()

    def grown(series: str) -> float:
        return after[series] - before[series]

    route = 'method="GET",route="/v1/tenants/{tenant_id}"'
    assert grown(f'felix_http_requests_total{{{route},status="4xx"}}') == 1
    assert grown(f"felix_http_request_seconds_count{{{route}}}") == 1
    assert grown('felix_http_refusals_total{code="not_found"}') == 1
    assert grown('felix_rpc_refusals_total{code="not_found"}') == 2  # once for HTTP
    assert grown("felix_raft_commit_seconds_count") >= 1
    assert grown("felix_raft_fsync_seconds_count") >= 1
    assert after["felix_shards_unplaced"] == 3  # there is no broker
    assert after["felix_shards_under_replicated"] == 3
    assert after["felix_disk_size_bytes"] > after["felix_disk_free_bytes"] > 0
    assert after["felix_raft_voters"] == after["felix_raft_voters_active"] == 1
    assert after["felix_http_workers"] == 1
    assert after["felix_http_resident_memory_bytes"] > 10_000_000


def test_a_backup_counts_when_it_was_read_to_its_end(one: RunningNode) -> None:
    assert one.metrics()["felix_backups_total"] == 0
    assert one.metrics()["felix_backup_timestamp_seconds"] == 0
    piece = one.ask(GetBackup()).result
    while isinstance(piece, BackupPiece) and not piece.is_last:
        assert one.metrics()["felix_backups_total"] == 0
        piece = one.ask(GetBackup(backup=piece.backup, piece=piece.piece + 1)).result
    now = one.metrics()
    assert now["felix_backups_total"] == 1
    assert now["felix_backup_timestamp_seconds"] == pytest.approx(now["felix_clock_seconds"], abs=9)


def test_no_counter_falls_when_a_worker_is_killed(one: RunningNode) -> None:
    before = one.metrics()
    (gunicorn,) = children_of(one.pid)
    (worker,) = children_of(gunicorn)
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: children_of(gunicorn) not in ([], [worker]), 60)
    eventually(one.is_ready, 60)
    eventually(lambda: one.metrics()["felix_http_workers"] == 1, 60)
    after = one.metrics()
    for series, value in before.items():
        if series.startswith("felix_http_requests_total"):
            assert after[series] >= value, series


def test_the_leader_counts_who_is_there_and_a_node_alone_shows_that_it_is() -> None:
    with cluster() as three:
        leader = three.leader()
        eventually(lambda: leader.metrics()["felix_raft_voters_active"] == 3)
        follower, other = three.others(leader)
        for node in three.nodes:
            read(node.probe("/metrics").data.decode())
            assert node.metrics()["felix_raft_voters"] == 3
        assert follower.metrics()["felix_raft_voters_active"] == 0
        other.kill()
        eventually(lambda: leader.metrics()["felix_raft_voters_active"] == 2)
        leader.kill()
        eventually(lambda: follower.metrics()["felix_raft_has_leader"] == 0, 30)
        eventually(lambda: follower.metrics()["felix_raft_staleness_seconds"] > 1, 30)
        assert follower.metrics()["felix_up"] == 1
