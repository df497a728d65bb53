"""Sockets that other machines can reach: not without keys, and with keys only for their owners."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from felix.cli.config import Config, HttpConfig
from felix.cli.options import EXIT_CONFIG
from felix.proto.commands import CreateTenant
from felix.proto.control_plane import Call
from felix.proto.errors import NoLeader
from felix.proto.queries import GetCluster
from felix.transport.curve import ClientCurve
from felix.transport.rpc_client import RpcClient
from tests.cluster.follower import Follower
from tests.support.cluster import TENANT, Cluster, RunningNode, make_configs
from tests.support.keys import KeyRing
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

EVERYWHERE = "0.0.0.0"
ELSEWHERE = "127.0.0.2"
"""Another address of this machine: a socket on 127.0.0.1 is not there."""
ZMQ_LISTENERS = ("peers", "rpc", "watch")


@pytest.fixture
def folder() -> Iterator[Path]:
    found = Path(tempfile.mkdtemp(prefix="felix-test-"))
    yield found
    shutil.rmtree(found)


def exposed(config: Config, *listeners: str) -> Config:
    """Let a node listen at all addresses of its machine."""
    at = {name: f"{EVERYWHERE}:{port_of(getattr(config.listen, name))}" for name in listeners}
    listen = msgspec.structs.replace(config.listen, **at)
    return msgspec.structs.replace(config, listen=listen, http=HttpConfig(enabled=False))


def port_of(address: str) -> str:
    return address.rpartition(":")[2]


def elsewhere(node: RunningNode, listener: str) -> str:
    return f"tcp://{ELSEWHERE}:{port_of(getattr(node.config.listen, listener))}"


@pytest.mark.parametrize("listener", ZMQ_LISTENERS)
def test_without_keys_a_node_does_not_start_where_others_can_reach_it(
    folder: Path, listener: str
) -> None:
    (config,) = make_configs(folder, 1)
    node = RunningNode(exposed(config, listener), folder / config.name)
    node.start()
    assert node.wait(30) == EXIT_CONFIG
    said = node.log.read_text()
    assert f"listen.{listener}" in said
    assert "curve.secret_key_file" in said
    assert "insecure: true" in said
    assert not node.data_dir.exists()


def test_without_keys_it_starts_there_if_it_is_told_that_this_is_insecure(folder: Path) -> None:
    (config,) = make_configs(folder, 1)
    config = msgspec.structs.replace(exposed(config, *ZMQ_LISTENERS), insecure=True)
    node = RunningNode(config, folder / config.name)
    node.start()
    try:
        eventually(node.is_ready, 60)
        assert "rpc 0.0.0.0" in node.log.read_text()
        assert "(THE NETWORK): without CURVE every caller is trusted" in node.log.read_text()
        assert answers(elsewhere(node, "rpc"), None)
    finally:
        node.kill()


def test_with_keys_a_cluster_listens_everywhere_and_strangers_get_nothing(
    folder: Path, tmp_path: Path
) -> None:
    keys = KeyRing(tmp_path)
    keys.add("broker", "ben")
    configs = make_configs(folder, 3)
    nodes = [RunningNode(exposed(one, *ZMQ_LISTENERS), folder / one.name) for one in configs]
    three = Cluster(nodes)
    for node in nodes:
        keys.give_to(node)
        node.rpc = elsewhere(node, "rpc")
        node.endpoints = (node.rpc, elsewhere(node, "watch"))
    try:
        three.start()
        nodes[0].ask(CreateTenant(tenant_id=TENANT))
        with Follower(nodes, keys.client("ben", nodes)) as ben:
            ben.assert_in_step_with(three.wait_converged())
        with Follower(nodes[:1], keys.client("stranger", nodes[:1])) as stranger:
            eventually(lambda: "unknown_key" in nodes[0].log.read_text(), 20)
            assert (stranger.client.version, stranger.heard) == (0, 0)
        for curve in (None, keys.client("stranger", nodes[:1])):
            assert not answers(nodes[0].rpc, curve)
    except BaseException:
        three.print_logs()
        raise
    finally:
        three.close()


def answers(endpoint: str, curve: ClientCurve | None) -> bool:
    """Whether a node says anything to somebody."""
    with closing(RpcClient(endpoint, curve=curve)) as client:
        try:
            client.ask(GetCluster(), Call(timeout_s=1, consistency="stale"))
        except NoLeader:
            return False
    return True
