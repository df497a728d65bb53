"""Errors keep their meaning on their way."""

from __future__ import annotations

import pytest

from felix.proto.codec import Decoder, encode
from felix.proto.errors import (
    BY_CODE,
    ErrorReply,
    FelixError,
    Gone,
    NotApplied,
    Unknown,
    from_reply,
)


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_an_error_arrives_as_the_class_it_was(code: str) -> None:
    sent = BY_CODE[code]("what happened", retry_after_ms=5, details={"a": 1, "b": "x"})
    reply = Decoder[ErrorReply](ErrorReply).decode(encode(sent.to_reply()))
    got = from_reply(reply)
    assert type(got) is type(sent)
    assert (got.message, got.retry_after_ms, got.details) == (
        "what happened",
        5,
        {"a": 1, "b": "x"},
    )


@pytest.mark.parametrize(
    ("outcome", "family"), [("not_applied", NotApplied), ("unknown", Unknown), ("gone", Gone)]
)
def test_a_code_of_a_newer_peer_still_says_what_may_be_concluded(
    outcome: str, family: type[FelixError]
) -> None:
    reply = ErrorReply("invented_later", "?", outcome)  # type: ignore[arg-type]  # one of three
    assert type(from_reply(reply)) is family
    assert from_reply(reply).outcome == outcome


def test_every_code_has_one_class_and_every_class_a_family() -> None:
    assert len(set(BY_CODE.values())) == len(BY_CODE)
    assert all(issubclass(cls, NotApplied | Unknown | Gone) for cls in BY_CODE.values())
