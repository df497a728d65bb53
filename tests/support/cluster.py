"""A cluster of real node processes on loopback, to be killed, paused, and started again.

    with cluster() as three:
        leader = three.leader()
        leader.kill()

Whatever a test does, every process is ended and every file is gone afterwards; what the nodes
logged is printed if the test failed.
"""

from __future__ import annotations

import base64
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import msgspec
import urllib3

from felix.cli.config import (
    LISTENERS,
    AuthConfig,
    ClusterConfig,
    Config,
    HttpConfig,
    KeysConfig,
    LimitsConfig,
    ListenConfig,
    MemberConfig,
    RaftTimings,
)
from felix.cli.config_loading import render
from felix.proto.commands import CreateNamespace, CreateTenant
from felix.proto.control_plane import Answered, Call
from felix.proto.errors import FelixError
from felix.proto.queries import ClusterStatus, GetCluster
from felix.proto.rpc import AnyRequest
from felix.storage.data_dir import read_identity
from felix.transport.curve import ClientCurve
from felix.transport.rpc_client import RpcClient
from tests.support.keys import KeyRing
from tests.support.waiting import eventually

HOST = "127.0.0.1"
PORTS = range(21_000, 25_000)
"""Below those that systems hand out for outgoing connections."""
READY_TIMEOUT_S = 60.0
LOG_LINES = 100
TENANT, NAMESPACE = "acme", "load"
KEK = base64.b64encode(bytes(range(32))).decode()
"""What protects the keys of test clusters."""

_http = urllib3.PoolManager(retries=False, maxsize=4)


