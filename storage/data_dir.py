"""A node's data directory: whose it is, that nobody else uses it, and what is in it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

import msgspec

from felix.storage.errors import Damaged, ForeignDirectory, Locked, StorageError
from felix.storage.journal import SqliteJournal
from felix.storage.ports import Identity
from felix.storage.snapshots import SnapshotFiles

IDENTITY: Final = "identity.json"
JOURNAL: Final = "journal.db"
LOCK: Final = "lock"


class DataDir:
    """An open data directory. Layout: `identity.json`, `lock`, `journal.db`, `snapshots/`."""

    def __init__(self, path: Path, lock: int, identity: Identity, *, fresh: bool) -> None:
        self.path = path
        self.identity = identity
        self.fresh = fresh
        """Whether this very opening created it."""
        self._lock = lock
        self.journal = SqliteJournal(path / JOURNAL, identity.node_id)
        self.snapshots = SnapshotFiles(path / "snapshots")

    @classmethod
    def open(cls, path: Path, expected: Identity, *, may_create: bool) -> DataDir:
        """Open a directory that is `expected`'s, or create it if that is allowed.

        Raises: Locked, ForeignDirectory, Damaged, StorageError (it is empty and may not be).
        """
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _lock(path)
        try:
            stored = _read_identity(path)
            if stored is None:
                _refuse_strays(path, may_create=may_create)
                _write_identity(path, expected)
            elif stored != expected:
                raise ForeignDirectory(_difference(path, stored, expected))
            else:
                _refuse_lost_journal(path)
            return cls(path, lock, expected, fresh=stored is None)
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """Close the files and let go of the lock."""
        self.snapshots.close()
        self.journal.close()
        os.close(self._lock)


def _lock(path: Path) -> int:
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


def _read_identity(path: Path) -> Identity | None:
    try:
        return msgspec.json.decode((path / IDENTITY).read_bytes(), type=Identity)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise Damaged(f"{path / IDENTITY} cannot be read: {error}") from error


def _refuse_strays(path: Path, *, may_create: bool) -> None:
    if (path / JOURNAL).exists():
        raise Damaged(f"{path} has a journal but no {IDENTITY}: whose it is cannot be known")
    if not may_create:
        raise StorageError(
            f"the data directory {path} is empty, and a node with an empty disk does not vote: "
            "set cluster.bootstrap to 'new' only to form a new cluster"
        )


def _refuse_lost_journal(path: Path) -> None:
    # A node that came back with an empty journal would vote again in terms it has voted in.
    journal = path / JOURNAL
    if not journal.exists() or journal.stat().st_size == 0:
        raise Damaged(f"{journal} is missing or empty, and the node has run here before")


def _write_identity(path: Path, identity: Identity) -> None:
    temporary = path / (IDENTITY + ".new")
    with temporary.open("wb") as file:
        file.write(msgspec.json.encode(identity))
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path / IDENTITY)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(descriptor)
    os.close(descriptor)


def _difference(path: Path, stored: Identity, expected: Identity) -> str:
    if stored.cluster_id != expected.cluster_id:
        return (
            f"the data directory {path} belongs to cluster {stored.cluster_id}, "
            f"and this node is configured for cluster {expected.cluster_id}"
        )
    return (
        f"the data directory {path} belongs to node {stored.name!r} ({stored.node_id}), "
        f"and this is node {expected.name!r} ({expected.node_id})"
    )
