"""Leaderships from brokers with many to brokers with few, inside the replica sets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush

from felix.core.placement.evening import Bounds
from felix.core.placement.ladder import NOBODY
from felix.core.placement.model import Brokers, Shards


class Leadership:
    """Who leads what, and who could instead."""

    def __init__(
        self,
        brokers: Brokers,
        shards: Shards,
        leads: list[int],
        may_move: Callable[[int], bool],
        may_pass: Callable[[int, int, int], bool],
    ) -> None:
        """Take what is asked beyond `Shards.successors`: `may_move(shard)`, and
        `may_pass(shard, from, to)`."""
        self._brokers = brokers
        self._shards = shards
        self.leads = leads
        self._may_pass = may_pass
        self.members = [number for number, is_open in enumerate(brokers.is_open) if is_open]
        self._edges: list[dict[int, list[int]]] = [{} for _ in brokers.rows]
        """From a broker to another one: shards whose leadership can go that way, or could once."""
        for shard in range(len(shards.copies)):
            if may_move(shard):
                self._offer(shard)

    @property
    def bounds(self) -> Bounds:
        """How even it can be."""
        total = sum(self.leads[number] for number in self.members)
        count = max(1, len(self.members))
        return Bounds(total // count, -(-total // count))

    def _offer(self, shard: int) -> None:
        leader = self._shards.leader[shard]
        for other in self._shards.successors(self._brokers, shard):
            if self._may_pass(shard, leader, other):
                self._edges[leader].setdefault(other, []).append(shard)

    def _shard(self, source: int, target: int) -> int:
        """Find a shard whose leadership can go from one broker to another."""
        stack = self._edges[source].get(target)
        while stack:
            if self._shards.leader[stack[-1]] == source:
                return stack[-1]
            stack.pop()
        return NOBODY

    def pass_on(self, shard: int, target: int) -> None:
        """Let another copy lead."""
        source = self._shards.leader[shard]
        self._shards.leader[shard] = target
        self.leads[source] -= 1
        self.leads[target] += 1
        self._offer(shard)

    def even(self, bounds: Bounds) -> None:
        """Bring brokers between bounds: directly, and where that does not do, over others."""
        for source in sorted(self.members, key=lambda number: (-self.leads[number], number)):
            self._shed(source, bounds.high)
        for source in sorted(self.members, key=lambda number: (-self.leads[number], number)):
            while self.leads[source] > bounds.high:
                if not self._over_others(source, bounds.high):
                    break
        for source in sorted(self.members, key=lambda number: (-self.leads[number], number)):
            while self.leads[source] > bounds.low:
                if not self._over_others(source, bounds.low):
                    break

    def _shed(self, source: int, high: int) -> None:
        members = set(self.members)
        heap = [(self.leads[other], other) for other in self._edges[source] if other in members]
        heapify(heap)
        while heap and self.leads[source] > high:
            _, target = heappop(heap)
            shard = self._shard(source, target)
            if self.leads[target] < high and shard != NOBODY:
                self.pass_on(shard, target)
                heappush(heap, (self.leads[target], target))

    def _over_others(self, source: int, below: int) -> bool:
        """Pass one on to the broker with the fewest that can be reached, each one on the way giving
        what it gets. Nothing, if none has less than `below`."""
        if min(self.leads[number] for number in self.members) >= below:
            return False
        came_from = {source: NOBODY}
        waiting = deque([source])
        best = NOBODY
        while waiting:
            here = waiting.popleft()
            for other in sorted(self._edges[here]):
                if other not in came_from and self._shard(here, other) != NOBODY:
                    came_from[other] = here
                    waiting.append(other)
                    if self.leads[other] < below and (
                        best == NOBODY or self.leads[other] < self.leads[best]
                    ):
                        best = other
        if best == NOBODY:
            return False
        while (before := came_from[best]) != NOBODY:
            self.pass_on(self._shard(before, best), best)
            best = before
        return True
