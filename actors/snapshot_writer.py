"""The SnapshotWriter actor: writes the state machine to disk, and reads it, while commits go on."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterable, Iterator

import msgspec

from felix.actors.messages import (
    GetStatistics,
    SnapshotBegin,
    SnapshotChunkWritten,
    SnapshotEnd,
    SnapshotLoad,
    SnapshotLoaded,
    SnapshotPrune,
    SnapshotTaken,
)
from felix.core.catalog.catalog import CatalogLimits
from felix.core.catalog.dump import restore
from felix.proto.raft import Membership, SnapshotMeta
from felix.storage.ports import SnapshotStore, SnapshotWriter
from felix.transport.socket_actor import SocketActor, handles

LOAD_PAUSE_S = 0.001
"""As long as it takes to put a chunk in place."""


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Keep the collector of cycles out of a long load, and away from what was loaded.

    Nothing in a catalog is ever part of a cycle. To look through 100,000 new keys again and again
    takes longer than to load them, and every thread waits for it.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _paced(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Pause after each chunk.

    SQLite lets go of the interpreter at every row, and beside a thread that computes without end
    gets it back only after the switch interval: a batch of a thousand entries would take half a
    second, and the leader would hear nothing of this node meanwhile.
    """
    for chunk in chunks:
        yield chunk
        time.sleep(LOAD_PAUSE_S)


class SnapshotStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """SnapshotWriter's numbers at one moment."""

    taken: int
    last_size_bytes: int
    last_seconds: float
    last_at_s: float
    """When the last one was done, in Unix seconds; 0: none since this process began."""


class SnapshotWriterActor(SocketActor):
    """Writes the chunks that the catalog hands over, and makes them durable."""

    def __init__(
        self,
        failed: Callable[[SocketActor, BaseException], None],
        store: SnapshotStore,
        limits: CatalogLimits,
    ) -> None:
        super().__init__(failed)
        self._store = store
        self._limits = limits
        self._writer: SnapshotWriter | None = None
        self._membership = Membership(())
        self._begun = 0.0
        self._taken = 0
        self._last: SnapshotMeta | None = None
        self._last_seconds = self._last_at_s = 0.0

    def release(self) -> None:
        """Throw away what is half written."""
        if self._writer is not None:
            self._writer.abandon()

    @handles(SnapshotBegin)
    def _begin(self, message: SnapshotBegin) -> None:
        if self._writer is not None:
            self._writer.abandon()  # the catalog was replaced while it was being written
        self._begun = time.monotonic()
        self._membership = message.membership
        self._writer = self._store.begin(message.index, message.term)

    @handles(SnapshotChunkWritten)
    def _write(self, message: SnapshotChunkWritten) -> None:
        assert self._writer is not None
        self._writer.write(message.data)

    @handles(SnapshotEnd)
    def _end(self, message: SnapshotEnd) -> None:
        assert self._writer is not None
        meta = self._writer.finish(self._membership)
        self._writer = None
        self._taken += 1
        self._last = meta
        self._last_seconds = time.monotonic() - self._begun
        self._last_at_s = time.time()
        message.reply_to.tell(SnapshotTaken(meta))

    @handles(SnapshotLoad)
    def _load(self, message: SnapshotLoad) -> None:
        with without_collector():
            catalog = restore(_paced(self._store.chunks(message.snapshot)), self._limits)
        message.reply_to.tell(SnapshotLoaded(message.snapshot, catalog))

    @handles(SnapshotPrune)
    def _prune(self, message: SnapshotPrune) -> None:
        self._store.prune(message.keep)

    @handles(GetStatistics)
    def _statistics(self, _: GetStatistics) -> SnapshotStatistics:
        return SnapshotStatistics(
            taken=self._taken,
            last_size_bytes=self._last.size_bytes if self._last else 0,
            last_seconds=self._last_seconds,
            last_at_s=self._last_at_s,
        )
