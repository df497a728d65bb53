"""The eight feeds (contract, chapter 5; checklist 1 to 3 and 7) and bugs C1 to C6 and C8."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from felix.core.catalog.catalog import CatalogLimits
from tests.http.helpers import (
    CACHES,
    FEEDS,
    NAMESPACE,
    NAMESPACES,
    STREAM,
    STREAMS,
    TENANTS,
    Client,
    empty_client,
    filled_client,
)

KEYS = {
    "tenants": {"tenant_id": "acme"},
    "namespaces": {"tenant_id": "acme", "namespace": "billing"},
    "streams": {"tenant_id": "acme", "namespace": "billing", "stream": "invoices"},
    "caches": {"tenant_id": "acme", "namespace": "billing", "cache": "rates"},
}


def create_tenants(client: Client, *names: str) -> None:
    for name in names:
        assert client.post(TENANTS, {"tenant_id": name, "display_name": ""}).status_code == 201


def follow(client: Client, feed: str, since: int, model: dict[str, object]) -> int:
    """Do what a broker does: apply every change and go on at `next_seq`, until nothing comes."""
    while True:
        page = client.get(f"/v1/{feed}/changes", since=since).json
        for change in page["items"]:
            key = str(change.get("key", change.get("tenant_id")))
            assert change["seq"] >= since
            if change["op"] == "deleted":
                model.pop(key, None)
            else:
                model[key] = change[feed[:-1]]
        since = page["next_seq"]
        if not page["items"]:
            return since


def names(model: dict[str, object]) -> list[str]:
    return sorted(model)


@pytest.mark.parametrize("feed", FEEDS)
def test_a_snapshot_has_exactly_items_and_next_seq(feed: str) -> None:
    client = filled_client()
    snapshot = client.get(f"/v1/{feed}/snapshot").json
    assert set(snapshot) == {"items", "next_seq"}
    (item,) = snapshot["items"]
    assert KEYS[feed].items() <= item.items()


@pytest.mark.parametrize("feed", FEEDS)
def test_a_change_has_exactly_the_members_of_its_feed(feed: str) -> None:
    client = filled_client()
    changes = client.get(f"/v1/{feed}/changes").json
    (change,) = changes["items"]
    one, key = feed[:-1], KEYS[feed]
    assert list(change) == ["seq", "op", "tenant_id" if feed == "tenants" else "key", one]
    assert change["op"] == "created"
    assert change.get("key", {"tenant_id": change.get("tenant_id")}) == key
    assert change[one] == client.get(f"/v1/{feed}/snapshot").json["items"][0]
    assert changes["next_seq"] == change["seq"] + 1


def test_an_untouched_feed_begins_at_zero() -> None:
    client = empty_client()
    for feed in FEEDS:
        for what in ("snapshot", "changes"):
            assert client.get(f"/v1/{feed}/{what}").json == {"items": [], "next_seq": 0}


def test_since_is_inclusive_and_next_seq_is_the_next_since() -> None:
    client = empty_client()
    create_tenants(client, "a", "b")
    first, second = (item["seq"] for item in client.get("/v1/tenants/changes").json["items"])
    head = client.get("/v1/tenants/snapshot").json["next_seq"]

    def after(since: int) -> list[int]:
        page = client.get("/v1/tenants/changes", since=since).json
        assert page["next_seq"] == head
        return [item["seq"] for item in page["items"]]

    assert after(first) == [first, second]
    assert after(second) == [second]
    assert after(head) == []
    assert after(99) == []


@pytest.mark.parametrize("since", ["", "-1", "x", "1.5", "٣", "-9" * 30, "0", "0x1", "\x00"])
def test_a_since_that_is_no_number_is_zero(since: str) -> None:
    client = filled_client()
    assert client.get("/v1/tenants/changes", since=since).json["items"]


@pytest.mark.parametrize("since", [2**63 - 1, 2**63, 2**64, 10**40, "9" * 5000])
def test_a_huge_since_is_beyond_the_head(since: int | str) -> None:
    client = filled_client()
    page = client.get("/v1/tenants/changes", since=since).json
    assert page == {"items": [], "next_seq": client.get("/v1/tenants/snapshot").json["next_seq"]}


def test_updates_are_told_of_streams_and_caches_only() -> None:
    client = filled_client()
    client.patch("/v1/tenants/acme", {"display_name": "New"})
    client.patch(f"{NAMESPACES}/billing", {"display_name": "New"})
    client.patch(f"{STREAMS}/invoices", {"consistency": "Quorum"})
    client.patch(f"{CACHES}/rates", {"display_name": "New"})
    ops = {
        feed: [item["op"] for item in client.get(f"/v1/{feed}/changes").json["items"]]
        for feed in FEEDS
    }
    assert ops == {
        "tenants": ["created"],
        "namespaces": ["created"],
        "streams": ["created", "updated"],
        "caches": ["created", "updated"],
    }


def test_no_update_ever_flips_durable() -> None:
    client = filled_client()
    assert client.patch(f"{STREAMS}/invoices", {"durable": False}).json["durable"] is False
    items = client.get("/v1/streams/changes").json["items"]
    assert [item["op"] for item in items] == ["created", "deleted", "created"]
    assert items[-1]["stream"]["durable"] is False


def test_a_cascade_is_told_in_the_feed_of_every_object() -> None:
    client = filled_client()
    client.delete("/v1/tenants/acme")
    last = {feed: client.get(f"/v1/{feed}/changes").json["items"][-1] for feed in FEEDS}
    assert [change["op"] for change in last.values()] == ["deleted"] * 4
    assert last["namespaces"]["seq"] < last["tenants"]["seq"]
    assert last["streams"]["seq"] < last["namespaces"]["seq"]
    assert last["caches"]["seq"] < last["namespaces"]["seq"]


def test_c1_a_truncated_page_continues_after_its_last_item() -> None:
    client = empty_client(changes_limit=3)
    tenants = [f"t{number}" for number in range(10)]
    create_tenants(client, *tenants)
    page = client.get("/v1/tenants/changes").json
    assert len(page["items"]) == 3
    assert page["next_seq"] == page["items"][-1]["seq"] + 1
    model: dict[str, object] = {}
    follow(client, "tenants", 0, model)
    assert names(model) == sorted(tenants)


def while_writing(write: Callable[[int], None], count: int) -> threading.Thread:
    def run() -> None:
        for number in range(count):
            write(number)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_c2_nothing_falls_between_the_items_of_a_snapshot_and_its_cursor() -> None:
    client = empty_client()
    writer = while_writing(lambda number: create_tenants(client, f"t{number}"), 200)
    models = []
    while writer.is_alive():
        snapshot = client.get("/v1/tenants/snapshot").json
        model = {item["tenant_id"]: item for item in snapshot["items"]}
        assert len(model) == (snapshot["next_seq"] - 1 if model else 0)
        models.append((model, snapshot["next_seq"]))
    writer.join()
    for model, next_seq in models:
        follow(client, "tenants", next_seq, model)
        assert len(model) == 200


def test_c3_no_change_ever_appears_below_a_cursor_already_handed_out() -> None:
    client = empty_client()
    writers = [
        while_writing(lambda number, name=name: create_tenants(client, f"{name}{number}"), 60)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        for name in "abc"
    ]
    model: dict[str, object] = {}
    since = 0
    while any(writer.is_alive() for writer in writers):
        since = follow(client, "tenants", since, model)
    for writer in writers:
        writer.join()
    follow(client, "tenants", since, model)
    assert len(model) == 180


def test_c4_a_consumer_that_was_away_for_long_still_ends_with_the_truth() -> None:
    client = empty_client(CatalogLimits(feed_rows_max=5))
    create_tenants(client, "stays", "goes", "returns")
    model: dict[str, object] = {}
    since = follow(client, "tenants", 0, model)
    assert names(model) == ["goes", "returns", "stays"]
    for name in ("goes", "returns"):
        client.delete(f"/v1/tenants/{name}")
    create_tenants(client, "returns", *(f"new{number}" for number in range(20)))
    follow(client, "tenants", since, model)
    truth = {item["tenant_id"] for item in client.get("/v1/tenants/snapshot").json["items"]}
    assert set(model) == truth


def test_c5_a_cursor_ahead_of_the_head_is_sent_back_to_it_and_misses_nothing_after() -> None:
    client = filled_client()
    ahead = client.get("/v1/tenants/changes", since=1000).json
    create_tenants(client, "late")
    model: dict[str, object] = {}
    follow(client, "tenants", ahead["next_seq"], model)
    assert names(model) == ["late"]


def test_c6_the_smallest_retention_never_takes_next_seq_back() -> None:
    client = empty_client(CatalogLimits(feed_rows_max=1, tombstones_max=1))
    heads = []
    for number in range(5):
        create_tenants(client, f"t{number}")
        heads.append(client.get("/v1/tenants/changes", since=10**6).json["next_seq"])
        client.delete(f"/v1/tenants/t{number}")
        heads.append(client.get("/v1/tenants/snapshot").json["next_seq"])
    assert heads == sorted(set(heads))


def test_c8_a_parent_that_is_being_deleted_leaves_no_orphans() -> None:
    client = filled_client()
    statuses: list[int] = []

    def create(number: int) -> None:
        statuses.append(client.post(STREAMS, STREAM | {"stream": f"s{number}"}).status_code)

    writer = while_writing(create, 150)
    while writer.is_alive():
        client.delete(f"{NAMESPACES}/billing")
        client.post(NAMESPACES, NAMESPACE)
    writer.join()
    assert set(statuses) <= {201, 404}
    client.delete(f"{NAMESPACES}/billing")
    assert client.get("/v1/streams/snapshot").json["items"] == []
