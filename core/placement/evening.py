"""Copies from full brokers to empty ones, shard by shard, without breaking a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush

import msgspec

from felix.core.placement.ladder import NOBODY, WITHOUT_LIMIT, Ladder
from felix.core.placement.model import Brokers, Shards


class Bounds(msgspec.Struct, frozen=True, gc=False):
    """Between what numbers all brokers should be."""

    low: int
    high: int

    def widened(self, percent: int) -> Bounds:
        """Tolerate that much more and less, and at least one."""
        low = self.low - max(1, self.low * percent // 100)
        return Bounds(max(0, low), self.high + max(1, self.high * percent // 100))


def bounds_of(loads: list[int], limits: list[int]) -> Bounds:
    """Find how even loads can be made where nobody goes above its limit.

    `high` is the lowest level up to which all fits; `low` is one less unless all are full to it.
    """
    total = sum(loads)
    least, most = 0, total
    while least < most:
        middle = (least + most) // 2
        if sum(min(limit, middle) for limit in limits) >= total:
            most = middle
        else:
            least = middle + 1
    is_exact = sum(min(limit, least) for limit in limits) == total
    return Bounds(least if is_exact else max(0, least - 1), least)


class Evening:
    """Moves of copies that are planned, and what they make of the shards."""

    def __init__(
        self,
        brokers: Brokers,
        shards: Shards,
        home: Callable[[int], frozenset[int] | None] = lambda _: None,
    ) -> None:
        """Begin with the shards as they are. `home(shard)`: zones which a leader does not leave."""
        self._brokers = brokers
        self._shards = shards
        self.members = [number for number, is_open in enumerate(brokers.is_open) if is_open]
        self._home = home
        loads = [0] * len(brokers.rows)
        self.leads = [0] * len(brokers.rows)
        self._on: list[list[int]] = [[] for _ in brokers.rows]
        for shard, copies in enumerate(shards.copies):
            for broker in copies:
                loads[broker] += 1
                self._on[broker].append(shard)
            if shards.leader[shard] != NOBODY:
                self.leads[shards.leader[shard]] += 1
        self.ladder = Ladder(brokers.zones, loads, brokers.room)
        self.moves: dict[int, tuple[int, int]] = {}
        """By shard: from where to where."""
        self.bounds = bounds_of(
            [loads[number] for number in self.members],
            [loads[number] + brokers.room[number] for number in self.members],
        )
        self.moves_min = self._count_least()
        count = max(1, len(self.members))
        self._leads_high = -(-sum(self.leads[number] for number in self.members) // count)
        self._pools: dict[int, _Pool] = {}

    def _count_least(self) -> int:
        """Count the copies above and those missing below: no plan gets by with fewer moves."""
        low, high, loads, room = (
            self.bounds.low,
            self.bounds.high,
            self.ladder.loads,
            self.ladder.room,
        )
        above = sum(max(0, loads[number] - high) for number in self.members)
        below = sum(max(0, min(low - loads[number], room[number])) for number in self.members)
        return max(above, below)

    def move(self, shard: int, source: int, target: int) -> None:
        """Plan a move."""
        copies = self._shards.copies[shard]
        copies[copies.index(source)] = target
        self.ladder.give(source)
        self.ladder.take(target)
        if self._shards.leader[shard] == source:
            self._shards.leader[shard] = target
            self.leads[source] -= 1
            self.leads[target] += 1
        self.moves[shard] = (source, target)

    def pass_on(self, shard: int, target: int) -> None:
        """Plan that another copy leads. The shard's copies stay where they are then."""
        source = self._shards.leader[shard]
        self._shards.leader[shard] = target
        self._shards.is_fixed[shard] = True
        self.leads[source] -= 1
        self.leads[target] += 1

    def give(self, source: int, below: int) -> bool:
        """Move some copy of a broker to the emptiest one that may have it and has less than
        `below`. A leader goes where that one leads less than is in proportion to its copies."""
        pool = self._pools.get(source)
        if pool is None:
            leader = self._shards.leader
            pool = _Pool(
                [shard for shard in self._on[source] if leader[shard] == source],
                [shard for shard in self._on[source] if leader[shard] != source],
            )
            self._pools[source] = pool
        # What is passed over here is not tried again before `forget_failures`: brokers only get
        # fuller meanwhile.
        put_off = NOBODY
        while pool.leads:
            shard = pool.leads[-1]
            target = self._target(shard, source, below)
            if target != NOBODY and not self._wants_leader(target):
                put_off = target
                break
            pool.leads.pop()
            if target != NOBODY:
                self.move(shard, source, target)
                return True
        while pool.follows:
            shard = pool.follows.pop()
            target = self._target(shard, source, below)
            if target != NOBODY:
                self.move(shard, source, target)
                return True
        if put_off != NOBODY:
            self.move(pool.leads.pop(), source, put_off)
        return put_off != NOBODY

    def _wants_leader(self, target: int) -> bool:
        share = self._leads_high * (self.ladder.loads[target] + 1)
        return self.leads[target] * self.bounds.high < share

    def forget_failures(self) -> None:
        """Begin again with what could not go: there are other bounds now."""
        self._pools.clear()

    def _target(self, shard: int, source: int, below: int) -> int:
        """Find where a copy can go without making its shard's zones worse than they are."""
        if self._shards.is_fixed[shard] or shard in self.moves:
            return NOBODY
        zone_of, copies = self._brokers.zones, self._shards.copies[shard]
        taken = [zone_of[broker] for broker in copies if broker != source]
        zones = self._shards.zones[self._shards.stream_of[shard]]
        allowed = zones.follow
        if self._shards.leader[shard] == source:
            home = self._home(shard)
            allowed = home if home and zone_of[source] in home else zones.lead
        most = taken.count(zone_of[source])
        return self.ladder.lowest(taken, most, copies, allowed, below=below)

    def _fullest_first(self, numbers: Iterable[int]) -> list[int]:
        loads = self.ladder.loads
        return sorted(numbers, key=lambda number: (-loads[number], -number))

    def shed(self, bounds: Bounds) -> None:
        """Bring brokers between bounds: first those above, then those below."""
        loads = self.ladder.loads
        for source in self._fullest_first(self.members):
            while loads[source] > bounds.high and self.give(source, bounds.high):
                pass
        self.forget_failures()
        heap = self._heap(bounds.low)
        while heap and self.ladder.level < bounds.low:
            source = -heappop(heap)[1]
            if self.give(source, bounds.low) and loads[source] > bounds.low:
                heappush(heap, (-loads[source], -source))
        self.forget_failures()

    def level(self) -> None:
        """Narrow what is left where rules stood in the way: as long as anybody can give to somebody
        who has two less."""
        loads = self.ladder.loads
        heap = self._heap(0)
        while heap:
            source = -heappop(heap)[1]
            if self.ladder.level >= loads[source] - 1:
                break
            if self.give(source, loads[source] - 1):
                heappush(heap, (-loads[source], -source))
        self.forget_failures()

    def _heap(self, above: int) -> list[tuple[int, int]]:
        loads = self.ladder.loads
        heap = [(-loads[number], -number) for number in self.members if loads[number] > above]
        heapify(heap)
        return heap

    def relieve(self, broker: int, count: int) -> int:
        """Take copies from a broker that holds more than it may. Returns how many could not go."""
        while count > 0 and self.give(broker, WITHOUT_LIMIT):
            count -= 1
        self.forget_failures()
        return count


class _Pool:
    """Shards with a copy on a broker that have not been tried, those that it leads apart."""

    def __init__(self, leads: list[int], follows: list[int]) -> None:
        # Taken from the end.
        self.leads = leads[::-1]
        self.follows = follows[::-1]
