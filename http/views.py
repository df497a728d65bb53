"""What clients get: the records of answers, the contract's members first.

Nothing is left out of an object: a member without a value is null or empty. All carry the version
that last changed them (the value of `If-Match`) and times in RFC 3339, UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

import msgspec

from felix.http.bodies import ConsistencyWord
from felix.http.broker_views import (
    BridgeView,
    BrokerView,
    PlacementView,
    bridge_view,
    broker_view,
    placement_view,
)
from felix.http.setting_views import (
    FeatureFlagView,
    SettingView,
    feature_flag_view,
    setting_view,
)
from felix.http.spelling import CONSISTENCY_WORDS
from felix.http.times import rfc3339
from felix.proto.resources import (
    AckPolicy,
    Cache,
    Delivery,
    Durability,
    Encryption,
    KeyState,
    Namespace,
    Quotas,
    Resource,
    ResourceKind,
    SigningKey,
    Stream,
    StreamKind,
    Tenant,
    TokenRevocation,
    kind_of,
)
from felix.proto.updates import UpdateType


class QuotasView(msgspec.Struct, frozen=True):
    """Limits; null is unlimited."""

    max_streams: int | None
    max_publish_rate: int | None
    max_subscribe_connections: int | None
    max_storage_bytes: int | None
    max_cache_memory: int | None


class EncryptionView(msgspec.Struct, frozen=True):
    """Which key encrypts a tenant's data, and how often it is replaced."""

    key_id: str
    rotation_period_seconds: int | None


class RetentionView(msgspec.Struct, frozen=True):
    """How long messages are kept; null is without limit."""

    max_age_seconds: int | None
    max_size_bytes: int | None


