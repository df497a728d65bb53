"""Questions about brokers, placements, bridges and moves."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from felix.core.catalog.glob import matcher
from felix.core.catalog.paging import PAGE_BYTES_MAX, invalid, key_of, size_of, token_of
from felix.core.catalog.placement_index import PlacementIndex
from felix.core.catalog.placement_tables import MOVES, move_key
from felix.core.catalog.store import Store
from felix.proto.brokers import ShardMove, ShardMoves
from felix.proto.errors import NotFound
from felix.proto.queries import (
    AnyQuery,
    GetBridge,
    GetBroker,
    GetPlacement,
    ListBridges,
    ListBrokers,
    Listing,
    ListPlacements,
    ListShardMoves,
    Paged,
    move_token_after,
)
from felix.proto.resources import Bridge, Broker, Key, Resource, ShardPlacement
from felix.proto.rpc import Answer

ITEM_BYTES: Final = 300
"""What an item takes in an answer, roughly, besides what follows."""
COPY_BYTES: Final = 80
"""A name in a placement, as leader or replica and in sync, and its part of the rest."""
STREAM_BYTES: Final = 100
_MOVE_ID: Final = re.compile(r"[0-9]{1,19}-[0-9]{1,9}", re.ASCII)


def answer(store: Store, index: PlacementIndex, query: AnyQuery) -> Answer:
    """Answer one of `PLACEMENT_QUERIES`. Raises: NotFound, ValidationFailed."""
    return _HANDLERS[type(query)](store, index, query)


# --- brokers and bridges --------------------------------------------------------------------------


def _get_broker(store: Store, _index: PlacementIndex, query: GetBroker) -> Broker:
    row: Broker | None = store.tables["Broker"].rows.get((query.broker_id,))
    if row is None:
        raise NotFound(f"there is no broker {query.broker_id!r}")
    return row


def _list_brokers(store: Store, _index: PlacementIndex, query: ListBrokers) -> Listing:
    def is_wanted(row: Broker) -> bool:
        return (
            query.status in {None, row.status}
            and query.region in {"", row.region}
            and query.availability_zone in {"", row.availability_zone}
        )

    def bytes_of(row: Broker) -> int:
        return ITEM_BYTES + sum(len(name) + len(value) for name, value in row.metadata.items())

    table = store.tables["Broker"]
    keys = table.keys.irange(key_of(query.page_token, 1), None, (False, True))
    found = (table.rows[key] for key in keys)
    return _page((row for row in found if is_wanted(row)), query, bytes_of)


def _get_bridge(store: Store, _index: PlacementIndex, query: GetBridge) -> Bridge:
    row: Bridge | None = store.tables["Bridge"].rows.get((query.name,))
    if row is None:
        raise NotFound(f"there is no bridge {query.name!r}")
    return row


def _list_bridges(store: Store, _index: PlacementIndex, query: ListBridges) -> Listing:
    def bytes_of(row: Bridge) -> int:
        return ITEM_BYTES + STREAM_BYTES * len(row.streams)

    table = store.tables["Bridge"]
    keys = table.keys.irange(key_of(query.page_token, 1), None, (False, True))
    return _page((table.rows[key] for key in keys), query, bytes_of)


# --- placements -----------------------------------------------------------------------------------


def _get_placement(store: Store, _index: PlacementIndex, query: GetPlacement) -> ShardPlacement:
    key = (query.tenant_id, query.namespace, query.stream)
    row: ShardPlacement | None = store.tables["ShardPlacement"].rows.get(key)
    if row is None and key in store.tables["Stream"].rows:
        raise NotFound(
            f"the stream {'/'.join(key)!r} is not placed yet: is there a broker that may have it?",
            details={"reason": "not_placed"},
        )
    if row is None:
        raise NotFound(f"there is no stream {'/'.join(key)!r}")
    return row


def _list_placements(store: Store, index: PlacementIndex, query: ListPlacements) -> Listing:
    after = key_of(query.page_token, 3)
    rows = store.tables["ShardPlacement"].rows
    keys: Iterable[Key]
    if query.broker_id:
        keys = _behind(index.streams_on(query.broker_id), after)
        if query.is_incomplete:
            keys = (key for key in keys if any(index.missing(key)))
    elif query.is_incomplete:
        keys = _behind(index.incomplete(), after)
    else:
        keys = store.tables["ShardPlacement"].keys.irange(after, None, (False, True))
    return _page((rows[key] for key in keys), query, _bytes_of_placement)


def _bytes_of_placement(row: ShardPlacement) -> int:
    return ITEM_BYTES + COPY_BYTES * sum(1 + len(shard.replicas) for shard in row.placements)


def _behind(keys: list[Key], after: Key | None) -> list[Key]:
    return keys if after is None else keys[bisect_right(keys, after) :]


def _page(rows: Iterator[Any], query: Paged, bytes_of: Callable[[Any], int]) -> Listing:
    """Gather a page of what matches the query's filter, by all names of a row."""
    page_size = size_of(query)
    matches = matcher(query.filter)
    items: list[Resource] = []
    size = 0
    for row in rows:
        if not matches("/".join(row.key)):
            continue
        if len(items) == page_size or size > PAGE_BYTES_MAX:
            return Listing(items, token_of(items[-1].key))
        items.append(row)
        size += bytes_of(row)
    return Listing(items)


# --- moves ----------------------------------------------------------------------------------------


def _list_moves(store: Store, index: PlacementIndex, query: ListShardMoves) -> ShardMoves:
    def is_wanted(move: ShardMove) -> bool:
        return (
            query.stream in {None, move.stream}
            and query.broker_id in {"", move.from_broker, move.to_broker}
            and query.plan_id in {"", move.plan_id}
            and query.move_id in {"", move.move_id}
        )

    page_size = size_of(query)
    before = _key_before(query.page_token)
    items: list[ShardMove] = []
    for move in _newest_first(store, index, before, is_under_way=query.is_under_way):
        if not is_wanted(move):
            continue
        if len(items) == page_size:
            return ShardMoves(items, move_token_after(items[-1].move_id))
        items.append(move)
    return ShardMoves(items)


def _key_before(token: str) -> Key | None:
    """Read behind which move a page begins. Raises: ValidationFailed."""
    key = key_of(token, 1)
    if key is None:
        return None
    if not _MOVE_ID.fullmatch(key[0]):
        raise invalid("page_token", "is not one of ours")
    return move_key(key[0])


def _newest_first(
    store: Store, index: PlacementIndex, before: Key | None, *, is_under_way: bool
) -> Iterator[ShardMove]:
    if is_under_way:
        moves = reversed(index.moves())
        return (one for one in moves if before is None or move_key(one.move_id) < before)
    table = store.tables[MOVES]
    keys = table.keys.irange(None, before, (True, False), reverse=True)
    return (table.rows[key] for key in keys)


_HANDLERS: Final[dict[type[AnyQuery], Callable[[Store, PlacementIndex, Any], Answer]]] = {
    GetBroker: _get_broker,
    ListBrokers: _list_brokers,
    GetPlacement: _get_placement,
    ListPlacements: _list_placements,
    GetBridge: _get_bridge,
    ListBridges: _list_bridges,
    ListShardMoves: _list_moves,
}
PLACEMENT_QUERIES: Final = tuple(_HANDLERS)
