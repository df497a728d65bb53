"""The two spellings of a stream: the contract's and the specification's."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.helpers import STREAM, STREAMS, filled_client, refused

SEED = {
    "stream": "orders",
    "shards": 4,
    "retention": {"time": "7d", "size": "100GB"},
    "durability": "durable",
    "replication_factor": 3,
    "ack_policy": "quorum",
}
CONTRACT = STREAM | {"stream": "orders"}


def created(body: dict[str, Any]) -> dict[str, Any]:
    result = filled_client().post(STREAMS, body)
    assert result.status_code == 201, result.text
    answer: dict[str, Any] = result.json
    return answer


def pointer_refused(body: dict[str, Any]) -> object:
    result = filled_client().post(STREAMS, body)
    assert refused(result) == (422, "unprocessable")
    return result.json["details"]["pointer"]


def test_the_specifications_spelling_is_understood_and_both_are_answered() -> None:
    stream = created(SEED)
    assert stream["retention"] == {"max_age_seconds": 604800, "max_size_bytes": 100 * 10**9}
    assert (stream["consistency"], stream["ack_policy"]) == ("Quorum", "quorum")
    assert (stream["durable"], stream["durability"]) == (True, "durable")
    assert (stream["kind"], stream["delivery"]) == ("Stream", "AtLeastOnce")
    assert stream["replication_factor"] == 3


def test_the_contracts_spelling_is_understood_and_both_are_answered() -> None:
    stream = created(CONTRACT | {"durable": False, "consistency": "Quorum"})
    assert (stream["consistency"], stream["ack_policy"]) == ("Quorum", "quorum")
    assert (stream["durable"], stream["durability"]) == (False, "ephemeral")
    assert stream["replication_factor"] == 1


def test_shards_and_durability_are_enough_in_the_specifications_spelling() -> None:
    stream = created({"stream": "orders", "shards": 2, "durability": "ephemeral"})
    assert stream["retention"] == {"max_age_seconds": None, "max_size_bytes": None}
    assert (stream["durable"], stream["consistency"]) == (False, "Leader")
    for member in ("shards", "durability"):
        assert pointer_refused({m: v for m, v in SEED.items() if m != member}) == f"/{member}"


@pytest.mark.parametrize("member", ["kind", "consistency", "delivery", "durable"])
def test_one_member_of_the_contract_demands_all_of_them(member: str) -> None:
    assert str(pointer_refused(SEED | {member: CONTRACT[member]})).removeprefix("/") in CONTRACT


def test_members_of_the_specification_may_stand_beside_those_of_the_contract() -> None:
    stream = created(CONTRACT | {"replication_factor": 3, "durability": "durable"})
    assert stream["replication_factor"] == 3


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"durability": "ephemeral"}, "/durability"),
        ({"ack_policy": "quorum"}, "/ack_policy"),
        ({"retention": {"max_age_seconds": 60, "time": "2m"}}, "/retention/time"),
        ({"retention": {"max_size_bytes": 1000, "size": "1KiB"}}, "/retention/size"),
    ],
)
def test_the_same_fact_said_twice_must_agree(changes: dict[str, Any], pointer: str) -> None:
    assert pointer_refused(CONTRACT | changes) == pointer


def test_the_same_fact_said_twice_alike_is_fine() -> None:
    retention = {"max_age_seconds": 120, "time": "2m", "max_size_bytes": 1024, "size": "1KiB"}
    stream = created(CONTRACT | {"retention": retention, "ack_policy": "leader_only"})
    assert stream["retention"] == {"max_age_seconds": 120, "max_size_bytes": 1024}


@pytest.mark.parametrize(
    ("words", "seconds"),
    [("0s", 0), ("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604800), ("2 w", 1209600)],
)
def test_a_duration_is_a_number_and_a_unit(words: str, seconds: int) -> None:
    stream = created(SEED | {"retention": {"time": words}})
    assert stream["retention"]["max_age_seconds"] == seconds


@pytest.mark.parametrize(
    ("words", "size"),
    [
        ("0B", 0),
        ("5KB", 5000),
        ("5KiB", 5120),
        ("100GB", 10**11),
        ("1 TiB", 2**40),
        ("1PB", 10**15),
    ],
)
def test_a_size_is_a_number_and_a_unit(words: str, size: int) -> None:
    stream = created(SEED | {"retention": {"size": words}})
    assert stream["retention"]["max_size_bytes"] == size


@pytest.mark.parametrize(
    "words",
    ["", "7", "d", "-1d", "1.5d", "7D", "7 days", "1d2h", "\u0667d", "9" * 30 + "s", "7d\n"],
)
def test_other_words_for_a_duration_are_refused(words: str) -> None:
    assert pointer_refused(SEED | {"retention": {"time": words}}) == "/retention/time"


@pytest.mark.parametrize("words", ["100gb", "1.5GB", "1XB", "99999999999999999PB", "GB"])
def test_other_words_for_a_size_are_refused(words: str) -> None:
    assert pointer_refused(SEED | {"retention": {"size": words}}) == "/retention/size"


def test_a_patch_takes_either_spelling() -> None:
    client = filled_client()
    path = f"{STREAMS}/invoices"
    changed = client.patch(path, {"ack_policy": "quorum", "retention": {"time": "1h"}}).json
    assert (changed["consistency"], changed["retention"]["max_age_seconds"]) == ("Quorum", 3600)
    result = client.patch(path, {"durable": True, "durability": "ephemeral"})
    assert refused(result) == (422, "unprocessable")


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [({"shards": 0}, "/shards"), ({"replication_factor": 0}, "/replication_factor")],
)
def test_a_broken_rule_is_named_as_the_body_spells_it(
    changes: dict[str, Any], pointer: str
) -> None:
    result = filled_client().post(STREAMS, SEED | changes)
    assert refused(result) == (400, "validation_error")
    assert result.json["details"]["pointer"] == pointer
    assert "spec" not in result.json["message"]
