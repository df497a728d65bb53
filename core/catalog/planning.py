"""What the planner must know of the catalog, in small extracts, and what it answers with them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence, Set
from itertools import chain, islice
from typing import Final

import msgspec

from felix.core.catalog.catalog import Catalog
from felix.core.catalog.placement_tables import DELETED_STREAMS, settings_of
from felix.core.placement.creating import place
from felix.core.placement.fleet import BrokerRow, Fleet, StreamRow, broker_row, stream_row
from felix.core.placement.rebalancing import rebalance
from felix.core.placement.repairing import drain, replace, restore
from felix.proto.brokers import MovePlan, PlacementPlan, PlacementSettings, StreamName, Unmet
from felix.proto.errors import NotFound
from felix.proto.placement_commands import PurgeStream
from felix.proto.queries import PlanRebalance
from felix.proto.resources import Bridge, Broker, Key, ShardPlacement, Stream

STREAMS_MAX: Final = 500
"""Of each kind of work in one extract."""
PURGES_MAX: Final = 50


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """How far an extract went, of each kind of work; what comes after it comes next.

    So everything gets its turn, however much there is before it that nobody can help.
    """

    unplaced: Key = ()
    on_draining: Key = ()
    on_down: Key = ()
    short: Key = ()


START: Final = Places()


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to be done, and with whom."""

    fleet: Fleet
    settings: PlacementSettings
    moving: dict[Key, ShardPlacement]
    """Placements of the streams of moves that are not over."""
    unplaced: tuple[StreamRow, ...]
    on_draining: tuple[StreamRow, ...]
    on_down: tuple[StreamRow, ...]
    short: tuple[StreamRow, ...]
    leaderless: tuple[Unmet, ...]
    under_replicated: int
    due: tuple[PurgeStream, ...]
    """Deleted streams whose grace is over."""
    ends: Places = START
    """Where the next extract is to begin."""
    held: tuple[Unmet, ...] = ()
    """Copies of deleted streams on brokers that drain: nobody serves them, so nobody moves them."""


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, for a plan of everything; rows are made by whoever plans."""

    fleet: Fleet
    settings: PlacementSettings
    streams: dict[Key, Stream]
    placements: dict[Key, ShardPlacement]


def work_of(
    catalog: Catalog,
    now_ms: int,
    after: Places = START,
    dead: Collection[str] | None = None,
) -> Work:
    """Gather what there is to be done. Costs no more than what is found.

    Of each kind there are `STREAMS_MAX` at most, those that come `after` some place first. What
    is on brokers that are down is not work yet, unless they are among the `dead` (None: all).
    """
    tables, index = catalog.store.tables, catalog.placement
    moves = index.moves()
    brokers = _brokers(catalog)
    draining = [one.broker_id for one in brokers if one.drain and one.status != "down"]
    down = [one.broker_id for one in brokers if one.status == "down"]
    if dead is not None:
        down = [one for one in down if one in dead]
    moving: dict[Key, ShardPlacement] = {
        key: row
        for key in {move.stream.key: None for move in moves}
        if (row := tables["ShardPlacement"].rows.get(key)) is not None
    }
    deleted = tables[DELETED_STREAMS]
    leaving = _streams_on(catalog, draining)
    unplaced, unplaced_end = _rows(catalog, index.unplaced(), after.unplaced)
    on_draining, on_draining_end = _rows(catalog, leaving, after.on_draining)
    on_down, on_down_end = _rows(catalog, _streams_on(catalog, down), after.on_down)
    short, short_end = _rows(catalog, index.short(), after.short)
    due = (
        PurgeStream(
            tenant_id=key[0],
            namespace=key[1],
            stream=key[2],
            stream_id=deleted.rows[key].stream_id,
        )
        for key in deleted.keys
        if deleted.rows[key].purge_at_ms <= now_ms
    )
    return Work(
        fleet=_fleet(catalog),
        settings=settings_of(catalog.store),
        moving=moving,
        unplaced=unplaced,
        on_draining=on_draining,
        on_down=on_down,
        short=short,
        leaderless=_leaderless(catalog),
        under_replicated=index.under_replicated,
        due=tuple(islice(due, PURGES_MAX)),
        held=_held(catalog, leaving, frozenset(draining)),
        ends=Places(
            unplaced=unplaced_end,
            on_draining=on_draining_end,
            on_down=on_down_end,
            short=short_end,
        ),
    )


def whole_of(catalog: Catalog) -> Whole:
    """Gather everything that a plan of all streams looks at."""
    tables = catalog.store.tables
    return Whole(
        fleet=_fleet(catalog),
        settings=settings_of(catalog.store),
        streams=dict(tables["Stream"].rows),
        placements=dict(tables["ShardPlacement"].rows),
    )


# --- plans ----------------------------------------------------------------------------------------


def next_plans(work: Work, unwell: Collection[str], dead: Collection[str]) -> tuple[MovePlan, ...]:
    """Plan what has to be mended; `dead` brokers have been down for long enough."""
    fleet = with_health(work.fleet, unwell)
    plans = [drain(fleet, work.on_draining)]
    if dead:
        plans.append(replace(fleet, work.on_down, dead))
    plans.append(restore(fleet, work.short))
    return tuple(plan for plan in plans if plan.moves or plan.blocked_by)


def placement_plan(work: Work, unwell: Collection[str], dead: Collection[str]) -> PlacementPlan:
    """Say what is done next, and what cannot be."""
    plans = next_plans(work, unwell, dead)
    unmet = place(with_health(work.fleet, unwell), work.unplaced).unmet
    plan = MovePlan(
        base_version=work.fleet.version,
        reason=plans[0].reason if plans else "balance",
        moves=tuple(move for one in plans for move in one.moves),
        blocked_by=(*(why for one in plans for why in one.blocked_by), *work.held),
    )
    return PlacementPlan(
        plan=plan,
        settings=work.settings,
        unplaced=(*unmet, *work.leaderless),
        under_replicated=work.under_replicated,
    )


def rebalancing(query: PlanRebalance, whole: Whole, unwell: Collection[str]) -> PlacementPlan:
    """Work a rebalancing out. Raises: NotFound."""
    if query.stream is not None and query.stream.key not in whole.streams:
        raise NotFound(f"there is no stream {'/'.join(query.stream.key)!r}")
    keys = sorted(whole.streams) if query.stream is None else [query.stream.key]
    rows = tuple(
        stream_row(whole.streams[key], whole.placements[key])
        for key in keys
        if key in whole.placements
    )
    fleet = with_health(whole.fleet, unwell)
    plan = rebalance(fleet, rows, query.strategy, reason="operator")
    return PlacementPlan(plan=plan, settings=whole.settings)


def with_health(fleet: Fleet, unwell: Collection[str]) -> Fleet:
    """Let brokers that do not feel well get no shards."""
    if not unwell:
        return fleet
    rows = tuple(
        msgspec.structs.replace(row, is_healthy=False) if row.broker_id in unwell else row
        for row in fleet.brokers
    )
    return msgspec.structs.replace(fleet, brokers=rows)


# --- parts ----------------------------------------------------------------------------------------


def _brokers(catalog: Catalog) -> list[Broker]:
    table = catalog.store.tables["Broker"]
    return [table.rows[key] for key in table.keys]


def _fleet(catalog: Catalog) -> Fleet:
    index, bridges = catalog.placement, catalog.store.tables["Bridge"]
    rows: list[BrokerRow] = [
        broker_row(one, index.copies(one.broker_id), index.leads(one.broker_id))
        for one in _brokers(catalog)
    ]
    found: list[Bridge] = [bridges.rows[key] for key in bridges.keys]
    return Fleet(
        version=catalog.version,
        brokers=tuple(rows),
        bridges=tuple(found),
        moves=tuple(index.moves()),
    )


def _rows(catalog: Catalog, keys: Sequence[Key], after: Key) -> tuple[tuple[StreamRow, ...], Key]:
    """Give the streams that come after a place, then those from the start, and where that ends.

    `keys` are in order. An extract that holds all of them begins at the start the next time.
    """
    tables = catalog.store.tables
    streams, placements = tables["Stream"].rows, tables["ShardPlacement"].rows
    first = bisect_right(keys, after)
    in_turn = (key for key in chain(islice(keys, first, None), islice(keys, first)))
    chosen = tuple(islice((key for key in in_turn if key in streams), STREAMS_MAX))
    rows = tuple(stream_row(streams[key], placements.get(key)) for key in chosen)
    return rows, chosen[-1] if len(chosen) == STREAMS_MAX else ()


def _streams_on(catalog: Catalog, broker_ids: Iterable[str]) -> list[Key]:
    """List the streams with a copy on one of these, in order."""
    return sorted({key for one in broker_ids for key in catalog.placement.holding(one)})


def _leaderless(catalog: Catalog) -> tuple[Unmet, ...]:
    rows = catalog.store.tables["ShardPlacement"].rows
    found = (
        Unmet(stream=StreamName(*key), shard_id=shard.shard_id, why=shard.reason)
        for key in catalog.placement.leaderless()
        for shard in rows[key].placements
        if shard.copies and not shard.leader
    )
    return tuple(islice(found, STREAMS_MAX))


def _held(catalog: Catalog, keys: Iterable[Key], draining: Set[str]) -> tuple[Unmet, ...]:
    rows = catalog.store.tables["ShardPlacement"].rows
    deleted = catalog.store.tables[DELETED_STREAMS].rows
    found = (
        Unmet(
            stream=StreamName(*key),
            shard_id=shard.shard_id,
            why=f"the stream is deleted and its copy on {broker_id} waits for the end of the grace:"
            " purge or undelete it",
        )
        for key in keys
        if key in deleted
        for shard in rows[key].placements
        for broker_id in shard.copies
        if broker_id in draining
    )
    return tuple(islice(found, STREAMS_MAX))
