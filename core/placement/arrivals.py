"""Whether the brokers are there that are about to come, as far as one can tell."""

from __future__ import annotations

import math
from typing import Final

SETTLE_S: Final = 1.0
"""New streams wait so long after many brokers have come: more may be on their way, and all streams
would go to the first ones and stay there."""
SETTLE_S_MAX: Final = 10.0
"""They wait no longer than this in all."""
FEW: Final = 20
"""So many streams do not wait: what they make uneven does not matter."""
MANY: Final = 0.1
"""Of the brokers that are up. One more among many keeps nobody waiting."""


class Arrivals:
    """Looks at who is up, again and again; times are monotonic seconds."""

    def __init__(self) -> None:
        """Begin without any broker: those that are seen first have just come."""
        self._up: frozenset[str] = frozenset()
        self._came_at = -math.inf
        self._coming_since = -math.inf
        self._is_settled = True

    def have_settled(self, up: frozenset[str], now: float) -> bool:
        """Take a look; say whether there is nothing to wait for."""
        new = len(up - self._up)
        self._up = up
        if new > MANY * len(up):
            if self._is_settled:
                self._coming_since = now
            self._came_at = now
        waited_s, in_all_s = now - self._came_at, now - self._coming_since
        self._is_settled = waited_s >= SETTLE_S or in_all_s >= SETTLE_S_MAX
        return self._is_settled
