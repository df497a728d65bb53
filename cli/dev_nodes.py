"""The node processes of a cluster on one machine: configured, started, waited for, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import urllib3

from felix.cli.config import (
    AuthConfig,
    BootstrapConfig,
    BrokersConfig,
    ClusterConfig,
    Config,
    CurveConfig,
    KeysConfig,
    LimitsConfig,
    ListenConfig,
    MemberConfig,
    RaftTimings,
)
from felix.cli.config_loading import render
from felix.cli.dev_secrets import DevSecrets
from felix.storage.data_dir import read_identity

HOST = "127.0.0.1"
PORTS_PER_NODE = 10
LISTENERS = ("http", "rpc", "watch", "metrics", "peers")
"""In the order of their ports: base port + 10 * node + position."""
BOOTSTRAP_PORT = len(LISTENERS)
"""Behind the node's other ports."""
IDP_PORT = BOOTSTRAP_PORT + 1
"""Behind the first node's other ports."""
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0


class DevError(Exception):
    """The cluster could not be started."""


class RunningNode(msgspec.Struct):
    """One node, and the process that runs it."""

    config: Config
    path: Path
    process: subprocess.Popen[bytes]
    reported: bool = False
    """It is known that it has ended."""

    @property
    def id(self) -> str:
        """The identity in its data directory."""
        identity = read_identity(Path(self.config.data_dir))
        assert identity is not None, "a node that is ready has written down who it is"
        return identity.node_id


def configure(
    count: int,
    data_dir: Path,
    base_port: int,
    secrets: DevSecrets,
    times: BrokersConfig,
    *,
    is_open: bool,
) -> list[Config]:
    """Make the configuration of each node; `is_open` leaves all doors open, on loopback."""
    members = []
    for number in range(count):
        first = base_port + number * PORTS_PER_NODE
        addresses = {name: f"{HOST}:{first + n}" for n, name in enumerate(LISTENERS)}
        members.append(MemberConfig(name=name_of(number), **addresses))
    return [
        Config(
            name=member.name,
            data_dir=str(data_dir / member.name),
            oidc_allowed_algorithms=("ES256", "RS256"),
            cluster=ClusterConfig(name="dev", bootstrap="new", members=tuple(members)),
            listen=ListenConfig(**{name: getattr(member, name) for name in LISTENERS}),
            raft=RaftTimings(),
            limits=LimitsConfig(client_requests_per_s=0),  # all of this machine are one address
            auth=AuthConfig(
                mode="open" if is_open else "required",
                open_feeds=is_open,
                idp_private_addresses=True,
            ),
            brokers=times,
            keys=KeysConfig(kek_file=str(secrets.kek_file)),
            bootstrap=BootstrapConfig(
                enabled=True,
                bind_addr=f"{HOST}:{base_port + number * PORTS_PER_NODE + BOOTSTRAP_PORT}",
                token_file=str(secrets.bootstrap_token_file),
            ),
            curve=CurveConfig()
            if is_open
            else CurveConfig(
                secret_key_file=str(secrets.curve_files[member.name]),
                allow_list_file=str(secrets.allow_list_file),
            ),
        )
        for number, member in enumerate(members)
    ]


def name_of(number: int) -> str:
    """Name a node."""
    return f"node-{number + 1}"


@contextlib.contextmanager
def running_node(config: Config) -> Iterator[RunningNode]:
    """Run a node until the block ends."""
    folder = Path(config.data_dir)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "felix.yaml"
    path.write_text(render(config), encoding="utf-8")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("FELIX_")
    }
    with (folder / "node.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command, no shell
            [sys.executable, "-m", "felix", "serve", "--config", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches this process only, which stops the nodes
        )
    running = RunningNode(config, path, process)
    try:
        yield running
    finally:
        process.terminate()
        process.send_signal(signal.SIGCONT)  # one that was paused could not stop
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(running: list[RunningNode], stop: threading.Event) -> None:
    """Wait for every node, and for its HTTP processes. Raises: DevError."""
    http = urllib3.PoolManager(retries=False, timeout=1.0)
    deadline = time.monotonic() + START_TIMEOUT_S
    waiting = [
        url
        for one in running
        for url in (
            f"http://{one.config.listen.metrics}/ready",
            f"http://{one.config.listen.http}/v1/system/health",
        )
    ]
    while waiting:
        for one in running:
            if one.process.poll() is not None:
                raise DevError(f"{one.config.name} ended:\n{_tail_of_log(one.config)}")
        if stop.is_set() or time.monotonic() > deadline:
            raise DevError(f"not ready in time: {waiting[0]}")
        waiting = [url for url in waiting if not _answers(http, url)]
        stop.wait(0.05)


def _answers(http: urllib3.PoolManager, url: str) -> bool:
    try:
        return bool(http.request("GET", url).status == 200)
    except urllib3.exceptions.HTTPError:
        return False


def _tail_of_log(config: Config) -> str:
    lines = (Path(config.data_dir) / "node.log").read_text(errors="replace").splitlines()
    return "\n".join(lines[-12:])