class TenantView(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant."""

    tenant_id: str
    display_name: str
    description: str
    quotas: QuotasView | None
    encryption: EncryptionView | None
    version: int
    created_version: int
    created_at: str
    updated_at: str


class NamespaceView(msgspec.Struct, frozen=True, kw_only=True):
    """A namespace."""

    tenant_id: str
    namespace: str
    display_name: str
    description: str
    quotas: QuotasView | None
    version: int
    created_version: int
    created_at: str
    updated_at: str


class StreamView(msgspec.Struct, frozen=True, kw_only=True):
    """A stream, in both spellings."""

    tenant_id: str
    namespace: str
    stream: str
    kind: StreamKind
    shards: int
    retention: RetentionView
    consistency: ConsistencyWord
    delivery: Delivery
    durable: bool
    stream_id: str
    replication_factor: int
    ack_policy: AckPolicy
    durability: Durability
    regions: list[str]
    """Where its shards may live; empty: anywhere."""
    version: int
    created_version: int
    created_at: str
    updated_at: str
    deleted_at: str | None
    """Of one whose deletion can still be taken back, until `purge_at`."""
    purge_at: str | None


class DeletionView(msgspec.Struct, frozen=True, kw_only=True):
    """What a deletion would take along: numbers by kind, and the first names."""

    namespaces: int
    streams: int
    durable_streams: int
    """Of the streams: those whose data is on disk."""
    deleted_streams: int
    """Whose deletion could be taken back now, and could not be any more."""
    caches: int
    names: list[str]
    """`stream:{tenant}/{namespace}/{stream}` and so on; at most 100."""
    is_complete: bool
    """False: there is more than was counted."""


class CacheView(msgspec.Struct, frozen=True, kw_only=True):
    """A cache."""

    tenant_id: str
    namespace: str
    cache: str
    display_name: str
    version: int
    created_version: int
    created_at: str
    updated_at: str


class SigningKeyView(msgspec.Struct, frozen=True, kw_only=True):
    """The public half of a key that signs a tenant's tokens."""

    tenant_id: str
    kid: str
    public_key: str
    """Ed25519, 32 bytes in base64url without padding: `x` of the JWK."""
    state: KeyState
    state_since: str
    version: int
    created_version: int
    created_at: str
    updated_at: str


class TokenRevocationView(msgspec.Struct, frozen=True, kw_only=True):
    """That tokens of somebody, issued before a moment, are void."""

    tenant_id: str
    principal: str
    """A principal id; `issuer:{short id}` for everyone it vouched for; `*` for everyone."""
    before: str
    version: int
    created_version: int
    created_at: str
    updated_at: str


ObjectView: TypeAlias = (
    TenantView
    | NamespaceView
    | StreamView
    | CacheView
    | SigningKeyView
    | TokenRevocationView
    | BrokerView
    | PlacementView
    | BridgeView
    | SettingView
    | FeatureFlagView
)
AnyObject = Annotated[
    object,
    msgspec.Meta(
        extra_json_schema={
            "anyOf": [
                {"$ref": f"#/components/schemas/{kind.__name__}"} for kind in get_args(ObjectView)
            ]
        }
    ),
]
"""An `ObjectView`: msgspec describes no unions of records without tags."""


class UpdateView(msgspec.Struct, frozen=True, kw_only=True):
    """One change of the metadata; for DELETE `payload` is the object as it was."""

    version: int
    type: UpdateType
    kind: ResourceKind
    payload: AnyObject


class WatchView(msgspec.Struct, frozen=True, kw_only=True):
    """Updates `first..last`, none when `first == last + 1`; ask again from `last`."""

    epoch: int
    cluster_id: str
    first: int
    last: int
    current: int
    updates: list[UpdateView]


class MetadataView(msgspec.Struct, frozen=True, kw_only=True):
    """All objects, by kind, in the order of names."""

    tenants: list[TenantView]
    namespaces: list[NamespaceView]
    streams: list[StreamView]
    caches: list[CacheView]
    signing_keys: list[SigningKeyView]
    token_revocations: list[TokenRevocationView]
    placements: list[PlacementView]
    brokers: list[BrokerView]
    bridges: list[BridgeView]
    settings: list[SettingView]
    feature_flags: list[FeatureFlagView]


class SnapshotView(msgspec.Struct, frozen=True, kw_only=True):
    """The whole metadata at one version."""

    version: int
    epoch: int
    cluster_id: str
    digest: str
    metadata: MetadataView


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """What this service can do."""

    durable_storage: bool = True
    tiered_storage: bool = False
    bridges: bool = False


class SystemInfo(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v1/system/info."""

    region_id: str
    api_version: str
    features: Features


class Health(msgspec.Struct, frozen=True):
    """GET /v1/system/health."""

    status: Literal["ok"] = "ok"


class RegionView(msgspec.Struct, frozen=True):
    """A region."""

    region_id: str
    display_name: str


class TenantPage(msgspec.Struct, frozen=True):
    """Tenants in the order of names."""

    items: list[TenantView]
    next_page_token: str
    """Empty on the last page."""


class NamespacePage(msgspec.Struct, frozen=True):
    """Namespaces in the order of names."""

    items: list[NamespaceView]
    next_page_token: str


class StreamPage(msgspec.Struct, frozen=True):
    """Streams in the order of names."""

    items: list[StreamView]
    next_page_token: str


class CachePage(msgspec.Struct, frozen=True):
    """Caches in the order of names."""

    items: list[CacheView]
    next_page_token: str


class RegionPage(msgspec.Struct, frozen=True):
    """All regions."""

    items: list[RegionView]


def view(resource: Resource) -> ObjectView:
    """Render any resource."""
    found: ObjectView = _VIEWS[kind_of(resource)](resource)
    return found


def tenant_view(tenant: Tenant) -> TenantView:
    """Render a tenant."""
    return TenantView(
        tenant_id=tenant.tenant_id,
        display_name=tenant.display_name,
        description=tenant.description,
        quotas=quotas_view(tenant.quotas),
        encryption=_encryption(tenant.encryption),
        version=tenant.version,
        created_version=tenant.created_version,
        created_at=rfc3339(tenant.created_at_ms),
        updated_at=rfc3339(tenant.updated_at_ms),
    )


def namespace_view(namespace: Namespace) -> NamespaceView:
    """Render a namespace."""
    return NamespaceView(
        tenant_id=namespace.tenant_id,
        namespace=namespace.namespace,
        display_name=namespace.display_name,
        description=namespace.description,
        quotas=quotas_view(namespace.quotas),
        version=namespace.version,
        created_version=namespace.created_version,
        created_at=rfc3339(namespace.created_at_ms),
        updated_at=rfc3339(namespace.updated_at_ms),
    )


def stream_view(stream: Stream) -> StreamView:
    """Render a stream in both spellings."""
    spec = stream.spec
    retention = spec.retention
    return StreamView(
        tenant_id=stream.tenant_id,
        namespace=stream.namespace,
        stream=stream.stream,
        kind=spec.kind,
        shards=spec.shards,
        retention=RetentionView(retention.max_age_seconds, retention.max_size_bytes),
        consistency=CONSISTENCY_WORDS[spec.ack_policy],
        delivery=spec.delivery,
        durable=spec.durability == "durable",
        stream_id=stream.stream_id,
        replication_factor=spec.replication_factor,
        ack_policy=spec.ack_policy,
        durability=spec.durability,
        regions=list(spec.regions),
        version=stream.version,
        created_version=stream.created_version,
        created_at=rfc3339(stream.created_at_ms),
        updated_at=rfc3339(stream.updated_at_ms),
        deleted_at=rfc3339(stream.deleted_at_ms) if stream.deleted_at_ms else None,
        purge_at=rfc3339(stream.purge_at_ms) if stream.purge_at_ms else None,
    )


def cache_view(cache: Cache) -> CacheView:
    """Render a cache."""
    return CacheView(
        tenant_id=cache.tenant_id,
        namespace=cache.namespace,
        cache=cache.cache,
        display_name=cache.display_name,
        version=cache.version,
        created_version=cache.created_version,
        created_at=rfc3339(cache.created_at_ms),
        updated_at=rfc3339(cache.updated_at_ms),
    )


def signing_key_view(key: SigningKey) -> SigningKeyView:
    """Render the public half of a signing key."""
    return SigningKeyView(
        tenant_id=key.tenant_id,
        kid=key.kid,
        public_key=key.public_key,
        state=key.state,
        state_since=rfc3339(key.state_since_ms),
        version=key.version,
        created_version=key.created_version,
        created_at=rfc3339(key.created_at_ms),
        updated_at=rfc3339(key.updated_at_ms),
    )


def token_revocation_view(revocation: TokenRevocation) -> TokenRevocationView:
    """Render which tokens are void."""
    return TokenRevocationView(
        tenant_id=revocation.tenant_id,
        principal=revocation.principal,
        before=rfc3339(revocation.before_ms),
        version=revocation.version,
        created_version=revocation.created_version,
        created_at=rfc3339(revocation.created_at_ms),
        updated_at=rfc3339(revocation.updated_at_ms),
    )


def quotas_view(quotas: Quotas | None) -> QuotasView | None:
    """Render quotas."""
    if quotas is None:
        return None
    return QuotasView(
        quotas.max_streams,
        quotas.max_publish_rate,
        quotas.max_subscribe_connections,
        quotas.max_storage_bytes,
        quotas.max_cache_memory,
    )


def _encryption(encryption: Encryption | None) -> EncryptionView | None:
    if encryption is None:
        return None
    return EncryptionView(encryption.key_id, encryption.rotation_period_seconds)


_VIEWS: Final[dict[ResourceKind, Callable[[Any], ObjectView]]] = {
    "Tenant": tenant_view,
    "Namespace": namespace_view,
    "Stream": stream_view,
    "Cache": cache_view,
    "SigningKey": signing_key_view,
    "TokenRevocation": token_revocation_view,
    "Broker": broker_view,
    "ShardPlacement": placement_view,
    "Bridge": bridge_view,
    "ClusterSetting": setting_view,
    "FeatureFlag": feature_flag_view,
}
