"""The app behind the real gunicorn, over real sockets."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import urllib3

from felix.http.gunicorn_command import APP, APP_LOAD_ERROR
from felix.http.settings import HttpSettings
from felix.identity.settings import IdentitySettings
from tests.support.gunicorn_process import ROOT, SETTINGS, Gunicorn, running
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

NICENESS = 10


@pytest.fixture(scope="module")
def server() -> Iterator[Gunicorn]:
    with running() as gunicorn:
        yield gunicorn


def test_every_worker_makes_its_app_after_the_fork_and_inherits_none() -> None:
    """Threads and sockets do not survive a fork, and a lock may be held for ever."""
    with running() as server:
        (first,) = server.workers()
        os.kill(first, signal.SIGKILL)
        eventually(lambda: server.workers() not in ([first], []))
        eventually(server.answers)
        (second,) = server.workers()
        made = [line for line in server.end().splitlines() if line.startswith("the app was made")]
    assert made == [f"the app was made by {pid}" for pid in (first, second)]


def test_a_worker_whose_kek_cannot_be_read_says_so_in_one_line_and_is_not_tried_again(
    tmp_path: Path,
) -> None:
    absent = str(tmp_path / "absent")
    identity = IdentitySettings(kek_file=absent)
    settings = msgspec.structs.replace(
        SETTINGS, identity=identity, rpc_endpoint="ipc:///nonexistent/rpc.sock"
    )
    gunicorn = Gunicorn(settings, APP, "/nonexistent")
    try:
        assert gunicorn.process.wait(timeout=30) == APP_LOAD_ERROR
        said = gunicorn.end()
    finally:
        gunicorn.close_lifeline()
        assert gunicorn.process.stderr is not None
        gunicorn.process.stderr.close()
    assert said.count(f"felix-controlplane: keys.kek_file: {absent}: No such file") == 1
    assert "felix-controlplane keygen kek" in said
    assert "Traceback" not in said


def exchange(server: Gunicorn, request: bytes) -> tuple[int, bytes]:
    """Send bytes, then read until the server closes; give the status and all that came."""
    with server.connect() as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)  # it may be refused before everything is sent
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return int(answer.split()[1]), answer


def post(headers: str, body: bytes = b"") -> bytes:
    head = f"POST /v1/tenants HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"
    return head.encode() + body


def chunks(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


JSON = "Content-Type: application/json\r\n"
CHUNKED = JSON + "Transfer-Encoding: chunked\r\n"


def test_a_request_over_a_real_socket_is_answered(server: Gunicorn) -> None:
    body = json.dumps({"tenant_id": "plain", "display_name": "Ünï"}).encode()
    status, answer = exchange(server, post(JSON + f"Content-Length: {len(body)}\r\n", body))
    assert status == 201
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["display_name"] == "Ünï"


def test_a_chunked_body_is_read(server: Gunicorn) -> None:
    body = chunks(b'{"tenant_id":"chunked",', b'"display_name":""}')
    assert exchange(server, post(CHUNKED, body))[0] == 201


def test_a_chunked_body_has_a_limit_too(server: Gunicorn) -> None:
    status, answer = exchange(server, post(CHUNKED, chunks(*[b"x" * 65536] * 33)))
    assert status == 413
    assert b'"too_large"' in answer


def test_ten_megabytes_are_refused_by_their_length_alone(server: Gunicorn) -> None:
    length = f"Content-Length: {10 << 20}\r\n"
    with server.connect() as connection:
        connection.sendall(post(JSON + length))
        assert connection.recv(65536).split()[1] == b"413"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (CHUNKED, b"zz\r\nx\r\n0\r\n\r\n"),
        (CHUNKED, b"5\r\nabc"),
        (JSON + "Content-Length: ten\r\n", b"{}"),
        (JSON + "Content-Length: -1\r\n", b"{}"),
        (JSON, b""),
        ("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n" + JSON, b"{}"),
    ],
)
def test_a_body_that_is_framed_wrongly_is_a_4xx(
    server: Gunicorn, headers: str, body: bytes
) -> None:
    with server.connect() as connection:
        connection.sendall(post(headers, body))
        connection.shutdown(socket.SHUT_WR)
        status = int(connection.recv(65536).split()[1])
    assert 400 <= status < 500


def test_a_client_that_stops_in_the_middle_of_its_body_is_cut_off(server: Gunicorn) -> None:
    status, answer = exchange(server, post(JSON + "Content-Length: 100\r\n", b'{"tenant_id":'))
    assert status == 408
    assert b'"request_timeout"' in answer


def test_clients_that_stop_in_the_middle_of_a_header_hold_no_thread_for_long(
    server: Gunicorn,
) -> None:
    started_s = time.monotonic()
    slow = [server.connect() for _ in range(SETTINGS.threads * 2)]
    for connection in slow:
        connection.sendall(b"GET /v1/tenants HTTP/1.1\r\nHost:")
    assert server.answers()
    for connection in slow:
        assert connection.recv(1024) == b""
    assert server.answers(), "while all of them still hold their end open"
    assert time.monotonic() - started_s < 8
    for connection in slow:
        connection.close()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /v1/tenants/" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/tenants HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET /v1/tenants HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 100 + b"\r\n",
        b"GET /v1/tenants/%ff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /v1/tenants/%00%0d%0a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /v1/tenants/a%2Fb HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\nSCRIPT_NAME: /x\r\nConnection: close\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\r\n\r\n",
    ],
)
def test_odd_requests_are_a_4xx(server: Gunicorn, request_bytes: bytes) -> None:
    assert 400 <= exchange(server, request_bytes)[0] < 500


def test_nobody_moves_the_app_with_a_header(server: Gunicorn) -> None:
    head = b"GET /v1/regions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nSCRIPT_NAME: /v1\r\n\r\n"
    assert exchange(server, head)[0] == 200


def test_two_requests_share_a_connection_after_a_refusal(server: Gunicorn) -> None:
    pool = urllib3.HTTPConnectionPool("127.0.0.1", server.port, maxsize=1, retries=False)
    for _ in range(3):
        response = pool.request("POST", "/v1/tenants", body=b"{", headers={"Content-Type": "a/b"})
        assert response.status == 415
    assert pool.num_connections == 1
    pool.close()


def test_answers_on_a_kept_connection_do_not_wait_for_acknowledgements(server: Gunicorn) -> None:
    with urllib3.HTTPConnectionPool("127.0.0.1", server.port, maxsize=1, retries=False) as pool:
        started_s = time.monotonic()
        for _ in range(100):
            assert pool.request("GET", "/v1/cluster").status == 200
        assert time.monotonic() - started_s < 2


REGIONS = b"GET /v1/regions HTTP/1.1\r\nHost: x\r\n\r\n"


def ask_again(connection: socket.socket) -> bytes:
    """Ask on a kept connection; give the answer, or nothing once it is closed."""
    try:
        connection.sendall(REGIONS)
        answer = connection.recv(65536)
        while answer and not answer.endswith((b"]", b"}")):
            piece = connection.recv(65536)
            if not piece:
                return b""
            answer += piece
    except (BrokenPipeError, ConnectionResetError):
        return b""
    return answer


def switches(pid: int) -> int:
    """How often the main thread of a process has waited for something."""
    status = Path(f"/proc/{pid}/task/{pid}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def test_a_client_that_asks_again_at_once_does_not_wake_the_main_thread(server: Gunicorn) -> None:
    (worker,) = server.workers()
    with server.connect() as connection:
        ask_again(connection)
        before = switches(worker)
        for _ in range(500):
            assert ask_again(connection).startswith(b"HTTP/1.1 200")
        assert switches(worker) - before < 100  # by way of the poller it is about one for each


def test_clients_that_ask_again_and_again_leave_threads_to_others(server: Gunicorn) -> None:
    over = threading.Event()
    answered = [0] * (2 * SETTINGS.threads)

    def keep_asking(number: int) -> None:
        with server.connect() as connection:
            while not over.is_set():
                assert ask_again(connection).startswith(b"HTTP/1.1 200")
                answered[number] += 1

    clients = [threading.Thread(target=keep_asking, args=(n,)) for n in range(len(answered))]
    for client in clients:
        client.start()
    try:
        eventually(lambda: min(answered) >= 50)
        assert server.answers()
    finally:
        over.set()
        for client in clients:
            client.join()


def test_a_worker_that_stops_says_so_to_a_client_that_keeps_asking() -> None:
    with running() as gunicorn, gunicorn.connect() as connection:
        assert b"Connection: keep-alive" in ask_again(connection)
        gunicorn.process.terminate()
        answer, last = ask_again(connection), b""
        while answer:
            answer, last = ask_again(connection), answer
        assert b"Connection: close" in last
        assert gunicorn.process.wait(timeout=10) == 0


def test_the_node_process_goes_before_its_workers(server: Gunicorn) -> None:
    (worker,) = server.workers()
    assert os.getpriority(os.PRIO_PROCESS, worker) == NICENESS
    session = Path(f"/proc/{worker}/autogroup")
    if session.exists():
        assert session.read_text().endswith(f" nice {NICENESS}\n")


def test_gunicorn_stops_on_sigterm_in_order_and_leaves_no_files(tmp_path: Path) -> None:
    with running(home=str(tmp_path)) as gunicorn:
        gunicorn.process.terminate()
        assert gunicorn.process.wait(timeout=10) == 0
        assert gunicorn.process.stderr is not None
        assert b"the app was closed" in gunicorn.process.stderr.read()
    assert list(tmp_path.iterdir()) == []


def test_gunicorn_stops_at_once_when_the_lifeline_ends() -> None:
    with running() as gunicorn:
        workers = gunicorn.workers()
        assert workers
        gunicorn.close_lifeline()
        assert gunicorn.process.wait(timeout=10) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


_NODE = """
import os, subprocess, sys
from felix.http.gunicorn_command import gunicorn_command, gunicorn_environment, put_settings
from felix.http.settings import HttpSettings

