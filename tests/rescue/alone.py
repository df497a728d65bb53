"""A node that starts from a directory which was made for it, at the addresses of an old one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from felix.actors.consensus import Member
from felix.actors.node import Node, NodeSettings
from felix.cli.config import LISTENERS, Config
from felix.core.raft.config import RaftConfig
from felix.proto.control_plane import Call
from felix.proto.errors import FelixError
from felix.proto.ids import NodeId
from felix.proto.queries import ClusterStatus, GetCluster
from felix.storage.data_dir import DataDir, read_identity
from felix.transport.rpc_client import RpcClient
from tests.support.cluster import is_free
from tests.support.waiting import eventually


@contextlib.contextmanager
def running_alone(path: Path, config: Config) -> Iterator[RpcClient]:
    """Run the node of a directory in this process, listening where `config` says; ready to write.

    The client that comes back asks this node.
    """
    listen = config.listen
    for address in (listen.peers, listen.rpc, listen.watch):
        eventually(lambda address=address: is_free(address), 30)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    identity = read_identity(path)
    assert identity is not None
    node_id = NodeId(identity.node_id)
    settings = NodeSettings(
        cluster_id=identity.cluster_id,
        node_id=node_id,
        members={node_id: Member(identity.name, {one: getattr(listen, one) for one in LISTENERS})},
        listen_peers=listen.peers,
        listen_rpc=listen.rpc,
        listen_watch=listen.watch,
        rpc_local=f"ipc://{path}/rpc.sock",
        raft=RaftConfig(heartbeat_ticks=5, election_ticks_min=30, election_ticks_max=60),
    )
    node = Node(settings, DataDir.open(path, identity, may_create=False))
    client = RpcClient(f"tcp://{listen.rpc}")
    try:
        node.start()
        eventually(lambda: node.why_not_ready() is None, 30)
        yield client
    finally:
        client.close()
        node.stop()


def status_of(client: RpcClient) -> ClusterStatus | None:
    """Ask a node for the cluster; None if it does not answer."""
    try:
        result = client.ask(GetCluster(), Call(timeout_s=5, consistency="stale")).result
    except FelixError:
        return None
    assert isinstance(result, ClusterStatus)
    return result
