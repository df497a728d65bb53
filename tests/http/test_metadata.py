"""`/v1/metadata/snapshot` and the long poll `/v1/metadata/watch`."""

from __future__ import annotations

import threading

import pytest

from felix.core.catalog.catalog import CatalogLimits
from felix.http.settings import HttpSettings
from felix.proto.control_plane import Answered, Call
from felix.proto.errors import Compacted
from felix.proto.queries import GetSnapshot
from felix.proto.rpc import AnyRequest
from tests.http.helpers import (
    STREAM,
    STREAMS,
    TENANTS,
    Client,
    client_of,
    empty_client,
    filled_client,
    refused,
)
from tests.support.local_control_plane import LocalControlPlane
from tests.support.waiting import eventually

SNAPSHOT = "/v1/metadata/snapshot"
WATCH = "/v1/metadata/watch"


def test_a_snapshot_is_all_metadata_at_one_version() -> None:
    client = filled_client()
    snapshot = client.get(SNAPSHOT).json
    cluster = client.get("/v1/cluster").json
    assert {name: snapshot[name] for name in ("version", "epoch", "cluster_id", "digest")} == {
        name: cluster[name] for name in ("version", "epoch", "cluster_id", "digest")
    }
    counts = {kind: len(items) for kind, items in snapshot["metadata"].items()}
    del counts["signing_keys"]  # see test_signing_keys
    assert counts == {
        "tenants": 1, "namespaces": 1, "streams": 1, "caches": 1, "token_revocations": 0,
        "placements": 0, "brokers": 0, "bridges": 0, "settings": 0, "feature_flags": 0,
    }  # fmt: skip
    stream = client.get(f"{STREAMS}/invoices").json
    assert snapshot["metadata"]["streams"] == [stream]


def test_a_snapshot_of_many_chunks_is_put_together() -> None:
    client = filled_client()
    for number in range(700):
        client.post(STREAMS, STREAM | {"stream": f"s{number:03}"})
    streams = client.get(SNAPSHOT).json["metadata"]["streams"]
    assert [item["stream"] for item in streams] == sorted(item["stream"] for item in streams)
    assert len(streams) == 701


def test_an_earlier_version_can_be_read_as_long_as_history_covers_it() -> None:
    client = filled_client()
    snapshot = client.get(SNAPSHOT, version=2)
    assert snapshot.json["version"] == 2
    assert snapshot.headers["X-Felix-Version"] == "2"
    assert snapshot.json["metadata"]["streams"] == []
    future = client.get(SNAPSHOT, version=99)
    assert refused(future) == (409, "future_version")
    assert future.json["details"]["current"] == 4


class MovesOn:
    """Compacts every version between the first chunk and the next, a given number of times."""

    def __init__(self, times: int) -> None:
        self._plane = LocalControlPlane()
        self.times = times

    def ask(self, message: AnyRequest, call: Call = Call()) -> Answered:  # noqa: B008 - immutable
        if isinstance(message, GetSnapshot) and self.times:
            self.times -= 1
            raise Compacted("gone", details={"oldest": 5, "current": 9, "epoch": 1})
        return self._plane.ask(message, call)


def test_the_latest_snapshot_is_taken_anew_when_it_is_compacted_meanwhile() -> None:
    assert client_of(MovesOn(2)).get(SNAPSHOT).status_code == 200
    assert refused(client_of(MovesOn(3)).get(SNAPSHOT)) == (410, "compacted")
    assert refused(client_of(MovesOn(1)).get(SNAPSHOT, version=1)) == (410, "compacted")


def test_watching_from_zero_tells_everything() -> None:
    client = filled_client()
    for answer in (client.get(WATCH), client.get(WATCH, from_version=0)):
        batch = answer.json
        assert (batch["first"], batch["last"], batch["current"], batch["epoch"]) == (1, 4, 4, 1)
        assert [update["version"] for update in batch["updates"]] == [1, 2, 3, 4]
        assert [update["kind"] for update in batch["updates"]] == [
            "Tenant", "Namespace", "Stream", "Cache",
        ]  # fmt: skip
        assert {update["type"] for update in batch["updates"]} == {"CREATE"}


def test_an_update_carries_the_object_as_the_other_routes_show_it() -> None:
    client = filled_client()
    (update,) = client.get(WATCH, from_version=2, limit=1).json["updates"]
    assert update["payload"] == client.get(f"{STREAMS}/invoices").json


