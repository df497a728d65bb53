"""The resources of the control plane: one model for every face.

Field names are those of the specification (seed, "Core Data Model" and "Admin API"). The HTTP
contract of the existing Felix service spells some of them differently (`durable: true` for
`durability: durable`, `consistency: Quorum` for `ack_policy: quorum`); `felix.http.spelling`
translates, nothing else knows.

Every resource is immutable. On the wire a field that has its default is absent.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from felix.proto.brokers import BrokerCapacity, BrokerStatus, Placement, StreamName
from felix.proto.settings import SettingRule, SettingValue

StreamKind = Literal["Stream", "Queue", "Cache"]
Durability = Literal["ephemeral", "durable"]
AckPolicy = Literal["leader_only", "quorum"]
Delivery = Literal["AtMostOnce", "AtLeastOnce"]
KeyState = Literal["published", "active", "retiring"]

Key: TypeAlias = tuple[str, ...]
"""The names that lead to a resource, outermost first: `(tenant_id, namespace, stream)`."""


class Quotas(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Limits of a tenant or a namespace (seed, "Quota Enforcement"); None is unlimited."""

    max_streams: int | None = None
    max_publish_rate: int | None = None
    """Messages per second."""
    max_subscribe_connections: int | None = None
    max_storage_bytes: int | None = None
    max_cache_memory: int | None = None
    """Bytes."""


