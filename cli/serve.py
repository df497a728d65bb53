"""Runs one node: the actors and the probes in this process, gunicorn as a child that is watched."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from types import FrameType
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from felix.actors.consensus import MustStop
from felix.actors.node import Node
from felix.cli.config import LISTENERS, Config
from felix.cli.doors import open_doors
from felix.cli.http_child import http_processes
from felix.cli.local_rpc import local_rpc
from felix.cli.opening import open_data_dir, start_anew
from felix.cli.options import EXIT_CONFIG, EXIT_START
from felix.cli.scraping import registry_of, registry_of_process
from felix.cli.settings import node_curve, node_settings, sealer_of
from felix.core.catalog.dump import BadDump
from felix.http.probes import Probe, ProbeServer, create_probe_app
from felix.http.request_counts import CountsFile
from felix.http.tls import TlsFiles
from felix.proto.levels import EXIT_TOO_OLD
from felix.storage.errors import Damaged
from felix.storage.ports import Identity

PORT_PATIENCE_S = 3.0
"""A port may still be held by the HTTP processes of a node that was killed a moment ago."""
EXIT_REMOVED = 74
"""The cluster has let this node go; starting it again leads nowhere."""
EXITS: Final = {"removed": EXIT_REMOVED, "too_old": EXIT_TOO_OLD, "config": EXIT_CONFIG}

log = structlog.get_logger("felix.serve")


class Stop:
    """Why this process is to end, and the pipe that says when."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading = reading
        self._writing = writing
        self.was_signalled = False
        """Stays so, whatever the node is doing when the signal comes."""
        self.why: MustStop | None = None
        """What an actor said."""

    def begin_life(self) -> None:
        """Forget what the actors of an earlier life of this node said."""
        self.why = None
        with contextlib.suppress(BlockingIOError):
            while os.read(self.reading, 64):
                pass

    def wait(self) -> None:
        """Wait for a signal, or until an actor says that the node must stop."""
        if not self.was_signalled:
            select.select([self.reading], [], [])

    def must_stop(self, why: MustStop) -> None:
        """Hear, in any thread, that this node cannot go on."""
        self.why = why
        os.write(self._writing, b"!")


def serve(config: Config) -> int:
    """Run a node until SIGTERM or SIGINT, or until it was removed; return the exit code.

    A node whose data cannot be trusted puts it aside and asks to be taken in anew.
    Raises: OSError (a port is taken), `storage.errors.StorageError`, `core.catalog.dump.BadDump`.
    """
    with _stop_signals() as stop:
        while True:
            stop.begin_life()
            try:
                why = None if stop.was_signalled else _serve(config, stop)
            except (Damaged, BadDump) as error:
                start_anew(config, str(error), error)
                continue
            if why is None:
                return 0
            log.error("this node stops", name=config.name, because=why.message)
            if why.cause != "diverged":
                return EXITS.get(why.cause, EXIT_START)
            start_anew(config, why.message)


def _serve(config: Config, stop: Stop) -> MustStop | None:
    sealer = sealer_of(config)
    with contextlib.ExitStack() as stack:
        curve = node_curve(config)
        data = open_data_dir(config, stop.reading, curve, lambda why: _waiting(config, why))
        if data is None:
            return None  # stopped before any member of the cluster answered
        try:
            _wait_for_free_ports(config)
        except OSError:
            data.close()
            raise
        rpc_local = stack.enter_context(local_rpc(data.path))
        settings = node_settings(config, data.identity, rpc_local)
        node = Node(settings, data, must_stop=stop.must_stop, curve=curve, sealer=sealer)
        stack.callback(node.stop)
        node.start()
        counts = CountsFile(config.http.workers)
        stack.callback(counts.close)
        registry = registry_of(node.statistics, counts.totals, config.tls.cert_file)
        probes = _probes(config, registry, live=node.why_not_live, ready=node.why_not_ready)
        stack.enter_context(probes)
        with contextlib.ExitStack() as face:
            if config.http.enabled:
                face.enter_context(
                    http_processes(config, rpc_local, counts.descriptor, stop.must_stop)
                )
            _announce(config, data.identity)
            stop.wait()
            why = None if stop.was_signalled else stop.why
            log.info("stopping", name=config.name)
            node.drain()
        node.turn_away()
        return why


@contextlib.contextmanager
def _stop_signals() -> Iterator[Stop]:
    """Give a descriptor that can be read once SIGTERM or SIGINT has come, or an actor says so.

    The kernel hands a signal to any thread. Were the main one waiting for a lock, Python would
    note the signal and let it wait on; the write to this pipe wakes it whoever got the signal.
    """
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    stop = Stop(reading, writing)

    def note(_number: int, _frame: FrameType | None) -> None:
        stop.was_signalled = True

    before = signal.set_wakeup_fd(writing)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)


def _announce(config: Config, identity: Identity) -> None:
    listen = config.listen
    for door in open_doors(config):
        log.warning(door, name=config.name)
    log.info(
        "serving",
        name=config.name,
        cluster=identity.cluster_id,
        node=identity.node_id,
        http=listen.http if config.http.enabled else None,
        bootstrap=config.bootstrap.bind_addr if config.bootstrap.enabled else None,
        rpc=listen.rpc,
        watch=listen.watch,
        metrics=listen.metrics,
        peers=listen.peers,
    )


@contextlib.contextmanager
def _waiting(config: Config, why: str) -> Iterator[None]:
    """Say to the probes that this process works, and waits.

    Were it silent, it would be restarted again and again by whoever watches it.
    """
    _wait_for_free_ports(config)
    registry = registry_of_process(config.tls.cert_file)
    with _probes(config, registry, live=lambda: None, ready=lambda: why):
        yield


@contextlib.contextmanager
def _probes(
    config: Config, registry: CollectorRegistry, live: Probe, ready: Probe
) -> Iterator[None]:
    host, port = _split(config.listen.metrics)
    app = create_probe_app(registry, live, ready)
    tls = TlsFiles(config.tls.cert_file, config.tls.key_file) if config.tls.cert_file else None
    server = ProbeServer(host, port, app, tls)
    server.start()
    try:
        yield
    finally:
        server.stop()


def _wait_for_free_ports(config: Config) -> None:
    """Make sure that nobody holds our ports. Raises: OSError naming the one that is taken."""
    deadline = time.monotonic() + PORT_PATIENCE_S
    places = [(f"listen.{name}", getattr(config.listen, name)) for name in LISTENERS]
    if config.bootstrap.enabled:
        places.append(("bootstrap.bind_addr", config.bootstrap.bind_addr))
    for key, address in places:
        while (taken := _why_taken(address)) is not None:
            if time.monotonic() > deadline:
                raise OSError(f"{key}: cannot listen on {address}: {taken}")
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