def test_watching_from_the_current_version_tells_nothing_new() -> None:
    batch = filled_client().get(WATCH, from_version=4, epoch=1).json
    assert (batch["first"], batch["last"], batch["updates"]) == (5, 4, [])


def test_watching_from_a_version_to_come_is_refused_with_the_current_one() -> None:
    result = filled_client().get(WATCH, from_version=5, wait_ms=5000)
    assert refused(result) == (409, "future_version")
    assert result.json["details"] == {"current": 4, "epoch": 1}


@pytest.mark.parametrize("version", ["-1", "x", "1.0", str(2**63), "9" * 5000, "\x00"])
def test_watching_from_no_version_at_all_is_refused(version: str) -> None:
    assert refused(filled_client().get(WATCH, from_version=version)) == (400, "validation_error")


def test_watching_from_another_epoch_is_refused_so_that_a_snapshot_is_taken() -> None:
    result = filled_client().get(WATCH, from_version=4, epoch=2)
    assert refused(result) == (410, "compacted")
    assert result.json["details"].keys() == {"oldest", "current", "epoch"}


def test_watching_from_before_history_is_refused_so_that_a_snapshot_is_taken() -> None:
    client = empty_client(CatalogLimits(history_updates_max=3))
    for number in range(10):
        client.post(TENANTS, {"tenant_id": f"t{number}", "display_name": ""})
    result = client.get(WATCH, from_version=0)
    assert refused(result) == (410, "compacted")
    oldest = result.json["details"]["oldest"]
    updates = client.get(WATCH, from_version=oldest).json["updates"]
    assert [update["version"] for update in updates] == list(range(oldest + 1, 11))


class Waiting:
    """A long poll in a thread of its own."""

    def __init__(self, client: Client, **query: str | int) -> None:
        self.answers: list[dict[str, object]] = []
        self.thread = threading.Thread(
            target=lambda: self.answers.append(client.get(WATCH, **query).json)
        )
        self.thread.start()


class CountsWaiters:
    """A control plane that says how many have come to it."""

    def __init__(self) -> None:
        self.plane = LocalControlPlane()
        self.asked = 0

    def ask(self, message: AnyRequest, call: Call = Call()) -> Answered:  # noqa: B008 - immutable
        self.asked += 1
        return self.plane.ask(message, call)


def test_a_long_poll_is_answered_by_the_next_update() -> None:
    plane = CountsWaiters()
    client = client_of(plane)
    poll = Waiting(client, from_version=0, wait_ms=20_000)
    eventually(lambda: plane.asked == 1)
    client.post(TENANTS, {"tenant_id": "a", "display_name": ""})
    poll.thread.join(timeout=10)
    assert [answer["last"] for answer in poll.answers] == [1]


def test_a_long_poll_ends_empty_after_its_time() -> None:
    batch = filled_client().get(WATCH, from_version=4, wait_ms=20).json
    assert batch["updates"] == []


def test_more_long_polls_than_a_worker_has_room_for_are_refused() -> None:
    plane = CountsWaiters()
    client = client_of(plane, watch_waiters_max=1)
    poll = Waiting(client, from_version=0, wait_ms=20_000)
    eventually(lambda: plane.asked == 1)
    result = client.get(WATCH, from_version=0, wait_ms=20_000)
    assert refused(result) == (429, "overloaded")
    assert result.headers["Retry-After"] == "1"
    assert client.get(WATCH, from_version=0).status_code == 200
    client.post(TENANTS, {"tenant_id": "a", "display_name": ""})
    poll.thread.join(timeout=10)
    assert client.get(WATCH, from_version=0, wait_ms=1).status_code == 200


class RemembersCalls:
    """A control plane that keeps the last call."""

    def __init__(self) -> None:
        self.plane = LocalControlPlane()
        self.call = Call()

    def ask(self, message: AnyRequest, call: Call = Call()) -> Answered:  # noqa: B008 - immutable
        self.call = call
        return self.plane.ask(message, call)


def test_waiting_on_purpose_comes_on_top_of_the_timeout() -> None:
    plane = RemembersCalls()
    client = client_of(plane, timeout_s=3.0, watch_wait_ms_max=30)
    client.get(WATCH, wait_ms=10**9)
    assert plane.call.timeout_s == pytest.approx(3.03)
    client.get(TENANTS)
    assert plane.call.timeout_s == 3.0
    assert HttpSettings().timeout_s == 5.0
