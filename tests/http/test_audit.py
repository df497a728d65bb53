"""The audit trail over HTTP: the specification's names, filters, pages, and who sees what."""

from __future__ import annotations

from typing import Any

import falcon
import msgspec
import pytest
from falcon.testing import Result, TestClient

from felix.core.refusals import BATCH_MAX
from felix.http import errors
from felix.http.audit import Audit
from felix.http.audit_views import AuditPageView, record_of, unix_ms
from felix.http.desk import Desk
from felix.http.middleware import RequestId
from felix.http.settings import HttpSettings
from felix.identity.caller import Caller
from felix.identity.gatekeeper import Gatekeeper
from felix.identity.settings import IdentitySettings
from felix.proto.codec import encode
from felix.proto.commands import (
    CreateNamespace,
    CreateStream,
    CreateTenant,
    DeleteStream,
    RecordRefusals,
)
from felix.proto.control_plane import Call
from felix.proto.errors import FelixError
from felix.proto.identity import AuditPage, Refusal
from felix.proto.permissions import read_permission
from felix.proto.queries import GetAudit
from tests.support.catalog_log import NOON_MS
from tests.support.local_control_plane import LocalControlPlane


def caller(*permissions: str, tenant: str = "acme") -> Caller:
    found = tuple(one for one in map(read_permission, permissions) if one is not None)
    assert len(found) == len(permissions)
    return Caller(kind="token", principal="p", tenant_id=tenant, permissions=found)


OPERATOR = caller("cluster.view:cluster:*", tenant="felix-operators")
ADMIN = caller("rbac.view:tenant:acme")


class As:
    """Middleware: the caller is this one."""

    def __init__(self, who: Caller) -> None:
        self._who = who

    def process_resource(self, req: falcon.Request, *_: object) -> None:
        """Say so."""
        req.context.caller = self._who


class Reader:
    """Somebody who reads the trail."""

    def __init__(self, plane: LocalControlPlane, who: Caller) -> None:
        app: falcon.App[falcon.Request, falcon.Response] = falcon.App(
            middleware=[RequestId(), As(who)]
        )
        errors.install(app)
        app.add_route(
            "/v1/audit", Audit(Desk(plane, HttpSettings(), Gatekeeper(plane, IdentitySettings())))
        )
        self._client = TestClient(app)

    def ask(self, **query: Any) -> Result:
        params = {name.rstrip("_"): str(value) for name, value in query.items()}
        return self._client.simulate_request("GET", "/v1/audit", params=params)

    def get(self, **query: Any) -> Any:
        answer = self.ask(**query)
        assert answer.status_code == 200, answer.text
        return answer.json


def refusal(number: int, **members: Any) -> Refusal:
    given: dict[str, Any] = {
        "time_ms": NOON_MS + number * 1000,
        "operation": "ExchangeToken",
        "code": "unauthorized",
        "reason": f"the token ended {number} s ago",
        "request_id": f"r-{number}",
        "source": "10.9.8.7",
        "tenant_id": "acme",
    }
    return Refusal(**given | members)


@pytest.fixture
def plane() -> LocalControlPlane:
    """Three objects of acme, a delete, and refusals of two tenants and of none."""
    plane = LocalControlPlane()
    call = Call(request_id="req-1", principal="alice", source="10.0.0.1")
    for command in (
        CreateTenant(tenant_id="acme"),
        CreateNamespace(tenant_id="acme", namespace="prod"),
        CreateStream(tenant_id="acme", namespace="prod", stream="orders"),
        DeleteStream(tenant_id="acme", namespace="prod", stream="orders"),
    ):
        plane.ask(command, call)
    with pytest.raises(FelixError):
        plane.ask(DeleteStream(tenant_id="acme", namespace="prod", stream="orders"), call)
    refusals = (refusal(1), refusal(2, tenant_id="zeta"), refusal(3, tenant_id=""))
    plane.ask(RecordRefusals(node="n1", refusals=refusals))
    return plane


def test_a_record_has_the_names_of_the_specification_and_its_place_in_the_chain(
    plane: LocalControlPlane,
) -> None:
    found = Reader(plane, OPERATOR).get(operation="DeleteStream", result="success")["items"][0]
    assert found.pop("timestamp").endswith("Z")
    assert len(found.pop("hash")) == 64
    assert found == {
        "sequence": 4,
        "operation": "DeleteStream",
        "principal": "alice",
        "tenant": "acme",
        "namespace": "prod",
        "stream": "orders",
        "cache": None,
        "object": "stream:orders",
        "result": "success",
        "reason": "",
        "request_id": "req-1",
        "source": "10.0.0.1",
        "version": 4,
        "index": 4,
        "count": 1,
    }


