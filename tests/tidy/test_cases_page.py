"""`docs/simulator.md` names tests of cases: each of them is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`([a-z_/]+\.py)::(test_\w+)`", PAGE)
FIRST, LAST = 15, 22


def functions_of(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return {one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED}))
def test_every_test_that_the_page_names_is_there(file: str) -> None:
    assert {name for where, name in NAMED if where == file} <= functions_of(file)


def test_every_case_has_tests() -> None:
    rows = re.findall(r"^\| (\d+) \| .*::test_", PAGE, re.MULTILINE)
    assert [int(number) for number in rows] == list(range(FIRST, LAST + 1))
