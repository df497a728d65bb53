"""How old a stale read may be, by the clock."""

from __future__ import annotations

import math

AGE_S_MAX = 86_400.0


class Freshness:
    """The last moment of which this node is known to have everything.

    The core counts ticks since then. A node that stood still lives through fewer ticks than have
    passed, and what it is told first on waking may have lain in its sockets all the while. So after
    a standstill nothing counts until the inbox has been seen empty once.
    """

    def __init__(self) -> None:
        self._current_at = -math.inf
        self._trusts_since: float | None = None
        """When the inbox was first seen empty after the last standstill."""

    def observe(
        self, now: float, age_s_by_ticks: float | None, *, stood_still: bool, inbox_is_empty: bool
    ) -> None:
        """Take in a tick; `age_s_by_ticks` is the core's count, None if it has none."""
        if stood_still:
            self._trusts_since = None
        elif self._trusts_since is None and inbox_is_empty:
            self._trusts_since = now
        if age_s_by_ticks is None or self._trusts_since is None:
            return
        current_at = now - age_s_by_ticks
        if current_at >= self._trusts_since:
            self._current_at = current_at

    def age_s(self, now: float) -> float:
        """Tell how long ago that was, in seconds; at most a day."""
        return min(now - self._current_at, AGE_S_MAX)
