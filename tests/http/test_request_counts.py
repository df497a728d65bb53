"""Requests are counted by route, method and status, and no worker's end makes a sum fall."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import msgspec
import pytest
import urllib3
from falcon.testing import TestClient

from felix.http import request_counts
from felix.http.app import create_app
from felix.http.bootstrap import create_bootstrap_app
from felix.http.request_counts import BOUNDS_S, OTHER, STATUSES, CountsFile, RequestCounter
from felix.http.settings import HttpSettings
from tests.http.helpers import TENANT, TENANTS, Kept
from tests.support.gunicorn_process import SETTINGS, Gunicorn, running
from tests.support.local_control_plane import LocalControlPlane
from tests.support.waiting import eventually

OPEN = HttpSettings(is_open=True)


@pytest.fixture
def file() -> Iterator[CountsFile]:
    file = CountsFile(workers=2)
    yield file
    file.close()


@pytest.fixture
def client(file: CountsFile) -> TestClient:
    counter = RequestCounter(file.descriptor)
    return TestClient(create_app(LocalControlPlane(), OPEN, refusals=Kept(), counter=counter))


def statuses(file: CountsFile, route: str, method: str) -> dict[str, int]:
    door = file.totals().doors.get((route, method))
    if door is None:
        return {}
    return {name: n for name, n in zip(STATUSES, door.statuses, strict=True) if n}


def test_a_request_counts_under_its_route_and_not_under_its_path(
    file: CountsFile, client: TestClient
) -> None:
    client.simulate_post(TENANTS, json=TENANT)
    for name in ("acme", "acme", "nobody"):
        client.simulate_get(f"{TENANTS}/{name}")
    assert statuses(file, "/v1/tenants", "POST") == {"2xx": 1}
    assert statuses(file, "/v1/tenants/{tenant_id}", "GET") == {"2xx": 2, "4xx": 1}
    assert file.totals().codes["not_found"] == 1


def test_head_counts_as_get(file: CountsFile, client: TestClient) -> None:
    client.simulate_head("/v1/regions")
    assert statuses(file, "/v1/regions", "GET") == {"2xx": 1}


def test_what_is_no_door_counts_as_other_whatever_it_is_called(
    file: CountsFile, client: TestClient
) -> None:
    for number in range(20):
        client.simulate_get(f"/nothing/{number}")
    client.simulate_request("PUT", "/v1/regions")
    client.simulate_delete("/v1/regions")
    client.simulate_get("/v1/tenants/a%2Fb")
    assert list(file.totals().doors) == [(OTHER, OTHER)]
    assert statuses(file, OTHER, OTHER) == {"4xx": 23}


def test_a_refusal_before_routing_counts_too(file: CountsFile) -> None:
    settings = HttpSettings(is_open=True, client_requests_per_s=1)
    counter = RequestCounter(file.descriptor)
    app = create_app(LocalControlPlane(), settings, refusals=Kept(), counter=counter)
    for _ in range(5):
        TestClient(app).simulate_get("/v1/regions")
    assert file.totals().codes["overloaded"] == 3
    assert statuses(file, OTHER, OTHER) == {"4xx": 3}


def test_the_bootstrap_listener_counts_as_well(file: CountsFile) -> None:
    counter = RequestCounter(file.descriptor)
    app = create_bootstrap_app(LocalControlPlane(), OPEN, Kept(), counter=counter)
    TestClient(app).simulate_post("/internal/bootstrap/tenants/acme/initialize", json={})
    route = "/internal/bootstrap/tenants/{tenant_id}/initialize"
    assert statuses(file, route, "POST") == {"4xx": 1}


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0), (BOUNDS_S[0], 0), (0.3, 7), (99.0, len(BOUNDS_S))]
)
def test_durations_go_into_the_bucket_of_the_next_bound(
    file: CountsFile, seconds: float, bucket: int
) -> None:
    RequestCounter(file.descriptor).add("/v1/regions", "GET", 200, "", seconds)
    door = file.totals().doors["/v1/regions", "GET"]
    assert [number for number, count in enumerate(door.buckets) if count] == [bucket]
    assert door.seconds == pytest.approx(seconds)


def test_threads_of_a_worker_lose_no_count(
    file: CountsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_counts, "int", as_slow_as_can_be, raising=False)
    counter = RequestCounter(file.descriptor)

    def count() -> None:
        for _ in range(50):
            counter.add("/v1/regions", "GET", 503, "no_leader", 0.001)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses(file, "/v1/regions", "GET") == {"5xx": 200}
    assert file.totals().codes["no_leader"] == 200
    assert file.totals().doors["/v1/regions", "GET"].seconds == pytest.approx(0.2)


def as_slow_as_can_be(value: float) -> int:
    """Let every other thread go first, between the reading of a sum and its writing."""
    os.sched_yield()
    threading.Event().wait(0.0001)
    return int(value)


def test_a_worker_of_another_build_counts_nothing_rather_than_something_else(
    file: CountsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_counts, "_LAYOUT", 1)
    RequestCounter(file.descriptor).add("/v1/regions", "GET", 200, "", 0.1)
    assert file.totals().doors == {}


# --- with processes -------------------------------------------------------------------------------

FORKING = """
import os, signal, sys
from felix.http.request_counts import RequestCounter

