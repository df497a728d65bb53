"""A node that starts from a directory which was made for it, at the addresses of an old one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from felix.cli.config import Config, HttpConfig
from felix.proto.control_plane import Call
from felix.proto.errors import FelixError
from felix.proto.queries import ClusterStatus, GetCluster
from felix.transport.rpc_client import RpcClient
from tests.support.cluster import RunningNode, is_free
from tests.support.waiting import eventually


@contextlib.contextmanager
def running_alone(path: Path, config: Config) -> Iterator[RpcClient]:
    """Run the node of a directory, listening where `config` says; it is ready when this begins.

    The client that comes back asks this node.
    """
    listen = config.listen
    for address in (listen.peers, listen.rpc, listen.watch, listen.metrics):
        eventually(lambda address=address: is_free(address), 30)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    http = HttpConfig(enabled=False)
    config = msgspec.structs.replace(config, data_dir=str(path), http=http)
    with TemporaryDirectory(prefix="felix-alone-") as folder:
        node = RunningNode(config, Path(folder))
        client = RpcClient(node.rpc)
        try:
            node.start()
            eventually(node.is_ready, 30)
            yield client
        except BaseException:
            print(node.tail_of_log())
            raise
        finally:
            client.close()
            node.kill()


def status_of(client: RpcClient) -> ClusterStatus | None:
    """Ask a node for the cluster; None if it does not answer."""
    try:
        result = client.ask(GetCluster(), Call(timeout_s=5, consistency="stale")).result
    except FelixError:
        return None
    assert isinstance(result, ClusterStatus)
    return result
