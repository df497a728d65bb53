"""Backups as files: fetched from a node, and checked without one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from felix.core.catalog.backup import ReadBackup, read_backup
from felix.core.catalog.catalog import CatalogLimits
from felix.proto.control_plane import Call, ControlPlane
from felix.proto.queries import BackupPiece, GetBackup
from felix.proto.rpc import Consistency
from felix.recovery.directory import sync_folder
from felix.recovery.errors import Refused

_LIMITS = CatalogLimits()


def save_backup(
    control_plane: ControlPlane, file: Path, *, consistency: Consistency, timeout_s: float
) -> ReadBackup:
    """Fetch a backup, check it as it lies on the disk, and only then give it its name.

    `control_plane` must ask one node only. Raises: FelixError, and what `keep_backup` raises.
    """
    return keep_backup(_pieces(control_plane, consistency, timeout_s), file)


def keep_backup(pieces: Iterator[bytes], file: Path) -> ReadBackup:
    """Write a backup, check it as it lies on the disk, and only then give it its name.

    Raises: Refused, BadBackup, TooOld, OSError, and what `pieces` raises.
    """
    if file.exists():
        raise Refused(f"{file} exists: backups are not written over")
    descriptor, name = tempfile.mkstemp(prefix=file.name + ".", suffix=".part", dir=file.parent)
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as out:
            for piece in pieces:
                out.write(piece)
            out.flush()
            os.fsync(out.fileno())
        found = verify_backup(partial)
        partial.rename(file)
        sync_folder(file.parent)
    finally:
        partial.unlink(missing_ok=True)
    return found


def verify_backup(file: Path, limits: CatalogLimits = _LIMITS) -> ReadBackup:
    """Read a backup to its end and build what is in it. Raises: BadBackup, TooOld, OSError."""
    with file.open("rb") as source:
        return read_backup(source.read, limits)


def _pieces(
    control_plane: ControlPlane, consistency: Consistency, timeout_s: float
) -> Iterator[bytes]:
    query = GetBackup()
    while True:
        call = Call(timeout_s=timeout_s, consistency="stale" if query.backup else consistency)
        piece = control_plane.ask(query, call).result
        assert isinstance(piece, BackupPiece)
        yield piece.data
        if piece.is_last:
            return
        query = GetBackup(backup=piece.backup, piece=piece.piece + 1)