descriptor, processes = int(sys.argv[1]), int(sys.argv[2])
for _ in range(processes):
    if os.fork() == 0:
        RequestCounter(descriptor).add("/v1/regions", "GET", 200, "", 0.1)
        os.kill(os.getpid(), signal.SIGKILL)
    os.wait()
crowd = [os.pipe() for _ in range(processes)]
for reading, writing in crowd:
    if os.fork() == 0:
        counter = RequestCounter(descriptor)
        os.write(writing, b"!")
        signal.pause()
    os.read(reading, 1)
print("crowded", flush=True)
sys.stdin.read()
os.killpg(0, signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_slot_is_free_again_once_its_worker_was_killed_and_there_are_no_more_than_there_are(
    file: CountsFile,
) -> None:
    slots, processes = 2 * 2 + 2, 10
    with subprocess.Popen(
        [sys.executable, "-c", FORKING, str(file.descriptor), str(processes)],
        pass_fds=[file.descriptor],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as child:
        assert child.stdout is not None
        lines = [line for line in iter(child.stdout.readline, b"crowded\n") if line]
        assert len(lines) == processes - slots  # those for whom there was none said so
        assert statuses(file, "/v1/regions", "GET") == {"2xx": processes}
        assert len(file.totals().workers) == slots
        os.killpg(child.pid, signal.SIGKILL)
    eventually(lambda: file.totals().workers == ())
    assert statuses(file, "/v1/regions", "GET") == {"2xx": processes}


@pytest.mark.slow
def test_a_worker_of_gunicorn_goes_on_counting_where_the_one_before_it_was_killed(
    file: CountsFile,
) -> None:
    settings = msgspec.structs.replace(SETTINGS, workers=1, counts_fd=file.descriptor)
    with running(settings) as gunicorn:
        ask(gunicorn, 30)
        (victim,) = gunicorn.workers()
        before = file.totals()
        assert before.workers == (victim,)
        assert before.resident_bytes > 10_000_000
        asked = before.doors["/v1/regions", "GET"].statuses[0]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: file.totals().workers not in {(), (victim,)}, 60)
        ask(gunicorn, 10)
        after = file.totals()
        assert after.doors["/v1/regions", "GET"].statuses[0] == asked + 10
        assert after.cpu_seconds > before.cpu_seconds > 0


def ask(gunicorn: Gunicorn, times: int) -> None:
    with urllib3.HTTPConnectionPool("127.0.0.1", gunicorn.port) as pool:
        for _ in range(times):
            assert pool.request("GET", "/v1/regions", timeout=30).status == 200
