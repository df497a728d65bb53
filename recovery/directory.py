"""Data directories made by hand: written whole, and put in the place of others in one step."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from felix.core.catalog.catalog import Catalog
from felix.core.catalog.dump import Dump
from felix.proto.ids import Term
from felix.proto.raft import HardState, Member, Membership
from felix.recovery.errors import Refused
from felix.storage.data_dir import (
    BEING_FILLED,
    IDENTITY,
    JOURNAL,
    LOCK,
    SNAPSHOTS,
    take_lock,
    write_identity,
)
from felix.storage.journal import SqliteJournal
from felix.storage.ports import Identity
from felix.storage.snapshots import SnapshotFiles

SLICE_RECORDS: Final = 500
_NOTHING: Final = {LOCK, "lost+found"}
"""What a directory may hold and be empty: the second is in the root of every ext4 volume."""
DEPTH_MAX: Final = 2
"""How far below a directory others are looked for."""
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2


def write_founder(
    path: Path, founder: Member, cluster_name: str, catalog: Catalog, term: Term
) -> None:
    """Fill a directory as the first and only voter of a new cluster would have it.

    The cluster's identity is the catalog's, the log goes on after the catalog's last entry, which
    is of `term`. A file that says so is there from the beginning until the identity is written,
    which is last: nobody starts from a directory that has that file, or snapshots, and no identity.
    """
    being_filled = path / BEING_FILLED
    being_filled.touch()
    sync_folder(path)
    journal = SqliteJournal(path / JOURNAL, founder.id)
    with contextlib.closing(journal):
        snapshots = SnapshotFiles(path / SNAPSHOTS)
        with contextlib.closing(snapshots):
            writer = snapshots.begin(catalog.applied_index, term)
            dump = Dump(catalog)
            while (chunk := dump.step(SLICE_RECORDS)) is not None:
                writer.write(chunk)
            meta = writer.finish(Membership(voters=(founder.id,), members=(founder,)))
        journal.append(HardState(term), ())
        journal.install(meta)
    sync_folder(path)
    write_identity(path, Identity(catalog.cluster_id, founder.id, founder.name, cluster_name))
    being_filled.unlink()


def is_unused(path: Path) -> bool:
    """Whether there is nothing that a node, or anybody else, may want to have back."""
    return not path.exists() or all(entry.name in _NOTHING for entry in path.iterdir())


def is_data_dir(path: Path) -> bool:
    """Whether a node has run here."""
    return (path / JOURNAL).exists() or (path / IDENTITY).exists()


def outer_of(path: Path) -> Path | None:
    """Find the data directory that a path lies in, such as one that was set aside; None if none."""
    above = path.resolve().parents[:DEPTH_MAX]
    return next((one for one in reversed(above) if is_data_dir(one)), None)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep nodes out of a directory, which is made if it is not there.

    Whatever this has made is gone again when what is done meanwhile fails. Raises: Locked, OSError.
    """
    made = [one for one in (path, *path.parents) if not one.exists()]
    had_lock = (path / LOCK).exists()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = take_lock(path)
    try:
        yield
    except BaseException:
        if not had_lock:
            (path / LOCK).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there is something in it: then it stays
            for one in made:
                one.rmdir()
        raise
    finally:
        os.close(lock)


def replace_directory(path: Path, aside: Path, write: Callable[[Path], None]) -> None:
    """Put what `write` writes in the place of a directory, which gets the name `aside`.

    It is built under that name, and both change their names in one step. If anything fails before,
    nothing is left of it. Raises: Refused, OSError, and whatever `write` raises.
    """
    try:
        aside.mkdir(mode=0o700)
    except OSError as error:
        raise Refused(f"{aside} cannot be made: {error.strerror}") from error
    ours = aside.stat().st_ino
    try:
        write(aside)
        exchange(aside, path)
    except BaseException:
        if aside.stat().st_ino == ours:  # else it is the old directory already
            shutil.rmtree(aside)
        raise


def fill_directory(path: Path, beside: Path, write: Callable[[Path], None]) -> None:
    """Put what `write` writes in the place of an unused directory.

    It is built `beside` it if it can be, so that a crash leaves the directory unused. The root of a
    volume, or a directory that nobody may put another beside, is filled where it is: there a crash
    leaves something from which no node starts. If anything fails, nothing is left of it.
    Raises: OSError, and whatever `write` raises.
    """
    if not os.path.ismount(path) and all(one.name == LOCK for one in path.iterdir()):
        with contextlib.suppress(Refused):
            replace_directory(path, beside, write)
            with contextlib.suppress(OSError):
                (beside / LOCK).unlink()
                beside.rmdir()
            return
    try:
        write(path)
    except BaseException:
        for found in path.iterdir():
            if found.name not in _NOTHING:
                shutil.rmtree(found) if found.is_dir() else found.unlink()
        raise


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
