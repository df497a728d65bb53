"""Ways into placement that cost no more than what is found: who holds what, and what is missing.

It follows the tables. Everything it lists is in the order of names or ids, never in that of a set:
a replica that was restarted has to do the same as the others.
"""

from __future__ import annotations

from collections.abc import KeysView, Set
from typing import Any, Final, NamedTuple

from sortedcontainers import SortedDict, SortedSet

from felix.core.catalog.placement_tables import MOVES, move_key
from felix.core.catalog.store import Store
from felix.proto.brokers import ACTIVE_STEPS, ShardMove
from felix.proto.resources import Key, ShardPlacement, Stream

FOLLOWED: Final = ("Stream", "ShardPlacement", MOVES)
"""The tables whose changes it must be told."""


class Missing(NamedTuple):
    """How many shards of a stream lack something."""

    unplaced: int
    """Without any copy."""
    leaderless: int
    """Among those with copies."""
    under_replicated: int
    """With fewer copies in sync than their stream wants."""
    short: int
    """With fewer copies, in sync or not, than their stream wants."""


NOTHING: Final = Missing(0, 0, 0, 0)
_NONE: Final[dict[Key, int]] = {}


class PlacementIndex:
    """Follows streams, placements and moves, one row at a time."""

    def __init__(self, store: Store) -> None:
        """Read streams and placements from `store`; what is in it already needs `restore`."""
        self._store = store
        self._clear()

    def _clear(self) -> None:
        self._streams_on: dict[str, dict[Key, int]] = {}
        """Broker -> stream -> how many copies of its shards are there."""
        self._copies: dict[str, int] = {}
        self._leads: dict[str, int] = {}
        self._missing: SortedDict = SortedDict()
        """Stream -> `Missing`, where something is missing."""
        self._under_replicated = 0
        self._moves_by_shard: dict[tuple[Key, int], ShardMove] = {}
        self._moves_by_broker: dict[str, SortedSet] = {}
        """Source or target -> keys of the moves that are not over."""
        self._moves: SortedDict = SortedDict()
        """Key -> move, of those that are not over."""

    # --- who holds what -----------------------------------------------------------------------

    def copies(self, broker_id: str) -> int:
        """Count the copies of shards that a broker holds, led or followed."""
        return self._copies.get(broker_id, 0)

    def leads(self, broker_id: str) -> int:
        """Count the shards that a broker leads."""
        return self._leads.get(broker_id, 0)

    def streams_on(self, broker_id: str) -> list[Key]:
        """List the streams that have a copy of a shard on a broker."""
        return sorted(self._streams_on.get(broker_id, ()))

    def holding(self, broker_id: str) -> KeysView[Key]:
        """Give the streams that have a copy of a shard on a broker, in no order."""
        return self._streams_on.get(broker_id, _NONE).keys()

    # --- what is missing ----------------------------------------------------------------------

    def unplaced(self) -> list[Key]:
        """List the streams with a shard that has no copy at all; deleted ones are not among them.

        Such a stream has no placement, or one in which a shard was given up.
        """
        return [key for key, missing in self._missing.items() if missing.unplaced]

    def leaderless(self) -> list[Key]:
        """List the streams with a shard that has copies and no leader."""
        return [key for key, missing in self._missing.items() if missing.leaderless]

    def incomplete(self) -> list[Key]:
        """List the placed streams with a shard that lacks a leader or copies in sync."""
        return [key for key in self._missing if key in self._store.tables["ShardPlacement"].rows]

    def short(self) -> list[Key]:
        """List the streams with a shard that has fewer copies than its stream wants, but some."""
        return [key for key, missing in self._missing.items() if missing.short]

    @property
    def under_replicated(self) -> int:
        """How many shards have fewer copies in sync than their stream wants."""
        return self._under_replicated

    def missing(self, key: Key) -> Missing:
        """Say what a stream's shards lack."""
        found: Missing = self._missing.get(key, NOTHING)
        return found

    # --- moves that are not over --------------------------------------------------------------

    def moves(self) -> list[ShardMove]:
        """List them, the oldest first."""
        return list(self._moves.values())

    def move_of(self, stream: Key, shard_id: int) -> ShardMove | None:
        """Give the one of a shard: there is one at most."""
        return self._moves_by_shard.get((stream, shard_id))

    def moves_of_stream(self, placement: ShardPlacement) -> list[ShardMove]:
        """List those of a stream, in the order of its shards."""
        found = (self.move_of(placement.key, one.shard_id) for one in placement.placements)
        return [move for move in found if move is not None]

    def moves_with(self, broker_id: str) -> list[ShardMove]:
        """List those from or to a broker, the oldest first."""
        return [self._moves[key] for key in self._moves_by_broker.get(broker_id, ())]

    def moving(self, broker_id: str) -> int:
        """Count those from or to a broker that have left `waiting`."""
        return sum(move.step != "waiting" for move in self.moves_with(broker_id))

    def arriving(self, broker_id: str) -> int:
        """Count the copies that are to come to a broker and are not placed there yet."""
        return sum(
            move.step == "waiting" and move.kind == "replica" and move.to_broker == broker_id
            for move in self.moves_with(broker_id)
        )

    # --- following ----------------------------------------------------------------------------

    def follow(self, table: str, before: Any, after: Any) -> None:
        """Take note of a change, once it is in the store."""
        if table == MOVES:
            self._follow_move(before, after)
            return
        if table == "ShardPlacement":
            kept = _kept(before, after)
            self._count(before, -1, kept)
            self._count(after, 1, kept)
        self._look_at((before or after).key)

    def restore(self) -> None:
        """Take up what a dump put into the store."""
        self._clear()
        for placement in self._store.tables["ShardPlacement"].rows.values():
            self._count(placement, 1, frozenset())
        for key in self._store.tables["Stream"].keys:
            self._look_at(key)
        for move in self._store.tables[MOVES].rows.values():
            self._follow_move(None, move)

    def _count(self, placement: ShardPlacement | None, change: int, kept: Set[int]) -> None:
        if placement is None:
            return
        for shard in placement.placements:
            if id(shard) in kept:
                continue
            if shard.leader:
                _add(self._leads, shard.leader, change)
            for broker_id in shard.copies:
                _add(self._copies, broker_id, change)
                streams = self._streams_on.setdefault(broker_id, {})
                _add(streams, placement.key, change)
                if not streams:
                    del self._streams_on[broker_id]

    def _look_at(self, key: Key) -> None:
        """See what a stream lacks now."""
        stream: Stream | None = self._store.tables["Stream"].rows.get(key)
        placement: ShardPlacement | None = self._store.tables["ShardPlacement"].rows.get(key)
        self._under_replicated -= self.missing(key).under_replicated
        now = NOTHING if stream is None else _missing(stream, placement)
        if now == NOTHING:
            self._missing.pop(key, None)
        else:
            self._missing[key] = now
        self._under_replicated += now.under_replicated

    def _follow_move(self, before: ShardMove | None, after: ShardMove | None) -> None:
        if before is not None and before.step in ACTIVE_STEPS:
            key = move_key(before.move_id)
            del self._moves[key]
            del self._moves_by_shard[(before.stream.key, before.shard_id)]
            for broker_id in _ends(before):
                keys = self._moves_by_broker[broker_id]
                keys.remove(key)
                if not keys:
                    del self._moves_by_broker[broker_id]
        if after is not None and after.step in ACTIVE_STEPS:
            key = move_key(after.move_id)
            self._moves[key] = after
            self._moves_by_shard[(after.stream.key, after.shard_id)] = after
            for broker_id in _ends(after):
                self._moves_by_broker.setdefault(broker_id, SortedSet()).add(key)


