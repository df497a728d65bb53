"""How long commits took lately: windows of a fixed length, the oldest forgotten."""

from __future__ import annotations

from collections import deque
from typing import Final

from felix.core.histogram import Histogram, HistogramValues
from felix.proto.queries import CommitWindow

WINDOW_S: Final = 10
WINDOWS_MAX: Final = 60
"""With the one that is not over."""


class CommitTimes:
    """Ten minutes of commits. Used by one thread, cheap enough for the commit path."""

    def __init__(self) -> None:
        self._number = 0
        """Of the window that is not over, counted from the beginning of the clock."""
        self._histogram = Histogram()
        self._slowest_s = 0.0
        self._over: deque[CommitWindow] = deque(maxlen=WINDOWS_MAX - 1)

    def add(self, seconds: float, now_s: float) -> None:
        """Count a commit that took `seconds`; `now_s` is of a clock that never goes back."""
        self._turn_to(now_s)
        self._histogram.add(seconds)
        self._slowest_s = max(self._slowest_s, seconds)

    def windows(self, now_s: float) -> list[CommitWindow]:
        """Give them all, the oldest first; the last one is not over."""
        self._turn_to(now_s)
        return [*self._over, self._present()]

    def _turn_to(self, now_s: float) -> None:
        number = int(now_s // WINDOW_S)
        passed = number - self._number
        if passed <= 0:
            return
        if self._number:
            self._over.append(self._present())
            self._over.extend([CommitWindow()] * min(passed - 1, WINDOWS_MAX))
        self._number = number
        self._histogram = Histogram()
        self._slowest_s = 0.0

    def _present(self) -> CommitWindow:
        values = self._histogram.values()
        return CommitWindow(
            commits=sum(values.counts),
            p50_us=_in_us(min(quantile(values, 0.5), self._slowest_s)),
            p99_us=_in_us(min(quantile(values, 0.99), self._slowest_s)),
            max_us=_in_us(self._slowest_s),
        )


def quantile(values: HistogramValues, share: float) -> float:
    """Estimate what `share` of the values are not above, evenly spread within a bucket.

    0 where there are none; infinite where it lies above all bounds.
    """
    wanted = share * sum(values.counts)
    below, floor = 0, 0.0
    for bound, count in zip(values.bounds, values.counts, strict=False):
        if count and below + count >= wanted:
            return floor + (bound - floor) * (wanted - below) / count
        below, floor = below + count, bound
    return float("inf") if values.counts[-1] else 0.0


def _in_us(seconds: float) -> int:
    return round(seconds * 1_000_000)
