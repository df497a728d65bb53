"""Shards that are served on paper: what a simulated broker would say of its copies."""

from __future__ import annotations

import math
import threading
from typing import Final

import msgspec

from felix.proto.brokers import Placement, ShardStatus, StreamName
from felix.proto.resources import Broker, Key, ShardPlacement
from felix.proto.updates import MetadataUpdate
from felix.transport.view import MetadataView

_DOWN: Final = "down"


class PaperWork(msgspec.Struct, frozen=True):
    """What there is to say of the copies."""

    statuses: tuple[ShardStatus, ...]
    next_s: float
    """When a copy that is under way will be whole: from now, infinite without one."""


class PaperShards:
    """Follows the metadata, and copies by the clock. Any thread; times are monotonic seconds."""

    def __init__(self, copy_s: float) -> None:
        """A replica holds everything once it has been one, and up, for `copy_s`."""
        self._copy_s = copy_s
        self._lock = threading.Lock()
        self._placements: dict[Key, ShardPlacement] = {}
        self._down: dict[str, bool] = {}
        self._copying: dict[tuple[str, int, str], float] = {}
        """(stream id, shard, replica) -> since when it copies."""

    def replace(self, view: MetadataView) -> None:
        """Begin with this metadata."""
        with self._lock:
            self._placements.clear()
            self._down.clear()
            for row in (*view.list("Broker"), *view.list("ShardPlacement")):
                self._put(row)

    def update(self, update: MetadataUpdate) -> bool:
        """Take in a change; whether it may make a difference to what is said."""
        row = update.payload
        with self._lock:
            if update.type != "DELETE":
                return self._put(row)
            if isinstance(row, ShardPlacement):
                return self._placements.pop(row.key, None) is not None
            if isinstance(row, Broker):
                self._down[row.broker_id] = True
                return True
            return False

    def _put(self, row: object) -> bool:
        if isinstance(row, ShardPlacement):
            self._placements[row.key] = row
            return True
        if isinstance(row, Broker):
            is_down = row.status == _DOWN
            before = self._down.get(row.broker_id)
            self._down[row.broker_id] = is_down
            return is_down is not before
        return False

    def work(self, broker_id: str, now: float) -> PaperWork:
        """Say what a broker has to report of its copies."""
        with self._lock:
            before, self._copying = self._copying, {}
            statuses = []
            for row in self._placements.values():
                for place in row.placements:
                    if broker_id == place.leader:
                        statuses.append(self._led(row, place, before, now))
                    elif broker_id in place.replicas:
                        statuses.append(_status(row, place, is_leader=False))
            ends = [since + self._copy_s - now for since in self._copying.values()]
            return PaperWork(
                tuple(statuses), min((one for one in ends if one > 0), default=math.inf)
            )

    def _led(
        self,
        row: ShardPlacement,
        place: Placement,
        before: dict[tuple[str, int, str], float],
        now: float,
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

    def leads(self, broker_id: str) -> int:
        """Count the shards that a broker leads."""
        with self._lock:
            rows = self._placements.values()
            return sum(place.leader == broker_id for row in rows for place in row.placements)

    def copies(self, broker_id: str) -> int:
        """Count the copies on a broker."""
        with self._lock:
            rows = self._placements.values()
            return sum(broker_id in place.copies for row in rows for place in row.placements)


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
