"""Latencies in, figures out: percentiles, medians of rounds, ratios."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median

import msgspec


class Figures(msgspec.Struct, frozen=True):
    """What one system showed in one case; a row of the JSON document."""

    system: str
    case: str
    ops_per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float


class Round(msgspec.Struct, frozen=True):
    """One system's turn at one case, with what a reader should know about it."""

    figures: Figures
    notes: dict[str, float] = {}
    """By what it is, unit last: `client_cpu_percent`."""


class Ratio(msgspec.Struct, frozen=True):
    """One system's figures divided by another's: the median and range of the rounds."""

    system: str
    over: str
    case: str
    figure: str
    median: float
    lowest: float
    highest: float


def percentile(ordered: Sequence[float], share: float) -> float:
    """Give the nearest-rank percentile of values in ascending order; `share` is in 0..1."""
    assert ordered, "no values, no percentile"
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def figures(system: str, case: str, ops_per_s: float, latencies_s: Iterable[float]) -> Figures:
    """Sum up latencies given in seconds."""
    ordered = sorted(latencies_s)
    return Figures(
        system=system,
        case=case,
        ops_per_s=round(ops_per_s, 1),
        p50_ms=_ms(percentile(ordered, 0.50)),
        p90_ms=_ms(percentile(ordered, 0.90)),
        p99_ms=_ms(percentile(ordered, 0.99)),
        max_ms=_ms(ordered[-1]),
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 4)


NUMBERS = ("ops_per_s", "p50_ms", "p90_ms", "p99_ms", "max_ms")


def medians(rounds: Iterable[Round]) -> list[Round]:
    """Give one round for each system and case: the median of each figure and note."""
    groups: dict[tuple[str, str], list[Round]] = {}
    for one in rounds:
        groups.setdefault((one.figures.case, one.figures.system), []).append(one)
    return [_middle(case, system, group) for (case, system), group in groups.items()]


def _middle(case: str, system: str, group: Sequence[Round]) -> Round:
    numbers = {
        name: round(median(getattr(one.figures, name) for one in group), 4) for name in NUMBERS
    }
    notes = {name: median(one.notes[name] for one in group) for name in group[0].notes}
    return Round(Figures(system=system, case=case, **numbers), notes)


def ratios(rounds: Iterable[Round], system: str, over: str) -> list[Ratio]:
    """Divide one system's figures by another's, round by round, for every case both have."""
    ours: dict[str, list[Figures]] = {}
    theirs: dict[str, list[Figures]] = {}
    for one in rounds:
        side = {system: ours, over: theirs}.get(one.figures.system)
        if side is not None:
            side.setdefault(one.figures.case, []).append(one.figures)
    return [
        _ratio(Ratio(system, over, case, figure, 0.0, 0.0, 0.0), mine, theirs[case])
        for case, mine in ours.items()
        if case in theirs
        for figure in ("ops_per_s", "p50_ms", "p99_ms")
    ]


def _ratio(blank: Ratio, mine: Sequence[Figures], theirs: Sequence[Figures]) -> Ratio:
    name = blank.figure
    shares = [
        getattr(a, name) / divisor if (divisor := getattr(b, name)) else math.inf
        for a, b in zip(mine, theirs, strict=True)
    ]
    return msgspec.structs.replace(
        blank, median=median(shares), lowest=min(shares), highest=max(shares)
    )
