"""Who may receive a copy of a shard, and why not in words."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from felix.core.placement.fleet import BrokerRow, StreamRow
from felix.proto.brokers import StreamName
from felix.proto.resources import Bridge


class Reach(msgspec.Struct, frozen=True, gc=False):
    """The regions that a stream's copies may be in; None: all."""

    lead: frozenset[str] | None = None
    follow: frozenset[str] | None = None
    """More than `lead` where a bridge names the stream: beyond it nobody leads."""


EVERYWHERE = Reach()


def bridged(bridges: Iterable[Bridge]) -> dict[StreamName, list[Bridge]]:
    """List the bridges of each stream that has some."""
    found: dict[StreamName, list[Bridge]] = {}
    for bridge in bridges:
        for stream in bridge.streams:
            found.setdefault(stream, []).append(bridge)
    return found


def reach_of(stream: StreamRow, bridges: Iterable[Bridge] = ()) -> Reach:
    """Say where a stream's copies may be; `bridges` are those that name it."""
    if not stream.regions:
        return EVERYWHERE
    own = frozenset(stream.regions)
    beyond = [bridge.target_region for bridge in bridges if bridge.source_region in own]
    return Reach(own, own.union(beyond))


def why_closed(broker: BrokerRow) -> str:
    """Say why a broker receives no shards, whatever room it has. Empty: it does."""
    name = broker.broker_id
    if broker.status == "down":
        return f"{name} is down"
    if broker.drain or broker.status != "active":
        return f"{name} is being drained"
    if not broker.is_healthy:
        return f"{name} says that it is not healthy"
    return ""


def room_of(broker: BrokerRow, arriving: int = 0) -> int | None:
    """Count the copies that a broker may still get; None: any number.

    `arriving` are copies that moves will bring and have not begun to copy.
    """
    if broker.max_shards is None:
        return None
    return max(0, broker.max_shards - broker.copies - arriving)


def why_not(
    broker: BrokerRow, reach: Reach = EVERYWHERE, *, as_leader: bool = False, arriving: int = 0
) -> str:
    """Say why a broker may not receive a copy of a stream's shard. Empty: it may.

    That it has a copy already is for the caller to see.
    """
    closed = why_closed(broker)
    if closed:
        return closed
    regions = reach.lead if as_leader else reach.follow
    if regions is not None and broker.region not in regions:
        where = f"region {broker.region}" if broker.region else "no region"
        what = "lead from" if as_leader else "be in"
        return (
            f"{broker.broker_id} is in {where}: the stream may {what} {', '.join(sorted(regions))}"
        )
    if room_of(broker, arriving) == 0:
        held = broker.copies + arriving
        return f"{broker.broker_id} is full ({held} of {broker.max_shards} shards)"
    return ""
