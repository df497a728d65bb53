"""`?wait_brokers=`: writes that are answered once brokers have them."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from falcon.testing import Result

from felix.proto.command import Command
from felix.proto.control_plane import Answered, Call
from felix.proto.errors import NoLeader
from felix.proto.queries import WaitForBrokers
from felix.proto.rpc import AnyRequest
from tests.http.helpers import (
    BROKERS,
    CACHE,
    CACHES,
    INVOICES,
    NAMESPACE,
    NAMESPACES,
    STREAM,
    STREAMS,
    TENANT,
    TENANTS,
    Client,
    client_of,
    fill,
    filled_client,
    placed_client,
    refused,
    register,
)
from tests.support.local_control_plane import LocalControlPlane
from tests.support.waiting import eventually

APPLIED = "X-Felix-Brokers-Applied"
LAGGING = "X-Felix-Brokers-Lagging"


class Listens(LocalControlPlane):
    """A control plane that remembers how it was asked, and can be without a leader for brokers."""

    def __init__(self) -> None:
        super().__init__()
        self.commands: list[Call] = []
        self.waits: list[tuple[WaitForBrokers, float]] = []
        self.has_leader = True
        self.gate: threading.Event | None = None

    def ask(self, message: AnyRequest, call: Call = Call()) -> Answered:  # noqa: B008 - immutable
        """Ask and get the answer at once, or when the gate opens."""
        if isinstance(message, Command):
            self.commands.append(call)
        if isinstance(message, WaitForBrokers):
            self.waits.append((message, call.timeout_s))
            if not self.has_leader:
                raise NoLeader("there is none")
            if self.gate is not None:
                assert self.gate.wait(30)
        return super().ask(message, call)


def has_applied(client: Client, broker_id: str, version: int) -> None:
    """Let a broker say which version it has in force."""
    epoch = client.get(f"{BROKERS}/{broker_id}").json["broker"]["broker_epoch"]
    body = {"broker_epoch": epoch, "applied_version": version, "applied_epoch": 1}
    assert client.post(f"{BROKERS}/{broker_id}/health", body).status_code == 200


def asked(client: Client, method: str, path: str, body: object, **query: object) -> Result:
    params = {name: str(value) for name, value in query.items()}
    return client.request(method, path, json=body, params=params)


def test_the_answer_says_who_has_the_write_and_who_lacks_it() -> None:
    client, plane = placed_client("b1", "b2", "b3")
    for broker_id in ("b1", "b2"):
        has_applied(client, broker_id, plane.catalog.version + 1)
    result = asked(client, "POST", CACHES, {"cache": "new", "display_name": ""}, wait_brokers="all")
    assert result.status_code == 201
    assert (result.headers[APPLIED], result.headers[LAGGING]) == ("2/3", "b3")


def test_so_many_brokers_are_enough() -> None:
    client, plane = placed_client("b1", "b2")
    has_applied(client, "b2", plane.catalog.version + 1)
    result = asked(client, "PATCH", INVOICES, {"retention": {}}, wait_brokers=1)
    assert result.status_code == 200
    assert result.headers[APPLIED] == "1/1"
    assert LAGGING not in result.headers


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", TENANTS, TENANT | {"tenant_id": "t2"}),
        ("PATCH", f"{TENANTS}/acme", {"display_name": "x"}),
        ("DELETE", f"{TENANTS}/acme", None),
        ("POST", NAMESPACES, NAMESPACE | {"namespace": "n2"}),
        ("PATCH", f"{NAMESPACES}/billing", {"display_name": "x"}),
        ("DELETE", f"{NAMESPACES}/billing", None),
        ("POST", STREAMS, STREAM | {"stream": "s2"}),
        ("PATCH", INVOICES, {"retention": {}}),
        ("DELETE", INVOICES, None),
        ("POST", CACHES, CACHE | {"cache": "c2"}),
        ("PATCH", f"{CACHES}/rates", {"display_name": "x"}),
        ("DELETE", f"{CACHES}/rates", None),
    ],
)
def test_every_write_of_metadata_may_wait_for_its_own_version(
    method: str, path: str, body: object
) -> None:
    plane = Listens()
    client = client_of(plane)
    fill(client)
    register(client, "b1")
    plane.commands.clear()
    result = asked(client, method, path, body, wait_brokers="all", wait_timeout_ms=2500)
    assert result.status_code < 300, result.text
    assert (result.headers[APPLIED], result.headers[LAGGING]) == ("0/1", "b1")
    ((query, timeout_s),) = plane.waits
    assert (str(query.version), query.brokers) == (result.headers["X-Felix-Version"], 0)
    assert timeout_s == 2.5
    assert [call.wants_acks for call in plane.commands] == [True]


def test_without_the_parameter_nobody_is_waited_for() -> None:
    plane = Listens()
    client = client_of(plane)
    fill(client)
    assert plane.waits == []
    assert not any(call.wants_acks for call in plane.commands)
    assert APPLIED not in client.get(INVOICES, wait_brokers="all").headers
    assert plane.waits == []


def test_a_wait_lasts_a_minute_at_most() -> None:
    plane = Listens()
    asked(client_of(plane), "POST", TENANTS, TENANT, wait_brokers=1, wait_timeout_ms=10**9)
    ((_, timeout_s),) = plane.waits
    assert timeout_s == 60


def test_a_write_that_was_refused_waits_for_nobody() -> None:
    plane = Listens()
    client = client_of(plane)
    fill(client)
    again = asked(client, "POST", TENANTS, TENANT, wait_brokers="all")
    assert refused(again) == (409, "already_exists")
    assert (plane.waits, APPLIED in again.headers) == ([], False)


def test_a_write_stays_done_where_the_leader_cannot_be_asked() -> None:
    plane = Listens()
    plane.has_leader = False
    client = client_of(plane)
    result = asked(client, "POST", TENANTS, TENANT, wait_brokers="all")
    assert (result.status_code, result.headers[APPLIED]) == (201, "unknown")
    assert client.get(f"{TENANTS}/acme").status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        {"wait_brokers": "0"}, {"wait_brokers": "-1"}, {"wait_brokers": "some"},
        {"wait_brokers": "100001"}, {"wait_brokers": "all", "wait_timeout_ms": "x"},
    ],
)  # fmt: skip
def test_a_wait_that_makes_no_sense_is_refused_before_anything_is_written(
    query: dict[str, Any],
) -> None:
    client = filled_client()
    before = client.log()
    result = asked(client, "POST", CACHES, CACHE | {"cache": "c2"}, **query)
    assert refused(result) == (400, "validation_error")
    assert client.log() == before


def test_more_than_a_few_do_not_wait_at_a_time() -> None:
    plane = Listens()
    client = client_of(plane, broker_waiters_max=1)
    fill(client)
    plane.gate = threading.Event()
    answers: list[Result] = []

    def wait() -> None:
        body = CACHE | {"cache": "first"}
        answers.append(asked(client, "POST", CACHES, body, wait_brokers="all"))

    waiting = threading.Thread(target=wait)
    waiting.start()
    eventually(lambda: bool(plane.waits))
    before = client.log()
    second = asked(client, "POST", CACHES, CACHE | {"cache": "second"}, wait_brokers="all")
    assert refused(second) == (429, "overloaded")
    assert "http.broker_waiters_max" in second.json["message"]
    assert second.headers["Retry-After"] == "1"
    assert client.log() == before
    plane.gate.set()
    waiting.join(30)
    assert [one.status_code for one in answers] == [201]
    third = asked(client, "POST", CACHES, CACHE | {"cache": "third"}, wait_brokers="all")
    assert third.status_code == 201
