"""A cluster on this machine in one command: node processes, and simulated brokers that listen."""

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
from typing import TextIO

import click
import msgspec
import urllib3

from felix.cli.config import (
    ClusterConfig,
    Config,
    KeysConfig,
    ListenConfig,
    MemberConfig,
    RaftTimings,
)
from felix.cli.config_loading import render
from felix.cli.keygen import new_kek, write_secret
from felix.proto.updates import MetadataUpdate
from felix.storage.data_dir import read_identity
from felix.transport.client import BrokerClient
from felix.transport.sync_records import UpdateInfo

HOST = "127.0.0.1"
PORTS_PER_NODE = 10
LISTENERS = ("http", "rpc", "watch", "metrics", "peers")
"""In the order of their ports: base port + 10 * node + position."""
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0


class DevError(Exception):
    """The cluster could not be started."""


class DevNode(msgspec.Struct, frozen=True, kw_only=True):
    """One node in the ready file. Addresses are `host:port`."""

    id: str
    name: str
    pid: int
    """Of the node process."""
    config: str
    """`felix-controlplane serve --config` with this starts the node again."""
    http: str
    rpc: str
    watch: str
    metrics: str
    peers: str


class ReadyFile(msgspec.Struct, frozen=True):
    """What `--ready-file` gets once everything is up."""

    nodes: list[DevNode]


class _Running(msgspec.Struct):
    config: Config
    path: Path
    process: subprocess.Popen[bytes]
    reported: bool = False


def dev(nodes: int, brokers: int, data_dir: Path, base_port: int, ready_file: Path | None) -> None:
    """Run until SIGTERM or SIGINT. Raises: DevError."""
    stop = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stop.set())
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)
    configs = _configs(nodes, data_dir.absolute(), base_port)
    _make_kek(Path(configs[0].keys.kek_file))
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(_node(config)) for config in configs]
        _wait_until_ready(running, stop)
        for number in range(1, brokers + 1):
            stack.enter_context(_broker(f"broker-{number}", configs, number - 1, data_dir))
        if ready_file is not None:
            _write_ready_file(ready_file, running)
        _announce(running, brokers)
        while not stop.wait(0.2):
            _report_dead(running)
        click.echo("stopping")


def _configs(count: int, data_dir: Path, base_port: int) -> list[Config]:
    members = []
    for number in range(count):
        first = base_port + number * PORTS_PER_NODE
        addresses = {name: f"{HOST}:{first + n}" for n, name in enumerate(LISTENERS)}
        members.append(MemberConfig(name=f"node-{number + 1}", **addresses))
    return [
        Config(
            name=member.name,
            data_dir=str(data_dir / member.name),
            cluster=ClusterConfig(name="dev", bootstrap="new", members=tuple(members)),
            listen=ListenConfig(**{name: getattr(member, name) for name in LISTENERS}),
            raft=RaftTimings(),
            keys=KeysConfig(kek_file=str(data_dir / "kek")),
        )
        for member in members
    ]


def _make_kek(path: Path) -> None:
    """Make the key-encryption key of this cluster, once in its life."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_secret(path, new_kek())


@contextlib.contextmanager
def _node(config: Config) -> Iterator[_Running]:
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
    running = _Running(config, path, process)
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


def _wait_until_ready(running: list[_Running], stop: threading.Event) -> None:
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


@contextlib.contextmanager
def _broker(name: str, configs: list[Config], first: int, data_dir: Path) -> Iterator[None]:
    """Run a simulated broker: it keeps its cache in step and says what it hears."""
    endpoints = [(f"tcp://{one.listen.rpc}", f"tcp://{one.listen.watch}") for one in configs]
    first %= len(endpoints)
    with BrokerClient(
        endpoints[first:] + endpoints[:first],
        on_update=lambda update, info: _say(sys.stdout, name, update, info),
        cache=data_dir / f"{name}.cache",
    ) as client:
        if not client.wait_current(START_TIMEOUT_S):
            raise DevError(f"{name} did not get the metadata in time")
        yield


def _say(out: TextIO, name: str, update: MetadataUpdate, info: UpdateInfo) -> None:
    payload = update.payload
    lag = ""
    if info.time_us:
        lag = f" {time.time_ns() / 1e6 - info.time_us / 1e3:.1f} ms after the commit"
    out.write(
        f"{name} v{update.version} {update.type} {type(payload).__name__} "
        f"{'/'.join(payload.key)}{lag}\n"
    )
    out.flush()


def _write_ready_file(path: Path, running: list[_Running]) -> None:
    nodes = [
        DevNode(
            id=_node_id(one.config),
            name=one.config.name,
            pid=one.process.pid,
            config=str(one.path),
            **{name: getattr(one.config.listen, name) for name in LISTENERS},
        )
        for one in running
    ]
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(ReadyFile(nodes)), indent=2))
    temporary.replace(path)


def _node_id(config: Config) -> str:
    identity = read_identity(Path(config.data_dir))
    assert identity is not None, "a node that is ready has written down who it is"
    return identity.node_id


def _announce(running: list[_Running], brokers: int) -> None:
    click.echo(f"{len(running)} nodes and {brokers} simulated brokers are up (no authentication,")
    click.echo("loopback only):")
    for one in running:
        addresses = "  ".join(f"{name} {getattr(one.config.listen, name)}" for name in LISTENERS)
        click.echo(f"  {one.config.name}  pid {one.process.pid}  {addresses}")
    base = f"http://{running[0].config.listen.http}/v1"
    click.echo("Try, and watch the brokers hear of it:")
    header = "-H 'Content-Type: application/json'"
    for path, body in (
        ("tenants", '{"tenant_id":"acme","display_name":"Acme"}'),
        ("tenants/acme/namespaces", '{"namespace":"billing","display_name":"Billing"}'),
        (
            "tenants/acme/namespaces/billing/streams",
            '{"stream":"orders","shards":4,"durability":"durable","replication_factor":3}',
        ),
    ):
        click.echo(f"  curl -s {header} -d '{body}' {base}/{path}")
    click.echo(f"API: {base.removesuffix('/v1')}/docs/   Stop: Ctrl-C")


def _report_dead(running: list[_Running]) -> None:
    for one in running:
        code = one.process.poll()
        if code is not None and not one.reported:
            one.reported = True
            click.echo(f"{one.config.name} ended with {code}; to start it again:")
            click.echo(f"  felix-controlplane serve --config {one.path}")
