"""What brokers hear: updates, bookmarks and snapshots (seed, "Metadata Synchronization API")."""

from __future__ import annotations

from typing import Literal

import msgspec

from felix.proto.resources import Resource

UpdateType = Literal["CREATE", "UPDATE", "DELETE"]

WATCH_TOPIC = b"felix.metadata.v1"
"""First frame of everything on the watch socket."""


class MetadataUpdate(msgspec.Struct, frozen=True, gc=False):
    """One change of one object; its version is one more than that of the update before it."""

    version: int
    type: UpdateType
    payload: Resource
    """The object after the change; for DELETE the object as it was."""


class RawUpdate(msgspec.Struct, frozen=True):
    """A `MetadataUpdate` whose object is still encoded: its bytes are what digests cover."""

    version: int
    type: UpdateType
    payload: msgspec.Raw


class WatchHeader(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Second frame on the watch socket.

    An update frame carries versions `first..last`; a bookmark carries none and says where the
    sender is: `first == last + 1`.
    """

    protocol: int
    cluster_id: str
    epoch: int
    first: int
    last: int
    node_id: str
    time_us: int
    """Commit time: Unix microseconds of the sending node."""
    digest: str
    """Digest of the whole metadata at version `last`, 32 hex digits."""
    wants_acks: bool = False
    """Somebody waits for brokers: report at once when this is in force."""

    @property
    def is_bookmark(self) -> bool:
        """Whether no update travels in this message."""
        return self.first > self.last


class UpdateBatch(msgspec.Struct, frozen=True, tag_field="type"):
    """The answer to `WatchUpdates`: consecutive updates, possibly none."""

    cluster_id: str
    epoch: int
    first: int
    last: int
    """Versions `first..last` are inside; none when `first == last + 1`."""
    current: int
    """The newest version of the answering node: ask again from `last` while it is lower."""
    updates: list[RawUpdate]
    digest: str = ""
    """Digest of the whole metadata at version `current`; only when `last == current`."""


class SnapshotChunk(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    """The answer to `GetSnapshot`: one piece of the whole metadata at one version.

    Chunks of one `(epoch, version)` are the same on every request; ask for the following ones
    with that version. The objects of all chunks, in order, are the metadata: parents first.
    """

    cluster_id: str
    epoch: int
    version: int
    chunk: int
    chunks: int
    digest: str
    """Digest of the whole metadata at `version`."""
    objects: list[msgspec.Raw]
    """Encoded resources."""
