"""What consensus needs from a disk. Each port has two implementations: a real one and a twin in
memory (`felix.storage.memory`), and one contract suite runs over both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

import msgspec

from felix.proto.ids import Index, Term
from felix.proto.raft import Entry, HardState, Membership, SnapshotMeta

IDENTITY_FORMAT: Final = 2
"""Of the identity as this build writes it."""


class Owner(msgspec.Struct, frozen=True):
    """Whose a data directory must be, as its node is configured."""

    cluster_name: str
    name: str


class Identity(msgspec.Struct, frozen=True):
    """Who a data directory belongs to; written once there is a journal to go with it.

    Drawn anew for every directory, so that nobody with an empty disk is taken for a member that
    has voted and acknowledged.
    """

    cluster_id: str
    node_id: str
    name: str
    cluster_name: str
    founder: bool = False
    """It may found a new cluster together with the other members that it is configured with."""
    replaces: str = ""
    """Who this node was, before its data was set aside."""
    format: int = IDENTITY_FORMAT


class Recovered(msgspec.Struct, frozen=True):
    """What a journal held when it was opened."""

    hard_state: HardState
    snapshot: SnapshotMeta | None
    """The snapshot that stands for everything before the entries."""
    entries: tuple[Entry, ...]
    """Contiguous; they may start before the snapshot's index (the tail that is kept)."""


class Journal(Protocol):
    """Log entries, hard state and the snapshot pointer of one node."""

    def recover(self) -> Recovered:
        """Read everything, checking all of it.

        Raises: `storage.errors.Damaged` when anything that was durable is wrong or missing.
        """
        ...

    def append(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """Make both durable in one step; on return they survive a power cut.

        Entries replace whatever is stored at and after the first one's index, and follow what is
        before it. Raises: `storage.errors.DiskFailed`: the caller ends the process and never tries
        again.
        """
        ...

    def compact(self, snapshot: SnapshotMeta, first_kept: Index) -> None:
        """Point to a durable snapshot and forget the entries before `first_kept`."""
        ...

    def install(self, snapshot: SnapshotMeta) -> None:
        """Point to a durable snapshot received from the leader and forget all entries."""
        ...

    def close(self) -> None:
        """Release the files."""
        ...


class SnapshotWriter(Protocol):
    """A snapshot being written; nobody sees it before `finish`.

    Every method may raise `storage.errors.DiskFailed`: the caller ends the process.
    """

    def write(self, chunk: bytes) -> None:
        """Append one chunk; readers get the same chunks back."""
        ...

    def finish(self, membership: Membership) -> SnapshotMeta:
        """Make it durable (fsync, rename, fsync of the folder) and say what it is."""
        ...

    def abandon(self) -> None:
        """Throw it away."""
        ...


class SnapshotStore(Protocol):
    """Snapshot files of one node."""

    def begin(self, index: Index, term: Term) -> SnapshotWriter:
        """Start writing the snapshot of the state after `index`."""
        ...

    def read(self, meta: SnapshotMeta, offset: int, length: int) -> bytes:
        """Read raw bytes, to send them to a peer; shorter than `length` only at the end."""
        ...

    def chunks(self, meta: SnapshotMeta) -> Iterator[bytes]:
        """Read the chunks as written. Raises: `storage.errors.Damaged` before the first wrong one;
        `storage.errors.DiskFailed` where they cannot be read, which says nothing about them.

        The whole file's checksum is verified before the first chunk is handed out.
        """
        ...

    def older(self, than: SnapshotMeta) -> Sequence[SnapshotMeta]:
        """List the whole snapshots that are still there and stand for less, the newest first."""
        ...

    def receive(self, meta: SnapshotMeta, offset: int, data: bytes) -> int:
        """Put down a piece of a snapshot that a peer sends; return the next offset wanted.

        A piece that does not start at the wanted offset is dropped. What was received of this very
        snapshot before, over another connection or before a restart, is not wanted again; what was
        received of another one is forgotten.
        """
        ...

    def accept(self, meta: SnapshotMeta) -> bool:
        """Verify a completely received snapshot and make it durable.

        False if it is damaged: then it is forgotten, and wanted from its first byte.
        """
        ...

    def prune(self, keep: Iterable[SnapshotMeta]) -> None:
        """Delete every other snapshot and whatever a crash left behind."""
        ...
