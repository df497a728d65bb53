"""Documents of the API as tables: chosen columns of many, or all members of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import click
from rich.table import Table

from felix.cli.admin.errors import plain
from felix.cli.admin.output import number, says, show_table, table_of
from felix.cli.admin.units import write_duration, write_size

DURATIONS: Final = frozenset(
    {"max_age_seconds", "rotation_period_seconds", "uptime_seconds", "expires_in"}
    | {"refresh_expires_in"}
)
SIZES: Final = frozenset(
    {"max_size_bytes", "max_storage_bytes", "max_cache_memory", "storage_bytes", "cache_bytes"}
    | {"memory_bytes"}
)
_UNITS: Final[dict[str, Callable[[int], str]]] = {
    **dict.fromkeys(DURATIONS, write_duration),
    **dict.fromkeys(SIZES, write_size),
}
LABEL_COLUMNS_MIN: Final = 9


def show_rows(columns: tuple[str, ...], rows: list[Any]) -> None:
    """Show chosen members of each; columns as in `HEADING=path.to.member`."""
    show_table(*_cells(columns, rows))


def rows_table(columns: tuple[str, ...], rows: list[Any]) -> Table:
    """Make a table of chosen members of each."""
    return table_of(*_cells(columns, rows))


def _cells(
    columns: tuple[str, ...], rows: list[Any]
) -> tuple[list[str], list[list[str]], frozenset[str]]:
    """Give headings, cells, and the headings of numbers."""
    chosen = [column.partition("=")[::2] for column in columns]
    cells = [[cell(path, value_at(row, path)) for _, path in chosen] for row in rows]
    numbers = frozenset(
        heading for heading, path in chosen if any(_is_number(value_at(row, path)) for row in rows)
    )
    return [heading for heading, _ in chosen], cells, numbers


def show_one(document: dict[str, Any]) -> None:
    """Show all members of one, those of its members too; lists of records below it as tables."""
    lists = {}
    lines = []
    for path, value in _leaves(document):
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lists[path] = value
        else:
            lines.append((path, cell(path, value)))
    width = max([LABEL_COLUMNS_MIN, *(len(path) for path, _ in lines)])
    for path, text in lines:
        click.echo(f"{path:{width}} {plain(text)}")
    for path, rows in lists.items():
        click.echo(f"\n{path}")
        show_rows(tuple(f"{name.upper()}={name}" for name in rows[0]), rows)


def cell(path: str, value: Any) -> str:
    """Write one value for people."""
    name = path.rpartition(".")[2]
    match value:
        case None | "" | [] | {}:
            return "-"
        case bool():
            return says(value)
        case int():
            return _UNITS.get(name, number)(value)
        case list():
            is_of_records = isinstance(value[0], dict)
            return str(len(value)) if is_of_records else ", ".join(str(one) for one in value)
        case dict():
            return ", ".join(f"{name}={one}" for name, one in value.items())
        case _:
            return str(value)


def value_at(document: Any, path: str) -> Any:
    """Find a member of members; None where there is none."""
    for name in path.split("."):
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    return document


def _leaves(document: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
