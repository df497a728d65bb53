"""A snapshot for brokers: the public objects of a view, encoded in chunks, a slice at a time."""

from __future__ import annotations

from typing import Final

import msgspec

from felix.core.catalog.view import CatalogView, Walk
from felix.proto import codec
from felix.proto.resources import RESOURCE_TYPES

CHUNK_BYTES_MAX: Final = 256 << 10
"""Of the objects in one chunk."""


class SnapshotRendering:
    """Call `step` until it says that it is done; then `chunks` is the snapshot.

    Where one chunk ends depends on the objects alone, not on the slices: a client may take the
    chunks of one version from different nodes.
    """

    def __init__(self, view: CatalogView) -> None:
        """Take over a view; it is closed at the end."""
        self._walk = Walk(view, tuple(RESOURCE_TYPES))
        self._gathered: list[msgspec.Raw] = []
        self._gathered_bytes = 0
        self.chunks: list[bytes] = []
        """Each the encoded list of some objects; there is always at least one."""

    def step(self, records_max: int) -> bool:
        """Render one slice; say whether that was the last."""
        found = self._walk.next(records_max)
        if found is None:
            if self._gathered or not self.chunks:
                self._finish_chunk()
            return True
        for row in found[1]:
            encoded = codec.encode(row)
            if self._gathered and self._gathered_bytes + len(encoded) > CHUNK_BYTES_MAX:
                self._finish_chunk()
            self._gathered.append(msgspec.Raw(encoded))
            self._gathered_bytes += len(encoded)
        return False

    def _finish_chunk(self) -> None:
        self.chunks.append(codec.encode(self._gathered))
        self._gathered = []
        self._gathered_bytes = 0
