"""Parts of answers about brokers: the records of the wire, with nothing left out."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from felix.proto.brokers import BrokerStatus

Part = TypeVar("Part", bound=msgspec.Struct)


class CapacityView(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker can take; null is without limit."""

    max_shards: int | None
    max_connections: int | None


class FeelingView(msgspec.Struct, frozen=True, kw_only=True):
    """How a broker feels (seed, `HealthStatus`)."""

    healthy: bool
    message: str
    uptime_seconds: int


class MetricsView(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker measures (seed, `BrokerMetrics`)."""

    connections: int
    publish_per_s: float
    deliver_per_s: float
    storage_bytes: int
    cache_bytes: int
    cpu_ratio: float
    memory_bytes: int


class ShardView(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds one shard; without a leader `reason` says why."""

    shard_id: int
    leader: str
    replicas: list[str]
    in_sync: list[str]
    generation: int
    is_fenced: bool
    reason: str


class QualityView(msgspec.Struct, frozen=True, kw_only=True):
    """How good a distribution is: the fullest broker less the emptiest, and broken zones."""

    copies_spread: int
    leaders_spread: int
    zone_violations: int


class HealthAckView(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker hears on its heartbeat."""

    term: int
    version: int
    interval_ms: int
    """When to report again."""
    status: BrokerStatus
    drain: bool
    wants_all_shards: bool


def spelled_out(record: msgspec.Struct, part: type[Part]) -> Part:
    """Render a record whose members have the same names."""
    return msgspec.convert(record, part, from_attributes=True)
