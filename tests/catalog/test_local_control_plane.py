"""The control plane that other tests stand on keeps the promises of the real one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from felix.proto.commands import CreateTenant
from felix.proto.control_plane import Call, ControlPlane
from felix.proto.errors import AlreadyExists, FutureVersion, ValidationFailed
from felix.proto.queries import ClusterStatus, GetCluster, GetSnapshot, GetTenant, WatchUpdates
from felix.proto.resources import Tenant
from felix.proto.updates import SnapshotChunk, UpdateBatch
from tests.support.catalog_log import tenant
from tests.support.local_control_plane import LocalControlPlane


@pytest.fixture
def plane() -> ControlPlane:
    return LocalControlPlane()


def test_what_was_created_can_be_read(plane: ControlPlane) -> None:
    created = plane.ask(tenant())
    assert created.version == 1
    assert isinstance(created.result, Tenant)
    assert created.result.created_at_ms > 0
    read = plane.ask(GetTenant(tenant_id="acme"))
    assert (read.result, read.version) == (created.result, 1)


def test_refusals_of_every_kind_are_raised(plane: ControlPlane) -> None:
    plane.ask(tenant())
    with pytest.raises(AlreadyExists):
        plane.ask(tenant())
    with pytest.raises(ValidationFailed):
        plane.ask(CreateTenant(tenant_id="a/b"))
    with pytest.raises(ValidationFailed):
        plane.ask(tenant("other"), Call(idempotency_key=""))
    with pytest.raises(FutureVersion):
        plane.ask(WatchUpdates(from_version=2))


def test_a_command_with_a_key_is_carried_out_once(plane: ControlPlane) -> None:
    call = Call(idempotency_key="k")
    assert plane.ask(tenant(), call) == plane.ask(tenant(), call)


def test_a_snapshot_comes_in_chunks_of_any_version(plane: ControlPlane) -> None:
    plane.ask(tenant("a"))
    plane.ask(tenant("b"))
    chunk = plane.ask(GetSnapshot(version=1)).result
    assert isinstance(chunk, SnapshotChunk)
    assert (chunk.version, chunk.chunk, chunk.chunks, len(chunk.objects)) == (1, 0, 1, 1)
    latest = plane.ask(GetSnapshot()).result
    assert isinstance(latest, SnapshotChunk)
    assert (latest.version, len(latest.objects)) == (2, 2)
    with pytest.raises(ValidationFailed):
        plane.ask(GetSnapshot(chunk=1))


def test_a_cluster_of_one_describes_itself(plane: ControlPlane) -> None:
    plane.ask(tenant())
    status = plane.ask(GetCluster()).result
    assert isinstance(status, ClusterStatus)
    assert status.leader_id == status.node_id == status.members[0].id
    assert (status.version, status.applied_index) == (1, 1)


def test_a_watcher_waits_for_the_next_update(plane: ControlPlane) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(plane.ask, WatchUpdates(from_version=0, wait_ms=5000))
        plane.ask(tenant())
        batch = waiting.result(timeout=5).result
    assert isinstance(batch, UpdateBatch)
    assert [one.version for one in batch.updates] == [1]


def test_a_watcher_does_not_wait_longer_than_it_said(plane: ControlPlane) -> None:
    batch = plane.ask(WatchUpdates(from_version=0, wait_ms=10)).result
    assert isinstance(batch, UpdateBatch)
    assert batch.updates == []


def test_many_threads_may_ask(plane: ControlPlane) -> None:
    with ThreadPoolExecutor(4) as pool:
        versions = pool.map(lambda n: plane.ask(tenant(f"t{n}")).version, range(100))
    assert sorted(versions) == list(range(1, 101))
