"""Data directories made by hand: written whole, and put in the place of others in one step."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import Final

from felix.core.catalog.catalog import Catalog
from felix.core.catalog.dump import Dump
from felix.proto.ids import Term
from felix.proto.raft import HardState, Member, Membership
from felix.recovery.errors import Refused
from felix.storage.data_dir import IDENTITY, JOURNAL, LOCK, SNAPSHOTS, write_identity
from felix.storage.journal import SqliteJournal
from felix.storage.ports import Identity
from felix.storage.snapshots import SnapshotFiles

SLICE_RECORDS: Final = 500
_NOTHING: Final = {LOCK, "lost+found"}
"""What a directory may hold and be empty: the second is in the root of every ext4 volume."""
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2


def write_founder(
    path: Path, founder: Member, cluster_name: str, catalog: Catalog, term: Term
) -> None:
    """Fill a directory as the first and only voter of a new cluster would have it.

    The cluster's identity is the catalog's, the log goes on after the catalog's last entry, which
    is of `term`. The identity is written last: without it nobody starts from the directory.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    snapshots = SnapshotFiles(path / SNAPSHOTS)
    writer = snapshots.begin(catalog.applied_index, term)
    dump = Dump(catalog)
    while (chunk := dump.step(SLICE_RECORDS)) is not None:
        writer.write(chunk)
    meta = writer.finish(Membership(voters=(founder.id,), members=(founder,)))
    snapshots.close()
    journal = SqliteJournal(path / JOURNAL, founder.id)
    try:
        journal.append(HardState(term), ())
        journal.install(meta)
    finally:
        journal.close()
    sync_folder(path)
    write_identity(path, Identity(catalog.cluster_id, founder.id, founder.name, cluster_name))


def is_unused(path: Path) -> bool:
    """Whether there is nothing that a node, or anybody else, may want to have back."""
    return not path.exists() or all(entry.name in _NOTHING for entry in path.iterdir())


def is_data_dir(path: Path) -> bool:
    """Whether a node has run here."""
    return (path / JOURNAL).exists() or (path / IDENTITY).exists()


def exchange(one: Path, other: Path) -> None:
    """Let two directories of one file system change their names, in one durable step.

    Raises: Refused when the system cannot do that here (both stay as they are).
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise Refused("this system cannot exchange directories: it takes Linux with glibc 2.28")
    result = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    if result != 0:
        number = ctypes.get_errno()
        hint = ""
        if number in {errno.EBUSY, errno.EXDEV}:
            hint = ": a mount point cannot be exchanged, use a directory below it"
        raise Refused(f"{other} cannot be exchanged: {os.strerror(number)}{hint}")
    for folder in {one.parent, other.parent}:
        sync_folder(folder)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
