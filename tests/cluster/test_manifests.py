"""Manifests at three real nodes: any node takes a set, and a broker sees all of it at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner, Result

from felix.cli.admin import main
from felix.cli.config import BrokersConfig
from felix.proto.queries import WatchUpdates
from felix.proto.updates import UpdateBatch
from felix.transport.broker import Broker, BrokerSettings
from tests.support.cluster import NAMESPACE, TENANT, Cluster, RunningNode, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

TIMES = BrokersConfig(heartbeat_interval_ms=300, missed_heartbeats=3, rebuild_after_s=3600)
STREAMS: Final = 20


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    with cluster(brokers=TIMES, http=True) as running:
        running.make_namespace()
        yield running


def run(node: RunningNode, *words: str | Path) -> Result:
    env = {"FELIX_ADMIN_ENDPOINTS": node.config.listen.http}
    return CliRunner(env=env).invoke(main, [str(word) for word in words])


def written(folder: Path, count: int, space: str = NAMESPACE) -> Path:
    """Write streams into one file, the tenant that there is and one that there is not."""
    documents = [
        f"""\
apiVersion: felix.io/v1
kind: Stream
metadata: {{name: s{number}, namespace: {space}, tenant: {TENANT}}}
spec: {{shards: 2, retention: {{time: 7d}}, durability: durable}}
"""
        for number in range(count)
    ]
    documents += [
        f"apiVersion: felix.io/v1\nkind: Tenant\nmetadata: {{name: {name}}}\n"
        for name in (TENANT, "late")
    ]
    path = folder / "set.yaml"
    path.write_text("---\n".join(documents), encoding="utf-8")
    return path


def test_a_set_is_applied_through_any_node_and_reaches_a_broker(
    three: Cluster, tmp_path: Path
) -> None:
    leader = three.leader()
    follower, other = three.others(leader)
    path = written(tmp_path, STREAMS)
    before = three.wait_converged()
    tried = run(follower, "diff", "-f", path)
    assert tried.exit_code == 1, tried.output
    assert three.wait_converged().digest == before.digest

    settings = BrokerSettings(broker_id="watching", address="watching:5000")
    with Broker(settings, [node.endpoints for node in three.nodes]) as broker:
        assert broker.wait_registered(30)
        assert broker.client.wait_current(30)
        applied = run(follower, "apply", "-f", path)
        assert applied.exit_code == 0, applied.output
        assert applied.stdout.count("created") == STREAMS + 1, "the tenant that is late too"
        version = three.wait_converged().version
        assert broker.client.wait_version(version, 30)
    batch = other.ask(WatchUpdates(from_version=before.version)).result
    assert isinstance(batch, UpdateBatch)
    streams = [one.version for one in batch.updates if b"Stream" in bytes(one.payload)][:STREAMS]
    assert streams == list(range(streams[0], streams[0] + STREAMS)), "one run of versions"


def test_one_bad_document_leaves_no_trace_on_any_node(three: Cluster, tmp_path: Path) -> None:
    before = three.wait_converged()
    refused = run(three.nodes[0], "apply", "-f", written(tmp_path, 3, space="nowhere"))
    assert refused.exit_code == 1, refused.output
    assert "(document 1)" in refused.stderr
    after = three.wait_converged()
    assert (after.version, after.digest) == (before.version, before.digest)


def test_a_set_is_applied_again_by_the_next_leader_without_a_change(
    three: Cluster, tmp_path: Path
) -> None:
    path = written(tmp_path, STREAMS)
    leader = three.leader()
    assert run(leader, "apply", "-f", path).exit_code == 0
    before = three.wait_converged()
    leader.kill()
    survivor = three.others(leader)[0]

    def applied() -> bool:
        done = run(survivor, "apply", "-f", path)
        return done.exit_code == 0 and done.stdout.count("unchanged") == STREAMS + 2

    eventually(applied, 60)
    assert three.leader() is not leader
    leader.start()
    assert three.wait_converged().digest == before.digest
