"""What can be wrong with a data directory."""

from __future__ import annotations


class StorageError(Exception):
    """Base of everything said about a data directory."""


class Damaged(StorageError):
    """What is on the disk is not what was written."""


class Locked(StorageError):
    """Another process uses the data directory."""


class ForeignDirectory(StorageError):
    """The data directory belongs to another cluster or node."""
