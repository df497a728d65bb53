"""`docs/security.md` names, for every hole of the contract, the tests that show it closed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROWS: Final = dict(re.findall(r"^\| ([SC]\d+) .*\| (`tests/.*`) \|$", PAGE, re.M))
HOLES: Final = [f"S{n}" for n in range(1, 17)] + [f"C{n}" for n in range(7, 18)]
"""Chapter 15 of the contract; C1 to C6 are the feeds', in `tests/http/test_feeds.py`."""


def named_after(hole: str, code: str) -> list[str]:
    """List the tests with the number of a hole in their names."""
    names = re.findall(r"^ *def (test_\w+)", code, re.M)
    return [name for name in names if hole.lower() in name.split("_")]


@pytest.mark.parametrize("hole", HOLES)
def test_every_hole_has_a_test_of_its_name_in_each_file_that_the_page_names(hole: str) -> None:
    files = re.findall(r"`(tests/[\w/]+\.py)`", ROWS[hole])
    assert files
    for file in files:
        assert named_after(hole, (ROOT / file).read_text(encoding="utf-8")), file


def test_the_page_has_no_other_holes() -> None:
    assert list(ROWS) == HOLES


def test_a_number_is_a_word_of_the_name() -> None:
    code = "def test_s2_s6_x() -> None:\ndef test_by_default_es256_is_accepted() -> None:\n"
    assert named_after("S6", code) == ["test_s2_s6_x"]
    assert named_after("S25", code) == []
