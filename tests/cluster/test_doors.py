"""A node process whose HTTP doors are closed: TLS, bootstrap, and what it says when it cannot."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import urllib3

from felix.cli.config import BootstrapConfig, KeysConfig, TlsConfig
from felix.cli.options import EXIT_CONFIG, EXIT_START
from tests.support.certificates import make_pair
from tests.support.cluster import HOST, KEK, RunningNode, children_of, free_ports, make_configs
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

TOKEN = "correct-horse-battery"


class SecuredNode(RunningNode):
    """A single node with TLS and bootstrap."""

    def __init__(self, folder: Path) -> None:
        (config,) = make_configs(folder, 1)
        (port,) = free_ports(1)
        pair = make_pair(folder)
        self.kek_file = folder / "kek"
        self.kek_file.write_text(KEK)
        self.bootstrap = f"{HOST}:{port}"
        super().__init__(
            msgspec.structs.replace(
                config,
                tls=TlsConfig(**pair._asdict()),
                keys=KeysConfig(kek_file=str(self.kek_file)),
                bootstrap=BootstrapConfig(enabled=True, bind_addr=self.bootstrap, token=TOKEN),
            ),
            folder / config.name,
        )
        self.pool = urllib3.PoolManager(retries=False, ca_certs=pair.cert_file, timeout=10)

    def asked(self, address: str, path: str) -> int | None:
        """Ask over TLS; None where nobody answers."""
        try:
            return self.pool.request("GET", f"https://{address}{path}").status
        except urllib3.exceptions.HTTPError:
            return None

    def wait_served(self) -> None:
        """Wait until the probe and the HTTP processes say that all is well."""
        listen = self.config.listen
        eventually(lambda: self.asked(listen.metrics, "/ready") == 200, 60)
        eventually(lambda: self.asked(listen.http, "/v1/system/health") == 200, 60)


@pytest.fixture
def node() -> Iterator[SecuredNode]:
    folder = Path(tempfile.mkdtemp(prefix="felix-test-"))
    node = SecuredNode(folder)
    yield node
    node.kill()
    eventually(lambda: node.asked(node.config.listen.http, "/") is None, 30)
    node.pool.clear()
    shutil.rmtree(folder)


def test_a_node_serves_all_its_http_doors_with_tls(node: SecuredNode) -> None:
    node.start()
    node.wait_served()
    for path in ("/live", "/ready", "/metrics"):
        assert node.asked(node.config.listen.metrics, path) == 200
    assert node.asked(node.bootstrap, "/v1/system/health") == 404
    with socket.create_connection(("127.0.0.1", int(node.bootstrap.rpartition(":")[2]))) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert b"HTTP" not in plain.recv(100)
    said = node.log.read_text()
    assert f"bootstrap {node.bootstrap}" in said
    assert "every caller is trusted" in said
    assert TOKEN not in said


def test_http_processes_that_died_are_started_with_the_same_settings(node: SecuredNode) -> None:
    node.start()
    node.wait_served()
    (gunicorn,) = children_of(node.pid)
    for pid in (gunicorn, *children_of(gunicorn)):
        assert TOKEN.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    os.kill(gunicorn, signal.SIGKILL)
    eventually(lambda: children_of(node.pid) not in ([gunicorn], []), 30)
    node.wait_served()
    eventually(lambda: node.asked(node.bootstrap, "/") == 404, 30)
    node.terminate()
    assert node.wait() == 0


def test_a_bootstrap_port_that_is_taken_keeps_the_node_from_starting(node: SecuredNode) -> None:
    host, _, port = node.bootstrap.rpartition(":")
    with socket.create_server((host, int(port))):
        node.start()
        assert node.wait() == EXIT_START
    assert "bootstrap.bind_addr: cannot listen" in node.tail_of_log()


def test_a_kek_that_went_bad_ends_the_node_when_a_worker_needs_it_with_the_setting_named(
    node: SecuredNode,
) -> None:
    node.start()
    node.wait_served()
    node.kek_file.write_text("no key")
    (gunicorn,) = children_of(node.pid)
    for worker in children_of(gunicorn):
        os.kill(worker, signal.SIGKILL)
    assert node.wait() == EXIT_CONFIG
    said = node.log.read_text()
    assert f"keys.kek_file: {node.kek_file}: not base64" in said
    assert "felix-controlplane keygen kek" in said
    assert "cannot use the configuration" in said
    assert "Traceback" not in said


def test_a_kek_that_went_bad_after_the_configuration_was_checked_is_named_in_one_line(
    node: SecuredNode,
) -> None:
    node.kek_file.write_text(" " * 2000 + KEK)  # good for the check, and not for what reads it next
    node.start()
    assert node.wait() == EXIT_CONFIG
    last = node.log.read_text().splitlines()[-1]
    assert last.startswith(f"felix-controlplane: keys.kek_file: {node.kek_file}: ")
    assert "felix-controlplane keygen kek" in last
    assert "Traceback" not in node.log.read_text()


def test_a_certificate_that_is_none_keeps_the_node_from_starting(node: SecuredNode) -> None:
    Path(node.config.tls.key_file).write_text("no key")
    node.start()
    assert node.wait() == EXIT_CONFIG
    assert "tls: " in node.tail_of_log()
