"""Snapshots for brokers: rendered once per version, in slices, and shared by all who ask.

Answers go out in slices as well: a herd of brokers that come back at once must not keep the thread
that runs consensus.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque

import msgspec

from felix.core.catalog.catalog import Catalog
from felix.core.catalog.rendering import SnapshotRendering
from felix.proto import codec
from felix.proto.errors import Overloaded, ValidationFailed
from felix.proto.queries import GetSnapshot
from felix.proto.updates import SnapshotChunk
from felix.transport.rpc_server import Incoming

RENDERINGS_MAX = 4
SLICE_RECORDS = 250
SLICE_ANSWERS = 16
"""Of up to 256 KiB each."""
ASKED_MAX = 10_000
"""So many may wait for an answer."""
SHARED_FOR_S = 1.0
"""A client that takes stale answers may get a snapshot this old: it catches up by updates."""


class Rendered(msgspec.Struct, frozen=True):
    """A finished snapshot."""

    version: int
    digest: str
    chunks: tuple[bytes, ...]
    """Each a whole encoded `SnapshotChunk`."""

    def answer(self, number: int) -> bytes:
        """Give the encoded answer to `GetSnapshot` for one chunk. Raises: ValidationFailed."""
        if number >= len(self.chunks):
            raise ValidationFailed(f"this snapshot has {len(self.chunks)} chunks")
        return self.chunks[number]


class Due(msgspec.Struct, frozen=True):
    """Who is to be answered, and out of which snapshot."""

    incoming: Incoming
    rendered: Rendered


class _UnderWay(msgspec.Struct):
    rendering: SnapshotRendering
    cluster_id: str
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
        self._due: deque[Due] = deque()
        self.count = 0
        """Snapshots that were rendered."""

    def ask(self, catalog: Catalog, incoming: Incoming, query: GetSnapshot) -> None:
        """Let a query wait for its turn, or for the rendering of what it wants.

        Raises: Compacted, FutureVersion, Overloaded.
        """
        if query.version < 0 or query.chunk < 0:
            raise ValidationFailed("version and chunk must not be negative")
        stale = incoming.request.consistency == "stale"
        version = query.version or self._version_for(catalog, stale=stale)
        key = (catalog.epoch, version)
        waiting = sum(len(one.waiting) for one in self._under_way.values())
        if len(self._due) + waiting >= ASKED_MAX:
            raise Overloaded("too many wait for snapshots", retry_after_ms=200)
        if key in self._finished:
            self._finished.move_to_end(key)
            self._due.append(Due(incoming, self._finished[key][1]))
            return
        if key not in self._under_way:
            self._begin(catalog, key)
        self._under_way[key].waiting.append(incoming)

    @property
    def is_busy(self) -> bool:
        """Whether there is something to render or to answer."""
        return bool(self._under_way or self._due)

    def slice(self) -> list[Due]:
        """Render one slice, and return whom to answer now."""
        if self._under_way:
            self._render()
        return [self._due.popleft() for _ in range(min(SLICE_ANSWERS, len(self._due)))]

    def _render(self) -> None:
        key, one = next(iter(self._under_way.items()))
        if not one.rendering.step(SLICE_RECORDS):
            return
        del self._under_way[key]
        rendered = Rendered(one.version, one.digest, _answers(one))
        self.count += 1
        self._finished[key] = (one.started, rendered)
        while len(self._finished) > RENDERINGS_MAX:
            self._finished.popitem(last=False)
        self._due.extend(Due(incoming, rendered) for incoming in one.waiting)

    def clear(self) -> list[Incoming]:
        """Forget everything: the catalog was replaced. Return who still waited."""
        waiting = [one.incoming for one in self._due]
        waiting += [incoming for one in self._under_way.values() for incoming in one.waiting]
        self._due.clear()
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
            SnapshotRendering(view),
            catalog.cluster_id,
            view.version,
            view.epoch,
            view.digest,
            time.monotonic(),
            [],
        )


def _answers(done: _UnderWay) -> tuple[bytes, ...]:
    """Encode the answer for each chunk, once for all who will ask."""
    chunks = done.rendering.chunks
    return tuple(
        codec.encode(
            SnapshotChunkEncoded(
                done.cluster_id,
                done.epoch,
                done.version,
                number,
                len(chunks),
                done.digest,
                msgspec.Raw(chunk),
            )
        )
        for number, chunk in enumerate(chunks)
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
