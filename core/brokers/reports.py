"""What brokers say of the metadata that they have, and of the shards that they hold.

Soft state of the node that leads, bounded by the catalog: only copies that a broker holds there
count, and what is said of others is not kept.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping
from typing import Final, TypeAlias

import msgspec

from felix.proto.brokers import (
    AppliedBy,
    InSyncChange,
    NamespaceUsage,
    Placement,
    ReportedUsage,
    ShardStatus,
)
from felix.proto.reports import Report, ReportHealth
from felix.proto.resources import Key, ShardPlacement

LAGGARDS_MAX: Final = 100
NAMESPACES_MAX: Final = 10_000
"""Of which a broker's usage is kept."""

Shard: TypeAlias = tuple[Key, int]


class DrainedShard(msgspec.Struct, frozen=True, gc=False):
    """A shard whose fenced leader has nothing left that is not on every copy in sync."""

    stream: Key
    shard_id: int
    generation: int


class Said(msgspec.Struct, gc=False):
    """What one boot of a broker has said."""

    epoch: int
    version: int = 0
    """Of the metadata that it has in force; 0: it has none of this life of the catalog."""
    digest: str = ""
    is_wrong: bool = False
    """Its digest was not that of the metadata at that version."""
    is_told: bool = False
    """Somebody has complained of that."""
    knows_all: bool = False
    """It has said what it holds; since then it has to say only what is new."""
    subscribers: int = 0
    usage: dict[Key, NamespaceUsage] | None = None
    """By namespace; None: it has not said."""


def place_of(placement: ShardPlacement | None, shard_id: int) -> Placement | None:
    """Find a shard among those of its stream."""
    if placement is None or not 0 <= shard_id < len(placement.placements):
        return None
    return placement.placements[shard_id]


