"""Durations and sizes: words and numbers mean the same both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from felix.cli.admin.errors import Usage
from felix.cli.admin.units import read_duration, read_size, write_duration, write_size


@pytest.mark.parametrize(
    ("words", "seconds"), [("7d", 604_800), ("90d", 7_776_000), ("2w", 1_209_600), ("60", 60)]
)
def test_a_duration_is_read_in_words_or_seconds(words: str, seconds: int) -> None:
    assert read_duration(words, "--retention") == seconds


@pytest.mark.parametrize(
    ("words", "size"), [("1TB", 10**12), ("100GB", 10**11), ("1TiB", 1 << 40), ("512", 512)]
)
def test_a_size_is_read_in_words_or_bytes(words: str, size: int) -> None:
    assert read_size(words, "--max-storage") == size


def test_none_is_no_limit() -> None:
    assert read_duration("none", "--retention") is None
    assert read_size("none", "--max-storage") is None


@pytest.mark.parametrize("words", ["", "7y", "7 days", "-1d", "1.5d", "d", "\u0667d", "7D"])
def test_what_is_no_duration_is_refused_with_an_example(words: str) -> None:
    with pytest.raises(Usage) as caught:
        read_duration(words, "--retention")
    assert "--retention 7d" in caught.value.hint


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(604_800, "7d"), (7_776_000, "90d"), (3600, "1h"), (61, "61s"), (0, "0s"), (5400, "90m")],
)
def test_a_duration_is_written_without_a_rest(seconds: int, words: str) -> None:
    assert write_duration(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [(10**12, "1TB"), (1 << 40, "1TiB"), (10**11, "100GB"), (1000, "1KB"), (1, "1B"), (0, "0B")],
)
def test_a_size_is_written_without_a_rest(size: int, words: str) -> None:
    assert write_size(size) == words


@given(st.integers(0, (1 << 63) - 1))
def test_what_was_written_is_read_as_the_same(number: int) -> None:
    assert read_duration(write_duration(number), "") == number
    assert read_size(write_size(number), "") == number
