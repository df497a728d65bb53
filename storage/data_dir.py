"""A node's data directory: whose it is, that nobody else uses it, and what is in it."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from felix.storage.errors import Damaged, ForeignDirectory, Locked, StorageError
from felix.storage.files import DiskOperations, FileOperations
from felix.storage.formats import check_format
from felix.storage.journal import SqliteJournal
from felix.storage.ports import IDENTITY_FORMAT, Identity, Owner
from felix.storage.pristine import delete_pristine, is_pristine
from felix.storage.snapshots import SnapshotFiles

IDENTITY: Final = "identity.json"
JOURNAL: Final = "journal.db"
LOCK: Final = "lock"
SNAPSHOTS: Final = "snapshots"
BEING_FILLED: Final = "being-filled"
"""A file that is there while somebody else than the node makes its directory."""
SET_ASIDE_MAX: Final = 5
"""A node that must put its data aside so often has something that a new start does not mend."""
SET_ASIDE: Final = "set-aside-"
"""Folders with what was found damaged, numbered; nothing in them is ever used again by itself."""
_NUMBERED: Final = re.compile(re.escape(SET_ASIDE) + "([0-9]+)")


class _Envelope(msgspec.Struct, frozen=True):
    """What can be read of an identity of any format."""

    format: int = IDENTITY_FORMAT


class DataDir:
    """An open data directory. Layout: `identity.json`, `lock`, `journal.db`, `snapshots/`."""

    def __init__(self, path: Path, lock: int, identity: Identity, *, fresh: bool) -> None:
        self.path = path
        self.identity = identity
        self.fresh = fresh
        """Whether this very opening created it."""
        self._lock = lock
        self.journal = SqliteJournal(path / JOURNAL, identity.node_id)
        self.snapshots = SnapshotFiles(path / SNAPSHOTS)

    @classmethod
    def open(
        cls,
        path: Path,
        owner: Owner,
        create: Callable[[], Identity] | None = None,
        operations: FileOperations | None = None,
    ) -> DataDir:
        """Open a directory that is `owner`'s; an empty one gets the identity that `create` draws.

        Raises: Locked, ForeignDirectory, Damaged, TooOld, StorageError (it is empty and may not be,
        or of an older format), and whatever `create` raises.
        """
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = take_lock(path)
        try:
            identity = read_identity(path)
            fresh = identity is None
            if identity is None:
                identity = _created(path, create, operations or DiskOperations())
            else:
                _refuse_stranger(path, identity, owner)
                _refuse_lost_journal(path)
            return cls(path, lock, identity, fresh=fresh)
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """Close the files and let go of the lock."""
        self.snapshots.close()
        self.journal.close()
        os.close(self._lock)


def read_identity(path: Path) -> Identity | None:
    """Read whose directory it is; None if it is nobody's.

    Raises: Damaged, TooOld, StorageError (an older format).
    """
    try:
        data = (path / IDENTITY).read_bytes()
        stored = msgspec.json.decode(data, type=_Envelope).format
        check_format(f"the identity {path / IDENTITY}", stored, IDENTITY_FORMAT)
        return msgspec.json.decode(data, type=Identity)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise Damaged(f"{path / IDENTITY} cannot be read: {error}") from error


def write_identity(
    path: Path, identity: Identity, operations: FileOperations | None = None
) -> None:
    """Say whose directory it is from now on; on return it survives a power cut."""
    operations = operations or DiskOperations()
    temporary = path / (IDENTITY + ".new")
    with operations.create(temporary) as file:
        operations.write(file, msgspec.json.encode(identity))
        operations.sync(file)
    operations.rename(temporary, path / IDENTITY)
    operations.sync_folder(path)


def set_aside(path: Path, owner: Owner, new_node_id: str) -> Path:
    """Put everything away that a node must not trust any more; it is somebody new from now on.

    Who it was may have voted and acknowledged what is not known any more, and so must never vote
    again. The directory must be closed. The new identity comes last: after a crash in between, the
    old one is found without its journal, which is damage again. Raises: Locked, ForeignDirectory,
    StorageError (this happened too often).
    """
    lock = take_lock(path)
    try:
        before = read_identity(path)
        assert before is not None
        _refuse_stranger(path, before, owner)
        matches = [_NUMBERED.fullmatch(one.name) for one in path.iterdir()]
        numbers = [int(match[1]) for match in matches if match]
        if len(numbers) >= SET_ASIDE_MAX:
            raise StorageError(
                f"{path} holds {len(numbers)} folders of data set aside: find out why, delete them"
            )
        aside = path / f"{SET_ASIDE}{max(numbers, default=0) + 1}"
        aside.mkdir(mode=0o700)
        (aside / IDENTITY).write_bytes((path / IDENTITY).read_bytes())
        for found in sorted(path.iterdir()):
            if found.name.startswith((JOURNAL, SNAPSHOTS)):
                found.rename(aside / found.name)
        write_identity(
            path,
            msgspec.structs.replace(
                before, node_id=new_node_id, founder=False, replaces=before.node_id
            ),
        )
        # A journal must be there, or the next start takes it for lost.
        SqliteJournal(path / JOURNAL, new_node_id).close()
    finally:
        os.close(lock)
    return aside


def take_lock(path: Path) -> int:
    """Keep everybody else out until the descriptor is closed. Raises: Locked."""
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        by = f" (process {holder})" if holder else ""
        raise Locked(f"the data directory {path} is in use by another node{by}") from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _created(
    path: Path, create: Callable[[], Identity] | None, operations: FileOperations
) -> Identity:
    """Make a journal, and then say whose it is: a crash leaves nothing that looks like a loss."""
    journal = path / JOURNAL
    is_half_filled = (path / BEING_FILLED).exists() or any((path / SNAPSHOTS).glob("*"))
    if is_half_filled or not is_pristine(journal):
        raise Damaged(
            f"{path} has a journal or snapshots but no {IDENTITY}: whose it is cannot be known. "
            "A restore that was cut off leaves this too: do it again"
        )
    if create is None:
        raise StorageError(f"the data directory {path} is empty")
    identity = create()
    delete_pristine(journal)
    SqliteJournal(journal, identity.node_id).close()
    operations.sync_folder(path)
    write_identity(path, identity, operations)
    return identity


def _refuse_lost_journal(path: Path) -> None:
    # A node that came back with an empty journal would vote again in terms it has voted in.
    journal = path / JOURNAL
    if not journal.exists() or journal.stat().st_size == 0:
        raise Damaged(f"{journal} is missing or empty, and the node has run here before")


def _refuse_stranger(path: Path, stored: Identity, owner: Owner) -> None:
    if stored.cluster_name != owner.cluster_name:
        raise ForeignDirectory(
            f"the data directory {path} belongs to cluster {stored.cluster_name!r}, "
            f"and this node is configured for cluster {owner.cluster_name!r}"
        )
    if stored.name != owner.name:
        raise ForeignDirectory(
            f"the data directory {path} belongs to node {stored.name!r} ({stored.node_id}), "
            f"and this is node {owner.name!r}"
        )