class Reports:
    """The reports' contents; used by one thread."""

    def __init__(self) -> None:
        self._said: dict[str, Said] = {}
        self._shards: dict[str, dict[Shard, ShardStatus]] = {}
        self._on: dict[Key, dict[str, dict[int, None]]] = {}
        """Stream -> broker -> the shards of which it has said something."""
        self._looked_at: dict[Key, ShardPlacement | None] = {}
        """The placements that `placed` has gone through, of streams in `_on`."""
        self._subscribers: dict[Key, int] = {}
        """By stream, where there are some."""
        self._unsettled: dict[Shard, str] = {}
        """Shards whose leader has said who is in sync, with the leader."""
        self._proposed: dict[Shard, ShardStatus] = {}
        """What was said of those that `changes_in_sync` listed last."""

    def forget(self, brokers: Iterable[str]) -> None:
        """Forget what these have said: they are gone, down, or another boot."""
        for broker_id in brokers:
            self._said.pop(broker_id, None)
            for shard in list(self._shards.get(broker_id, ())):
                self._drop(broker_id, shard)

    # --- hearing ------------------------------------------------------------------------------

    def hear(self, report: Report, *, epoch: int, digest: str, holds: Container[Shard]) -> None:
        """Take in a report.

        `epoch` is the catalog's, `digest` what the metadata is at the version that the report
        names, or "" where nobody knows any more; `holds` are those of the copies that it speaks of
        which the broker has in the catalog.
        """
        broker_id = report.broker_id
        said = self._said.get(broker_id)
        if said is None or said.epoch != report.broker_epoch:
            self.forget([broker_id])
            said = self._said[broker_id] = Said(report.broker_epoch)
        if report.applied_epoch == epoch:
            self._take_version(said, report, digest)
        if isinstance(report, ReportHealth):
            self._take_shards(said, report, holds)
            if report.usage is not None:
                named = report.usage[:NAMESPACES_MAX]
                said.usage = {(one.tenant_id, one.namespace): one for one in named}

    def _take_version(self, said: Said, report: Report, digest: str) -> None:
        if digest and report.applied_digest:
            said.is_wrong = digest != report.applied_digest
            said.is_told &= said.is_wrong
        said.version = report.applied_version
        said.digest = report.applied_digest

    def _take_shards(self, said: Said, report: ReportHealth, holds: Container[Shard]) -> None:
        broker_id = report.broker_id
        named = {(one.stream.key, one.shard_id): one for one in report.shard_status}
        known = self._shards.get(broker_id, {})
        if report.has_all_shards:
            said.knows_all = True
            for shard in [one for one in known if one not in named]:
                self._drop(broker_id, shard)
        for shard, status in named.items():
            if shard in holds:
                self._put(broker_id, shard, status)
                if status.role == "leader" and status.in_sync:
                    self._unsettled[shard] = broker_id
            else:
                self._drop(broker_id, shard)

    def _put(self, broker_id: str, shard: Shard, status: ShardStatus) -> None:
        shards = self._shards.setdefault(broker_id, {})
        before = shards.get(shard)
        shards[shard] = status
        self._on.setdefault(shard[0], {}).setdefault(broker_id, {})[shard[1]] = None
        self._count(broker_id, shard[0], status.subscribers - (before.subscribers if before else 0))

    def _drop(self, broker_id: str, shard: Shard) -> None:
        before = self._shards.get(broker_id, {}).pop(shard, None)
        if before is None:
            return
        if not self._shards[broker_id]:
            del self._shards[broker_id]
        on = self._on[shard[0]]
        del on[broker_id][shard[1]]
        if not on[broker_id]:
            del on[broker_id]
        if not on:
            del self._on[shard[0]]
            self._looked_at.pop(shard[0], None)
        self._count(broker_id, shard[0], -before.subscribers)
        if self._unsettled.get(shard) == broker_id:
            del self._unsettled[shard]

    def _count(self, broker_id: str, stream: Key, change: int) -> None:
        if not change:
            return
        said = self._said.get(broker_id)
        if said is not None:
            said.subscribers += change
        now = self._subscribers.get(stream, 0) + change
        if now:
            self._subscribers[stream] = now
        else:
            del self._subscribers[stream]

    # --- placements ---------------------------------------------------------------------------

    def streams(self) -> list[Key]:
        """List the streams of whose shards something was said."""
        return list(self._on)

    def placed(self, rows: Mapping[Key, ShardPlacement | None]) -> None:
        """Forget what was said of copies that are not there any more."""
        for stream, row in rows.items():
            if stream not in self._on or self._looked_at.get(stream) is row is not None:
                continue
            self._looked_at[stream] = row
            said = [
                (broker_id, shard_id)
                for broker_id, shards in self._on[stream].items()
                for shard_id in shards
            ]
            for broker_id, shard_id in said:
                place = place_of(row, shard_id)
                if place is None or broker_id not in place.copies:
                    self._drop(broker_id, (stream, shard_id))

    def unsettled(self, most: int) -> list[Key]:
        """List streams whose leaders have said who is in sync, the oldest first."""
        found: dict[Key, None] = {}
        for stream, _ in self._unsettled:
            if len(found) == most:
                break
            found[stream] = None
        return list(found)

    def changes_in_sync(
        self, rows: Mapping[Key, ShardPlacement | None], up: Collection[str], most: int
    ) -> list[InSyncChange]:
        """List what is to be changed in these placements, which are as the catalog has them.

        A leader that goes by an older generation is not asked any more; one by a newer is asked
        again once this node has that too.
        """
        changes: list[InSyncChange] = []
        self._proposed.clear()
        for shard, broker_id in list(self._unsettled.items()):
            stream, shard_id = shard
            if stream not in rows:
                continue
            if len(changes) == most:
                break
            row = rows[stream]
            place = place_of(row, shard_id)
            status = self._shards[broker_id][shard]
            if place is not None and place.generation < status.generation:
                del self._unsettled[shard]
                self._unsettled[shard] = broker_id  # the others come first
                continue
            change = None if row is None else _change(row, place, broker_id, status, up)
            if change is None:
                del self._unsettled[shard]
            else:
                self._proposed[shard] = status
                changes.append(change)
        return changes

    def settle(self) -> None:
        """Hear that what was listed last is committed: the leaders will see it, or say more."""
        for shard, status in self._proposed.items():
            broker_id = self._unsettled.get(shard)
            if broker_id is not None and self._shards[broker_id][shard] is status:
                del self._unsettled[shard]
        self._proposed.clear()

    def drained(self) -> list[DrainedShard]:
        """List the fenced shards whose leaders have nothing left to do."""
        return [
            DrainedShard(stream, shard_id, status.generation)
            for shards in self._shards.values()
            for (stream, shard_id), status in shards.items()
            if status.is_drained and status.role == "leader"
        ]

    # --- what is known ------------------------------------------------------------------------

    def said(self, broker_id: str) -> Said | None:
        """Give what a broker has said; not to be changed."""
        return self._said.get(broker_id)

    def subscribers(self, stream: Key) -> int:
        """Count a stream's subscribers on all brokers; any thread may ask."""
        return self._subscribers.get(stream, 0)

    def usage(self, tenant_id: str, namespace: str) -> ReportedUsage:
        """Add up what brokers use of a tenant, or of one of its namespaces."""
        found = [one.usage for one in self._said.values() if one.usage is not None]
        named = [
            one
            for usage in found
            for one in ([usage.get((tenant_id, namespace))] if namespace else usage.values())
            if one is not None and one.tenant_id == tenant_id
        ]
        return ReportedUsage(
            brokers=len(found),
            publish_per_s=sum(one.publish_per_s for one in named),
            subscribe_connections=sum(one.subscribe_connections for one in named),
            storage_bytes=sum(one.storage_bytes for one in named),
            cache_bytes=sum(one.cache_bytes for one in named),
        )

    def wants_all(self, broker_id: str) -> bool:
        """Whether a broker has yet to say what it holds."""
        said = self._said.get(broker_id)
        return said is None or not said.knows_all

    def version_of(self, broker_id: str) -> int:
        """Give the version of the metadata that a broker has in force; 0: unknown."""
        said = self._said.get(broker_id)
        return 0 if said is None else said.version

    def wrong(self, brokers: Iterable[str]) -> int:
        """Count those of these that have other metadata than the cluster at the same version."""
        return sum(one in self._said and self._said[one].is_wrong for one in brokers)

    def lag(self, version: int, brokers: Iterable[str]) -> int:
        """Say by how much the last of these that has said something is behind a version."""
        versions = [self.version_of(one) for one in brokers]
        return max((version - one for one in versions if one), default=0)

    def applied_by(self, version: int, brokers: Collection[str], wanted: int) -> AppliedBy:
        """Say which of the brokers that are up have a version; `wanted` of them, or all."""
        late = sorted(one for one in brokers if self.version_of(one) < version)
        applied = len(brokers) - len(late)
        expected = wanted or len(brokers)
        return AppliedBy(version, applied, expected, late[:LAGGARDS_MAX], applied >= expected)


def _change(
    row: ShardPlacement,
    place: Placement | None,
    broker_id: str,
    status: ShardStatus,
    up: Collection[str],
) -> InSyncChange | None:
    if place is None or place.leader != broker_id or place.generation != status.generation:
        return None
    said = {one for one in status.in_sync if one in place.copies and one in up}
    in_sync = tuple(sorted(said))
    if broker_id not in said or in_sync == place.in_sync:
        return None
    return InSyncChange(
        stream=status.stream,
        stream_id=row.stream_id,
        shard_id=status.shard_id,
        generation=place.generation,
        in_sync=in_sync,
    )
