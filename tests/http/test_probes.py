"""The metrics listener of the node process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
import urllib3
from falcon.testing import TestClient
from prometheus_client import CollectorRegistry, Counter

from felix.http.probes import CONNECTIONS_MAX, ProbeServer, create_probe_app


class Health:
    """What the probes are told."""

    def __init__(self) -> None:
        self.live: str | None = None
        self.ready: str | None = None


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def server(health: Health) -> Iterator[ProbeServer]:
    registry = CollectorRegistry()
    Counter("felix_things", "Things", registry=registry).inc()
    app = create_probe_app(registry, lambda: health.live, lambda: health.ready)
    server = ProbeServer("127.0.0.1", 0, app)
    server.start()
    yield server
    server.stop()


def get(server: ProbeServer, path: str) -> tuple[int, str]:
    with urllib3.HTTPConnectionPool("127.0.0.1", server.port, retries=False) as pool:
        response = pool.request("GET", path, timeout=5)
        return response.status, response.data.decode()


def test_probes_say_ok_or_why_not(health: Health) -> None:
    app = create_probe_app(CollectorRegistry(), lambda: health.live, lambda: health.ready)
    client = TestClient(app)
    for path in ("/live", "/ready"):
        answer = client.simulate_get(path)
        assert (answer.status_code, answer.text) == (200, "ok")
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert client.simulate_head(path).status_code == 200
    health.ready = "no leader"
    not_ready = client.simulate_get("/ready")
    assert (not_ready.status_code, not_ready.text) == (503, "no leader")
    assert client.simulate_get("/live").status_code == 200
    assert client.simulate_get("/healthz").status_code == 404


@pytest.mark.slow
def test_the_listener_serves_metrics_and_probes(server: ProbeServer, health: Health) -> None:
    status, metrics = get(server, "/metrics")
    assert status == 200
    assert "felix_things_total 1.0" in metrics
    health.live = "the loop stands still"
    assert get(server, "/live") == (503, "the loop stands still")
    assert get(server, "/nothing")[0] == 404


@pytest.mark.slow
def test_silent_connections_take_all_slots_and_no_more(server: ProbeServer) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(CONNECTIONS_MAX)]
    one_more = socket.create_connection(("127.0.0.1", server.port))
    one_more.settimeout(10)
    assert one_more.recv(1) == b""
    for connection in (*silent, one_more):
        connection.close()


@pytest.mark.slow
def test_a_stopped_listener_leaves_its_port_and_thread(health: Health) -> None:
    app = create_probe_app(CollectorRegistry(), lambda: None, lambda: None)
    first = ProbeServer("127.0.0.1", 0, app)
    first.start()
    port = first.port
    first.stop()
    first.stop()
    assert not any(thread.name == "probes" for thread in threading.enumerate())
    second = ProbeServer("127.0.0.1", port, app)
    second.start()
    third = ProbeServer("127.0.0.1", port, app)
    with pytest.raises(OSError, match="in use"):
        third.start()
    second.stop()
