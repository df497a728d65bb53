"""What people read, and the JSON document that programs read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench.measure import Figures, Ratio, Round

FOREIGN_PERCENT_MAX = 10.0
"""A run beside which other programs took more of the machine is not clean."""


class Document(msgspec.Struct, frozen=True):
    """The JSON document."""

    bench: str
    results: list[Figures]


def write_json(path: Path, bench: str, middles: Iterable[Round]) -> None:
    """Write the medians."""
    document = Document(bench, [one.figures for one in middles])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def print_figures(console: Console, title: str, middles: Iterable[Round]) -> None:
    """Print a row for each system and case, and the notes."""
    table = Table(title=title, title_justify="left")
    table.add_column("case", no_wrap=True)
    table.add_column("system", no_wrap=True)
    for heading in ("ops/s", "p50 ms", "p90 ms", "p99 ms", "max ms"):
        table.add_column(heading, justify="right")
    middles = list(middles)
    for row in (one.figures for one in middles):
        table.add_row(
            row.case,
            row.system,
            f"{row.ops_per_s:,.0f}",
            *(f"{value:.3f}" for value in (row.p50_ms, row.p90_ms, row.p99_ms, row.max_ms)),
        )
    console.print(table)
    for one in middles:
        notes = ", ".join(f"{name} {value:g}" for name, value in one.notes.items())
        console.print(f"{one.figures.case} {one.figures.system}: {notes}", highlight=False)
        if one.notes.get("foreign_cpu_percent", 0) > FOREIGN_PERCENT_MAX:
            console.print("  other programs disturbed this: do not quote it", style="bold red")


def print_ratios(console: Console, ratios: Sequence[Ratio]) -> None:
    """Print one line for each ratio: throughput is better above 1, a latency below."""
    if not ratios:
        return
    table = Table(title="ratios, round by round", title_justify="left")
    for heading in ("case", "ratio", "figure"):
        table.add_column(heading, no_wrap=True)
    for heading in ("median", "lowest", "highest"):
        table.add_column(heading, justify="right")
    for one in ratios:
        values = (f"{value:.2f}" for value in (one.median, one.lowest, one.highest))
        table.add_row(one.case, f"{one.system} / {one.over}", one.figure, *values)
    console.print(table)
