"""Moves that a drain, a dead broker or a missing copy asks for."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from felix.core.placement.fleet import Fleet, StreamRow
from felix.core.placement.ladder import NOBODY
from felix.core.placement.model import Brokers, Shards
from felix.core.placement.reasons import why_nobody
from felix.proto.brokers import MoveKind, MovePlan, MoveReason, PlannedMove, Unmet

MOVES_MAX: Final = 1000
"""In one plan: a command that begins many more is long to commit. The next plan has the rest."""
BLOCKED_MAX: Final = 100
"""Reasons in one plan."""


def drain(fleet: Fleet, streams: tuple[StreamRow, ...], moves_max: int = MOVES_MAX) -> MovePlan:
    """Plan how brokers that are being drained become empty.

    Leaderships go first, to copies in sync, then copies to other brokers. A shard has one move at
    a time, so that the copy of a leader goes in a later plan. `streams` are those with a copy on
    such a broker; others are passed over.
    """
    return _Repair(fleet, streams, "drain", moves_max).drain()


def replace(
    fleet: Fleet,
    streams: tuple[StreamRow, ...],
    dead: Collection[str],
    moves_max: int = MOVES_MAX,
) -> MovePlan:
    """Plan how copies on brokers that have been down for too long are made elsewhere."""
    return _Repair(fleet, streams, "replace", moves_max).replace(frozenset(dead))


def restore(fleet: Fleet, streams: tuple[StreamRow, ...], moves_max: int = MOVES_MAX) -> MovePlan:
    """Plan how shards get as many copies as their stream wants."""
    return _Repair(fleet, streams, "restore", moves_max).restore()


class _Repair:
    def __init__(
        self, fleet: Fleet, streams: tuple[StreamRow, ...], reason: MoveReason, moves_max: int
    ) -> None:
        self._fleet = fleet
        self._reason = reason
        self._moves_max = moves_max
        self._brokers = Brokers(fleet)
        self._shards = Shards(fleet, self._brokers, streams)
        self._ladder = self._brokers.ladder()
        self._leads = self._brokers.leads
        self._moving = {(move.stream, move.shard_id) for move in fleet.moves}
        self._first: list[PlannedMove] = []
        self._then: list[PlannedMove] = []
        self._blocked: list[Unmet] = []

    def drain(self) -> MovePlan:
        leaving = {number for number, row in enumerate(self._brokers.rows) if row.drain}
        for shard in self._still():
            leader = self._shards.leader[shard]
            if leader in leaving and self._pass_on(shard, leader):
                continue
            self._move_one(shard, leaving)
        return self._plan()

    def replace(self, dead: frozenset[str]) -> MovePlan:
        gone = {self._brokers.index[name] for name in dead if name in self._brokers.index}
        for shard in self._still():
            self._move_one(shard, gone)
        return self._plan()

    def restore(self) -> MovePlan:
        for shard in self._still():
            row = self._shards.streams[self._shards.stream_of[shard]]
            missing = row.replication_factor - len(self._shards.copies[shard])
            if missing > 0 and self._has_source(shard):
                self._copy(shard, NOBODY)
        return self._plan()

    def _still(self) -> Iterable[int]:
        """List the shards that do not move, until the plan is full."""
        for shard in range(len(self._shards.copies)):
            if len(self._first) + len(self._then) >= self._moves_max:
                return
            if self._shards.name(shard) not in self._moving:
                yield shard

    def _move_one(self, shard: int, leaving: set[int]) -> None:
        """Move the first copy of a shard that is on one of these brokers."""
        for broker in self._shards.copies[shard]:
            if broker in leaving:
                if self._has_source(shard):
                    self._copy(shard, broker)
                return

    def _has_source(self, shard: int) -> bool:
        """Tell whether somebody has the data. Says so if nobody does."""
        placement = self._shards.placements[shard]
        if placement.leader:
            return True
        holders = placement.in_sync or placement.copies
        rows, index = self._brokers.rows, self._brokers.index
        down = [name for name in holders if name in index and not rows[index[name]].is_up]
        if len(holders) == 1 and down:
            why = f"the only copy is on {down[0]}, which is down"
        elif down and len(down) == len(holders):
            why = f"all copies in sync are on brokers that are down: {', '.join(down)}"
        else:
            why = placement.reason or "nobody leads the shard"
        self._say(shard, why)
        return False

    def _pass_on(self, shard: int, leader: int) -> bool:
        """Let a copy in sync lead instead, on the broker that leads least."""
        others = self._shards.successors(self._brokers, shard)
        if not others:
            return False
        target = min(others, key=lambda broker: (self._leads[broker], broker))
        self._leads[leader] -= 1
        self._leads[target] += 1
        self._first.append(self._planned(shard, "leader", leader, target))
        return True

    def _copy(self, shard: int, source: int) -> None:
        """Move a copy to the emptiest broker of another zone, or add one (`NOBODY`)."""
        zone_of, copies = self._brokers.zones, self._shards.copies[shard]
        is_leader = source != NOBODY and self._shards.leader[shard] == source
        zones = self._shards.zones[self._shards.stream_of[shard]]
        target = self._ladder.spread(
            [zone_of[broker] for broker in copies if broker != source],
            copies,
            zones.lead if is_leader else zones.follow,
        )
        if target == NOBODY:
            if len(self._blocked) < BLOCKED_MAX:
                self._say(shard, self._why(shard, is_leader))
            return
        if source != NOBODY:
            self._ladder.give(source)
        self._ladder.take(target)
        if is_leader:
            self._leads[source] -= 1
            self._leads[target] += 1
        self._then.append(self._planned(shard, "replica", source, target))

    def _planned(self, shard: int, kind: MoveKind, source: int, target: int) -> PlannedMove:
        names = self._brokers.names
        stream, shard_id = self._shards.name(shard)
        return PlannedMove(
            stream=stream,
            shard_id=shard_id,
            kind=kind,
            from_broker=names[source] if source != NOBODY else "",
            to_broker=names[target],
        )

    def _why(self, shard: int, is_leader: bool) -> str:
        row = self._shards.streams[self._shards.stream_of[shard]]
        having = {self._brokers.names[broker] for broker in self._shards.copies[shard]}
        reach = self._brokers.reach(row)
        wanted = max(row.replication_factor, 1)
        return why_nobody(
            self._brokers.rows, self._ladder.room, reach, having, wanted, as_leader=is_leader
        )

    def _say(self, shard: int, why: str) -> None:
        if len(self._blocked) < BLOCKED_MAX:
            stream, shard_id = self._shards.name(shard)
            self._blocked.append(Unmet(stream=stream, shard_id=shard_id, why=why))

    def _plan(self) -> MovePlan:
        return MovePlan(
            base_version=self._fleet.version,
            reason=self._reason,
            moves=(*self._first, *self._then),
            blocked_by=tuple(self._blocked),
        )
