"""What requests have in common: idempotency, preconditions, consistency, paging, errors."""

from __future__ import annotations

import falcon
import pytest

from felix.http.errors import STATUS_BY_CODE
from felix.proto import errors
from felix.proto.commands import CreateTenant
from felix.proto.control_plane import Answered, Call
from felix.proto.errors import ErrorReply, FelixError, Outcome
from felix.proto.rpc import AnyRequest
from tests.http.helpers import (
    NAMESPACES,
    STREAM,
    STREAMS,
    TENANT,
    TENANTS,
    client_of,
    empty_client,
    filled_client,
    refused,
)
from tests.support.local_control_plane import LocalControlPlane


class Observed:
    """A control plane that keeps the calls it got."""

    def __init__(self) -> None:
        self.plane = LocalControlPlane()
        self.calls: list[Call] = []

    def ask(self, message: AnyRequest, call: Call = Call()) -> Answered:  # noqa: B008 - immutable
        self.calls.append(call)
        return self.plane.ask(message, call)


class Refusing:
    """A control plane that always raises the same."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def ask(self, message: AnyRequest, call: Call = Call()) -> Answered:  # noqa: B008 - immutable
        raise self.error


def test_the_same_key_and_body_have_one_effect_and_one_answer() -> None:
    client = empty_client()
    key = {"Idempotency-Key": "k-1"}
    first, second = client.post(TENANTS, TENANT, key), client.post(TENANTS, TENANT, key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json == second.json
    assert client.get("/v1/cluster").json["version"] == 1


def test_the_same_key_with_another_body_or_route_is_refused() -> None:
    client = filled_client()
    key = {"Idempotency-Key": "k-1"}
    client.post(TENANTS, TENANT | {"tenant_id": "b"}, key)
    other = client.post(TENANTS, TENANT | {"tenant_id": "c"}, key)
    assert refused(other) == (422, "key_reused")
    assert refused(client.delete("/v1/tenants/acme", key)) == (422, "key_reused")
    assert client.get("/v1/tenants/acme").status_code == 200


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ü", "a\tb"])
def test_an_odd_idempotency_key_is_refused(key: str) -> None:
    client = empty_client()
    result = client.post(TENANTS, TENANT, {"Idempotency-Key": key})
    assert refused(result) == (400, "validation_error")
    assert client.get(TENANTS).json["items"] == []


def test_an_object_names_its_version_and_takes_it_back_as_a_precondition() -> None:
    client = filled_client()
    path = f"{STREAMS}/invoices"
    tag = client.get(path).headers["ETag"]
    changed = client.patch(path, {"consistency": "Quorum"}, {"If-Match": tag})
    assert changed.status_code == 200
    stale = client.patch(path, {"consistency": "Leader"}, {"If-Match": tag})
    assert refused(stale) == (412, "precondition_failed")
    assert refused(client.delete(path, {"If-Match": tag})) == (412, "precondition_failed")
    assert client.delete(path, {"If-Match": changed.headers["ETag"]}).status_code == 204


def test_the_precondition_may_stand_in_the_query_too() -> None:
    client = filled_client()
    path = f"{NAMESPACES}/billing"
    stale = client.delete(path, expected_version=1)
    assert refused(stale) == (412, "precondition_failed")
    both = client.request(
        "DELETE", path, params={"expected_version": "2"}, headers={"If-Match": '"3"'}
    )
    assert refused(both) == (400, "validation_error")
    fine = client.request(
        "DELETE", path, params={"expected_version": "2"}, headers={"If-Match": "*"}
    )
    assert fine.status_code == 204


@pytest.mark.parametrize("tag", ["1", 'W/"1"', '"1", "2"', '"x"', '"-1"', "", '"' + "9" * 30 + '"'])
def test_an_if_match_that_is_no_version_is_refused(tag: str) -> None:
    client = filled_client()
    result = client.delete("/v1/tenants/acme", {"If-Match": tag})
    assert refused(result) == (400, "validation_error")


def test_reads_are_linearizable_unless_they_say_stale() -> None:
    plane = Observed()
    client = client_of(plane)
    linearizable = client.get(TENANTS)
    stale = client.get(TENANTS, consistency="stale")
    assert [call.consistency for call in plane.calls] == ["linearizable", "stale"]
    assert "X-Felix-Age-Ms" not in linearizable.headers
    assert stale.headers["X-Felix-Age-Ms"] == "0"
    assert refused(client.get(TENANTS, consistency="eventual")) == (400, "validation_error")


def test_a_call_carries_request_id_source_and_timeout() -> None:
    plane = Observed()
    client = client_of(plane, timeout_s=1.5)
    client.post(TENANTS, TENANT, {"X-Request-Id": "r-1", "Idempotency-Key": "k"})
    assert plane.calls == [
        Call(timeout_s=1.5, request_id="r-1", source="127.0.0.1", idempotency_key="k")
    ]


def test_a_whole_list_comes_back_without_a_page_size() -> None:
    client = filled_client()
    for number in range(5):
        client.post(STREAMS, STREAM | {"stream": f"s{number}"})
    page = client.get(STREAMS).json
    assert len(page["items"]) == 6
    assert page["next_page_token"] == ""


def test_a_list_can_be_read_page_by_page() -> None:
    client = empty_client()
    for number in range(7):
        client.post(TENANTS, {"tenant_id": f"t{number}", "display_name": ""})
    found: list[str] = []
    token = ""
    while True:
        page = client.get(TENANTS, page_size=3, page_token=token).json
        assert len(page["items"]) <= 3
        found += [item["tenant_id"] for item in page["items"]]
        token = page["next_page_token"]
        if not token:
            break
    assert found == [f"t{number}" for number in range(7)]


def test_a_whole_list_is_put_together_from_pages_and_cut_at_a_bound() -> None:
    plane = Observed()
    client = client_of(plane, list_items_max=10_001)
    for number in range(10_050):
        plane.plane.ask(CreateTenant(tenant_id=f"t{number:05}"))
    page = client.get(TENANTS).json
    assert len(plane.calls) == 2
    assert len(page["items"]) == 10_050
    cut = client_of(plane, list_items_max=10_000).get(TENANTS).json
    assert len(cut["items"]) == 10_000
    rest = client.get(TENANTS, page_token=cut["next_page_token"]).json
    assert len(rest["items"]) == 50


def test_a_filter_keeps_names_that_contain_it_or_match_its_pattern() -> None:
    client = filled_client()
    for name in ("orders", "orders-eu", "payments"):
        client.post(STREAMS, STREAM | {"stream": name})

    def filtered(pattern: str) -> list[str]:
        return [item["stream"] for item in client.get(STREAMS, filter=pattern).json["items"]]

    assert filtered("rder") == ["orders", "orders-eu"]
    assert filtered("orders*") == ["orders", "orders-eu"]
    assert filtered("order?") == ["orders"]
    assert filtered("nothing") == []


@pytest.mark.parametrize(
    "query",
    [{"page_size": "x"}, {"page_size": "-1"}, {"page_size": "1.5"}, {"page_token": "???"}],
)
def test_odd_paging_is_refused(query: dict[str, str]) -> None:
    assert refused(filled_client().get(TENANTS, **query)) == (400, "validation_error")


def test_every_code_of_the_protocol_has_a_status() -> None:
    assert set(errors.BY_CODE) <= set(STATUS_BY_CODE)


@pytest.mark.parametrize("code", sorted(errors.BY_CODE))
def test_an_error_is_answered_with_its_status_and_code(code: str) -> None:
    error = errors.from_reply(ErrorReply(code, "why", details={"current": 7}))
    result = client_of(Refusing(error)).get(TENANTS)
    assert refused(result) == (STATUS_BY_CODE[code], code)
    assert result.json["details"] == {"current": 7}
    assert ("Retry-After" in result.headers) == (result.status_code in {429, 503})


@pytest.mark.parametrize(
    ("outcome", "status"), [("not_applied", 400), ("gone", 404), ("unknown", 503)]
)
def test_a_code_of_a_newer_node_is_answered_by_its_family(outcome: Outcome, status: int) -> None:
    error = errors.from_reply(ErrorReply("of_tomorrow", "why", outcome))
    assert refused(client_of(Refusing(error)).get(TENANTS)) == (status, outcome)


@pytest.mark.parametrize(
    ("retry_after_ms", "seconds"), [(None, "1"), (1, "1"), (1000, "1"), (1001, "2"), (90_000, "90")]
)
def test_what_may_be_tried_again_says_when(retry_after_ms: int | None, seconds: str) -> None:
    error = errors.NoLeader("no quorum", retry_after_ms=retry_after_ms)
    client = client_of(Refusing(error))
    for result in (client.get(TENANTS), client.post(TENANTS, TENANT), client.get("/v1/cluster")):
        assert refused(result) == (503, "no_leader")
        assert result.headers["Retry-After"] == seconds


def test_a_fault_of_ours_says_nothing_but_that_it_happened(
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = client_of(Refusing(ZeroDivisionError("secret")))
    result = client.get(TENANTS)
    assert refused(result) == (500, "internal")
    assert "secret" not in result.text
    assert "secret" in capsys.readouterr().out


def test_a_refusal_of_the_framework_has_the_envelope_too() -> None:
    result = client_of(Refusing(falcon.HTTPBadRequest())).get(TENANTS)
    assert refused(result) == (400, "malformed")


def test_an_error_of_no_family_is_internal() -> None:
    assert refused(client_of(Refusing(FelixError("odd"))).get(TENANTS)) == (500, "internal")
