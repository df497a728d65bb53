"""Brokers in the order of how much they have, zone by zone: who is next to get a copy.

Everything is a number here. A broker's key is its load times the number of brokers plus its own
number, so that a sorted list of keys is the order; the zones are ordered by their emptiest broker.
A change costs a bisection, a choice looks at the zones that are in its way and no more.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Container, Sequence
from typing import Final

NOBODY: Final = -1
WITHOUT_LIMIT: Final = 1 << 40
"""More than anybody has, or has room for."""


class Ladder:
    """The brokers that may receive copies."""

    def __init__(self, zones: Sequence[int], loads: Sequence[int], room: Sequence[int]) -> None:
        """Take, by broker, its zone, what it has, and how many more it may get (0: none)."""
        self.loads = list(loads)
        self.room = list(room)
        self._zones = zones
        self._width = max(1, len(zones))
        self._zone_count = 1 + max(zones, default=0)
        self._rungs: list[list[int]] = [[] for _ in range(self._zone_count)]
        for broker, zone in enumerate(zones):
            if self.room[broker] > 0:
                self._rungs[zone].append(self.loads[broker] * self._width + broker)
        for rungs in self._rungs:
            rungs.sort()
        self._order = sorted(self._zone_key(z) for z in range(self._zone_count) if self._rungs[z])

    @property
    def level(self) -> int:
        """What the emptiest broker has, of those with room."""
        return self._order[0] // self._zone_count if self._order else WITHOUT_LIMIT

    def take(self, broker: int) -> None:
        """Give a broker one more, which takes of its room."""
        self._change(broker, 1, 1)

    def give(self, broker: int) -> None:
        """Take one from a broker. Its room stays: the copy is there until it is everywhere else."""
        self._change(broker, -1, 0)

    def put_back(self, broker: int) -> None:
        """Undo a `take`."""
        self._change(broker, -1, -1)

    def _change(self, broker: int, load: int, room: int) -> None:
        zone = self._zones[broker]
        rungs = self._rungs[zone]
        before = self._zone_key(zone) if rungs else None
        key = self.loads[broker] * self._width + broker
        if self.room[broker] > 0:
            del rungs[bisect_left(rungs, key)]
        self.loads[broker] += load
        self.room[broker] -= room
        if self.room[broker] > 0:
            insort(rungs, key + load * self._width)
        after = self._zone_key(zone) if rungs else None
        if before != after:
            if before is not None:
                del self._order[bisect_left(self._order, before)]
            if after is not None:
                insort(self._order, after)

    def lowest(
        self,
        taken: Sequence[int],
        most: int,
        skip: Container[int],
        zones: Container[int] | None = None,
        turn: int = 0,
        below: int = WITHOUT_LIMIT,
    ) -> int:
        """Find the emptiest broker, or `NOBODY`.

        It is in a zone that is at most `most` times in `taken` and is one of `zones` (None: any),
        not in `skip`, and has less than `below`. `turn` chooses among equals.
        """
        found = NOBODY
        for key in self._turned(turn):
            level, zone = divmod(key, self._zone_count)
            if level >= below:
                break
            if taken.count(zone) > most or (zones is not None and zone not in zones):
                continue
            broker = self._lowest_in(zone, skip, turn // 7)
            if broker != NOBODY and self.loads[broker] < below:
                found, below = broker, self.loads[broker]
        return found

    def spread(
        self,
        taken: Sequence[int],
        skip: Container[int],
        zones: Container[int] | None = None,
        turn: int = 0,
    ) -> int:
        """Find the emptiest broker of the zones that are least in `taken`, or `NOBODY`."""
        for most in range(len(taken) + 1):
            found = self.lowest(taken, most, skip, zones, turn)
            if found != NOBODY:
                return found
        return NOBODY

    def _zone_key(self, zone: int) -> int:
        return self._rungs[zone][0] // self._width * self._zone_count + zone

    def _turned(self, turn: int) -> list[int]:
        """Give the zones in order, and those that are equally empty from another one on."""
        order = self._order
        if len(order) < 2:
            return order
        equal = bisect_left(order, (order[0] // self._zone_count + 1) * self._zone_count)
        start = turn % equal
        return [*order[start:equal], *order[:start], *order[equal:]] if start else order

    def _lowest_in(self, zone: int, skip: Container[int], turn: int) -> int:
        rungs, width = self._rungs[zone], self._width
        equal = bisect_left(rungs, (rungs[0] // width + 1) * width)
        start = turn % equal
        for number in range(equal):
            broker = rungs[(start + number) % equal] % width
            if broker not in skip:
                return broker
        for number in range(equal, len(rungs)):
            broker = rungs[number] % width
            if broker not in skip:
                return broker
        return NOBODY
