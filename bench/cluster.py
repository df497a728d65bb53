"""Our own cluster, as an operator would start it: `felix-controlplane dev` in a process."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import urllib3

from bench.dev import FELIX, POLL_S, STOP_TIMEOUT_S, ended_by_itself, running_dev
from bench.errors import BenchError, RefusedError
from bench.felix_client import (
    NAMESPACE,
    TENANT,
    FelixPipe,
    FelixSubscription,
    FelixWriter,
    ask_once,
    fetch_snapshot,
    result_of,
)
from bench.systems import Pipe, Subscription, Work, Writer
from felix.proto.codec import Decoder
from felix.proto.commands import CreateNamespace, CreateTenant
from felix.proto.queries import (
    PAGE_SIZE_MAX,
    ClusterStatus,
    GetCluster,
    GetSnapshot,
    ListCaches,
    Listing,
)
from felix.proto.updates import SnapshotChunk
from felix.transport.client import Node as BrokerNode

_STATUS_TIMEOUT_S = 1.0

_http = urllib3.PoolManager(retries=False, timeout=5.0)
_statuses: Decoder[ClusterStatus] = Decoder(ClusterStatus)
_chunks: Decoder[SnapshotChunk] = Decoder(SnapshotChunk)
_listings: Decoder[Listing] = Decoder(Listing)


class Node(msgspec.Struct, frozen=True):
    """A node in the ready file, as far as it matters here. Addresses are `host:port`."""

    id: str
    name: str
    pid: int
    config: str
    """What `felix-controlplane serve --config` takes to start this node again."""
    rpc: str
    watch: str
    metrics: str

    @property
    def data_dir(self) -> Path:
        """Where its files are."""
        return Path(self.config).parent

    def is_ready(self) -> bool:
        """Say what `/ready` says."""
        try:
            return _http.request("GET", f"http://{self.metrics}/ready").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def samples(self) -> dict[str, float]:
        """Read `/metrics`; by name, with labels as Prometheus writes them."""
        page = _http.request("GET", f"http://{self.metrics}/metrics").data.decode()
        lines = (line.rpartition(" ") for line in page.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}


class ReadyFile(msgspec.Struct, frozen=True):
    """What `felix-controlplane dev --ready-file` writes."""

    nodes: list[Node]


class FelixTarget(msgspec.Struct, frozen=True):
    """How to reach the nodes."""

    nodes: list[Node]
    system: str = "felix"

    @property
    def broker_nodes(self) -> list[BrokerNode]:
        """What a `BrokerClient` is given, by number."""
        return [(f"tcp://{node.rpc}", f"tcp://{node.watch}") for node in self.nodes]

    def _status(self, node: Node) -> ClusterStatus | None:
        try:
            return result_of(ask_once(node.rpc, GetCluster(), _STATUS_TIMEOUT_S), _statuses)
        except RefusedError:
            return None

    def leader(self) -> int | None:
        """Number of the node that says it leads."""
        for number, node in enumerate(self.nodes):
            status = self._status(node)
            if status is not None and status.leader_id == node.id:
                return number
        return None

    def statuses(self) -> list[ClusterStatus]:
        """Ask every node for the cluster as it sees it; those that do not answer are left out."""
        return [status for node in self.nodes if (status := self._status(node)) is not None]

    def healthy(self) -> bool:
        """Say whether all nodes answer, agree on the leader, and have applied what it has."""
        found = self.statuses()
        newest = max((status.commit_index for status in found), default=0)
        return (
            len(found) == len(self.nodes)
            and len({(status.leader_id, status.term) for status in found}) == 1
            and all(status.applied_index == newest for status in found)
        )

    def prepare(self) -> None:
        """Create the tenant and the namespace the works live in."""
        for message in (
            CreateTenant(tenant_id=TENANT),
            CreateNamespace(tenant_id=TENANT, namespace=NAMESPACE),
        ):
            reply = ask_once(self.nodes[0].rpc, message)
            if reply.error is not None:
                raise RefusedError(f"felix refused {message}: {reply.error}")

    def position(self) -> int:
        """Give the newest version."""
        versions = [status.version for node in self.nodes if (status := self._status(node))]
        return max(versions)

    def term(self) -> int:
        """Give the newest term: it is another one after an election."""
        return max(status.term for node in self.nodes if (status := self._status(node)))

    def place(self) -> tuple[int, str]:
        """Give the newest version, linearizably, and the digest there."""
        first = result_of(ask_once(self.nodes[0].rpc, GetSnapshot()), _chunks)
        return first.version, first.digest

    def pipe(self, node: int, work: Work, base: int) -> Pipe:
        """Open a connection that creates."""
        return FelixPipe(self.nodes[node].rpc, work, base)

    def subscribe(self, node: int, prefix: str, base: int, count: int) -> Subscription:
        """Subscribe to everything: there is one stream of updates."""
        del prefix
        return FelixSubscription(self.nodes[node].watch, base, count)

    def writer(self) -> Writer:
        """Make a client that creates one cache at a time."""
        return FelixWriter([node.rpc for node in self.nodes])

    def names(self, prefix: str) -> set[str]:
        """List the caches, page by page."""
        found: set[str] = set()
        token = ""
        while True:
            query = ListCaches(
                tenant_id=TENANT,
                namespace=NAMESPACE,
                filter=f"{prefix}*",
                page_size=PAGE_SIZE_MAX,
                page_token=token,
            )
            page = result_of(ask_once(self.nodes[0].rpc, query), _listings)
            found.update(item.key[-1] for item in page.items)
            token = page.next_page_token
            if not token:
                return found

    def snapshot(self, node: int, prefix: str) -> int:
        """Fetch the whole metadata; give how many streams it has."""
        del prefix
        return fetch_snapshot(self.nodes[node].rpc)


class FelixCluster:
    """Three nodes started by one `dev` process, and those started again after a kill."""

    def __init__(self, nodes: Sequence[Node], folder: Path) -> None:
        self.target = FelixTarget(list(nodes))
        self._folder = folder
        self._pids = [node.pid for node in nodes]
        self._restarted: dict[int, subprocess.Popen[bytes]] = {}

    def pids(self) -> list[int]:
        """Process ids of the nodes, by number."""
        return list(self._pids)

    def kill(self, node: int) -> float:
        """Kill -9 a node; give the monotonic time just before."""
        before = time.monotonic()
        os.kill(self._pids[node], signal.SIGKILL)
        mine = self._restarted.pop(node, None)
        if mine is not None:
            mine.wait()
        return before

    def terminate(self, node: int) -> float:
        """Tell a node to stop; give the monotonic time just before."""
        before = time.monotonic()
        os.kill(self._pids[node], signal.SIGTERM)
        return before

    def restart(self, node: int) -> None:
        """Start a node that was killed or told to stop again, on what is on its disk."""
        _wait_gone(self._pids[node])
        mine = self._restarted.pop(node, None)
        if mine is not None:
            mine.wait()
        with (self._folder / f"restarts-{node}.log").open("ab") as log:
            process = subprocess.Popen(
                [*FELIX, "serve", "--config", self.target.nodes[node].config],
                stdout=log,
                stderr=log,
            )
        self._restarted[node] = process
        self._pids[node] = process.pid

    def stop_restarted(self) -> None:
        """End the nodes that `dev` does not know of."""
        for process in self._restarted.values():
            process.terminate()
        for process in self._restarted.values():
            ended_by_itself(process)


def _wait_gone(pid: int) -> None:
    """Wait for the end of a process, which may be nobody's child here."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":
            return
        time.sleep(POLL_S)
    raise BenchError(f"process {pid} does not end")


@contextmanager
def launch(folder: str, *options: str) -> Iterator[FelixCluster]:
    """Run a fresh cluster in an empty folder; `options` are those of `dev`.

    Raises: BenchError, when it does not come up.
    """
    with running_dev(folder, ReadyFile, "--open", *options) as ready:
        cluster = FelixCluster(ready.nodes, Path(folder))
        try:
            yield cluster
        finally:
            cluster.stop_restarted()
