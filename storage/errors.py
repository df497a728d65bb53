"""What can be wrong with a data directory."""

from __future__ import annotations


class StorageError(Exception):
    """Base of everything said about a data directory."""


class Damaged(StorageError):
    """What is on the disk is not what was written.

    What was acknowledged may be missing: the node must not vote on the strength of it.
    """


class DiskFailed(StorageError):
    """The disk or the system refused.

    After a write: what the disk holds is not known before it is read anew, so the process ends. A
    second try could succeed without the first one's data (a failed fsync forgets what it had).
    """


class Locked(StorageError):
    """Another process uses the data directory."""


class ForeignDirectory(StorageError):
    """The data directory belongs to another cluster or node."""
