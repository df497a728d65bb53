"""Two addresses, the bounds of a request, and how settings reach the workers: a real gunicorn."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from felix.http.settings import HttpSettings
from tests.support.gunicorn_process import SETTINGS, Gunicorn, running
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

TOKEN = "a-token-that-nobody-may-see"
BOOTSTRAP_PATH = "/internal/bootstrap/tenants/acme/initialize"
SLOW = msgspec.structs.replace(SETTINGS, socket_timeout_s=5.0, request_s_max=1.0)


@pytest.fixture(scope="module")
def server() -> Iterator[Gunicorn]:
    settings = msgspec.structs.replace(
        SETTINGS, bootstrap_bind="127.0.0.1:0", bootstrap_tokens=(TOKEN,)
    )
    with running(settings) as gunicorn:
        yield gunicorn


def status_of(port: int, method: str, path: str, host: str = "x") -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        connection.sendall(f"{head}Content-Length: 0\r\n\r\n".encode())
        return int(connection.recv(65536).split()[1])


def test_each_address_serves_its_own_routes_only(server: Gunicorn) -> None:
    assert status_of(server.port, "GET", "/v1/regions") == 200
    assert status_of(server.bootstrap_port, "GET", "/v1/regions") == 404
    assert status_of(server.bootstrap_port, "GET", "/docs") == 404
    assert status_of(server.port, "POST", BOOTSTRAP_PATH) == 404


@pytest.mark.parametrize("host", ["bootstrap", "bootstrap:1", "127.0.0.1:{port}"])
def test_no_header_leads_to_the_other_door(server: Gunicorn, host: str) -> None:
    said = host.format(port=server.bootstrap_port)
    assert status_of(server.port, "POST", BOOTSTRAP_PATH, said) == 404
    assert status_of(server.port, "GET", "/v1/regions", said) == 200
    assert status_of(server.bootstrap_port, "GET", "/v1/regions", f"127.0.0.1:{server.port}") == 404


def test_secrets_stand_neither_in_the_environment_nor_on_the_command_line(
    server: Gunicorn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FELIX_BOOTSTRAP_TOKEN", TOKEN)
    with running() as other:
        for pid in (server.process.pid, other.process.pid, *server.workers(), *other.workers()):
            for name in ("environ", "cmdline"):
                assert TOKEN.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()


def test_a_worker_that_is_started_anew_reads_the_settings_again(server: Gunicorn) -> None:
    (worker,) = server.workers()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: server.workers() not in ([], [worker]), timeout_s=30)
    eventually(server.answers, timeout_s=30)
    assert status_of(server.bootstrap_port, "GET", "/v1/regions") == 404


@pytest.fixture(scope="module")
def impatient() -> Iterator[Gunicorn]:
    with running(SLOW) as gunicorn:
        yield gunicorn


def trickle(connection: socket.socket, start: bytes) -> bytes:
    """Send the start, then a byte each time that nothing has come; give what comes in the end."""
    connection.sendall(start)
    connection.settimeout(0.2)
    deadline_s = time.monotonic() + 2 * SLOW.socket_timeout_s
    while time.monotonic() < deadline_s:
        try:
            return connection.recv(65536)
        except TimeoutError:
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"x")
    raise AssertionError("nobody has cut this client off")


@pytest.mark.parametrize(
    ("start", "answer"),
    [
        (b"GET /v1/regions HTTP/1.1\r\nHost: ", b""),
        (
            b"POST /v1/tenants HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000\r\n\r\n{",
            b"HTTP/1.1 408",
        ),
    ],
    ids=["head", "body"],
)
def test_a_client_that_trickles_is_cut_off(
    impatient: Gunicorn, start: bytes, answer: bytes
) -> None:
    started_s = time.monotonic()
    with impatient.connect() as connection:
        assert trickle(connection, start)[: len(answer) or 1] == answer
    assert time.monotonic() - started_s < SLOW.socket_timeout_s, "each byte came in time"


def test_a_client_that_does_not_read_is_cut_off_without_a_traceback() -> None:
    with running(msgspec.structs.replace(SETTINGS, threads=1)) as gunicorn:
        with gunicorn.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            with contextlib.suppress(OSError):
                connection.settimeout(1)
                for _ in range(20_000):
                    connection.sendall(b"GET /docs/ HTTP/1.1\r\nHost: x\r\n\r\n")
            eventually(gunicorn.answers)
        assert "Traceback" not in gunicorn.end()


def test_settings_do_not_show_their_secrets() -> None:
    settings = HttpSettings(bootstrap_tokens=(TOKEN,))
    assert TOKEN not in f"{settings} {settings!r}"
    assert "<hidden>" in repr(settings)
