"""Where the shards of new streams go."""

from __future__ import annotations

import msgspec

from felix.core.placement.fleet import Fleet, StreamRow
from felix.core.placement.ladder import NOBODY, Ladder
from felix.core.placement.model import Brokers, Zones, turn_of
from felix.core.placement.reasons import why_nobody
from felix.proto.brokers import NewPlacement, Placement, Unmet


class Placed(msgspec.Struct, frozen=True, gc=False):
    """What `place` has found."""

    items: tuple[NewPlacement, ...] = ()
    unmet: tuple[Unmet, ...] = ()
    """Shards with fewer copies than wanted, or none: their stream is not among the items then."""


def place(fleet: Fleet, streams: tuple[StreamRow, ...]) -> Placed:
    """Place the shards of streams that have no placement.

    Copies are in as many zones as can be, then on the brokers with the fewest; the leader is the
    copy on the broker with the fewest leaderships, in the stream's first region if one is there.
    Equals are told apart by a hash of the shard. A stream gets fewer copies than it wants where
    there are fewer brokers; one of which a shard finds no place at all is not placed.
    """
    creation = _Creation(fleet)
    items: list[NewPlacement] = []
    for row in sorted(streams, key=lambda row: row.stream.key):
        placements = creation.place(row)
        if placements:
            items.append(
                NewPlacement(stream=row.stream, stream_id=row.stream_id, placements=placements)
            )
    return Placed(tuple(items), tuple(creation.unmet))


class _Creation:
    def __init__(self, fleet: Fleet) -> None:
        self._brokers = Brokers(fleet)
        self._ladder: Ladder = self._brokers.ladder()
        self._leads = self._brokers.leads
        self.unmet: list[Unmet] = []

    def place(self, row: StreamRow) -> tuple[Placement, ...]:
        zones = self._brokers.zones_of(row)
        preferred = self._brokers.in_regions(frozenset(row.regions[:1])) if row.regions else None
        placements: list[Placement] = []
        for shard_id in range(row.shards):
            turn = turn_of(row.stream, shard_id)
            chosen = self._choose(zones, preferred, row.replication_factor, turn)
            if len(chosen) < row.replication_factor:
                self._say(row, shard_id, chosen)
            if not chosen:
                return self._take_back(placements)
            placements.append(self._order(chosen, zones, preferred, shard_id, turn))
        return tuple(placements)

    def _choose(
        self, zones: Zones, preferred: frozenset[int] | None, wanted: int, turn: int
    ) -> list[int]:
        """Choose brokers, the first of which may lead."""
        ladder, zone_of = self._ladder, self._brokers.zones
        first = ladder.spread((), (), preferred, turn) if preferred else NOBODY
        if first == NOBODY:
            first = ladder.spread((), (), zones.lead, turn)
        if first == NOBODY:
            return []
        chosen, taken = [first], [zone_of[first]]
        ladder.take(first)
        while len(chosen) < wanted:
            turn = turn * 5 + 1
            broker = ladder.spread(taken, chosen, zones.follow, turn)
            if broker == NOBODY:
                break
            chosen.append(broker)
            taken.append(zone_of[broker])
            ladder.take(broker)
        return chosen

    def _order(
        self,
        chosen: list[int],
        zones: Zones,
        preferred: frozenset[int] | None,
        shard_id: int,
        turn: int,
    ) -> Placement:
        zone_of, leads = self._brokers.zones, self._leads
        keys = [
            (
                zones.lead is not None and zone_of[broker] not in zones.lead,
                preferred is not None and zone_of[broker] not in preferred,
                leads[broker],
                (place + turn) % len(chosen),
                broker,
            )
            for place, broker in enumerate(chosen)
        ]
        ordered = [key[-1] for key in sorted(keys)]
        leads[ordered[0]] += 1
        names = [self._brokers.names[broker] for broker in ordered]
        return Placement(
            shard_id=shard_id,
            leader=names[0],
            replicas=tuple(names[1:]),
            in_sync=tuple(sorted(names)),
        )

    def _take_back(self, placements: list[Placement]) -> tuple[Placement, ...]:
        """Undo what a stream got before one of its shards found no place."""
        for placement in placements:
            self._leads[self._brokers.index[placement.leader]] -= 1
            for name in placement.copies:
                self._ladder.put_back(self._brokers.index[name])
        return ()

    def _say(self, row: StreamRow, shard_id: int, chosen: list[int]) -> None:
        having = {self._brokers.names[broker] for broker in chosen}
        why = why_nobody(
            self._brokers.rows,
            self._ladder.room,
            self._brokers.reach(row),
            having,
            row.replication_factor,
            as_leader=not chosen,
        )
        self.unmet.append(Unmet(stream=row.stream, shard_id=shard_id, why=why))
