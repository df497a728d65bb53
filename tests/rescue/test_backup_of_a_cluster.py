"""Backups of a real cluster: of any node, with writes going on, with and without a quorum."""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from felix.core.catalog.backup import BadBackup, ReadBackup, read_backup
from felix.core.catalog.catalog import CatalogLimits
from felix.proto.commands import CreateTenant
from felix.proto.control_plane import Call
from felix.proto.queries import GetSnapshot
from felix.proto.updates import SnapshotChunk
from felix.recovery.backups import save_backup
from felix.recovery.errors import Refused
from felix.transport.rpc_client import RpcClient
from tests.cluster.load import Load
from tests.rescue.commands import felix
from tests.support.cluster import Cluster, RunningNode, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

URL = "/v1/cluster/backup"
LIMITS = CatalogLimits()
TENANTS = 4000
DESCRIPTION = "d" * 4096


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    with cluster(http=True) as running:
        running.make_namespace()
        yield running


@pytest.fixture(autouse=True)
def all_up(three: Cluster) -> None:
    three.start()


def save(node: RunningNode, file: Path) -> ReadBackup:
    client = RpcClient(node.rpc)
    try:
        return save_backup(client, file, consistency="linearizable", timeout_s=10)
    finally:
        client.close()


def digest_at(node: RunningNode, version: int) -> str:
    """Ask a node for the digest that the cluster had at a version."""
    chunk = node.ask(GetSnapshot(version=version), Call(timeout_s=20)).result
    assert isinstance(chunk, SnapshotChunk)
    assert chunk.version == version
    return chunk.digest


def test_backups_of_every_node_during_writes_are_what_the_cluster_had_at_their_version(
    three: Cluster, tmp_path: Path
) -> None:
    leader = three.leader()
    other = three.others(leader)[0]
    found: list[ReadBackup] = []
    with Load(three.rpc) as load:
        for number, node in enumerate(3 * three.nodes):
            wanted = load.count + 20
            eventually(lambda wanted=wanted: load.count > wanted)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            found.append(save(node, tmp_path / f"b{number}"))
            answer = node.http("GET", URL)
            assert answer.status == 200
            found.append(read_backup(io.BytesIO(answer.data).read, LIMITS))
            header = found[-1].header
            assert answer.headers["Content-Type"] == "application/octet-stream"
            assert answer.headers["Transfer-Encoding"] == "chunked"
            assert answer.headers["X-Felix-Version"] == str(header.version)
            assert answer.headers["X-Felix-Epoch"] == "1"
            assert answer.headers["X-Felix-Digest"] == header.digest
            assert answer.headers["X-Felix-Cluster"] == header.cluster_id
            assert header.node_id == node.id
            assert set(header.membership.voters) == {one.id for one in three.nodes}
    three.wait_converged()
    for backup in found:
        assert backup.catalog.digest == digest_at(other, backup.header.version)
    versions = [backup.header.version for backup in found[::2]]
    assert versions == sorted(set(versions)), "a linearizable backup lacks acknowledged writes"


def test_what_was_acknowledged_before_a_linearizable_backup_is_in_it(
    three: Cluster, tmp_path: Path
) -> None:
    leader = three.leader()
    for number, node in enumerate(three.nodes):
        version = leader.ask(CreateTenant(tenant_id=f"before-{number}")).version
        assert save(node, tmp_path / f"b{number}").header.version >= version


def test_without_a_quorum_a_node_gives_what_it_has(three: Cluster, tmp_path: Path) -> None:
    status = three.wait_converged()
    node, *killed = three.nodes
    for other in killed:
        other.kill()
    eventually(lambda: node.probe("/ready").status == 503)
    answer = node.http("GET", URL)
    assert answer.status == 200
    assert int(answer.headers["X-Felix-Age-Ms"]) > 0
    backup = read_backup(io.BytesIO(answer.data).read, LIMITS)
    assert (backup.header.version, backup.catalog.digest) == (status.version, status.digest)
    address = node.config.listen.rpc
    said = felix("backup", "save", "--from", address, tmp_path / "b")
    assert status.digest in said
    assert felix("backup", "verify", tmp_path / "b") == said
    refused = node.http("GET", f"{URL}?consistency=linearizable")
    assert refused.status == 503
    command = ("backup", "save", "--linearizable", "--timeout", "2", "--from", address)
    said = felix(*command, tmp_path / "c", code=5)
    assert "no_leader" in said or "deadline_exceeded" in said
    assert [one.name for one in tmp_path.iterdir()] == ["b"], "nothing half made is left"


def test_a_backup_that_exists_is_not_written_over(three: Cluster, tmp_path: Path) -> None:
    save(three.nodes[0], tmp_path / "b")
    before = (tmp_path / "b").read_bytes()
    with pytest.raises(Refused):
        save(three.nodes[0], tmp_path / "b")
    felix("backup", "save", "--from", three.nodes[0].config.listen.rpc, tmp_path / "b", code=3)
    assert (tmp_path / "b").read_bytes() == before


def test_head_says_what_a_backup_would_be_of(three: Cluster) -> None:
    status = three.wait_converged()
    for _ in range(10):  # it begins nothing that would have to be given up
        answer = three.nodes[1].http("HEAD", URL)
    assert answer.status == 200
    assert answer.headers["X-Felix-Digest"] == status.digest
    assert answer.headers["X-Felix-Version"] == str(status.version)
    assert answer.data == b""


def test_a_download_that_breaks_off_is_seen_by_who_downloads_and_by_who_verifies(
    three: Cluster, tmp_path: Path
) -> None:
    client = RpcClient(three.rpc)
    futures = [
        client.submit(
            CreateTenant(tenant_id=f"big-{number}", description=DESCRIPTION), Call(timeout_s=60)
        )
        for number in range(TENANTS)
    ]
    for future in futures:
        future.get(timeout=60)
    client.close()
    three.wait_converged()
    node = three.nodes[2]
    connection = slow_connection(node)
    connection.request("GET", URL)
    answer = connection.getresponse()
    assert answer.status == 200
    data = answer.read(100_000)
    node.kill()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)) as broken:
        answer.read()
    if isinstance(broken.value, http.client.IncompleteRead):
        data += broken.value.partial
    connection.close()
    with pytest.raises(BadBackup, match="cut off"):
        read_backup(io.BytesIO(data).read, LIMITS)
    (tmp_path / "b").write_bytes(data)
    assert "cut off" in felix("backup", "verify", tmp_path / "b", code=4)


def slow_connection(node: RunningNode) -> http.client.HTTPConnection:
    """Connect with so small a window that the node has to wait for us."""
    host, _, port = node.config.listen.http.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.sock = socket.socket()
    connection.sock.settimeout(30)
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sock.connect((host, int(port)))
    return connection