def _kept(before: ShardPlacement | None, after: ShardPlacement | None) -> Set[int]:
    """Tell the shards of which nothing has changed, by identity: a stream may have thousands."""
    if before is None or after is None:
        return frozenset()
    return {id(one) for one in before.placements} & {id(one) for one in after.placements}


def _missing(stream: Stream, placement: ShardPlacement | None) -> Missing:
    if placement is None:
        unplaced = 0 if stream.deleted_at_ms else stream.spec.shards
        return Missing(unplaced, 0, unplaced, 0)
    wanted = stream.spec.replication_factor
    unplaced = leaderless = under_replicated = short = 0
    for shard in placement.placements:
        copies = len(shard.copies)
        unplaced += not copies
        leaderless += copies > 0 and not shard.leader
        under_replicated += len(shard.in_sync) < wanted
        short += 0 < copies < wanted
    if stream.deleted_at_ms:
        unplaced = 0
    return Missing(unplaced, leaderless, under_replicated, short)


def _add(counts: dict[Any, int], name: Any, change: int) -> None:
    counts[name] = counts.get(name, 0) + change
    if not counts[name]:
        del counts[name]


def _ends(move: ShardMove) -> tuple[str, ...]:
    return tuple({one: None for one in (move.from_broker, move.to_broker) if one})
