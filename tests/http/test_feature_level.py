"""Ending an upgrade over HTTP."""

from __future__ import annotations

from tests.http.helpers import filled_client

PATH = "/v1/cluster/feature-level"


def test_the_level_in_force_can_be_asked_for_again() -> None:
    client = filled_client()
    answer = client.post(PATH, {"level": 1})
    assert (answer.status_code, answer.json) == (200, {"feature_level": 1})
    assert client.get("/v1/cluster").json["feature_level"] == 1


def test_a_level_that_a_member_cannot_apply_is_refused_with_its_name() -> None:
    client = filled_client()
    answer = client.post(PATH, {"level": 2})
    assert answer.status_code == 409
    assert answer.json["code"] == "feature_level_too_low"
    assert answer.json["details"] == {"needed": 2, "active": 1, "members": "local"}


def test_what_is_no_level_is_refused() -> None:
    client = filled_client()
    assert client.post(PATH, {"level": 0}).status_code == 400
    assert client.post(PATH, {"level": "2"}).status_code == 422
    assert client.post(PATH, {}).status_code == 422
