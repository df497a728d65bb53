"""A snapshot while its chunks arrive; a view comes out only when all of it is there and right."""

from __future__ import annotations

from felix.proto.errors import Malformed
from felix.proto.queries import GetSnapshot
from felix.proto.updates import SnapshotChunk
from felix.transport.view import MetadataView

CHUNKS_MAX = 100_000


class WrongDigest(Malformed):
    """A complete snapshot is not what its digest says."""


class SnapshotAssembly:
    """Chunks of one `(cluster, epoch, version)`, in order."""

    def __init__(self) -> None:
        self._first: SnapshotChunk | None = None
        self._next = 0
        self._view = MetadataView()
        self.unknown_objects = 0

    def next_request(self) -> GetSnapshot:
        """What to ask for next: the latest, then the rest of that one."""
        version = 0 if self._first is None else self._first.version
        return GetSnapshot(version=version, chunk=self._next)

    def add(self, chunk: SnapshotChunk) -> MetadataView | None:
        """Take in the chunk that was asked for; return the view after the last one.

        Raises: FelixError; the assembly is of no use after that.
        """
        first = self._first
        if first is None:
            if not 1 <= chunk.chunks <= CHUNKS_MAX or chunk.version < 0:
                raise Malformed(f"a snapshot of {chunk.chunks} chunks, version {chunk.version}")
            first = self._first = chunk
            self._view = MetadataView(chunk.cluster_id, chunk.epoch, chunk.version)
        if chunk.chunk != self._next or _identity(chunk) != _identity(first):
            raise Malformed("a chunk of another snapshot, or another chunk than asked for")
        for raw in chunk.objects:
            if not self._view.load(raw):
                self.unknown_objects += 1
        self._next += 1
        if self._next < first.chunks:
            return None
        if self._view.digest != first.digest:
            raise WrongDigest("the snapshot is not what its digest says")
        return self._view


def _identity(chunk: SnapshotChunk) -> tuple[str, int, int, int, str]:
    return chunk.cluster_id, chunk.epoch, chunk.version, chunk.chunks, chunk.digest
