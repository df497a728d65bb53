"""How streams go, and what tenants and namespaces take along."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.helpers import (
    BROKERS,
    INVOICES,
    NAMESPACES,
    STREAM,
    STREAMS,
    TENANTS,
    Client,
    filled_client,
    placed_client,
    refused,
)

CAREFUL: dict[str, Any] = {"confirm_durable_deletes": True, "delete_grace_s": 3600}


def careful() -> Client:
    """A client of a service that asks twice, and waits an hour."""
    return filled_client(**CAREFUL)


def listed(client: Client, **query: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get(STREAMS, **query).json["items"]
    return items


# --- confirmation ---------------------------------------------------------------------------------


def test_a_durable_stream_is_not_deleted_unless_its_name_confirms_it() -> None:
    client = careful()
    before = client.metadata()
    result = client.delete(INVOICES)
    assert refused(result) == (409, "conflict")
    assert result.json["details"] == {"reason": "durable"}
    wrong = client.delete(INVOICES, confirm="another")
    assert refused(wrong) == (400, "validation_error")
    assert wrong.json["details"] == {"parameter": "confirm"}
    assert client.metadata() == before
    assert client.delete(INVOICES, confirm="invoices").status_code == 204
    assert refused(client.get(INVOICES)) == (404, "not_found")


def test_an_ephemeral_stream_goes_at_once() -> None:
    client = careful()
    client.post(STREAMS, STREAM | {"stream": "ticks", "durable": False})
    assert client.delete(f"{STREAMS}/ticks").status_code == 204
    assert listed(client, deleted="true") == []


def test_clients_of_the_old_contract_need_not_confirm() -> None:
    client = filled_client()
    assert client.delete(INVOICES).status_code == 204
    assert listed(client, deleted="true") == []


def test_the_version_has_to_be_right() -> None:
    client = careful()
    stale = client.delete(INVOICES, {"If-Match": '"1"'}, confirm="invoices")
    assert refused(stale) == (412, "precondition_failed")


# --- grace ----------------------------------------------------------------------------------------


def test_a_deleted_stream_is_listed_apart_and_keeps_its_name() -> None:
    client = careful()
    (alive,) = listed(client)
    assert (alive["deleted_at"], alive["purge_at"]) == (None, None)
    client.delete(INVOICES, confirm="invoices")
    assert listed(client) == []
    (gone,) = listed(client, deleted="true")
    assert (gone["stream"], gone["stream_id"]) == ("invoices", alive["stream_id"])
    assert gone["deleted_at"] < gone["purge_at"]
    taken = client.post(STREAMS, STREAM)
    assert refused(taken) == (409, "conflict")


def test_a_deletion_is_taken_back_with_the_data_it_had() -> None:
    client, _ = placed_client("b1", **CAREFUL)
    before = client.get(INVOICES).json
    placed = client.get(f"{INVOICES}/placement").json["placements"]
    client.delete(INVOICES, confirm="invoices")
    back = client.post(f"{INVOICES}/undelete", {})
    assert back.status_code == 200
    assert back.json["stream_id"] == before["stream_id"]
    assert back.headers["ETag"] == f'"{back.json["version"]}"'
    assert client.get(INVOICES).json == back.json
    assert client.get(f"{INVOICES}/placement").json["placements"] == placed
    again = client.post(f"{INVOICES}/undelete", {})
    assert refused(again) == (409, "conflict")
    assert again.json["details"] == {"reason": "not_deleted"}


def test_a_deleted_stream_is_purged_now_and_one_that_lives_is_not() -> None:
    client = careful()
    alive = client.post(f"{INVOICES}/purge", {})
    assert refused(alive) == (409, "conflict")
    assert alive.json["details"] == {"reason": "not_deleted"}
    client.delete(INVOICES, confirm="invoices")
    assert client.post(f"{INVOICES}/purge", {}).status_code == 204
    assert listed(client, deleted="true") == []
    assert refused(client.post(f"{INVOICES}/undelete", {})) == (404, "not_found")
    assert client.post(STREAMS, STREAM).status_code == 201


def test_force_asks_nothing_and_leaves_nothing() -> None:
    client = careful()
    assert client.delete(INVOICES, force="true").status_code == 204
    assert listed(client, deleted="true") == []


def test_the_old_feed_says_deleted_and_then_created() -> None:
    client = careful()
    since = client.get("/v1/streams/snapshot").json["next_seq"]
    client.delete(INVOICES, confirm="invoices")
    client.post(f"{INVOICES}/undelete", {})
    changes = client.get("/v1/streams/changes", since=since).json["items"]
    assert [one["op"] for one in changes] == ["deleted", "created"]


# --- subscribers ----------------------------------------------------------------------------------


def test_a_stream_with_subscribers_is_deleted_by_force_only() -> None:
    client, _ = placed_client("b1")
    shard = {"tenant_id": "acme", "namespace": "billing", "stream": "invoices", "shard_id": 0}
    shard |= {"role": "leader", "generation": 1, "in_sync": ["b1"], "subscribers": 3}
    epoch = client.get(f"{BROKERS}/b1").json["broker"]["broker_epoch"]
    report = {"broker_epoch": epoch, "shard_status": [shard], "has_all_shards": True}
    assert client.post(f"{BROKERS}/b1/health", report).status_code == 200
    result = client.delete(INVOICES)
    assert refused(result) == (409, "conflict")
    assert result.json["details"] == {"reason": "subscribers", "subscribers": 3}
    assert client.delete(INVOICES, force="true").status_code == 204


# --- what goes along ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "namespaces"), [(f"{TENANTS}/acme", 1), (f"{NAMESPACES}/billing", 0)]
)
def test_a_dry_run_says_what_would_go_along_and_changes_nothing(path: str, namespaces: int) -> None:
    client = careful()
    client.post(STREAMS, STREAM | {"stream": "ticks", "durable": False})
    client.post(STREAMS, STREAM | {"stream": "old"})
    client.delete(f"{STREAMS}/old", confirm="old")
    before = client.log()
    preview = client.delete(path, dry_run="true")
    assert preview.status_code == 200
    inside = ["stream:acme/billing/invoices", "stream:acme/billing/ticks"]
    assert preview.json == {
        "namespaces": namespaces,
        "streams": 2,
        "durable_streams": 1,
        "deleted_streams": 1,
        "caches": 1,
        "names": [*["namespace:acme/billing"][:namespaces], *inside, "cache:acme/billing/rates"],
        "is_complete": True,
    }
    assert client.log() == before
    assert client.delete(path, {"If-Match": preview.headers["ETag"]}).status_code == 204


def test_a_dry_run_counts_all_and_names_a_hundred() -> None:
    client = filled_client()
    for number in range(120):
        client.post(STREAMS, STREAM | {"stream": f"s{number:03}"})
    preview = client.delete(f"{TENANTS}/acme", dry_run="true").json
    assert (preview["streams"], len(preview["names"])) == (121, 100)


def test_a_dry_run_refuses_what_the_deletion_would_refuse() -> None:
    client = filled_client()
    assert refused(client.delete(f"{TENANTS}/none", dry_run="true")) == (404, "not_found")
    for path in (f"{TENANTS}/acme", f"{NAMESPACES}/billing"):
        stale = client.delete(path, {"If-Match": '"77"'}, dry_run="true")
        assert refused(stale) == (412, "precondition_failed")
        assert stale.json == client.delete(path, {"If-Match": '"77"'}).json | {
            "request_id": stale.json["request_id"]
        }
    assert refused(client.delete(f"{TENANTS}/acme", dry_run="x")) == (400, "validation_error")
