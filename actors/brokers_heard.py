"""What RaftNode knows, without a message, of what HeartbeatMonitor has heard."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from felix.proto.ids import Term
from felix.proto.resources import Key


class Heard(msgspec.Struct, frozen=True, gc=False):
    """What was heard in a term that this node leads in. Both may be called in any thread."""

    term: Term
    gone_epoch: Callable[[str], int]
    """By broker id; see `Stamp`."""
    subscribers: Callable[[Key], int]
    """Of a stream, on all brokers."""


class BrokersHeard:
    """One record with one writer, HeartbeatMonitor; it is replaced whole."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now: Heard | None = None

    def gone_epoch(self, term: Term, broker_id: str) -> int:
        """Give the epoch of a broker that was silent for a whole window; 0: nobody knows that."""
        now = self.now
        return now.gone_epoch(broker_id) if now is not None and now.term == term else 0

    def subscribers(self, term: Term, stream: Key) -> int:
        """Count the subscribers that were reported."""
        now = self.now
        return now.subscribers(stream) if now is not None and now.term == term else 0
