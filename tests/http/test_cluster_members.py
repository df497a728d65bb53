"""Members and leadership over HTTP: what is asked for, what is refused, and how."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.http.helpers import MEMBER, Client, client_of, empty_client, refused
from tests.support.local_cluster import LocalCluster, addresses_of, identity_of

MEMBERS: Final = "/v1/cluster/members"
TRANSFER: Final = "/v1/cluster/leadership/transfer"
NEW: Final[dict[str, Any]] = MEMBER
ADDRESSES: Final[dict[str, str]] = NEW["addresses"]


def client_of_three(**settings: Any) -> tuple[Client, LocalCluster]:
    cluster = LocalCluster("n1", "n2", "n3", **settings)
    return client_of(cluster), cluster


def names(client: Client) -> list[str]:
    return [one["name"] for one in client.get(MEMBERS, consistency="stale").json["items"]]


def test_the_cluster_says_who_takes_part_in_what_way() -> None:
    client, _ = client_of_three()
    status = client.get("/v1/cluster").json
    assert (status["change_under_way"], status["feature_level"], status["alarms"]) == (False, 1, [])
    assert status["members"][1] == {
        "id": identity_of("n2"), "name": "n2", "role": "follower", "voter": True, "leaving": False,
        "replaces": None, "level": 1, "match_index": 5000, "lag": 0, "active": True,
        "addresses": {name: getattr(addresses_of(1), name) for name in ADDRESSES},
    }  # fmt: skip


def test_members_are_listed_and_read_one_by_one_by_identity_or_name() -> None:
    client, _ = client_of_three()
    listed = client.get(MEMBERS).json["items"]
    assert [one["name"] for one in listed] == ["n1", "n2", "n3"]
    for one in listed:
        assert client.get(f"{MEMBERS}/{one['id']}").json == one
        assert client.get(f"{MEMBERS}/{one['name']}").json == one
    assert refused(client.get(f"{MEMBERS}/nobody")) == (404, "not_found")


def test_a_new_member_is_a_learner_at_first_and_a_voter_once_it_keeps_up() -> None:
    client, _ = client_of_three(learner_lag=500, catch_up=400)
    result = client.post(MEMBERS, NEW | {"level": 2})
    assert result.status_code == 202
    assert result.headers["Location"] == f"{MEMBERS}/{NEW['member_id']}"
    learner = result.json["members"][3]
    assert (learner["role"], learner["voter"], learner["lag"]) == ("learner", False, 500)
    assert (learner["addresses"], learner["level"]) == (ADDRESSES, 2)
    location = result.headers["Location"]
    assert [client.get(location).json["lag"] for _ in range(2)] == [100, 0]
    assert client.get(location).json["voter"] is True


def test_asking_twice_for_the_same_member_changes_nothing() -> None:
    client, _ = client_of_three()
    for _ in range(2):
        assert client.post(MEMBERS, NEW).status_code == 202
    assert names(client) == ["n1", "n2", "n3", "n4"]


def test_what_a_node_does_not_listen_on_may_be_left_out() -> None:
    client, _ = client_of_three()
    only = {name: ADDRESSES[name] for name in ("peers", "rpc")}
    body = NEW | {"addresses": only | {"http": None, "watch": ""}}
    learner = client.post(MEMBERS, body).json["members"][3]
    assert {name: address for name, address in learner["addresses"].items() if address} == only


@pytest.mark.parametrize(
    ("change", "status", "pointer"),
    [
        ({"member_id": None}, 422, "/member_id"),
        ({"member_id": 7}, 422, "/member_id"),
        ({"member_id": ""}, 400, "/member_id"),
        ({"member_id": "A" * 32}, 400, "/member_id"),
        ({"member_id": "a" * 31}, 400, "/member_id"),
        ({"member_id": "a" * 32 + "\n"}, 400, "/member_id"),
        ({"name": None}, 422, "/name"),
        ({"name": ""}, 400, "/name"),
        ({"name": "n 4"}, 400, "/name"),
        ({"name": "x" * 256}, 400, "/name"),
        ({"addresses": None}, 422, "/addresses"),
        ({"addresses": []}, 422, "/addresses"),
        ({"addresses": {"peers": "h:1"}}, 422, "/addresses/rpc"),
        ({"addresses": {"peers": "", "rpc": "h:1"}}, 400, "/addresses/peers"),
        ({"addresses": ADDRESSES | {"rpc": "h"}}, 400, "/addresses/rpc"),
        ({"addresses": ADDRESSES | {"rpc": "h:0"}}, 400, "/addresses/rpc"),
        ({"addresses": ADDRESSES | {"rpc": "h:65536"}}, 400, "/addresses/rpc"),
        ({"addresses": ADDRESSES | {"rpc": "h:٣"}}, 400, "/addresses/rpc"),
        ({"addresses": ADDRESSES | {"watch": "tcp://h:1"}}, 400, "/addresses/watch"),
        ({"addresses": ADDRESSES | {"http": "::1:80"}}, 400, "/addresses/http"),
        ({"addresses": ADDRESSES | {"metrics": "h:1\r\nx"}}, 400, "/addresses/metrics"),
        ({"level": 0}, 422, "/level"),
        ({"level": "1"}, 422, "/level"),
        ({"level": 1 << 32}, 422, "/level"),
        ({"replace": 1}, 422, "/replace"),
    ],
)
def test_a_body_that_breaks_a_rule_is_refused_by_its_place(
    change: dict[str, Any], status: int, pointer: str
) -> None:
    client, _ = client_of_three()
    result = client.post(MEMBERS, NEW | change)
    code = {400: "validation_error", 422: "unprocessable"}[status]
    assert refused(result) == (status, code)
    assert result.json["details"]["pointer"] == pointer
    assert names(client) == ["n1", "n2", "n3"]


@pytest.mark.parametrize("member", ["member_id", "name", "addresses"])
def test_a_new_member_needs_identity_name_and_addresses(member: str) -> None:
    client, _ = client_of_three()
    body = {name: value for name, value in NEW.items() if name != member}
    result = client.post(MEMBERS, body)
    assert refused(result) == (422, "unprocessable")
    assert result.json["details"]["pointer"] == f"/{member}"


@pytest.mark.parametrize("address", ["db-1.example.org:9000", "[::1]:9000", "10.0.0.7:1"])
def test_an_address_is_a_name_or_a_number_and_a_port(address: str) -> None:
    client, _ = client_of_three()
    body = NEW | {"addresses": {"peers": address, "rpc": address}}
    assert client.post(MEMBERS, body).status_code == 202


def test_a_dead_member_is_replaced_under_its_name_and_two_of_a_name_are_told_apart() -> None:
    client, cluster = client_of_three(learner_lag=0)
    body = NEW | {"name": "n3", "replace": True}
    assert client.post(MEMBERS, body).json["details"]["reason"] == "alive"
    cluster.kill("n3")
    members = client.post(MEMBERS, body).json["members"]
    (learner,) = [one for one in members if one["role"] == "learner"]
    assert (learner["name"], learner["replaces"]) == ("n3", identity_of("n3"))
    status = client.get("/v1/cluster").json
    assert status["change_under_way"] is True
    leaving = [one["id"] for one in status["members"] if one["leaving"]]
    assert leaving == [identity_of("n3")]
    client, cluster = client_of_three()
    cluster.kill("n3")
    client.post(MEMBERS, body)
    assert refused(client.get(f"{MEMBERS}/n3")) == (404, "not_found")
    assert client.get(f"{MEMBERS}/{NEW['member_id']}").json["role"] == "learner"


def test_a_refused_change_is_409_and_says_why() -> None:
    client, cluster = client_of_three()
    cluster.kill("n3")
    result = client.post(MEMBERS, NEW | {"name": "n3"})
    assert refused(result) == (409, "membership_refused")
    assert result.json["details"] == {"reason": "name_taken"}
    result = client.delete(f"{MEMBERS}/n2")
    assert refused(result) == (409, "membership_refused")
    assert result.json["details"] == {"reason": "would_lose_quorum"}
    assert empty_client().delete(f"{MEMBERS}/local").json["details"] == {"reason": "one_process"}


def test_a_removed_member_is_gone_and_never_comes_back() -> None:
    client, _ = client_of_three()
    result = client.delete(f"{MEMBERS}/n3")
    assert result.status_code == 200
    assert [one["name"] for one in result.json["members"]] == ["n1", "n2"]
    assert result.json["removed"] == [identity_of("n3")]
    for gone in ("n3", identity_of("n3")):
        assert client.delete(f"{MEMBERS}/{gone}").json == result.json, (
            "asking again changes nothing"
        )
    assert refused(client.delete(f"{MEMBERS}/n4")) == (404, "not_found")
    again = NEW | {"member_id": identity_of("n3"), "name": "n3"}
    assert client.post(MEMBERS, again).json["details"] == {"reason": "was_removed"}
    left = client.delete(f"{MEMBERS}/{identity_of('n1')}").json
    assert (left["leader_id"], len(left["members"])) == (identity_of("n2"), 1)


def test_leadership_goes_to_the_one_that_is_named_or_to_any() -> None:
    client, cluster = client_of_three()
    for target in ("n2", identity_of("n3")):
        status = client.post(TRANSFER, {"target": target}).json
        assert status["leader_id"] in {target, identity_of(target)}
    for body in ({}, {"target": None}, {"target": ""}):
        before = client.get("/v1/cluster").json["leader_id"]
        result = client.post(TRANSFER, body)
        assert result.status_code == 200
        assert result.json["leader_id"] != before
    assert refused(client.post(TRANSFER, {"target": "nobody"})) == (404, "not_found")
    assert refused(client.post(TRANSFER, {"target": 3})) == (422, "unprocessable")
    client.post(TRANSFER, {"target": "n1"})
    cluster.kill("n3")
    result = client.post(TRANSFER, {"target": "n3"})
    assert refused(result) == (409, "transfer_refused")
    assert result.json["details"] == {"reason": "not_alive"}


def test_without_a_quorum_nothing_changes_but_everybody_may_look() -> None:
    client, cluster = client_of_three()
    cluster.has_quorum = False
    for result in (
        client.post(MEMBERS, NEW),
        client.delete(f"{MEMBERS}/n3"),
        client.post(TRANSFER, {}),
    ):
        assert refused(result) == (503, "no_leader")
        assert result.headers["Retry-After"] == "1"
    status = client.get("/v1/cluster").json
    assert (status["leader_id"], len(status["members"])) == (None, 3)
    assert [one["lag"] for one in status["members"]] == [None] * 3
