"""What RaftNode and WatchFanout know of each other without a message."""

from __future__ import annotations

import math

import msgspec

from felix.proto.ids import Epoch, Version


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where this node's catalog stands."""

    epoch: Epoch
    version: Version
    digest: str
    told: Version
    """The last version that WatchFanout was told to publish."""
    is_current: bool
    """Whether this node knows a live leader: without one it cannot say what is current."""


class WatchPosition:
    """Three values with one writer each, so that a commit wakes nobody when nobody listens.

    RaftNode writes `position` and `current_at`, WatchFanout writes `subscribers`; each is replaced
    whole.
    """

    __slots__ = ("current_at", "position", "subscribers")

    def __init__(self) -> None:
        self.position: Position | None = None
        self.subscribers = 0
        self.current_at = -math.inf
        """The last moment of which this node is known to have everything; monotonic. A process that
        stood still finds here, before anything else has run again, that this is long ago."""
