"""The fleet and the shards as numbers, for planning."""

from __future__ import annotations

from zlib import crc32

import msgspec

from felix.core.placement.eligible import EVERYWHERE, Reach, bridged, reach_of, room_of, why_closed
from felix.core.placement.fleet import Fleet, StreamRow
from felix.core.placement.ladder import NOBODY, WITHOUT_LIMIT, Ladder
from felix.proto.brokers import Placement, ShardMove, StreamName


class Zones(msgspec.Struct, frozen=True, gc=False):
    """The zones that a stream's copies may be in, as numbers; None: all."""

    lead: frozenset[int] | None = None
    follow: frozenset[int] | None = None


class Brokers:
    """Brokers by number: those with fewer copies first, then in the order of their ids.

    Where a plan counts something else (the copies of one stream), this order tells equals apart.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.rows = sorted(fleet.brokers, key=lambda row: (row.copies, row.broker_id))
        self.names = [row.broker_id for row in self.rows]
        self.index = {name: number for number, name in enumerate(self.names)}
        places = sorted({(row.region, row.zone) for row in self.rows})
        self._zone_regions = [region for region, _ in places]
        numbers = {place: number for number, place in enumerate(places)}
        # The same zone name in two regions is two zones.
        self.zones = [numbers[row.region, row.zone] for row in self.rows]
        self.is_open = [not why_closed(row) for row in self.rows]
        self.arriving = [0] * len(self.rows)
        self.leaving = [0] * len(self.rows)
        self.leads = [row.leads for row in self.rows]
        for move in fleet.moves:
            self._count(move)
        self.room = [
            0 if not self.is_open[number] else WITHOUT_LIMIT if room is None else room
            for number, room in enumerate(map(room_of, self.rows, self.arriving))
        ]
        self._bridges = bridged(fleet.bridges)
        self._cache: dict[Reach, Zones] = {EVERYWHERE: Zones()}

    def _count(self, move: ShardMove) -> None:
        source = self.index.get(move.from_broker, NOBODY)
        target = self.index.get(move.to_broker, NOBODY)
        if move.kind == "replica":
            if move.step == "waiting" and target != NOBODY:
                self.arriving[target] += 1
            if source != NOBODY:
                self.leaving[source] += 1
        else:
            if source != NOBODY:
                self.leads[source] -= 1
            if target != NOBODY:
                self.leads[target] += 1

    def ladder(self) -> Ladder:
        """Order the brokers by what they will have once the moves under way are over."""
        loads = [
            max(0, row.copies + arriving - leaving)
            for row, arriving, leaving in zip(self.rows, self.arriving, self.leaving, strict=True)
        ]
        return Ladder(self.zones, loads, self.room)

    def reach(self, stream: StreamRow) -> Reach:
        """Say where a stream's copies may be, in regions."""
        return reach_of(stream, self._bridges.get(stream.stream, ()))

    def zones_of(self, stream: StreamRow) -> Zones:
        """Say where a stream's copies may be, in zones."""
        reach = self.reach(stream)
        found = self._cache.get(reach)
        if found is None:
            found = Zones(self.in_regions(reach.lead), self.in_regions(reach.follow))
            self._cache[reach] = found
        return found

    def in_regions(self, regions: frozenset[str] | None) -> frozenset[int] | None:
        """List the zones of regions."""
        if regions is None:
            return None
        return frozenset(
            number for number, region in enumerate(self._zone_regions) if region in regions
        )

    def region(self, broker: int) -> str:
        """Name a broker's region."""
        return self.rows[broker].region


class Shards:
    """Shards by number, in the order of their streams' names, as they will be once the moves under
    way are over."""

    def __init__(self, fleet: Fleet, brokers: Brokers, streams: tuple[StreamRow, ...]) -> None:
        self.streams = sorted(streams, key=lambda row: row.stream.key)
        self.stream_of: list[int] = []
        self.placements: list[Placement] = []
        self.copies: list[list[int]] = []
        self.leader: list[int] = []
        self.zones: list[Zones] = [brokers.zones_of(row) for row in self.streams]
        self.is_fixed = bytearray()
        """It moves already, or there is nobody to copy from: it stays as it is."""
        moves = {(move.stream, move.shard_id): move for move in fleet.moves}
        index = brokers.index
        for number, row in enumerate(self.streams):
            for placement in row.placements:
                move = moves.get((row.stream, placement.shard_id)) if moves else None
                after = placement if move is None else _after(placement, move)
                self.stream_of.append(number)
                self.placements.append(placement)
                self.copies.append([index[name] for name in after.copies if name in index])
                leader = index.get(after.leader, NOBODY)
                self.leader.append(leader)
                self.is_fixed.append(move is not None or leader == NOBODY)

    def name(self, shard: int) -> tuple[StreamName, int]:
        """Name a shard."""
        return self.streams[self.stream_of[shard]].stream, self.placements[shard].shard_id

    def successors(self, brokers: Brokers, shard: int) -> list[int]:
        """List the copies that may lead a shard instead of its leader: those in sync, on a broker
        that takes shards, where the stream may lead."""
        in_sync, leader = self.placements[shard].in_sync, self.leader[shard]
        zones = self.zones[self.stream_of[shard]].lead
        return [
            broker
            for broker in self.copies[shard]
            if broker != leader
            and brokers.is_open[broker]
            and brokers.names[broker] in in_sync
            and (zones is None or brokers.zones[broker] in zones)
        ]


def _after(placement: Placement, move: ShardMove) -> Placement:
    """Say what a shard's copies will be when a move is done."""
    source, target = move.from_broker, move.to_broker
    leader = target if source and placement.leader == source else placement.leader
    gone = source if move.kind == "replica" else ""
    others = [name for name in placement.copies if name not in {gone, leader, target}]
    if target != leader:
        others.append(target)
    return Placement(shard_id=placement.shard_id, leader=leader, replicas=tuple(others))


def turn_of(stream: StreamName, shard_id: int) -> int:
    """Make a number of a shard that is the same everywhere: it chooses among equals."""
    text = f"{stream.tenant_id}/{stream.namespace}/{stream.stream}/{shard_id}"
    return crc32(text.encode("utf-8", "surrogatepass"))
