"""What RaftNode and WatchFanout know of each other without a message."""

from __future__ import annotations

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
    """Two numbers with one writer each, so that a commit wakes nobody when nobody listens.

    RaftNode writes `position`, WatchFanout writes `subscribers`; each is replaced whole.
    """

    __slots__ = ("position", "subscribers")

    def __init__(self) -> None:
        self.position: Position | None = None
        self.subscribers = 0
