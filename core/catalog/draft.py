"""The changes a command is going to make, while it is working them out."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from felix.core.catalog.placement_tables import (
    DELETED_STREAMS,
    MOVES,
    PLACEMENT_ROWS,
    PLACEMENT_SETTINGS,
    PlacementRow,
    key_of,
)
from felix.core.catalog.steps import Context, Outcome, Step
from felix.proto.brokers import (
    Placement,
    PlacementSettings,
    ShardMove,
    StreamName,
)
from felix.proto.commands import Deleted
from felix.proto.errors import NotFound
from felix.proto.identity import Done
from felix.proto.resources import (
    Broker,
    Key,
    Resource,
    ShardPlacement,
    Stream,
    kind_of,
)

R = TypeVar("R", bound=Resource)


class Draft:
    """Looks like the tables, and gathers what is to become of them.

    However often a command changes an object, it changes once, to what it was last.
    """

    def __init__(self, context: Context) -> None:
        """Begin with nothing."""
        self.context = context
        self._changes: dict[tuple[str, Key], tuple[Any, Any]] = {}
        """Table and key -> before and after."""
        self._versions: dict[tuple[str, Key], int] = {}
        self.next_version = context.next_version
        """Of the next object that changes."""

    # --- reading ------------------------------------------------------------------------------

    def get(self, table: str, key: Key) -> Any:
        """Give a row as this leaves it, or None."""
        change = self._changes.get((table, key))
        if change is not None:
            return change[1]
        return self.context.store.tables[table].rows.get(key)

    def broker(self, broker_id: str) -> Broker | None:
        """Give a broker."""
        found: Broker | None = self.get("Broker", (broker_id,))
        return found

    def need_broker(self, broker_id: str) -> Broker:
        """Give a broker. Raises: NotFound."""
        found = self.broker(broker_id)
        if found is None:
            raise NotFound(f"there is no broker {broker_id!r}")
        return found

    def is_up(self, broker_id: str) -> bool:
        """Tell whether a broker serves what it holds."""
        found = self.broker(broker_id)
        return found is not None and found.status != "down"

    def stream(self, key: Key) -> Stream | None:
        """Give a stream, also one whose deletion can be taken back."""
        found: Stream | None = self.get("Stream", key) or self.get(DELETED_STREAMS, key)
        return found

    def placement(self, key: Key) -> ShardPlacement | None:
        """Give who holds a stream's shards."""
        found: ShardPlacement | None = self.get("ShardPlacement", key)
        return found

    def need_shard(self, stream: StreamName, shard_id: int) -> tuple[ShardPlacement, Placement]:
        """Give who holds a shard. Raises: NotFound."""
        name = "/".join(stream.key)
        if self.stream(stream.key) is None:
            raise NotFound(f"there is no stream {name!r}")
        row = self.placement(stream.key)
        if row is None:
            raise NotFound(f"the stream {name!r} is not placed yet")
        if not 0 <= shard_id < len(row.placements):
            raise NotFound(f"the stream {name!r} has {len(row.placements)} shards, no {shard_id}")
        return row, row.placements[shard_id]

    # --- writing ------------------------------------------------------------------------------

    def put(self, row: R) -> R:
        """Create or change an object; what comes back has its version and times.

        One that would be as it was stays as it is.
        """
        place = (kind_of(row), row.key)
        before = self._before(place)
        if before is not None and place not in self._changes and _as_of(before, row) == before:
            current: R = before
            return current
        version = self._version_of(place)
        time_ms = self.context.stamp.time_ms
        after = msgspec.structs.replace(
            row,
            version=version,
            created_version=version if before is None else before.created_version,
            created_at_ms=time_ms if before is None else before.created_at_ms,
            updated_at_ms=time_ms,
        )
        self._changes[place] = (before, after)
        return after

    def put_shard(self, row: ShardPlacement, shard: Placement) -> ShardPlacement:
        """Change who holds one shard of a stream."""
        shards = list(row.placements)
        if shards[shard.shard_id] == shard:
            return row
        shards[shard.shard_id] = shard
        return self.put(msgspec.structs.replace(row, placements=tuple(shards)))

    def delete(self, row: Resource) -> None:
        """Delete an object that exists and was not changed before."""
        place = (kind_of(row), row.key)
        assert place not in self._changes
        self._version_of(place)
        self._changes[place] = (row, None)

    def put_row(self, table: str, row: PlacementRow) -> None:
        """Create or change a row that only replicas see."""
        place = (table, key_of(row))
        before = self._before(place)
        if before != row or place in self._changes:
            self._changes[place] = (before, row)

    def delete_row(self, table: str, row: PlacementRow) -> None:
        """Delete a row that only replicas see."""
        place = (table, key_of(row))
        self._changes[place] = (self._before(place), None)

    def put_move(self, move: ShardMove) -> None:
        """Begin a move, or change what is known of it."""
        self.put_row(MOVES, move)

    def put_settings(self, settings: PlacementSettings) -> None:
        """Change whether placement goes on by itself."""
        self.put_row(PLACEMENT_SETTINGS, settings)

    # --- the end ------------------------------------------------------------------------------

    @property
    def steps(self) -> list[Step]:
        """What is to be done, in the order in which it was first thought of."""
        return [
            Step(table, key, before, after)
            for (table, key), (before, after) in self._changes.items()
        ]

    def answer(self, resource: Resource) -> Outcome:
        """End with an object as it is now."""
        return Outcome(self.steps, resource)

    def done(self, id_: str = "") -> Outcome:
        """End with whether anything has changed, and the name of what was made."""
        steps = self.steps
        return Outcome(steps, Done(changed=bool(steps), id=id_))

    def deleted(self) -> Outcome:
        """End with the deletion that came last, and how many objects went."""
        steps = self.steps
        count = sum(step.after is None and step.kind not in PLACEMENT_ROWS for step in steps)
        return Outcome(steps, Deleted(self.next_version - 1, count))

    def _before(self, place: tuple[str, Key]) -> Any:
        change = self._changes.get(place)
        table, key = place
        return self.context.store.tables[table].rows.get(key) if change is None else change[0]

    def _version_of(self, place: tuple[str, Key]) -> int:
        version = self._versions.get(place)
        if version is None:
            version = self._versions[place] = self.next_version
            self.next_version += 1
        return version


def _as_of(before: Resource, row: Resource) -> Resource:
    """Give the new row with the versions and times of the old one, to compare the two."""
    return msgspec.structs.replace(
        row,
        version=before.version,
        created_version=before.created_version,
        created_at_ms=before.created_at_ms,
        updated_at_ms=before.updated_at_ms,
    )
