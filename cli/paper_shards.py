"""Shards that are served on paper: what a simulated broker would say of its copies."""

from __future__ import annotations

import math
import threading
from typing import Final, TypeAlias

import msgspec

from felix.proto.brokers import Placement, ShardStatus, StreamName
from felix.proto.resources import Broker, Key, ShardPlacement
from felix.proto.updates import MetadataUpdate
from felix.transport.view import MetadataView

_DOWN: Final = "down"
_Copy: TypeAlias = tuple[str, int, str]
"""Stream id, shard, replica."""


class PaperWork(msgspec.Struct, frozen=True):
    """What there is to say of the copies."""

    statuses: tuple[ShardStatus, ...]
    next_s: float
    """When a copy that is under way will be whole: from now, infinite without one."""


class _Held(msgspec.Struct):
    """A stream of which the broker has copies."""

    row: ShardPlacement
    statuses: tuple[ShardStatus, ...] | None = None
    """What there is to say of it until it changes; None: it has to be looked at."""


class PaperShards:
    """Follows the metadata for one broker, and copies by the clock.

    Any thread; times are monotonic seconds. It keeps what the broker has copies of and nothing
    else, and looks only at what may have changed: a machine may run a hundred of these.
    """

    def __init__(self, copy_s: float) -> None:
        """A replica holds everything once it has been one, and up, for `copy_s`."""
        self._copy_s = copy_s
        self._lock = threading.Lock()
        self._broker_id = ""
        self._held: dict[Key, _Held] = {}
        self._down: dict[str, bool] = {}
        self._copying: dict[_Copy, float] = {}
        """Since when it copies."""

    def begin(self, broker_id: str, view: MetadataView) -> None:
        """Begin with this metadata, as this broker."""
        with self._lock:
            self._broker_id = broker_id
            self._held.clear()
            self._down.clear()
            for row in (*view.list("Broker"), *view.list("ShardPlacement")):
                self._put(row)

    @property
    def broker_id(self) -> str:
        """Whose copies these are."""
        return self._broker_id

    def update(self, update: MetadataUpdate) -> bool:
        """Take in a change; whether it may make a difference to what is said."""
        row = update.payload
        with self._lock:
            if update.type != "DELETE":
                return self._put(row)
            if isinstance(row, ShardPlacement):
                return self._held.pop(row.key, None) is not None
            if isinstance(row, Broker):
                return self._put_broker(row.broker_id, is_down=True)
            return False

    def _put(self, row: object) -> bool:
        if isinstance(row, ShardPlacement):
            if any(self._broker_id in place.copies for place in row.placements):
                self._held[row.key] = _Held(row)
                return True
            return self._held.pop(row.key, None) is not None
        if isinstance(row, Broker):
            return self._put_broker(row.broker_id, is_down=row.status == _DOWN)
        return False

    def _put_broker(self, broker_id: str, *, is_down: bool) -> bool:
        if self._down.get(broker_id) is is_down:
            return False
        self._down[broker_id] = is_down
        for held in self._held.values():
            held.statuses = None
        return True

    def work(self, now: float) -> PaperWork:
        """Say what the broker has to report of its copies."""
        with self._lock:
            before, self._copying = self._copying, {}
            statuses: list[ShardStatus] = []
            for held in self._held.values():
                if held.statuses is None:
                    under_way = len(self._copying)
                    said = self._statuses(held.row, before, now)
                    if len(self._copying) == under_way:
                        held.statuses = said
                    statuses += said
                else:
                    statuses += held.statuses
            ends = [since + self._copy_s - now for since in self._copying.values()]
            return PaperWork(
                tuple(statuses), min((one for one in ends if one > 0), default=math.inf)
            )

    def _statuses(
        self, row: ShardPlacement, before: dict[_Copy, float], now: float
    ) -> tuple[ShardStatus, ...]:
        said = []
        for place in row.placements:
            if self._broker_id == place.leader:
                said.append(self._led(row, place, before, now))
            elif self._broker_id in place.replicas:
                said.append(_status(row, place, is_leader=False))
        return tuple(said)

    def _led(
        self, row: ShardPlacement, place: Placement, before: dict[_Copy, float], now: float
    ) -> ShardStatus:
        whole = {place.leader}
        for replica in place.replicas:
            if self._down.get(replica, True):
                continue  # it begins anew when it is back
            copy = (row.stream_id, place.shard_id, replica)
            since = before.get(copy, now)
            if replica in place.in_sync or now - since >= self._copy_s:
                whole.add(replica)
            if replica not in place.in_sync:
                self._copying[copy] = since
        return _status(row, place, is_leader=True, in_sync=tuple(sorted(whole)))

    def leads(self) -> int:
        """Count the shards that the broker leads."""
        with self._lock:
            rows = [held.row for held in self._held.values()]
            return sum(self._broker_id == place.leader for row in rows for place in row.placements)

    def copies(self) -> int:
        """Count the copies on the broker."""
        with self._lock:
            rows = [held.row for held in self._held.values()]
            return sum(self._broker_id in place.copies for row in rows for place in row.placements)


def _status(
    row: ShardPlacement, place: Placement, *, is_leader: bool, in_sync: tuple[str, ...] = ()
) -> ShardStatus:
    return ShardStatus(
        stream=StreamName(row.tenant_id, row.namespace, row.stream),
        shard_id=place.shard_id,
        role="leader" if is_leader else "follower",
        generation=place.generation,
        in_sync=in_sync,
        is_drained=is_leader and place.is_fenced,
    )
