"""The grammar of names."""

from __future__ import annotations

import pytest

from felix.proto.names import NAME_CHARS_MAX, RESERVED, why_not_a_name


@pytest.mark.parametrize("name", ["a", "7", "orders", "a.b_c-d", "A" * NAME_CHARS_MAX, "x..y"])
def test_a_plain_name_is_fine(name: str) -> None:
    assert why_not_a_name(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "", "-a", ".a", "_a", "a b", " a", "a/b", "a:b", "*", "a*", "a\x00", "a\n", "a\r\n", "a%2F",
        "..", "é", "\u0430", "a\u202e", "\ud800", "\uff21", "a" * (NAME_CHARS_MAX + 1), *RESERVED,
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_a_reason(name: str) -> None:
    assert why_not_a_name(name)
