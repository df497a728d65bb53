"""What clients may send: the records of request bodies.

An optional member may be absent or null; both mean "not given". Where a duration or a size may
also be written as the specification does (`"7d"`, `"100GB"`), the member in words stands beside
the number and both must agree.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from felix.proto.resources import AckPolicy, Delivery, Durability, StreamKind

INTEGER_MAX: Final = (1 << 63) - 1
U32 = Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 1)]
U63 = Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]
"""The contract says 64 bits and then stores the upper half as negative numbers (its chapter 15,
C15): here the upper half is out of range."""
Level = Annotated[int, msgspec.Meta(ge=1, le=(1 << 32) - 1)]
ConsistencyWord = Literal["Leader", "Quorum"]


class QuotasBody(msgspec.Struct, frozen=True):
    """Limits; absent is unlimited."""

    max_streams: U63 | None = None
    max_publish_rate: U63 | None = None
    max_subscribe_connections: U63 | None = None
    max_storage_bytes: U63 | None = None
    max_storage: str | None = None
    """`max_storage_bytes` in words: `1TB`."""
    max_cache_memory: U63 | None = None


class EncryptionBody(msgspec.Struct, frozen=True):
    """Which key encrypts a tenant's data, and how often it is replaced."""

    key_id: str
    rotation_period_seconds: U63 | None = None
    rotation_period: str | None = None
    """`rotation_period_seconds` in words: `90d`."""


class RetentionBody(msgspec.Struct, frozen=True):
    """How long messages are kept; absent is without limit."""

    max_age_seconds: U63 | None = None
    max_size_bytes: U63 | None = None
    time: str | None = None
    """`max_age_seconds` in words: `7d`."""
    size: str | None = None
    """`max_size_bytes` in words: `100GB`."""


class NewTenant(msgspec.Struct, frozen=True):
    """POST /v1/tenants."""

    tenant_id: str
    display_name: str
    description: str | None = None
    quotas: QuotasBody | None = None
    encryption: EncryptionBody | None = None


class TenantPatch(msgspec.Struct, frozen=True):
    """PATCH one tenant."""

    display_name: str | None = None
    description: str | None = None
    quotas: QuotasBody | None = None
    encryption: EncryptionBody | None = None


class NewNamespace(msgspec.Struct, frozen=True):
    """POST a namespace."""

    namespace: str
    display_name: str
    description: str | None = None
    quotas: QuotasBody | None = None


class NamespacePatch(msgspec.Struct, frozen=True):
    """PATCH one namespace."""

    display_name: str | None = None
    description: str | None = None
    quotas: QuotasBody | None = None


class NewStream(msgspec.Struct, frozen=True):
    """POST a stream, in the spelling of the contract, of the specification, or both."""

    stream: str
    shards: U32
    retention: RetentionBody | None = None
    kind: StreamKind | None = None
    consistency: ConsistencyWord | None = None
    delivery: Delivery | None = None
    durable: bool | None = None
    durability: Durability | None = None
    replication_factor: U32 | None = None
    ack_policy: AckPolicy | None = None
    regions: list[str] | None = None
    """Where its shards may live, the first one preferred for leaders; absent: anywhere."""


class StreamPatch(msgspec.Struct, frozen=True):
    """PATCH one stream; `retention` replaces the whole object."""

    retention: RetentionBody | None = None
    consistency: ConsistencyWord | None = None
    delivery: Delivery | None = None
    durable: bool | None = None
    durability: Durability | None = None
    ack_policy: AckPolicy | None = None


class NewCache(msgspec.Struct, frozen=True):
    """POST a cache."""

    cache: str
    display_name: str


class NewFeatureLevel(msgspec.Struct, frozen=True):
    """POST /v1/cluster/feature-level."""

    level: U32


class CachePatch(msgspec.Struct, frozen=True):
    """PATCH one cache."""

    display_name: str | None = None


class AddressesBody(msgspec.Struct, frozen=True):
    """Where a node can be reached, by listener: `host:port` each."""

    peers: str
    rpc: str
    watch: str | None = None
    http: str | None = None
    metrics: str | None = None


class NewMember(msgspec.Struct, frozen=True):
    """POST a member: what the node says of itself, and whether its namesake is to leave."""

    member_id: str
    """The identity in the node's data directory: 32 hexadecimal digits."""
    name: str
    addresses: AddressesBody
    level: Level | None = None
    """The feature level of the build it runs; 1 if it is not given."""
    replace: bool | None = None
    """The dead voter of the same name leaves in the step in which this one becomes a voter."""


class Transfer(msgspec.Struct, frozen=True):
    """POST a transfer of leadership."""

    target: str | None = None
    """Identity or name; empty: the most advanced voter."""
