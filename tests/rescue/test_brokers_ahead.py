"""Brokers that know more than the cluster which was restored at their nodes' addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from felix.proto.commands import CreateTenant, DeleteTenant
from felix.proto.queries import ClusterStatus
from felix.recovery.backups import save_backup
from felix.transport.client import BrokerClient
from felix.transport.rpc_client import RpcClient
from felix.transport.view import MetadataView
from tests.rescue.alone import running_alone, status_of
from tests.rescue.commands import felix
from tests.support.cluster import Cluster, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def is_in_step(broker: BrokerClient, client: RpcClient) -> bool:
    status = status_of(client)
    view = broker.view
    return status is not None and (view.cluster_id, view.epoch, view.version, view.digest) == (
        status.cluster_id,
        status.epoch,
        status.version,
        status.digest,
    )


def a_broker(nodes: Cluster, cache: Path, heard: list[MetadataView] | None = None) -> BrokerClient:
    return BrokerClient(
        [node.endpoints for node in nodes.nodes],
        cache=cache,
        on_snapshot=heard.append if heard is not None else None,
    )


def far_ahead(nodes: Cluster, file: Path) -> ClusterStatus:
    """Take a backup, and go on much further."""
    nodes.make_namespace()
    node = nodes.nodes[0]
    for number in range(10):
        node.ask(CreateTenant(tenant_id=f"kept-{number}"))
    client = RpcClient(node.rpc)
    save_backup(client, file, consistency="linearizable", timeout_s=10)
    for number in range(500):
        client.submit(CreateTenant(tenant_id=f"lost-{number}"))
    for number in range(5):
        client.ask(DeleteTenant(tenant_id=f"kept-{number}"))
    client.close()
    return nodes.wait_converged()


@pytest.mark.parametrize("margin", [1, 1_000_000_000])
def test_brokers_ahead_of_a_restored_cluster_end_with_what_it_has(
    tmp_path: Path, margin: int
) -> None:
    heard: list[MetadataView] = []
    with cluster(nodes=1) as old:
        (node,) = old.nodes
        live = a_broker(old, tmp_path / "live", heard)
        asleep = a_broker(old, tmp_path / "asleep")
        live.start()
        asleep.start()
        try:
            before = far_ahead(old, tmp_path / "b")
            assert live.wait_version(before.version, 20)
            assert asleep.wait_version(before.version, 20)
            asleep.close()  # it knows everything, on its disk
            node.kill()
            path = tmp_path / "new"
            felix(
                *("restore", tmp_path / "b", "--data-dir", path, "--config", node.config_file),
                *("--margin", margin),
            )
            with running_alone(path, node.config) as client:
                restored = status_of(client)
                assert restored is not None
                assert restored.digest != before.digest
                eventually(lambda: is_in_step(live, client), 30)
                assert heard[-1].get("Tenant", ("lost-7",)) is None
                assert heard[-1].get("Tenant", ("kept-0",)) is not None
                again = a_broker(old, tmp_path / "asleep")
                assert again.version == before.version
                again.start()
                try:
                    eventually(lambda: is_in_step(again, client), 30)
                    client.ask(CreateTenant(tenant_id="after"))
                    for broker in (live, again):
                        eventually(lambda broker=broker: is_in_step(broker, client), 30)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                        assert broker.get("Tenant", ("after",)) is not None
                finally:
                    again.close()
            on_disk = a_broker(old, tmp_path / "asleep")
            assert on_disk.view.cluster_id == restored.cluster_id
        finally:
            live.close()
