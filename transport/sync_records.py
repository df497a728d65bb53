"""What goes into and comes out of `felix.transport.sync`."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from felix.proto.queries import GetSnapshot, WatchUpdates
from felix.proto.updates import MetadataUpdate
from felix.transport.view import MetadataView


class SyncLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How patient a client is, and how much it keeps; seconds are monotonic."""

    silence_s: float = 3.0
    """Without a bookmark for so long, the node is taken for dead."""
    lagging_s: float = 10.0
    """A node that does not bring us up to date within this time is left."""
    fetch_timeout_s: float = 5.0
    failures_max: int = 3
    """Failed fetches or wrong digests in a row before the node is left."""
    retry_s: float = 0.1
    retry_s_max: float = 2.0
    back_off_s: float = 0.05
    """Before the first change of nodes, at most; doubled with each until one is current."""
    back_off_s_max: float = 5.0
    pending_frames_max: int = 256
    pending_bytes_max: int = 8 << 20


class UpdateInfo(msgspec.Struct, frozen=True, gc=False):
    """How an update came."""

    node_id: str
    """The node that published it; empty when it was asked for."""
    epoch: int
    time_us: int
    """Commit time by that node's clock, Unix microseconds; 0 when it was asked for."""


class Connect(msgspec.Struct, frozen=True):
    """Leave the present node; after a delay subscribe at that one, under a new session number."""

    session: int
    node: int
    delay_s: float


class Fetch(msgspec.Struct, frozen=True):
    """Send this to the present node, with `stale` consistency; its answer carries the token."""

    session: int
    token: int
    message: GetSnapshot | WatchUpdates


class Deliver(msgspec.Struct, frozen=True, gc=False):
    """The view has changed by this."""

    update: MetadataUpdate
    info: UpdateInfo


class Replace(msgspec.Struct, frozen=True):
    """There is another view altogether. Carry this out, then call `BrokerSync.proceed`."""

    view: MetadataView


class Acknowledge(msgspec.Struct, frozen=True):
    """Somebody waits for brokers to have what was just delivered, or had before: say so."""


class Warn(msgspec.Struct, frozen=True):
    """Somebody should read this."""

    text: str


Action: TypeAlias = Connect | Fetch | Deliver | Replace | Acknowledge | Warn


class SyncStatistics(msgspec.Struct, frozen=True):
    """What a broker client has counted, and where it stands."""

    cluster_id: str
    epoch: int
    version: int
    staleness_s: float
    """Since it last knew that it was current; infinite if it never did."""
    node: int
    """Index of the node it listens to."""
    updates: int
    gaps_found: int
    gaps_filled: int
    resyncs: int
    """Times a whole snapshot replaced what it had."""
    failovers: int
    frames_dropped: int
    """Malformed, of an older epoch, or too many to keep."""
    frames_repeated: int
    """Told nothing new."""
    digest_mismatches: int
    unknown_objects: int
    """Updates of kinds that this build does not know."""


class Counters:
    """The counting half of `SyncStatistics`, while it counts."""

    __slots__ = (
        "digest_mismatches",
        "failovers",
        "frames_dropped",
        "frames_repeated",
        "gaps_filled",
        "gaps_found",
        "resyncs",
        "unknown_objects",
        "updates",
    )

    def __init__(self) -> None:
        self.updates = 0
        self.gaps_found = 0
        self.gaps_filled = 0
        self.resyncs = 0
        self.failovers = 0
        self.frames_dropped = 0
        self.frames_repeated = 0
        self.digest_mismatches = 0
        self.unknown_objects = 0
