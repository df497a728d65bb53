"""A cluster on this machine in one command: node processes, and simulated brokers that listen."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeVar

import click
import msgspec

from felix.cli import dev_identity
from felix.cli.config import BrokersConfig, Config
from felix.cli.dev_idp import DevIdp
from felix.cli.dev_nodes import (
    HOST,
    IDP_PORT,
    LISTENERS,
    START_TIMEOUT_S,
    DevError,
    RunningNode,
    configure,
    name_of,
    running_node,
    wait_until_ready,
)
from felix.cli.dev_secrets import OPERATOR, DevSecrets, prepare, write_token
from felix.cli.sim_broker import SimBroker, SimOptions
from felix.transport.broker import BrokerSettings
from felix.transport.curve import ClientCurve

T = TypeVar("T")

ADMIN_FILE: Final = "admin-token"
"""In the data directory."""
ZONES: Final = ("zone-a", "zone-b", "zone-c")
"""Where the simulated brokers are, in turn."""
PAPER_PORT: Final = 5000
"""Of the brokers' addresses, at which nobody listens."""
RENEW_S: Final = 300.0
"""The administrator's token is replaced long before it expires."""


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
    bootstrap: str
    curve_key: str = ""
    """The node's CURVE public key; empty: it does without."""


class ReadyFile(msgspec.Struct, frozen=True, kw_only=True):
    """What `--ready-file` gets once everything is up, and again with every new token."""

    nodes: list[DevNode]
    bootstrap: str
    """The first node's listener for bootstrap."""
    bootstrap_token: str
    idp: str = ""
    """The issuer: an OIDC provider of this process, whose `POST /token` vouches for anybody."""
    tenant: str = ""
    """A tenant that trusts it."""
    admin_token: str = ""
    """A Felix token that may do everything in the cluster, good for at least ten minutes."""
    admin_token_file: str = ""
    """Where the newest one always is."""
    tenant_token: str = ""
    """A Felix token of the tenant's administrator."""
    curve_key_file: str = ""
    """An operator's CURVE key pair."""


