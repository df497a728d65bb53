"""The picture: latencies of all systems, one panel for each case."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.measure import Figures

_PERCENTILES = ("p50_ms", "p90_ms", "p99_ms", "max_ms")
_COLOURS = {"felix": "#1f6f8b", "etcd": "#e07a5f", "floor": "#b8b8aa"}
_BAR_WIDTH = 0.26


def plot(path: Path, bench: str, results: Sequence[Figures]) -> None:
    """Draw into a PNG file. Raises: ImportError, when matplotlib is not installed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - only here
    from matplotlib.figure import Figure  # noqa: PLC0415 - only here

    cases = list(dict.fromkeys(row.case for row in results))
    figure = Figure(figsize=(5.2 * len(cases), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, case in zip(figure.subplots(1, len(cases), squeeze=False)[0], cases, strict=True):
        rows = [row for row in results if row.case == case]
        for place, row in enumerate(rows):
            left = [n + (place - (len(rows) - 1) / 2) * _BAR_WIDTH for n in range(4)]
            bars = axes.bar(
                left,
                [getattr(row, name) for name in _PERCENTILES],
                width=_BAR_WIDTH,
                label=f"{row.system}: {row.ops_per_s:,.0f}/s",
                color=_COLOURS[row.system],
            )
            axes.bar_label(bars, fmt="%.3g", fontsize=7, padding=1)
        axes.set_title(case)
        axes.set_yscale("log")
        axes.margins(y=0.15)
        axes.set_xticks(range(4), ["p50", "p90", "p99", "max"])
        axes.set_ylabel("ms, less is better")
        axes.legend(fontsize=8)
    figure.suptitle(bench)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
