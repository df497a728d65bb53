"""Virtual time: what happens next, in a whole cluster, in one thread."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Action = Callable[[], None]


class Scheduler:
    """Runs actions in the order of their times; equal times in the order they were asked for."""

    def __init__(self) -> None:
        self.now_us = 0
        self._queue: list[tuple[int, int, Action]] = []
        self._asked = 0

    def at(self, time_us: int, action: Action) -> None:
        """Run an action at a time that has not passed."""
        assert time_us >= self.now_us
        self._asked += 1
        heapq.heappush(self._queue, (time_us, self._asked, action))

    def after(self, delay_us: int, action: Action) -> None:
        """Run an action some microseconds from now."""
        self.at(self.now_us + delay_us, action)

    def run_until(self, end_us: int, done: Callable[[], bool] | None = None) -> bool:
        """Let time pass up to `end_us`, or until `done` holds; say whether it came to hold."""
        while self._queue and self._queue[0][0] <= end_us:
            self.now_us, _, action = heapq.heappop(self._queue)
            action()
            if done is not None and done():
                return True
        self.now_us = end_us
        return False
