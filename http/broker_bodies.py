"""Request bodies about brokers and placement."""

from __future__ import annotations

from typing import Annotated

import msgspec

from felix.http.bodies import U63
from felix.proto.brokers import (
    BrokerMetrics,
    HealthStatus,
    MoveKind,
    NamespaceUsage,
    ShardRole,
    Strategy,
)

ShardNumber = Annotated[int, msgspec.Meta(ge=0, le=65_535)]


class CapacityBody(msgspec.Struct, frozen=True):
    """What a broker can take; absent is without limit."""

    max_shards: U63 | None = None
    max_connections: U63 | None = None


class NewBroker(msgspec.Struct, frozen=True):
    """POST /v1/brokers (seed, `RegisterBrokerRequest`)."""

    broker_id: str
    """`auto`: made of `metadata.pod_name`, else of the address's host."""
    address: str
    boot_id: str
    """Random, new with every start of the process."""
    region: str | None = None
    availability_zone: str | None = None
    capacity: CapacityBody | None = None
    metadata: dict[str, str] | None = None


class BrokerPatch(msgspec.Struct, frozen=True):
    """PATCH of a broker; what is absent or null stays."""

    region: str | None = None
    availability_zone: str | None = None
    capacity: CapacityBody | None = None
    metadata: dict[str, str] | None = None


class ShardReport(msgspec.Struct, frozen=True):
    """What a broker says of one copy (seed, `ShardStatus`)."""

    tenant_id: str
    namespace: str
    stream: str
    shard_id: ShardNumber
    role: ShardRole
    generation: U63
    in_sync: list[str] | None = None
    is_drained: bool = False
    lag: U63 = 0
    subscribers: U63 = 0


class HealthReport(msgspec.Struct, frozen=True):
    """POST of a broker's health (seed, `ReportHealthRequest`)."""

    broker_epoch: U63
    status: HealthStatus = HealthStatus()
    metrics: BrokerMetrics = BrokerMetrics()
    shard_status: list[ShardReport] | None = None
    has_all_shards: bool = False
    applied_version: U63 = 0
    applied_epoch: U63 = 0
    applied_digest: str = ""
    usage: list[NamespaceUsage] | None = None


class Epoch(msgspec.Struct, frozen=True):
    """Which boot of a broker is meant."""

    broker_epoch: U63


class RebalanceBody(msgspec.Struct, frozen=True):
    """POST .../rebalance (seed, `RebalanceShardsRequest`)."""

    strategy: Strategy = "BALANCED"
    dry_run: bool = False
    base_version: U63 | None = None
    """Of a plan that was looked at: nothing is done if the plan would be another one now."""


class TransferBody(msgspec.Struct, frozen=True):
    """POST .../transfer (seed, `TransferShardLeadershipRequest`)."""

    target_broker: str


class NewMove(msgspec.Struct, frozen=True):
    """POST /v1/shard-moves."""

    tenant_id: str
    namespace: str
    stream: str
    shard_id: ShardNumber
    to_broker: str
    from_broker: str = ""
    """Empty: one more copy."""
    kind: MoveKind = "replica"


class PauseBody(msgspec.Struct, frozen=True):
    """POST /v1/placement/pause."""

    reason: str = ""


class BridgedStream(msgspec.Struct, frozen=True):
    """A stream of a bridge."""

    tenant_id: str
    namespace: str
    stream: str


class BridgeBody(msgspec.Struct, frozen=True):
    """PUT of a bridge."""

    source_region: str
    target_region: str
    streams: list[BridgedStream] | None = None
    encryption_key_id: str | None = None
