"""Our own cluster with closed doors: an identity provider vouches, and whoever asks needs proof."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec
import urllib3

from bench.dev import running_dev
from felix.identity.principals import principal_id
from felix.proto.commands import ChangePolicies
from felix.proto.control_plane import Call
from felix.proto.identity import Rule
from felix.transport.curve import ClientCurve, read_key_pair
from felix.transport.rpc_client import RpcClient

Algorithm = Literal["ES256", "RS256"]

ALGORITHMS: Final[tuple[Algorithm, ...]] = ("ES256", "RS256")
FEW: Final = "few"
MANY: Final = "many"
PERMISSIONS: Final = {FEW: 4, MANY: 100}
"""By subject: how many a token of theirs holds."""

_web = urllib3.PoolManager(retries=False, timeout=10.0)


class ClosedNode(msgspec.Struct, frozen=True):
    """A node in the ready file, as far as it matters here. Addresses are `host:port`."""

    pid: int
    config: str
    http: str
    rpc: str
    curve_key: str


class ClosedCluster(msgspec.Struct, frozen=True):
    """What `felix-controlplane dev --ready-file` writes, as far as it matters here."""

    nodes: list[ClosedNode]
    idp: str
    tenant: str
    curve_key_file: str

    @property
    def kek_file(self) -> str:
        """Where the key is that the workers unseal signing keys with."""
        return str(Path(self.curve_key_file).parent / "kek")

    def client(self) -> RpcClient:
        """Connect as an operator."""
        pair = read_key_pair(Path(self.curve_key_file))
        curve = ClientCurve(own=pair, server_keys=tuple(node.curve_key for node in self.nodes))
        return RpcClient([f"tcp://{node.rpc}" for node in self.nodes], curve=curve)

    def worker_client(self) -> RpcClient:
        """Connect as a worker of the first node does: only they learn of sealed keys."""
        return RpcClient(f"ipc://{Path(self.nodes[0].config).parent}/rpc.sock")

    def upstream(self, subject: str, algorithm: Algorithm) -> str:
        """Have the identity provider vouch for a subject."""
        form = {"subject": subject, "alg": algorithm}
        answer = _web.request("POST", f"{self.idp}/token", fields=form, encode_multipart=False)
        token: str = answer.json()["id_token"]
        return token

    def grant(self) -> None:
        """Give the subjects the permissions that their tokens are to hold."""
        rules = tuple(
            Rule(principal_id(self.idp, subject), f"stream:{self.tenant}/load/{n:03}", action)
            for subject, count in PERMISSIONS.items()
            for n in range(count // 2)
            for action in ("stream.publish", "stream.subscribe")
        )
        client = self.client()
        try:
            client.ask(ChangePolicies(tenant_id=self.tenant, add=rules), Call())
        finally:
            client.close()


@contextmanager
def closed_cluster(folder: str) -> Iterator[ClosedCluster]:
    """Run three nodes in an empty folder. Raises: BenchError, when they do not come up."""
    with running_dev(folder, ClosedCluster) as cluster:
        cluster.grant()
        yield cluster
