"""How old a stale read may be: how long this node has not heard its leader, by the clock."""

from __future__ import annotations

import math

AGE_S_MAX = 86_400.0


class Freshness:
    """When the leader was last heard from; for the leader itself, when a quorum was.

    The core counts ticks since it was *told*. A node that stood still lives through fewer ticks
    than have passed, and what it is told first on waking may have lain in its sockets all the
    while. So after a standstill nothing counts until the inbox has been seen empty once.
    """

    def __init__(self) -> None:
        self._heard_at = -math.inf
        self._trusts_since: float | None = None
        """When the inbox was first seen empty after the last standstill."""

    def observe(
        self, now: float, silence_s: float | None, *, stood_still: bool, inbox_is_empty: bool
    ) -> None:
        """Take in a tick; `silence_s` is the core's count, None without a leader."""
        if stood_still:
            self._trusts_since = None
        elif self._trusts_since is None and inbox_is_empty:
            self._trusts_since = now
        if silence_s is None or self._trusts_since is None:
            return
        heard_at = now - silence_s
        if heard_at >= self._trusts_since:
            self._heard_at = heard_at

    def age_s(self, now: float) -> float:
        """Tell how long ago that was, in seconds; at most a day."""
        return min(now - self._heard_at, AGE_S_MAX)
