"""A leader's view of one follower (etcd's `tracker.Progress`)."""

from __future__ import annotations

from collections import deque
from enum import Enum

from felix.core.raft.config import RaftConfig
from felix.proto.ids import Index
from felix.proto.raft import Checkpoint, SnapshotMeta


class Mode(Enum):
    """How entries are sent to a follower."""

    PROBE = "probe"
    """One message at a time, until it is known where the logs agree."""
    REPLICATE = "replicate"
    """Pipelined: the next entries leave before the last ones are acknowledged."""
    SNAPSHOT = "snapshot"
    """What it needs has been trimmed; it gets the snapshot first."""


class Progress:
    """What one follower has, what it was sent, and whether it answers."""

    def __init__(self, next_index: Index) -> None:
        self.mode = Mode.PROBE
        self.match = Index(0)
        """Known to be on the follower's disk."""
        self.next = next_index
        """Sent next."""
        self.commit_told = Index(0)
        """The highest commit index sent."""
        self.active = False
        """Heard from since the last check of the quorum."""
        self.active_before = False
        """Heard from between the last two checks."""
        self.silent_ticks = 0
        """Since it was last heard from."""
        self.answered = False
        """Heard from since the last beat."""
        self.round_acked = 0
        """The highest heartbeat round answered."""
        self.probe_sent = False
        """In PROBE: the one message is under way."""
        self.inquiry_due = False
        """In REPLICATE: ask whether all that was sent has arrived."""
        self.stamp: int | None = None
        """Of its last answer to a beat."""
        self.stamp_returned: int | None = None
        """The newest of the leader's own that came back."""
        self.checkpoint: Checkpoint | None = None
        """The last one it told."""
        self.kept_up_ticks = 0
        """For so long it has had, at each beat, what existed an election timeout before."""
        self.snapshot: SnapshotMeta | None = None
        self.offset_acked = 0
        self.offset_next = 0
        self._offset_wanted = 0
        self._in_flight: deque[tuple[Index, int]] = deque()
        self._in_flight_bytes = 0
        self._stalled_at: tuple[Index, int] | None = None

    @property
    def is_active(self) -> bool:
        """Whether it was heard from within the last one or two shortest election timeouts."""
        return self.active or self.active_before

    def window_is_full(self, config: RaftConfig) -> bool:
        """Say whether more must wait for answers."""
        return (
            len(self._in_flight) >= config.in_flight_messages_max
            or self._in_flight_bytes >= config.in_flight_bytes_max
        )

    def sent(self, last: Index, size_bytes: int) -> None:
        """Note entries on their way, optimistically."""
        self.next = Index(last + 1)
        self._in_flight.append((last, size_bytes))
        self._in_flight_bytes += size_bytes

    def acknowledged(self, index: Index) -> bool:
        """Note that the follower has everything up to `index`; say whether that is news.

        What is no news changes nothing: if late answers were enough to go over to pipelining, each
        could make the leader send a whole window again, and be answered for all of it.
        """
        if index <= self.match:
            return False
        while self._in_flight and self._in_flight[0][0] <= index:
            self._in_flight_bytes -= self._in_flight.popleft()[1]
        self.probe_sent = False
        self.next = max(self.next, Index(index + 1))
        self.match = index
        return True

    def replicate(self) -> None:
        """Go over to pipelining: it is known where the logs agree."""
        self._reset(Mode.REPLICATE)
        self.next = Index(self.match + 1)

    def rejected(self, prev: Index, retry_next: Index) -> bool:
        """Step back after a mismatch at `prev`; False for a late answer that means nothing."""
        if self.mode is Mode.REPLICATE:
            if prev <= self.match:
                return False
            self._reset(Mode.PROBE)
            self.next = Index(self.match + 1)
            return True
        if self.mode is not Mode.PROBE or self.next - 1 != prev:
            return False
        self.next = max(min(prev, retry_next), Index(self.match + 1))
        self.probe_sent = False
        return True

    def needs_snapshot(self, first: Index) -> bool:
        """Say whether what comes next is not in a log that begins with `first`."""
        return self.mode is not Mode.SNAPSHOT and self.next < first

    def sends_in_vain(self, first: Index) -> bool:
        """Say whether the snapshot under way has no log behind it any more.

        Not of a transfer that gets on: with a log that grows fast it would never end.
        """
        if self.snapshot is None or self.snapshot.index + 1 >= first:
            return False
        return self.offset_acked == 0 or not self.is_active

    def begin_snapshot(self, snapshot: SnapshotMeta) -> None:
        """Start sending a snapshot from its first byte."""
        self._reset(Mode.SNAPSHOT)
        self.snapshot = snapshot

    def wants(self, offset: int) -> None:
        """Note the byte of the snapshot that the follower wants next.

        It may be one that was sent: a piece was lost, or the follower has started anew.
        """
        self._offset_wanted = offset
        if offset > self.offset_acked:
            self.offset_acked = offset
            self.offset_next = max(self.offset_next, offset)

    def is_stalled(self) -> bool:
        """Say whether nothing has moved since the last call: what was sent may be lost."""
        now = (self.match, self.offset_acked)
        stalled = now == self._stalled_at
        self._stalled_at = now
        return stalled

    def send_again(self) -> None:
        """Send the probe or the piece anew; ask first about a window, it may only be slow."""
        if self.mode is Mode.SNAPSHOT:
            self.offset_acked = self.offset_next = self._offset_wanted
        self.probe_sent = False
        self.inquiry_due = self.mode is Mode.REPLICATE

    def _reset(self, mode: Mode) -> None:
        self.mode = mode
        self.probe_sent = self.inquiry_due = False
        self.snapshot = None
        self.offset_acked = self.offset_next = self._offset_wanted = 0
        self._in_flight.clear()
        self._in_flight_bytes = 0
        self._stalled_at = None