class RunningNode:
    """One node: its configuration, and the process that may or may not run just now."""

    def __init__(self, config: Config, folder: Path) -> None:
        """`folder` becomes the node's own: configuration, log, data and temporary files."""
        self.config = config
        self.name = config.name
        self.rpc = f"tcp://{config.listen.rpc}"
        self.endpoints = (self.rpc, f"tcp://{config.listen.watch}")
        self.data_dir = Path(config.data_dir)
        self.scratch = folder / "tmp"
        self.log = folder / "node.log"
        self.config_file = folder / "felix.yaml"
        self.module = "felix"
        """What `python -m` runs."""
        self.build: Path | None = None
        """The folder with the build that it runs; None: the one under test."""
        self.curve: ClientCurve | None = None
        """What a test asks it with."""
        self.is_paused = False
        self.module = "felix"
        """What is run; a stand-in may let the disk fail."""
        self._process: subprocess.Popen[bytes] | None = None
        self.scratch.mkdir(parents=True)
        self.write_config()

    @property
    def id(self) -> str:
        """The identity that the node drew when it first started."""
        identity = read_identity(self.data_dir)
        assert identity is not None
        return identity.node_id

    def write_config(self) -> None:
        """Write the file that the next process reads."""
        self.config_file.write_text(render(self.config), encoding="utf-8")

    # --- the process --------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process; returns at once."""
        assert not self.is_running
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("FELIX_")
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, "serve", "--config", str(self.config_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment | {"TMPDIR": str(self.scratch), "PYTHONFAULTHANDLER": "1"},
                start_new_session=True,
                cwd=self.build,
            )
        self.is_paused = False

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the node process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """SIGSTOP; returns once the process stands still."""
        self._signal(signal.SIGSTOP)
        eventually(lambda: process_state(self.pid) == "T")
        self.is_paused = True

    def resume(self) -> None:
        """SIGCONT."""
        self.is_paused = False
        self._signal(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM; returns at once."""
        self._signal(signal.SIGTERM)

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait for the end of the process and give its exit code.

        One that does not end is made to write down what its threads are doing.
        """
        assert self._process is not None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGABRT)
            self._process.wait()
            raise

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    # --- asking -------------------------------------------------------------------------------

    def ask(self, message: AnyRequest, call: Call | None = None) -> Answered:
        """Ask this very node. Raises: FelixError."""
        client = RpcClient(self.rpc, curve=self.curve)
        try:
            return client.ask(message, call or Call())
        finally:
            client.close()

    def status(self, timeout_s: float = 2.0) -> ClusterStatus | None:
        """Ask this node for the cluster as it alone sees it; None if it does not answer."""
        try:
            answered = self.ask(GetCluster(), Call(timeout_s=timeout_s, consistency="stale"))
        except FelixError:
            return None
        assert isinstance(answered.result, ClusterStatus)
        return answered.result

    def http(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        timeout_s: float = 15.0,
    ) -> urllib3.BaseHTTPResponse:
        """Send one request to the HTTP face."""
        url = f"http://{self.config.listen.http}{path}"
        return _http.request(method, url, json=body, headers=headers, timeout=timeout_s)

    def probe(self, path: str) -> urllib3.BaseHTTPResponse:
        """Get `/live`, `/ready` or `/metrics`."""
        return _http.request("GET", f"http://{self.config.listen.metrics}{path}", timeout=10.0)

    def metrics(self) -> dict[str, float]:
        """Read every sample, by its name as Prometheus writes it."""
        lines = self.probe("/metrics").data.decode().splitlines()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    def is_ready(self) -> bool:
        """Whether the probe says so, and HTTP answers if there is to be any."""
        assert self.is_running, f"{self.name} ended with {self.wait()}"
        try:
            return self.probe("/ready").status == 200 and (
                not self.config.http.enabled or self.http("GET", "/v1/system/health").status == 200
            )
        except urllib3.exceptions.HTTPError:
            return False

    def tail_of_log(self) -> str:
        """The last lines of what the process wrote."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-LOG_LINES:])


class Cluster:
    """Nodes that belong together."""

    def __init__(self, nodes: list[RunningNode]) -> None:
        self.nodes = nodes

    @property
    def rpc(self) -> list[str]:
        """Every node's RPC endpoint."""
        return [node.rpc for node in self.nodes]

    def start(self, nodes: Iterable[RunningNode] | None = None) -> None:
        """Start these nodes (default: whichever does not run) and wait until all are ready."""
        for node in self.nodes if nodes is None else nodes:
            if not node.is_running:
                node.start()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until every node that runs is ready."""
        running = [node for node in self.nodes if node.is_running]
        eventually(lambda: all(node.is_ready() for node in running), READY_TIMEOUT_S)

    def leader(self) -> RunningNode:
        """Wait for a node that leads a quorum of the nodes that run, and give it."""
        found: list[RunningNode] = []

        def there_is_one() -> bool:
            statuses = {node: node.status() for node in self.nodes if node.is_running}
            known = [one for one in statuses.values() if one is not None]
            newest = max((one.term for one in known), default=0)
            agree = [one for one in known if one.term == newest and one.leader_id is not None]
            if len(agree) <= len(self.nodes) // 2:
                return False
            found.extend(node for node in statuses if node.id == agree[0].leader_id)
            return bool(found)

        eventually(there_is_one, 30)
        return found[0]

    def others(self, node: RunningNode) -> list[RunningNode]:
        """Every node but this one."""
        return [one for one in self.nodes if one is not node]

    def wait_converged(self, timeout_s: float = 60.0) -> ClusterStatus:
        """Wait until all nodes have applied the same log; hold their digests against each other."""
        statuses: list[ClusterStatus] = []

        def same_place() -> bool:
            answers = [node.status() for node in self.nodes]
            statuses[:] = [one for one in answers if one is not None]
            return (
                len(statuses) == len(self.nodes)
                and len({(one.applied_index, one.commit_index, one.leader_id) for one in statuses})
                == 1
            )

        eventually(same_place, timeout_s)
        assert len({(one.epoch, one.version, one.digest) for one in statuses}) == 1, statuses
        return statuses[0]

    def make_namespace(self) -> None:
        """Create the tenant and the namespace that tests write into."""
        self.nodes[0].ask(CreateTenant(tenant_id=TENANT))
        self.nodes[0].ask(CreateNamespace(tenant_id=TENANT, namespace=NAMESPACE))

    def print_logs(self) -> None:
        """Show what the nodes wrote last."""
        for node in self.nodes:
            print(f"--- {node.name} ---\n{node.tail_of_log()}")

    def close(self) -> None:
        """End whatever still runs, and wait until its HTTP processes are gone too."""
        for node in self.nodes:
            node.kill()
        for node in self.nodes:
            eventually(lambda node=node: is_free(node.config.listen.http), 30)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        _http.clear()


@contextmanager
def cluster(
    *,
    nodes: int = 3,
    http: bool = False,
    raft: RaftTimings | None = None,
    limits: LimitsConfig | None = None,
    module: str = "felix",
    disk: Callable[[RunningNode], AbstractContextManager[object]] | None = None,
    keys: KeyRing | None = None,
    auth: AuthConfig | None = None,
    signing: KeysConfig | None = None,
    adjust: Callable[[Config], Config] = lambda config: config,
) -> Iterator[Cluster]:
    """Run a fresh cluster until the block ends; every node is ready when it begins.

    `module` is what is run; `disk` puts something below a node's data before it starts; `keys`
    makes the nodes encrypt what they say over ZeroMQ; without `auth` HTTP needs no token;
    `signing` says when signing keys are replaced; `adjust` has the last word on each node's
    configuration.
    """
    folder = Path(tempfile.mkdtemp(prefix="felix-test-"))  # short: it holds ipc sockets
    found = Cluster(
        [
            RunningNode(
                adjust(
                    msgspec.structs.replace(
                        config,
                        http=HttpConfig(enabled=http),
                        raft=raft or RaftTimings(),
                        limits=limits or LimitsConfig(),
                        auth=auth or config.auth,
                        keys=signing or config.keys,
                    )
                ),
                folder / config.name,
            )
            for config in make_configs(folder, nodes)
        ]
    )
    disks = ExitStack()
    try:
        for node in found.nodes:
            node.module = module
            if keys is not None:
                keys.give_to(node)
            if disk is not None:
                disks.enter_context(disk(node))
        found.start()
        yield found
    except BaseException:
        found.print_logs()
        raise
    finally:
        found.close()
        disks.close()
        shutil.rmtree(folder)


def make_configs(folder: Path, count: int) -> list[Config]:
    """Write down a cluster of nodes on free ports, with their data below a folder."""
    ports = iter(free_ports(count * len(LISTENERS)))
    members = tuple(
        MemberConfig(name=f"n{number}", **{name: f"{HOST}:{next(ports)}" for name in LISTENERS})
        for number in range(1, count + 1)
    )
    return [
        Config(
            name=member.name,
            data_dir=str(folder / member.name / "data"),
            cluster=ClusterConfig(name=folder.name, bootstrap="new", members=members),
            listen=ListenConfig(**{name: getattr(member, name) for name in LISTENERS}),
            auth=AuthConfig(mode="open"),
            keys=KeysConfig(kek=KEK),
        )
        for member in members
    ]


def free_ports(count: int) -> list[int]:
    """Find consecutive ports that nobody listens on."""
    for _ in range(100):
        first = random.randrange(PORTS.start, PORTS.stop - count)
        found = list(range(first, first + count))
        if all(is_free(f"{HOST}:{port}") for port in found):
            return found
    raise AssertionError("there are no free ports")


def is_free(address: str) -> bool:
    """Whether one could listen there now."""
    host, _, port = address.rpartition(":")
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return False
    return True


def process_state(pid: int) -> str:
    """Give a process' state letter; `X` for one that is not there."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def children_of(pid: int) -> list[int]:
    """List the processes that this one has started."""
    try:
        return [
            int(child)
            for thread in Path(f"/proc/{pid}/task").iterdir()
            for child in (thread / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []
