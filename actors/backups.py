"""Backups that are being read: each a view of the catalog, written down as fast as it is taken.

The reader sets the pace, one piece for each request, so a backup takes neither memory for what was
not asked for yet, nor time in which nobody waits for it. What it does take, the rows that have
changed since it began, is bounded: by time and by number.
"""

from __future__ import annotations

import secrets
import time
from typing import Final

from felix.core.catalog.backup import BackupHeader, BackupWriter
from felix.core.catalog.catalog import Catalog
from felix.core.catalog.dump import Dump
from felix.proto.errors import NotFound, Overloaded, ValidationFailed
from felix.proto.ids import NodeId, Term
from felix.proto.queries import BackupPiece, GetBackup
from felix.proto.raft import Membership

BACKUPS_MAX: Final = 4
SLICE_RECORDS: Final = 200
"""In one piece: half a millisecond of the thread that commits."""
IDLE_S_MAX: Final = 10.0
"""A backup that nobody asks for is given up after this time."""
SECONDS_MAX: Final = 900.0
HELD_ROWS_MAX: Final = 200_000


class Backups:
    """All backups of one node; used by one thread."""

    def __init__(self) -> None:
        self._open: dict[str, _Reading] = {}
        self.completed = 0
        """Backups of which the last piece was handed out."""
        self.completed_at_s = 0.0
        """When that happened last, in Unix seconds; 0: not since this process began."""

    def __len__(self) -> int:
        """Count those that are being read."""
        return len(self._open)

    def next(
        self,
        query: GetBackup,
        catalog: Catalog,
        *,
        applied_term: Term,
        node_id: NodeId,
        membership: Membership,
    ) -> BackupPiece:
        """Answer a request; the catalog and what follows it are for one that is begun.

        Raises: NotFound, Overloaded, ValidationFailed.
        """
        if query.backup:
            reading = self._open.get(query.backup)
            if reading is None:
                raise NotFound("there is no such backup (any more): begin a new one")
        else:
            header = BackupHeader(
                cluster_id=catalog.cluster_id,
                epoch=catalog.epoch,
                version=catalog.version,
                digest=catalog.digest,
                applied_index=catalog.applied_index,
                applied_term=applied_term,
                created_at_ms=time.time_ns() // 1_000_000,
                node_id=node_id,
                membership=membership,
                feature_level=catalog.feature_level,
            )
            reading = self._begin(header, catalog)
        was_complete = reading.is_complete
        piece = reading.piece(query.piece)
        if piece.is_last and not was_complete:
            self.completed += 1
            self.completed_at_s = time.time()
        return piece

    def sweep(self, now: float) -> None:
        """Give up what is idle, takes too long or holds too much; `now` in monotonic seconds."""
        for name, reading in list(self._open.items()):
            if reading.is_over(now):
                reading.close()
                del self._open[name]

    def clear(self) -> None:
        """Give up everything: the catalog was replaced."""
        self._open.clear()

    def _begin(self, header: BackupHeader, catalog: Catalog) -> _Reading:
        if len(self._open) >= BACKUPS_MAX:  # the complete ones wait for nothing but a repetition
            self._open = {name: one for name, one in self._open.items() if not one.is_complete}
        if len(self._open) >= BACKUPS_MAX:
            raise Overloaded("too many backups are being read", retry_after_ms=1000)
        reading = _Reading(secrets.token_hex(8), header, Dump(catalog))
        self._open[reading.name] = reading
        return reading


class _Reading:
    """One backup."""

    def __init__(self, name: str, header: BackupHeader, dump: Dump) -> None:
        self.name = name
        self._header = header
        self._writer = BackupWriter(header, dump)
        self._begun = self._asked = time.monotonic()
        self._number = -1
        self._data = b""

    def piece(self, number: int) -> BackupPiece:
        """Give the next piece, or the last one once more: its answer may have been lost."""
        if number == self._number + 1 and not self._writer.is_complete:
            self._data = self._writer.next(SLICE_RECORDS)
            self._number = number
        elif number != self._number:
            raise ValidationFailed(f"/piece: must be {self._number} or the next one")
        self._asked = time.monotonic()
        header = self._header
        return BackupPiece(
            self.name,
            header.cluster_id,
            header.epoch,
            header.version,
            header.digest,
            number,
            self._data,
            self._writer.is_complete,
        )

    @property
    def is_complete(self) -> bool:
        return self._writer.is_complete

    def is_over(self, now: float) -> bool:
        return (
            now - self._asked > IDLE_S_MAX
            or now - self._begun > SECONDS_MAX
            or self._writer.held > HELD_ROWS_MAX
        )

    def close(self) -> None:
        self._writer.close()
