"""How long ago this node last knew that its leader leads."""

from __future__ import annotations

import math
import time


class LeaderContact:
    """One number, written by RaftNode and read by CatalogActor: the age of a stale read.

    A monotonic stamp, so that a node which was stopped knows on waking how much it missed.
    """

    __slots__ = ("_at",)

    def __init__(self) -> None:
        self._at = -math.inf

    def made(self, ago_s: float) -> None:
        """Note that the leader was heard from, or as the leader a quorum, so long ago."""
        self._at = time.monotonic() - ago_s

    def silence_s(self) -> float:
        """Say how long it has been; at most a day, also when there never was a leader."""
        return min(time.monotonic() - self._at, 86_400.0)
