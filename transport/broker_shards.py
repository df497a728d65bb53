"""What a broker says of its shards: everything when asked, else what the leader may not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from felix.proto.brokers import ShardStatus
from felix.proto.resources import Key, ShardPlacement
from felix.transport.view import MetadataView

_Shard: TypeAlias = tuple[Key, int]


class ShardNews(msgspec.Struct, frozen=True):
    """What goes into one report."""

    statuses: tuple[ShardStatus, ...]
    is_all: bool


class ShardReports:
    """Remembers what the control plane has acknowledged; used by one thread."""

    def __init__(self) -> None:
        self._told: dict[_Shard, ShardStatus] | None = None
        """None: nothing yet, or it wants to hear everything."""

    def forget(self) -> None:
        """The next report says everything."""
        self._told = None

    def news(self, now: Sequence[ShardStatus], view: MetadataView) -> ShardNews:
        """Choose what to say of the copies that the broker holds.

        Copies in sync are said again until the metadata has them so: a report may have come to a
        leader that did not get to it.
        """
        told = self._told
        held = {(one.stream.key, one.shard_id): one for one in now}
        if told is None or not told.keys() <= held.keys():
            return ShardNews(tuple(now), is_all=True)
        new = tuple(
            one
            for shard, one in held.items()
            if one != told.get(shard) or not _is_in_force(one, view)
        )
        return ShardNews(new, is_all=False)

    def acknowledged(self, news: ShardNews) -> None:
        """Remember what was said and heard."""
        said: dict[_Shard, ShardStatus] = {
            (one.stream.key, one.shard_id): one for one in news.statuses
        }
        self._told = said if news.is_all else {**(self._told or {}), **said}


def _is_in_force(status: ShardStatus, view: MetadataView) -> bool:
    if status.role != "leader" or not status.in_sync:
        return True
    row = view.get("ShardPlacement", status.stream.key)
    if not isinstance(row, ShardPlacement) or status.shard_id >= len(row.placements):
        return True
    place = row.placements[status.shard_id]
    return place.generation != status.generation or place.in_sync == status.in_sync
