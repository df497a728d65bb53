"""What a core wants done, as data."""

from __future__ import annotations

import msgspec

from felix.proto.ids import Index
from felix.proto.raft import AnyPeerMessage, Entry, HardState, InstallSnapshot


class ReadRelease(msgspec.Struct, frozen=True):
    """A read may be answered once `index` is applied; None: it cannot be, ask again."""

    context: int
    index: Index | None


class Ready(msgspec.Struct, frozen=True):
    """One round of work. Carry it out in the order of the fields, then call `persisted`."""

    committed: tuple[Entry, ...]
    """Apply: durable on a quorum, this node's own disk included."""
    messages: tuple[AnyPeerMessage, ...]
    """Send now. An `InstallSnapshot` wants its `data` filled in from the snapshot's file."""
    hard_state: HardState | None
    """Write, together with `entries`, in one durable step."""
    entries: tuple[Entry, ...]
    """Write; they replace what is on disk at and after the first one's index."""
    replies: tuple[AnyPeerMessage, ...]
    """Send once the write is durable, and not before."""
    chunks: tuple[InstallSnapshot, ...]
    """Put down those that `wants_snapshot` still says yes to, and report each with
    `snapshot_received`, or with `snapshot_installed` once it is whole, verified, durable, and the
    journal's new beginning."""
    reads: tuple[ReadRelease, ...]
