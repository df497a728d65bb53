"""Writes the table in `docs/configuration.md`: `python -m tests.cli.configuration_page`.

Keys, defaults and meanings are those in `cli/config.py`; names of variables, the loader's.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from felix.cli import config
from felix.cli.config import Config
from felix.cli.config_loading import known_keys, variable_of

PATH: Final = Path(__file__).parents[2] / "docs" / "configuration.md"
HEAD: Final = "| key | variable | default | meaning |\n|---|---|---|---|\n"
_TABLE: Final = re.compile(re.escape(HEAD) + r"(?:\|.*\n)*")


def with_table(page: str) -> str:
    """Put the table as it must be into the page; what is around it is written by hand."""
    assert len(_TABLE.findall(page)) == 1
    return _TABLE.sub(lambda _: HEAD + "".join(rows()), page)


def rows() -> Iterator[str]:
    """Write a row for every key, in the order of the records."""
    for key in known_keys():
        yield f"| `{key}` | `{variable_of(key)}` | {default_of(key)} | {meaning_of(key)} |\n"


def default_of(key: str) -> str:
    """Say what a key is when nobody gives it."""
    _, field = _field_of(key)
    if field.required or key == "cluster.members":
        return "required"
    if field.default in ("", ()):
        return "none"
    said = ",".join(field.default) if isinstance(field.default, tuple) else str(field.default)
    return f"`{said.lower() if isinstance(field.default, bool) else said}`"


def meaning_of(key: str) -> str:
    """Give the words that stand below the field."""
    kind, field = _field_of(key)
    said = _words_of(kind).get(field.name)
    assert said, f"{key} has no words in cli/config.py"
    return " ".join(said.split()).replace("|", "\\|")


def _field_of(key: str) -> tuple[type[msgspec.Struct], msgspec.structs.FieldInfo]:
    *sections, name = key.split(".")
    kind: Any = Config
    for section in sections:
        kind = next(one.type for one in msgspec.structs.fields(kind) if one.name == section)
    return kind, next(one for one in msgspec.structs.fields(kind) if one.name == name)


def _words_of(kind: type[msgspec.Struct]) -> dict[str, str]:
    module = ast.parse(inspect.getsource(config))
    record = next(
        one for one in module.body if isinstance(one, ast.ClassDef) and one.name == kind.__name__
    )
    found = {}
    for field, words in zip(record.body, record.body[1:], strict=False):
        match field, words:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(said))):
                found[name] = said
    return found


if __name__ == "__main__":
    PATH.write_text(with_table(PATH.read_text(encoding="utf-8")), encoding="utf-8")
