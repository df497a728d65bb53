"""Runs one node: the actors and the probes in this process, gunicorn as a child that is watched."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from felix.actors.metrics import NodeCollector
from felix.actors.node import Node
from felix.cli.config import Config
from felix.cli.settings import identity_of, node_settings
from felix.http.gunicorn_command import gunicorn_command, gunicorn_environment
from felix.http.probes import ProbeServer, create_probe_app
from felix.http.settings import HttpSettings
from felix.storage.data_dir import DataDir

PORT_PATIENCE_S = 3.0
"""A port may still be held by the HTTP processes of a node that was killed a moment ago."""
SOCKET_PATH_BYTES_MAX = 100
"""Linux takes 107."""
CHILD_CHECK_S = 0.25
CHILD_RESTART_S = 1.0

log = structlog.get_logger("felix.serve")


def serve(config: Config) -> None:
    """Run a node until SIGTERM or SIGINT.

    Raises: OSError (a port is taken), `storage.errors.StorageError` (the data directory).
    """
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(_stop_signals())
        data = DataDir.open(
            Path(config.data_dir),
            identity_of(config),
            may_create=config.cluster.bootstrap == "new",
        )
        try:
            _wait_for_free_ports(config)
        except OSError:
            data.close()
            raise
        rpc_local = stack.enter_context(_local_rpc(data.path))
        node = Node(node_settings(config, rpc_local), data)
        stack.callback(node.stop)
        node.start()
        stack.enter_context(_probes(config, node))
        if config.http.enabled:
            stack.enter_context(_http(config, rpc_local))
        _announce(config)
        os.read(stop, 1)
        node.drain()
        log.info("stopping", name=config.name)


@contextlib.contextmanager
def _stop_signals() -> Iterator[int]:
    """Give a descriptor that can be read once SIGTERM or SIGINT has come.

    The kernel hands a signal to any thread. Were the main one waiting for a lock, Python would
    note the signal and let it wait on; the write to this pipe wakes it whoever got the signal.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)


def _announce(config: Config) -> None:
    listen = config.listen
    log.warning(
        "nothing is authenticated yet: every listener is bound to loopback only", name=config.name
    )
    log.info(
        "serving",
        name=config.name,
        cluster=config.cluster_id,
        node=config.node_id(config.name),
        http=listen.http if config.http.enabled else None,
        rpc=listen.rpc,
        watch=listen.watch,
        metrics=listen.metrics,
        peers=listen.peers,
    )


@contextlib.contextmanager
def _local_rpc(data_dir: Path) -> Iterator[str]:
    """Find a place for the socket that the HTTP processes ask.

    In the data directory, where a node that was killed finds it again; in a folder of its own where
    that path is too long for a socket.
    """
    path = data_dir.absolute() / "rpc.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
        yield f"ipc://{path}"
        path.unlink(missing_ok=True)
        return
    folder = tempfile.mkdtemp(prefix="felix-")
    try:
        yield f"ipc://{folder}/rpc.sock"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _probes(config: Config, node: Node) -> Iterator[None]:
    registry = CollectorRegistry()
    registry.register(NodeCollector(node.statistics))
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    host, port = _split(config.listen.metrics)
    app = create_probe_app(registry, live=node.why_not_live, ready=node.why_not_ready)
    server = ProbeServer(host, port, app)
    server.start()
    try:
        yield
    finally:
        server.stop()


@contextlib.contextmanager
def _http(config: Config, rpc_local: str) -> Iterator[None]:
    """Run gunicorn, start it anew when it dies, and end it within the drain timeout."""
    grace_s = config.shutdown_drain_timeout_ms / 1000
    settings = HttpSettings(
        region_id=config.region_id,
        timeout_s=config.limits.timeout_s,
        changes_limit=config.changes_limit,
        rpc_endpoint=rpc_local,
        bind=config.listen.http,
        workers=config.http.workers,
        threads=config.http.threads,
        graceful_timeout_s=max(1, int(grace_s) - 1),  # it ends by itself before it is made to
        log_level=config.log.level,
    )
    lifeline, ours = os.pipe()  # the child reads; our end closes with us, however we end
    child = HttpChild(settings, lifeline)
    child.start()
    try:
        yield
    finally:
        child.stop(grace_s)
        os.close(ours)
        os.close(lifeline)


class HttpChild:
    """The gunicorn process of a node."""

    def __init__(self, settings: HttpSettings, lifeline: int) -> None:
        """`lifeline` is the reading end of a pipe whose other end this process holds."""
        self._settings = settings
        self._lifeline = lifeline
        self._stopping = threading.Event()
        self._process = self._spawn()
        self._watcher = threading.Thread(target=self._watch, name="http-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch the child."""
        self._watcher.start()

    def stop(self, grace_s: float) -> None:
        """End the child: politely, then by force."""
        self._stopping.set()
        self._watcher.join()
        self._process.terminate()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own command, no shell
            gunicorn_command(self._settings),
            env=gunicorn_environment(self._settings, self._lifeline),
            pass_fds=[self._lifeline],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches this process only, which stops the child
        )

    def _watch(self) -> None:
        while not self._stopping.wait(CHILD_CHECK_S):
            code = self._process.poll()
            if code is not None:
                log.error("the HTTP processes ended, starting them anew", exit_code=code)
                if self._stopping.wait(CHILD_RESTART_S):
                    return
                self._process = self._spawn()


def _wait_for_free_ports(config: Config) -> None:
    """Make sure that nobody holds our ports. Raises: OSError naming the one that is taken."""
    deadline = time.monotonic() + PORT_PATIENCE_S
    listen = config.listen
    for name, address in (
        ("http", listen.http),
        ("metrics", listen.metrics),
        ("peers", listen.peers),
        ("rpc", listen.rpc),
        ("watch", listen.watch),
    ):
        while (taken := _why_taken(address)) is not None:
            if time.monotonic() > deadline:
                raise OSError(f"listen.{name}: cannot listen on {address}: {taken}")
            time.sleep(0.05)


def _why_taken(address: str) -> str | None:
    host, port = _split(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            return str(error.strerror)
    return None


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