class Encryption(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Which key encrypts a tenant's data, and how often it is replaced."""

    key_id: str
    rotation_period_seconds: int | None = None


class RetentionPolicy(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """How long a stream keeps its messages; None is without limit."""

    max_age_seconds: int | None = None
    max_size_bytes: int | None = None


class StreamSpec(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a stream should be (seed, `StreamSpec`)."""

    shards: int = 1
    retention: RetentionPolicy = RetentionPolicy()
    durability: Durability = "ephemeral"
    replication_factor: int = 1
    ack_policy: AckPolicy = "leader_only"
    kind: StreamKind = "Stream"
    delivery: Delivery = "AtLeastOnce"
    regions: tuple[str, ...] = ()
    """Where its shards may live; empty: anywhere. The first one is preferred for leaders."""


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """What every stored resource carries besides its own fields."""

    version: int = 0
    """The catalog version that last changed this object: the value for `expected_version`."""
    created_version: int = 0
    created_at_ms: int = 0
    """Wall clock of the node that accepted the command, Unix milliseconds."""
    updated_at_ms: int = 0


class Tenant(Record, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", gc=False):
    """The outermost container."""

    tenant_id: str
    display_name: str = ""
    description: str = ""
    quotas: Quotas | None = None
    encryption: Encryption | None = None

    @property
    def key(self) -> Key:
        """The names that lead here."""
        return (self.tenant_id,)


class Namespace(Record, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", gc=False):
    """A tenant's environment or department."""

    tenant_id: str
    namespace: str
    display_name: str = ""
    description: str = ""
    quotas: Quotas | None = None

    @property
    def key(self) -> Key:
        """The names that lead here."""
        return (self.tenant_id, self.namespace)


class Stream(Record, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", gc=False):
    """A sharded log of messages."""

    tenant_id: str
    namespace: str
    stream: str
    stream_id: str = ""
    """Unique in the cluster's life: a stream deleted and created again has another."""
    spec: StreamSpec = StreamSpec()
    deleted_at_ms: int = 0
    """Not 0: it was deleted, serves nobody, and its data is still there.

    Watchers were told of a deletion, and its placement stays with the brokers that keep the data.
    """
    purge_at_ms: int = 0
    """When a deleted stream goes for good."""

    @property
    def key(self) -> Key:
        """The names that lead here."""
        return (self.tenant_id, self.namespace, self.stream)


class Cache(Record, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", gc=False):
    """A named cache on the brokers."""

    tenant_id: str
    namespace: str
    cache: str
    display_name: str = ""

    @property
    def key(self) -> Key:
        """The names that lead here."""
        return (self.tenant_id, self.namespace, self.cache)


class SigningKey(Record, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", gc=False):
    """The public half of a key that signs a tenant's tokens.

    It is there while tokens signed with it are to be taken: one that is retired or revoked is
    deleted. States in their order: `published` (brokers learn of it before it signs), `active`
    (the one that signs), `retiring` (it does not sign any more).
    """

    tenant_id: str
    kid: str
    public_key: str
    """Ed25519, 32 bytes in base64url without padding: `x` of the JWK (RFC 8037)."""
    state: KeyState = "published"
    state_since_ms: int = 0

    @property
    def key(self) -> Key:
        """The names that lead here."""
        return (self.tenant_id, self.kid)


class TokenRevocation(
    Record, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", gc=False
):
    """That tokens of somebody, issued before a moment, are not to be taken any more.

    It goes by itself once the last of those tokens has expired.
    """

    tenant_id: str
    principal: str
    """A principal id; `issuer:{short id}` for everyone an issuer vouched for; `*` for everyone."""
    before_ms: int

    @property
    def key(self) -> Key:
        """The names that lead here."""
        return (self.tenant_id, self.principal)


class Broker(Record, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", gc=False):
    """A process that serves shards (seed, "Broker Registration")."""

    broker_id: str
    address: str
    """`host:port`."""
    region: str = ""
    availability_zone: str = ""
    capacity: BrokerCapacity = BrokerCapacity()
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    status: BrokerStatus = "active"
    status_since_ms: int = 0
    status_reason: str = ""
    drain: bool = False
    """It is to be empty: stays over restarts and while it is down."""
    boot_id: str = ""
    broker_epoch: int = 0
    """The catalog version at which this boot registered; an older epoch is fenced."""

    @property
    def key(self) -> Key:
        """The names that lead here."""
        return (self.broker_id,)


class ShardPlacement(
    Record, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", gc=False
):
    """Who holds a stream's shards (seed, "Shard Placement")."""

    tenant_id: str
    namespace: str
    stream: str
    stream_id: str = ""
    placements: tuple[Placement, ...] = ()
    """One per shard, in their order."""

    @property
    def key(self) -> Key:
        """The names that lead here."""
        return (self.tenant_id, self.namespace, self.stream)


class Bridge(Record, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", gc=False):
    """Streams of one region that have copies in another (seed, "Region and Bridge Management")."""

    name: str
    source_region: str
    target_region: str
    streams: tuple[StreamName, ...] = ()
    encryption_key_id: str = ""

    @property
    def key(self) -> Key:
        """The names that lead here."""
        return (self.name,)


class ClusterSetting(
    Record, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", gc=False
):
    """A setting of the whole cluster that somebody has set (seed, "RAFT Scope")."""

    name: str
    value: SettingValue
    """Durations are milliseconds."""
    rule: SettingRule | None = None
    """What it may be; None: it is one of the control plane's own, `felix.proto.settings.OWN`."""

    @property
    def key(self) -> Key:
        """The names that lead here."""
        return (self.name,)


class FeatureFlag(
    Record, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", gc=False
):
    """A feature of brokers that is switched for all of them at once (seed, "RAFT Scope")."""

    name: str
    enabled: bool = False
    description: str = ""

    @property
    def key(self) -> Key:
        """The names that lead here."""
        return (self.name,)


Resource: TypeAlias = (
    Tenant
    | Namespace
    | Stream
    | Cache
    | SigningKey
    | TokenRevocation
    | Broker
    | ShardPlacement
    | Bridge
    | ClusterSetting
    | FeatureFlag
)
ResourceKind = Literal[
    "Tenant",
    "Namespace",
    "Stream",
    "Cache",
    "SigningKey",
    "TokenRevocation",
    "Broker",
    "ShardPlacement",
    "Bridge",
    "ClusterSetting",
    "FeatureFlag",
]

RESOURCE_TYPES: dict[ResourceKind, type[Resource]] = {
    "Tenant": Tenant,
    "Namespace": Namespace,
    "Stream": Stream,
    "Cache": Cache,
    "SigningKey": SigningKey,
    "TokenRevocation": TokenRevocation,
    "Broker": Broker,
    "ShardPlacement": ShardPlacement,
    "Bridge": Bridge,
    "ClusterSetting": ClusterSetting,
    "FeatureFlag": FeatureFlag,
}
"""In the order in which a snapshot lists them: parents before children."""


def kind_of(resource: Resource) -> ResourceKind:
    """Name a resource's kind as the wire does."""
    return type(resource).__name__  # type: ignore[return-value]  # one of the classes above
