"""Snapshots for brokers: rendered once per version, in slices, and shared by all who ask."""

from __future__ import annotations

import time
from collections import OrderedDict

import msgspec

from felix.core.catalog.catalog import Catalog
from felix.core.catalog.rendering import SnapshotRendering
from felix.proto.errors import Overloaded, ValidationFailed
from felix.proto.queries import GetSnapshot
from felix.proto.updates import SnapshotChunk
from felix.transport.rpc_server import Incoming

RENDERINGS_MAX = 4
SLICE_RECORDS = 250
SHARED_FOR_S = 1.0
"""A client that takes stale answers may get a snapshot this old: it catches up by updates."""


class Rendered(msgspec.Struct, frozen=True):
    """A finished snapshot."""

    version: int
    epoch: int
    digest: str
    chunks: tuple[msgspec.Raw, ...]
    """Each the encoded list of one chunk's objects."""


class _UnderWay(msgspec.Struct):
    rendering: SnapshotRendering
    version: int
    epoch: int
    digest: str
    started: float
    waiting: list[Incoming]


class Renderings:
    """The finished snapshots, newest last, and the ones being rendered."""

    def __init__(self) -> None:
        self._finished: OrderedDict[tuple[int, int], tuple[float, Rendered]] = OrderedDict()
        self._under_way: OrderedDict[tuple[int, int], _UnderWay] = OrderedDict()

    def find(self, catalog: Catalog, incoming: Incoming, query: GetSnapshot) -> Rendered | None:
        """Get the snapshot a query wants, or let it wait for the rendering.

        Raises: Compacted, FutureVersion, Overloaded.
        """
        if query.version < 0 or query.chunk < 0:
            raise ValidationFailed("version and chunk must not be negative")
        stale = incoming.request.consistency == "stale"
        version = query.version or self._version_for(catalog, stale=stale)
        key = (catalog.epoch, version)
        if key in self._finished:
            self._finished.move_to_end(key)
            return self._finished[key][1]
        if key not in self._under_way:
            self._begin(catalog, key)
        self._under_way[key].waiting.append(incoming)
        return None

    @property
    def is_busy(self) -> bool:
        """Whether there is a slice to render."""
        return bool(self._under_way)

    def slice(self) -> tuple[Rendered, list[Incoming]] | None:
        """Render one slice; when that finishes a snapshot, return it and who waits for it."""
        key, one = next(iter(self._under_way.items()))
        if not one.rendering.step(SLICE_RECORDS):
            return None
        del self._under_way[key]
        chunks = tuple(msgspec.Raw(chunk) for chunk in one.rendering.chunks)
        rendered = Rendered(one.version, one.epoch, one.digest, chunks)
        self._finished[key] = (one.started, rendered)
        while len(self._finished) > RENDERINGS_MAX:
            self._finished.popitem(last=False)
        return rendered, one.waiting

    def clear(self) -> list[Incoming]:
        """Forget everything: the catalog was replaced. Return who still waited."""
        waiting = [incoming for one in self._under_way.values() for incoming in one.waiting]
        self._under_way.clear()
        self._finished.clear()
        return waiting

    def _version_for(self, catalog: Catalog, *, stale: bool) -> int:
        if stale:
            since = time.monotonic() - SHARED_FOR_S
            recent = [
                version for (_, version), (started, _) in self._finished.items() if started >= since
            ]
            recent += [
                version for (_, version), one in self._under_way.items() if one.started >= since
            ]
            if recent:
                return max(recent)
        return catalog.version

    def _begin(self, catalog: Catalog, key: tuple[int, int]) -> None:
        if len(self._under_way) >= RENDERINGS_MAX:
            raise Overloaded("too many snapshots are being rendered", retry_after_ms=200)
        view = catalog.view_at(key[1])
        self._under_way[key] = _UnderWay(
            SnapshotRendering(view), view.version, view.epoch, view.digest, time.monotonic(), []
        )


def chunk_of(cluster_id: str, rendered: Rendered, number: int) -> SnapshotChunkEncoded:
    """Make the answer to `GetSnapshot`. Raises: ValidationFailed."""
    if number >= len(rendered.chunks):
        raise ValidationFailed(f"this snapshot has {len(rendered.chunks)} chunks")
    return SnapshotChunkEncoded(
        cluster_id,
        rendered.epoch,
        rendered.version,
        number,
        len(rendered.chunks),
        rendered.digest,
        rendered.chunks[number],
    )


class SnapshotChunkEncoded(
    msgspec.Struct, frozen=True, tag_field="type", tag="SnapshotChunk", omit_defaults=True
):
    """A `SnapshotChunk` whose objects are encoded already, so that they are encoded once."""

    cluster_id: str
    epoch: int
    version: int
    chunk: int
    chunks: int
    digest: str
    objects: msgspec.Raw


assert SnapshotChunkEncoded.__struct_fields__ == SnapshotChunk.__struct_fields__