class _Scene(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that runs."""

    running: list[RunningNode]
    secrets: DevSecrets
    data_dir: Path
    ready_file: Path | None
    brokers: int
    idp: DevIdp | None
    """None: all doors are open."""


def dev(
    nodes: int,
    brokers: int,
    data_dir: Path,
    base_port: int,
    ready_file: Path | None,
    times: BrokersConfig,
    *,
    is_open: bool,
) -> None:
    """Run until SIGTERM or SIGINT. Raises: DevError, OSError."""
    stop = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stop.set())
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)
    data_dir = data_dir.absolute()
    node_names = [name_of(number) for number in range(nodes)]
    broker_names = [f"broker-{number + 1}" for number in range(brokers)]
    secrets = prepare(data_dir / "secrets", node_names, broker_names)
    configs = configure(nodes, data_dir, base_port, secrets, times, is_open=is_open)
    with contextlib.ExitStack() as stack:
        idp = None
        if not is_open:
            idp = stack.enter_context(_idp(data_dir, base_port + IDP_PORT))
        running = [stack.enter_context(running_node(config)) for config in configs]
        wait_until_ready(running, stop)
        for first, name in enumerate(broker_names):
            curve = None if is_open else secrets.client(name, _around(node_names, first))
            stack.enter_context(_broker(name, first, _around(configs, first), data_dir, curve))
        scene = _Scene(
            running=running,
            secrets=secrets,
            data_dir=data_dir,
            ready_file=ready_file,
            brokers=brokers,
            idp=idp,
        )
        _settle(scene)
        _announce(scene)
        _watch(scene, stop)
        click.echo("stopping")


def _watch(scene: _Scene, stop: threading.Event) -> None:
    """Report nodes that end, and keep the token fresh."""
    renew_at = time.monotonic() + RENEW_S
    while not stop.wait(0.2):
        _report_dead(scene.running)
        if scene.idp is not None and time.monotonic() > renew_at:
            renew_at = time.monotonic() + RENEW_S
            try:
                _settle(scene)
            except DevError as error:
                click.echo(f"no new token: {error}")


@contextlib.contextmanager
def _idp(data_dir: Path, port: int) -> Iterator[DevIdp]:
    idp = DevIdp(port, data_dir / "secrets", HOST)
    idp.start()
    try:
        yield idp
    finally:
        idp.stop()


def _settle(scene: _Scene) -> None:
    """Make sure of the administrators and a tenant; write their tokens down. Raises: DevError."""
    if scene.idp is None:
        if scene.ready_file is not None:
            _write_ready_file(scene.ready_file, _ready(scene))
        return
    alive = next((one for one in scene.running if one.process.poll() is None), scene.running[0])
    try:
        admin, tenant = dev_identity.settle(
            alive.config.bootstrap.bind_addr,
            alive.config.listen.http,
            scene.secrets.bootstrap_token,
            scene.idp,
        )
    except dev_identity.IdentityError as error:
        raise DevError(str(error)) from error
    write_token(scene.data_dir / ADMIN_FILE, admin)
    if scene.ready_file is not None:
        _write_ready_file(
            scene.ready_file,
            msgspec.structs.replace(
                _ready(scene),
                idp=scene.idp.issuer,
                tenant=dev_identity.TENANT,
                admin_token=admin,
                admin_token_file=str(scene.data_dir / ADMIN_FILE),
                tenant_token=tenant,
                curve_key_file=str(scene.secrets.curve_files[OPERATOR]),
            ),
        )


def _around(things: list[T], first: int) -> list[T]:
    """Begin with another one, and go once around."""
    first %= len(things)
    return [*things[first:], *things[:first]]


@contextlib.contextmanager
def _broker(
    name: str, number: int, configs: list[Config], data_dir: Path, curve: ClientCurve | None
) -> Iterator[None]:
    """Run a simulated broker: it has its zone, serves shards on paper, says what it hears."""
    broker = SimBroker(
        BrokerSettings(
            broker_id=name,
            address=f"{name}:{PAPER_PORT}",
            availability_zone=ZONES[number % len(ZONES)],
        ),
        [(f"tcp://{one.listen.rpc}", f"tcp://{one.listen.watch}") for one in configs],
        SimOptions(cache=data_dir / f"{name}.cache"),
        curve=curve,
        out=sys.stdout,
    )
    with broker:
        is_there = broker.broker.wait_registered(START_TIMEOUT_S)
        if not is_there or not broker.broker.client.wait_current(START_TIMEOUT_S):
            raise DevError(f"{name} did not register and get the metadata in time")
        yield


def _ready(scene: _Scene) -> ReadyFile:
    keys = scene.secrets.curve_keys
    return ReadyFile(
        nodes=[
            DevNode(
                id=one.id,
                name=one.config.name,
                pid=one.process.pid,
                config=str(one.path),
                bootstrap=one.config.bootstrap.bind_addr,
                curve_key=keys[one.config.name].public if scene.idp is not None else "",
                **{name: getattr(one.config.listen, name) for name in LISTENERS},
            )
            for one in scene.running
        ],
        bootstrap=scene.running[0].config.bootstrap.bind_addr,
        bootstrap_token=scene.secrets.bootstrap_token,
    )


def _write_ready_file(path: Path, ready: ReadyFile) -> None:
    text = msgspec.json.format(msgspec.json.encode(ready), indent=2).decode()
    write_token(path, text)


def _announce(scene: _Scene) -> None:
    doors = "every door open, loopback only" if scene.idp is None else "loopback only"
    count = len(scene.running)
    click.echo(f"{count} nodes and {scene.brokers} simulated brokers are up ({doors}):")
    for one in scene.running:
        addresses = "  ".join(f"{name} {getattr(one.config.listen, name)}" for name in LISTENERS)
        click.echo(f"  {one.config.name}  pid {one.process.pid}  {addresses}")
    header = "-H 'Content-Type: application/json'"
    if scene.idp is not None:
        token_file = scene.data_dir / ADMIN_FILE
        click.echo(f"Identity provider: {scene.idp.issuer}   Operator's token: {token_file}")
        header += f' -H "Authorization: Bearer $(cat {token_file})"'
    base = f"http://{scene.running[0].config.listen.http}/v1"
    click.echo("Try, and watch the brokers hear of it:")
    for path, body in (
        ("tenants", '{"tenant_id":"acme","display_name":"Acme"}'),
        ("tenants/acme/namespaces", '{"namespace":"billing","display_name":"Billing"}'),
        (
            "tenants/acme/namespaces/billing/streams",
            '{"stream":"orders","shards":4,"durability":"durable","replication_factor":3}',
        ),
    ):
        click.echo(f"  curl -s {header} -d '{body}' {base}/{path}")
    node = base.removesuffix("/v1")
    click.echo(f"Dashboard: {node}/ui/   API: {node}/docs/   Stop: Ctrl-C")


def _report_dead(running: list[RunningNode]) -> None:
    for one in running:
        code = one.process.poll()
        if code is not None and not one.reported:
            one.reported = True
            click.echo(f"{one.config.name} ended with {code}; to start it again:")
            click.echo(f"  felix-controlplane serve --config {one.path}")
