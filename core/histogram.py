"""Counts of values in buckets, cheap enough for the commit path."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import msgspec

SECONDS_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.0025, 0.005, 0.01,
    0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip


class HistogramValues(msgspec.Struct, frozen=True):
    """A histogram at one moment."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    """One more than there are bounds: the last counts what lies above them all."""
    total: float


class Histogram:
    """Counts values by the smallest bound that is not below them."""

    def __init__(self, bounds: Sequence[float] = SECONDS_BUCKETS) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def values(self) -> HistogramValues:
        """Read the histogram."""
        return HistogramValues(self._bounds, tuple(self._counts), self._total)
