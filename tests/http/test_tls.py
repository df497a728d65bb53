"""TLS in front of the app and of the probes: real sockets, certificates made here."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import urllib3
from cryptography import x509
from cryptography.x509.oid import NameOID
from prometheus_client import CollectorRegistry

from felix.http.probes import ProbeServer, create_probe_app
from felix.http.tls import BadCertificate, TlsFiles, load_context
from tests.support.certificates import Pair, make_pair, replace_pair
from tests.support.gunicorn_process import SETTINGS, Gunicorn, running
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make_pair(tmp_path, "first")


@contextlib.contextmanager
def serving(pair: Pair, **changes: object) -> Iterator[Gunicorn]:
    settings = msgspec.structs.replace(SETTINGS, **pair._asdict(), **changes)
    with running(settings) as gunicorn:
        yield gunicorn


@pytest.fixture
def server(pair: Pair) -> Iterator[Gunicorn]:
    with serving(pair) as gunicorn:
        yield gunicorn


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """One for all that leave it as it was."""
    with serving(make_pair(tmp_path_factory.mktemp("lasting"), "lasting")) as gunicorn:
        yield gunicorn


@pytest.fixture
def probes(pair: Pair) -> Iterator[ProbeServer]:
    app = create_probe_app(CollectorRegistry(), lambda: None, lambda: None)
    probes = ProbeServer("127.0.0.1", 0, app, TlsFiles(*pair))
    probes.start()
    yield probes
    probes.stop()


def any_client(*, oldest: bool = False) -> ssl.SSLContext:
    """A client that takes any certificate; `oldest`: one that speaks nothing newer than 1.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    if oldest:
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore"):  # nobody should speak these any more
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def secured(port: int, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    return (context or any_client()).wrap_socket(connection)


def name_served(port: int) -> str:
    with secured(port) as connection:
        der = connection.getpeercert(binary_form=True)
    assert der is not None
    subject = x509.load_der_x509_certificate(der).subject
    return str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    while piece := connection.recv(65536):
        answer += piece
    return answer


def test_s16_the_api_is_served_with_a_certificate_that_clients_can_check(
    lasting: Gunicorn,
) -> None:
    pool = urllib3.PoolManager(retries=False, ca_certs=lasting.cert_file)
    url = f"https://127.0.0.1:{lasting.port}/v1/tenants"
    body = json.dumps({"tenant_id": "acme", "display_name": "Acme"}).encode()
    for status in (201, 409):  # on one connection
        answer = pool.request("POST", url, body=body, headers={"Content-Type": "application/json"})
        assert answer.status == status
    assert pool.connection_from_url(url).num_connections == 1
    pool.clear()


def test_tls_is_1_2_or_newer_and_speaks_http_1_1_only(lasting: Gunicorn) -> None:
    with secured(lasting.port) as connection:
        assert connection.version() in {"TLSv1.2", "TLSv1.3"}
        assert connection.selected_alpn_protocol() == "http/1.1"
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        secured(lasting.port, any_client(oldest=True))


def test_a_connection_ends_as_tls_demands(lasting: Gunicorn) -> None:
    plain = socket.create_connection(("127.0.0.1", lasting.port), timeout=10)
    with any_client().wrap_socket(plain, suppress_ragged_eofs=False) as connection:
        connection.sendall(b"GET /v1/regions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 200")


def test_a_certificate_is_replaced_while_a_client_keeps_connecting(
    server: Gunicorn, pair: Pair
) -> None:
    names: list[str] = []
    problems: list[Exception] = []
    ended = threading.Event()

    def keep_connecting() -> None:
        while not ended.is_set():
            try:
                names.append(name_served(server.port))
            except OSError as error:
                problems.append(error)

    client = threading.Thread(target=keep_connecting)
    client.start()
    eventually(lambda: "first" in names)
    replace_pair(pair, "second")
    eventually(lambda: names[-1] == "second")
    ended.set()
    client.join()
    assert problems == []
    assert names == sorted(names), "once the new one is served, the old one never is again"


def test_a_pair_that_is_broken_leaves_the_one_before_and_says_so_once(
    server: Gunicorn, pair: Pair
) -> None:
    good = Path(pair.cert_file).read_bytes()
    Path(pair.cert_file).write_text("no certificate")
    assert [name_served(server.port) for _ in range(3)] == ["first"] * 3
    os.unlink(pair.key_file)
    assert name_served(server.port) == "first"
    Path(pair.cert_file).write_bytes(good)
    replace_pair(pair, "second")
    assert name_served(server.port) == "second"
    said = server.end()
    assert 1 <= said.count("tls_files_not_taken") <= 3
    assert "Traceback" not in said


def test_the_bootstrap_door_serves_the_same_certificate_and_the_new_one_when_it_is_replaced(
    pair: Pair,
) -> None:
    door = {"bootstrap_bind": "127.0.0.1:0", "bootstrap_tokens": ("t" * 16,)}
    with serving(pair, **door) as server:
        ports = (server.port, server.bootstrap_port)
        assert [name_served(port) for port in ports] == ["first"] * 2
        replace_pair(pair, "second")
        assert [name_served(port) for port in ports] == ["second"] * 2
        pool = urllib3.PoolManager(retries=False, ca_certs=pair.cert_file)
        url = f"https://127.0.0.1:{server.bootstrap_port}"
        path = "/internal/bootstrap/tenants/acme/initialize"
        assert pool.request("POST", url + path).status == 401
        pool.clear()


def test_probes_keep_a_good_certificate_when_the_new_one_is_broken(
    probes: ProbeServer, pair: Pair
) -> None:
    assert name_served(probes.port) == "first"
    Path(pair.cert_file).write_text("no certificate")
    assert [name_served(probes.port) for _ in range(3)] == ["first"] * 3
    replace_pair(pair, "second")
    assert name_served(probes.port) == "second"


JUNK = {
    "plain": b"GET /v1/regions HTTP/1.1\r\nHost: x\r\n\r\n",
    "zeros": b"\x00" * 100,
    "noise": os.urandom(3000),
    "half a hello": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1",
    "nothing": b"",
}


def test_what_is_no_tls_is_dropped_without_a_traceback(server: Gunicorn) -> None:
    for name, junk in JUNK.items():
        for _ in range(SETTINGS.threads * 2):
            with server.connect() as connection, contextlib.suppress(OSError):
                connection.sendall(junk)
                connection.shutdown(socket.SHUT_WR)
                assert b"HTTP/1.1 200" not in read_all(connection), name
        assert server.answers(), name
    said = server.end()
    assert "Traceback" not in said
    assert "exception" not in said


def test_silent_clients_hold_no_thread_for_long_before_or_after_the_handshake(
    server: Gunicorn,
) -> None:
    started_s = time.monotonic()
    silent = [server.connect() for _ in range(SETTINGS.threads * 2)]
    for connection in silent:
        connection.sendall(b"\x16\x03\x01")
    shaken = [secured(server.port) for _ in range(SETTINGS.threads * 2)]
    assert server.answers()
    assert time.monotonic() - started_s < 15
    for connection in (*silent, *shaken):
        connection.close()
    assert "Traceback" not in server.end()


def test_probes_are_served_with_the_same_certificate(probes: ProbeServer, pair: Pair) -> None:
    with urllib3.PoolManager(retries=False, ca_certs=pair.cert_file) as pool:
        for path in ("live", "ready", "metrics"):
            assert pool.request("GET", f"https://127.0.0.1:{probes.port}/{path}").status == 200
    replace_pair(pair, "second")
    assert name_served(probes.port) == "second"


def test_probes_drop_what_is_no_tls_and_go_on(probes: ProbeServer) -> None:
    for junk in (b"GET /live HTTP/1.1\r\n\r\n", os.urandom(1000), b""):
        connection = socket.create_connection(("127.0.0.1", probes.port), timeout=10)
        with connection, contextlib.suppress(OSError):  # it may have been closed already
            connection.sendall(junk)
            connection.shutdown(socket.SHUT_WR)
            assert b"ok" not in read_all(connection)
    assert name_served(probes.port) == "first"


def test_files_that_are_no_pair_are_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    pair, other = make_pair(tmp_path), make_pair(tmp_path / "other")
    with pytest.raises(BadCertificate, match="MISMATCH"):
        load_context(pair.cert_file, other.key_file)
    with pytest.raises(BadCertificate, match="No such file"):
        load_context(pair.cert_file, str(tmp_path / "absent"))
    with pytest.raises(BadCertificate, match="absent"):
        TlsFiles(str(tmp_path / "absent"), pair.key_file).context()
