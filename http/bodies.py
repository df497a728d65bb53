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
