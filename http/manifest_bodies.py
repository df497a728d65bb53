"""Documents of `felix.io/v1` as they come in (seed, "Core Data Model"): strictly read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from felix.http.bodies import U32, U63
from felix.proto.resources import AckPolicy, Delivery, Durability, StreamKind

API_VERSION = "felix.io/v1"
Amount = U63 | str
"""A number, or one in words: `7d`, `1TB`."""
Texts = Annotated[dict[str, str], msgspec.Meta(max_length=64)]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Refuses members that it does not know."""


class AtTop(Strict, frozen=True):
    """Metadata of what is in nothing else."""

    name: str


class InTenant(Strict, frozen=True):
    """Metadata of what is in a tenant."""

    name: str
    tenant: str


class InNamespace(Strict, frozen=True):
    """Metadata of what is in a namespace."""

    name: str
    namespace: str
    tenant: str


class QuotasSpec(Strict, frozen=True):
    """Limits; what is left out is unlimited."""

    max_streams: U63 | None = None
    max_publish_rate: U63 | None = None
    max_subscribe_connections: U63 | None = None
    max_storage: Amount | None = None
    max_cache_memory: Amount | None = None


class EncryptionSpec(Strict, frozen=True):
    """Which key encrypts."""

    key_id: str
    rotation_period: Amount | None = None


class TenantSpec(Strict, frozen=True):
    """Of a tenant."""

    display_name: str | None = None
    description: str | None = None
    quotas: QuotasSpec | None = None
    encryption: EncryptionSpec | None = None


class NamespaceSpec(Strict, frozen=True):
    """Of a namespace."""

    display_name: str | None = None
    description: str | None = None
    quotas: QuotasSpec | None = None


class RetentionSpec(Strict, frozen=True):
    """How long messages are kept; what is left out is without limit."""

    time: Amount | None = None
    size: Amount | None = None


class StreamSpecBody(Strict, frozen=True):
    """Of a stream."""

    shards: U32 | None = None
    retention: RetentionSpec | None = None
    durability: Durability | None = None
    replication_factor: U32 | None = None
    ack_policy: AckPolicy | None = None
    kind: StreamKind | None = None
    delivery: Delivery | None = None
    regions: list[str] | None = None


class CacheSpec(Strict, frozen=True):
    """Of a cache."""

    display_name: str | None = None


class CapacitySpec(Strict, frozen=True):
    """What a broker can take."""

    max_shards: U63 | None = None
    max_connections: U63 | None = None


class BrokerSpec(Strict, frozen=True):
    """Of a broker that has registered."""

    address: str | None = None
    region: str | None = None
    availability_zone: str | None = None
    capacity: CapacitySpec | None = None
    metadata: Texts | None = None
    status: Literal["active", "draining", "drained", "down"] | None = None
    """`active` and `draining` are wishes; the others say what is, and are passed over."""


class BridgedSpec(Strict, frozen=True):
    """A stream of a bridge."""

    tenant: str
    namespace: str
    stream: str


class BridgeKeySpec(Strict, frozen=True):
    """Which key encrypts what crosses a bridge."""

    key_id: str


class BridgeSpec(Strict, frozen=True):
    """Of a bridge."""

    source_region: str
    target_region: str
    streams: list[BridgedSpec] | None = None
    encryption: BridgeKeySpec | None = None


class Head(msgspec.Struct, frozen=True):
    """What says how the rest of a document is to be read."""

    apiVersion: str  # noqa: N815 - as the seed's documents spell it
    kind: str


class TenantDocument(Strict, frozen=True, tag_field="kind", tag="Tenant"):
    """A tenant."""

    apiVersion: str  # noqa: N815 - the same
    metadata: AtTop
    spec: TenantSpec = TenantSpec()


class NamespaceDocument(Strict, frozen=True, tag_field="kind", tag="Namespace"):
    """A namespace."""

    apiVersion: str  # noqa: N815 - the same
    metadata: InTenant
    spec: NamespaceSpec = NamespaceSpec()


class StreamDocument(Strict, frozen=True, tag_field="kind", tag="Stream"):
    """A stream."""

    apiVersion: str  # noqa: N815 - the same
    metadata: InNamespace
    spec: StreamSpecBody = StreamSpecBody()


class CacheDocument(Strict, frozen=True, tag_field="kind", tag="Cache"):
    """A cache."""

    apiVersion: str  # noqa: N815 - the same
    metadata: InNamespace
    spec: CacheSpec = CacheSpec()


class BrokerDocument(Strict, frozen=True, tag_field="kind", tag="Broker"):
    """A broker."""

    apiVersion: str  # noqa: N815 - the same
    metadata: AtTop
    spec: BrokerSpec = BrokerSpec()


class BridgeDocument(Strict, frozen=True, tag_field="kind", tag="Bridge"):
    """A bridge."""

    apiVersion: str  # noqa: N815 - the same
    metadata: AtTop
    spec: BridgeSpec


Document = (
    TenantDocument
    | NamespaceDocument
    | StreamDocument
    | CacheDocument
    | BrokerDocument
    | BridgeDocument
)


class ManifestSet(Strict, frozen=True):
    """POST .../apply and .../delete."""

    documents: list[Document]


class UnreadSet(Strict, frozen=True):
    """The same, before the documents are read one by one, so that errors are about one of them."""

    documents: list[Any]