settings = HttpSettings(workers=1, bind="127.0.0.1:0")
reading, writing = os.pipe()
settings_fd = put_settings(settings)
gunicorn = subprocess.Popen(
    gunicorn_command(settings, "tests.http.wsgi_entry:get_app()"),
    env=gunicorn_environment(settings_fd, reading),
    pass_fds=[settings_fd, reading],
    start_new_session=True,
)
print(gunicorn.pid, flush=True)
gunicorn.wait()
"""


def test_gunicorn_does_not_outlive_a_node_process_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _NODE], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as node:
        assert node.stdout is not None
        pid = int(node.stdout.readline())
        children = Path(f"/proc/{pid}/task/{pid}/children")
        eventually(lambda: bool(children.read_text()), timeout_s=30)
        workers = children.read_text().split()
        node.send_signal(signal.SIGKILL)
        node.wait(timeout=10)
        for gone in (str(pid), *workers):
            eventually(lambda gone=gone: is_gone(gone), timeout_s=15)  # type: ignore[misc]  # mypy cannot infer a lambda with a default


def is_gone(pid: str) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_worker_whose_node_does_not_answer_says_so_and_stops_cleanly(tmp_path: Path) -> None:
    settings = HttpSettings(
        is_open=True,
        workers=1,
        threads=4,
        timeout_s=0.3,
        graceful_timeout_s=10,
        rpc_endpoint=f"ipc://{tmp_path}/rpc",
    )
    with running(settings, APP) as gunicorn:
        for path in ("/v1/tenants", "/v1/system/health", "/v1/cluster"):
            status, answer = exchange(
                gunicorn, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
            )
            assert status == 503
            assert b"\r\nretry-after: " in answer.lower()
        gunicorn.process.terminate()
        assert gunicorn.process.wait(timeout=5) == 0
