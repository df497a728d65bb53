"""What planning looks at: brokers, streams and moves as they were at one version.

The caller makes these records of the catalog's rows, and of what the leader knows of brokers.
"""

from __future__ import annotations

import msgspec

from felix.proto.brokers import BrokerStatus, Placement, ShardMove, StreamName
from felix.proto.resources import Bridge, Broker, ShardPlacement, Stream


class BrokerRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A broker, and how much it has."""

    broker_id: str
    region: str = ""
    zone: str = ""
    status: BrokerStatus = "active"
    drain: bool = False
    is_healthy: bool = True
    """What it says of itself; one that says no gets no shards."""
    max_shards: int | None = None
    copies: int = 0
    """As the placements say: with those that a move has begun to copy there."""
    leads: int = 0

    @property
    def is_up(self) -> bool:
        """It serves what it has."""
        return self.status != "down"


class StreamRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A stream, and where its shards are."""

    stream: StreamName
    stream_id: str = ""
    shards: int = 1
    replication_factor: int = 1
    regions: tuple[str, ...] = ()
    placements: tuple[Placement, ...] = ()
    """Empty: it has not been placed."""


class Fleet(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """All brokers, and what is on its way between them."""

    version: int = 0
    """Of the catalog that the rows were made of."""
    brokers: tuple[BrokerRow, ...] = ()
    bridges: tuple[Bridge, ...] = ()
    moves: tuple[ShardMove, ...] = ()
    """Those that are not over."""


def broker_row(broker: Broker, copies: int, leads: int, *, is_healthy: bool = True) -> BrokerRow:
    """Make the row of a broker in the catalog."""
    return BrokerRow(
        broker_id=broker.broker_id,
        region=broker.region,
        zone=broker.availability_zone,
        status=broker.status,
        drain=broker.drain,
        is_healthy=is_healthy,
        max_shards=broker.capacity.max_shards,
        copies=copies,
        leads=leads,
    )


def stream_row(stream: Stream, placed: ShardPlacement | None) -> StreamRow:
    """Make the row of a stream in the catalog."""
    return StreamRow(
        stream=StreamName(stream.tenant_id, stream.namespace, stream.stream),
        stream_id=stream.stream_id,
        shards=stream.spec.shards,
        replication_factor=stream.spec.replication_factor,
        regions=stream.spec.regions,
        placements=placed.placements if placed is not None else (),
    )
