"""`docs/protocol.md` says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from felix.proto.cluster import AnyOperation
from felix.proto.commands import AnyCommand
from felix.proto.errors import BY_CODE
from felix.proto.queries import AnyQuery

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "protocol.md").read_text()
EXAMPLES = re.findall(r"<!-- vector: (\S+) -->\n```\n(.*?)```", PAGE, re.DOTALL)
VECTORS = {
    vector["name"]: vector["bytes"]
    for file in sorted((ROOT / "tests" / "vectors").glob("*.json"))
    for vector in json.loads(file.read_text())
}
HEX_AT_START = re.compile(r"\s*((?:[0-9a-f]{2}(?:[0-9a-f]{2})*\s+)+|(?:[0-9a-f]{2})+$)")


def hex_of(example: str) -> str:
    """Gather the hex digits; what comes after them on a line is for people."""
    found = ""
    for line in example.splitlines():
        match = HEX_AT_START.match(line + " ")
        assert match, line
        found += re.sub(r"\s", "", match.group(1))
    return found


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_an_example_has_the_bytes_of_its_vector(name: str, example: str) -> None:
    assert hex_of(example) == VECTORS[name]


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_every_error_code_stands_in_the_table_with_its_outcome(code: str) -> None:
    assert f"| `{code}` | {BY_CODE[code].outcome} |" in PAGE


@pytest.mark.parametrize(
    "kind", [*get_args(AnyCommand), *get_args(AnyQuery), *get_args(AnyOperation)]
)
def test_every_request_and_each_of_its_fields_is_described(kind: type) -> None:
    assert re.search(rf"\b{kind.__name__}\b", PAGE), kind.__name__
    for field in kind.__struct_fields__:  # type: ignore[attr-defined]  # a msgspec struct
        assert re.search(rf"\b{field}\b", PAGE), field