def test_an_admin_finds_a_refused_exchange_by_its_request_id_and_sees_the_exact_reason(
    plane: LocalControlPlane,
) -> None:
    (found,) = Reader(plane, ADMIN).get(request_id="r-1")["items"]
    assert found["reason"] == "the token ended 1 s ago"
    assert (found["operation"], found["result"]) == ("ExchangeToken", "unauthorized")
    assert (found["source"], found["timestamp"]) == ("10.9.8.7", "2023-11-14T22:13:21.000Z")


def test_an_admin_sees_the_own_tenant_and_an_operator_everything(plane: LocalControlPlane) -> None:
    mine = Reader(plane, ADMIN).get()
    assert {one["tenant"] for one in mine["items"]} == {"acme"}
    assert len(mine["items"]) == 6
    everything = Reader(plane, OPERATOR).get()["items"]
    assert [one["tenant"] for one in everything[:3]] == ["", "zeta", "acme"]
    assert len(everything) == 8
    zetas = Reader(plane, OPERATOR).get(tenant="zeta")["items"]
    assert [one["request_id"] for one in zetas] == ["r-2"]
    assert Reader(plane, ADMIN).get(request_id="r-2")["items"] == []


@pytest.mark.parametrize(
    "who",
    [
        caller(),
        caller("rbac.view:tenant:zeta"),
        caller("rbac.view:namespace:acme/prod"),
        caller("tenant.manage:tenant:acme"),
        caller("rbac.view:tenant:acme", tenant="zeta"),
    ],
)
def test_nobody_else_sees_anything(plane: LocalControlPlane, who: Caller) -> None:
    answer = Reader(plane, who).ask()
    assert (answer.status_code, answer.json["code"]) == (403, "forbidden")


@pytest.mark.parametrize("tenant", ["zeta", "*", "acme/*", "acme "])
def test_an_admin_cannot_ask_for_another_tenant(plane: LocalControlPlane, tenant: str) -> None:
    assert Reader(plane, ADMIN).ask(tenant=tenant).status_code == 403


def test_pages_join_and_prove_themselves(plane: LocalControlPlane) -> None:
    reader = Reader(plane, OPERATOR)
    whole = reader.get()
    assert whole["next_before"] == 0
    assert (whole["first_sequence"], whole["last_sequence"]) == (1, 8)
    assert whole["last_hash"] == whole["items"][0]["hash"]
    assert whole["previous_hash"] == "00" * 32
    before, items = 0, []
    while True:
        page = reader.get(before=before, page_size=3)
        items += page["items"]
        before = page["next_before"]
        if not before:
            break
    assert items == whole["items"]


def test_times_bound_a_search(plane: LocalControlPlane) -> None:
    reader = Reader(plane, OPERATOR)
    found = reader.get(from_="2023-11-14T22:13:22Z", to="2023-11-14T23:13:22.500+01:00")["items"]
    assert [one["request_id"] for one in found] == ["r-2"]
    for wrong in ("yesterday", "2023-11-14", "2023-13-14T22:13:22Z", "2023-11-14T22:13:22"):
        assert reader.ask(from_=wrong).status_code == 400
    assert reader.ask(before="x").status_code == 400


def test_a_rare_record_is_found_however_far_back_it_is(plane: LocalControlPlane) -> None:
    for first in range(4, 3004, BATCH_MAX):
        some = tuple(refusal(first + more, tenant_id="zeta") for more in range(BATCH_MAX))
        plane.ask(RecordRefusals(node="n1", refusals=some))
    found = Reader(plane, ADMIN).get(result="not_found")
    assert [one["sequence"] for one in found["items"]] == [5]


def test_records_read_back_are_the_same_records(plane: LocalControlPlane) -> None:
    answer = Reader(plane, OPERATOR).ask()
    page = msgspec.json.decode(answer.content, type=AuditPageView)
    kept = plane.ask(GetAudit()).result
    assert isinstance(kept, AuditPage)
    assert [encode(record_of(one)) for one in page.items] == [encode(one) for one in kept.items]


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00.25z", 250),
        ("1970-01-01T01:00:00.123456+01:00", 123),
        ("2023-11-14T22:13:20.007Z", NOON_MS + 7),
    ],
)
def test_times_are_read_to_the_millisecond(text: str, ms: int) -> None:
    assert unix_ms(text) == ms
