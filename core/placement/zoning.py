"""Whether a shard's copies are in as many zones as they could be."""

from __future__ import annotations

from felix.core.placement.ladder import NOBODY, Ladder
from felix.core.placement.model import Brokers, Shards


def better_zone(brokers: Brokers, shards: Shards, ladder: Ladder, shard: int) -> tuple[int, int]:
    """Find a copy in a zone with two more copies than another zone has that has room.

    Returns the copy's broker and the one it could go to; `NOBODY` twice where all is well.
    """
    zone_of, copies = brokers.zones, shards.copies[shard]
    taken = [zone_of[broker] for broker in copies]
    if len(set(taken)) == len(taken):
        return NOBODY, NOBODY
    most = max(map(taken.count, taken))
    allowed = shards.zones[shards.stream_of[shard]]
    leader = shards.leader[shard]
    # A follower goes rather than the leader, and rather from a broker that has more.
    crowded = [broker for broker in copies if taken.count(zone_of[broker]) == most]
    crowded.sort(key=lambda broker: (broker == leader, -ladder.loads[broker], broker))
    for source in crowded:
        zones = allowed.lead if source == leader else allowed.follow
        for few in range(most - 1):
            target = ladder.lowest(taken, few, copies, zones)
            if target != NOBODY:
                return source, target
    return NOBODY, NOBODY
