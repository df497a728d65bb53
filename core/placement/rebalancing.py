"""Plans that make a distribution better."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from felix.core.placement.evening import Evening
from felix.core.placement.fleet import Fleet, StreamRow
from felix.core.placement.ladder import NOBODY
from felix.core.placement.leadership import Leadership
from felix.core.placement.model import Brokers, Shards
from felix.core.placement.reasons import why_nobody
from felix.core.placement.zoning import better_zone
from felix.proto.brokers import MovePlan, MoveReason, PlannedMove, Quality, Strategy, Unmet

TOLERANCE_PERCENT: Final = 10
"""How far from even a broker may be before `MINIMIZE_MOVEMENT` moves anything, and at least one
copy or leadership."""
BLOCKED_MAX: Final = 100
"""Reasons in one plan."""


def rebalance(
    fleet: Fleet,
    streams: tuple[StreamRow, ...],
    strategy: Strategy,
    *,
    reason: MoveReason = "balance",
) -> MovePlan:
    """Plan how the shards of these streams become better distributed: all streams, or one.

    What breaks a rule goes first: a copy in a region where the stream may not be, on a broker with
    more than it may hold, in a zone with two more than another one. Then

    - `BALANCED` makes copies and leaderships as even as rules and zones allow;
    - `MINIMIZE_MOVEMENT` moves only what is beyond `TOLERANCE_PERCENT` of even;
    - `LOCALITY_AWARE` brings leaders into the first region of their stream, moving copies there
      where there is none, and then makes even what does not undo that.

    Of one stream, its own copies are made even; among equals, the broker with less of all streams.
    A plan has one move of a shard at most: planning again after it finds what that left. Shards
    that move already are counted as they will be and stay as they are; so do shards that nobody
    leads, and the copies on brokers that are down or drained, which `repairing` plans for.
    """
    return _Rebalancing(fleet, streams, strategy).plan(reason)


class _Rebalancing:
    def __init__(self, fleet: Fleet, streams: tuple[StreamRow, ...], strategy: Strategy) -> None:
        self._fleet = fleet
        self._strategy = strategy
        self._brokers = Brokers(fleet)
        self._shards = Shards(fleet, self._brokers, streams)
        self._before = list(self._shards.leader)
        self._copies = Evening(self._brokers, self._shards, self._home)
        self._blocked: list[Unmet] = []

    def plan(self, reason: MoveReason) -> MovePlan:
        before = self._quality()
        self._fix_regions()
        self._fix_capacity()
        self._fix_zones()
        if self._strategy == "LOCALITY_AWARE":
            self._bring_copies_home()
        self._lead_from_the_right_regions()
        bounds = self._copies.bounds
        if self._strategy == "MINIMIZE_MOVEMENT":
            self._copies.shed(bounds.widened(TOLERANCE_PERCENT))
        else:
            self._copies.shed(bounds)
            self._copies.level()
        self._even_leaders()
        return MovePlan(
            base_version=self._fleet.version,
            reason=reason,
            strategy=self._strategy,
            moves=tuple(self._moves()),
            blocked_by=tuple(self._blocked[:BLOCKED_MAX]),
            before=before,
            after=self._quality(),
            moves_min=self._copies.moves_min,
        )

    # --- rules ------------------------------------------------------------------------------------

    def _loose(self) -> Iterable[int]:
        """List the shards that this plan may still move."""
        fixed, moves = self._shards.is_fixed, self._copies.moves
        return (n for n in range(len(fixed)) if not fixed[n] and n not in moves)

    def _fix_regions(self) -> None:
        zone_of = self._brokers.zones
        for shard in self._loose():
            zones = self._shards.zones[self._shards.stream_of[shard]]
            if zones.follow is None:
                continue
            copies = self._shards.copies[shard]
            outside = [
                broker
                for broker in copies
                if zone_of[broker] not in zones.follow and self._brokers.is_open[broker]
            ]
            if outside:
                source = outside[0]
                is_leader = self._shards.leader[shard] == source
                taken = [zone_of[broker] for broker in copies if broker != source]
                allowed = zones.lead if is_leader else zones.follow
                target = self._copies.ladder.spread(taken, copies, allowed)
                if target == NOBODY:
                    self._say(shard, self._why(shard, is_leader))
                else:
                    self._copies.move(shard, source, target)

    def _fix_capacity(self) -> None:
        for number, row in enumerate(self._brokers.rows):
            if row.max_shards is None or not self._brokers.is_open[number]:
                continue
            excess = row.copies + self._brokers.arriving[number] - row.max_shards
            excess -= self._brokers.leaving[number]
            excess -= sum(1 for source, _ in self._copies.moves.values() if source == number)
            left = self._copies.relieve(number, excess)
            if left > 0:
                shard = next((n for n in self._loose() if number in self._shards.copies[n]), NOBODY)
                if shard != NOBODY:
                    held = f"{row.broker_id} holds {left} more than the {row.max_shards} it may"
                    self._say(shard, f"{held}: {self._why(shard, as_leader=False)}")

    def _fix_zones(self) -> None:
        if len(set(self._brokers.zones)) < 2:
            return
        for shard in self._loose():
            source, target = better_zone(self._brokers, self._shards, self._copies.ladder, shard)
            if source != NOBODY:
                self._copies.move(shard, source, target)

    def _bring_copies_home(self) -> None:
        """Move leaders' copies into the first region of their stream where no copy is."""
        zone_of = self._brokers.zones
        for shard in self._loose():
            home = self._home(shard)
            copies = self._shards.copies[shard]
            if home is None or any(zone_of[broker] in home for broker in copies):
                continue
            source = self._shards.leader[shard]
            if source == NOBODY:
                continue
            taken = [zone_of[broker] for broker in copies if broker != source]
            target = self._copies.ladder.spread(taken, copies, home)
            if target == NOBODY:
                first = self._shards.streams[self._shards.stream_of[shard]].regions[0]
                self._say(shard, f"no broker in region {first} has room and takes shards")
            else:
                self._copies.move(shard, source, target)

    def _home(self, shard: int) -> frozenset[int] | None:
        """List the zones in which a leader stays; None: it may go anywhere."""
        regions = self._shards.streams[self._shards.stream_of[shard]].regions
        if self._strategy != "LOCALITY_AWARE" or not regions:
            return None
        return self._brokers.in_regions(frozenset(regions[:1]))

    # --- leaders ----------------------------------------------------------------------------------

    def _even_leaders(self) -> None:
        fixed, moves = self._shards.is_fixed, self._copies.moves
        leaders = Leadership(
            self._brokers,
            self._shards,
            self._copies.leads,
            lambda shard: not fixed[shard] and shard not in moves,
            self._may_pass,
        )
        bounds = leaders.bounds
        if self._strategy == "MINIMIZE_MOVEMENT":
            bounds = bounds.widened(TOLERANCE_PERCENT)
        leaders.even(bounds)

    def _may_pass(self, shard: int, source: int, target: int) -> bool:
        home = self._home(shard)
        zone_of = self._brokers.zones
        return home is None or zone_of[source] not in home or zone_of[target] in home

    def _lead_from_the_right_regions(self) -> None:
        """Pass leaderships to copies in the first region, or at least where the stream may lead."""
        zone_of, leads = self._brokers.zones, self._copies.leads
        for shard in self._loose():
            right = self._home(shard) or self._shards.zones[self._shards.stream_of[shard]].lead
            leader = self._shards.leader[shard]
            if right is None or zone_of[leader] in right or not self._brokers.is_open[leader]:
                continue
            others = [
                number
                for number in self._shards.successors(self._brokers, shard)
                if zone_of[number] in right
            ]
            if others:
                self._copies.pass_on(shard, min(others, key=lambda number: (leads[number], number)))

    # --- what comes of it -------------------------------------------------------------------------

    def _moves(self) -> Iterable[PlannedMove]:
        names = self._brokers.names
        for shard, (before, after) in enumerate(
            zip(self._before, self._shards.leader, strict=True)
        ):
            move = self._copies.moves.get(shard)
            if move is None and before == after:
                continue
            source, target = move if move is not None else (before, after)
            stream, shard_id = self._shards.name(shard)
            yield PlannedMove(
                stream=stream,
                shard_id=shard_id,
                kind="leader" if move is None else "replica",
                from_broker=names[source],
                to_broker=names[target],
            )

    def _quality(self) -> Quality:
        copies = self._copies
        loads = [copies.ladder.loads[number] for number in copies.members]
        leads = [copies.leads[number] for number in copies.members]
        violations = 0
        if len(set(self._brokers.zones)) > 1:
            violations = sum(
                better_zone(self._brokers, self._shards, copies.ladder, shard)[0] != NOBODY
                for shard in range(len(self._shards.copies))
            )
        return Quality(
            copies_spread=max(loads, default=0) - min(loads, default=0),
            leaders_spread=max(leads, default=0) - min(leads, default=0),
            zone_violations=violations,
        )

    def _why(self, shard: int, as_leader: bool) -> str:
        row = self._shards.streams[self._shards.stream_of[shard]]
        having = {self._brokers.names[number] for number in self._shards.copies[shard]}
        reach = self._brokers.reach(row)
        wanted = row.replication_factor
        return why_nobody(
            self._brokers.rows, self._copies.ladder.room, reach, having, wanted, as_leader=as_leader
        )

    def _say(self, shard: int, why: str) -> None:
        stream, shard_id = self._shards.name(shard)
        self._blocked.append(Unmet(stream=stream, shard_id=shard_id, why=why))
