"""The numbers of the algorithm, in ticks and bytes."""

from __future__ import annotations

import msgspec


class RaftConfig(msgspec.Struct, frozen=True):
    """How a core behaves; a tick is whatever the caller makes it (10 ms in production)."""

    heartbeat_ticks: int = 5
    election_ticks_min: int = 30
    """Also the lease: a follower that heard from its leader this recently ignores candidates."""
    election_ticks_max: int = 60
    append_bytes_max: int = 1 << 20
    """Data in one AppendEntries; one entry always fits."""
    in_flight_messages_max: int = 256
    """AppendEntries sent to one follower and not answered yet."""
    in_flight_bytes_max: int = 4 << 20
    promote_after_ticks: int = 1000
    """A learner that has kept up for so long becomes a voter."""
    snapshot_chunk_bytes: int = 256 << 10
    snapshot_chunks_in_flight: int = 4

    def __post_init__(self) -> None:
        """Refuse timings with which elections never end or never begin."""
        if not 0 < self.heartbeat_ticks * 4 <= self.election_ticks_min < self.election_ticks_max:
            raise ValueError("4 heartbeats <= shortest election timeout < longest is required")
