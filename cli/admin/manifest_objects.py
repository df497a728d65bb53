"""Reads objects of the cluster as documents that can be applied again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from felix.cli.admin.client import AdminClient, Request
from felix.cli.admin.errors import Refused, Usage
from felix.http.broker_views import (
    BridgePage,
    BridgeView,
    BrokerPage,
    BrokerWithHealth,
    PlacementView,
)
from felix.http.manifest_views import document_of
from felix.http.views import (
    CachePage,
    CacheView,
    NamespacePage,
    NamespaceView,
    QuotasView,
    StreamPage,
    StreamView,
    TenantPage,
    TenantView,
)
from felix.proto.brokers import BrokerCapacity, Placement, StreamName
from felix.proto.resources import (
    Bridge,
    Broker,
    Cache,
    Encryption,
    Namespace,
    Quotas,
    Resource,
    RetentionPolicy,
    ShardPlacement,
    Stream,
    StreamSpec,
    Tenant,
)

ALL: Final = ("tenant", "namespace", "stream", "cache", "bridge")
"""What `all` stands for: neither brokers nor placements are made by documents."""
PAGE: Final = 500
_SPACE: Final = "/v1/tenants/{}/namespaces"


class _Kind(msgspec.Struct, frozen=True):
    """How objects of a kind are read."""

    path: str
    """Of all in one place, with the names that lead there."""
    page: Any
    view: Any
    read: Callable[[Any], Resource]


# --- kinds ----------------------------------------------------------------------------------------


def _tenant(view: TenantView) -> Resource:
    encryption = None
    if view.encryption is not None:
        encryption = Encryption(view.encryption.key_id, view.encryption.rotation_period_seconds)
    return Tenant(
        tenant_id=view.tenant_id,
        display_name=view.display_name,
        description=view.description,
        quotas=_quotas(view.quotas),
        encryption=encryption,
    )


def _namespace(view: NamespaceView) -> Resource:
    return Namespace(
        tenant_id=view.tenant_id,
        namespace=view.namespace,
        display_name=view.display_name,
        description=view.description,
        quotas=_quotas(view.quotas),
    )


def _stream(view: StreamView) -> Resource:
    spec = StreamSpec(
        shards=view.shards,
        retention=RetentionPolicy(view.retention.max_age_seconds, view.retention.max_size_bytes),
        durability=view.durability,
        replication_factor=view.replication_factor,
        ack_policy=view.ack_policy,
        kind=view.kind,
        delivery=view.delivery,
        regions=tuple(view.regions),
    )
    return Stream(tenant_id=view.tenant_id, namespace=view.namespace, stream=view.stream, spec=spec)


def _cache(view: CacheView) -> Resource:
    return Cache(
        tenant_id=view.tenant_id,
        namespace=view.namespace,
        cache=view.cache,
        display_name=view.display_name,
    )


def _broker(view: BrokerWithHealth) -> Resource:
    one = view.broker
    return Broker(
        broker_id=one.broker_id,
        address=one.address,
        region=one.region,
        availability_zone=one.availability_zone,
        capacity=BrokerCapacity(one.capacity.max_shards, one.capacity.max_connections),
        metadata=one.metadata,
        status=one.status,
        drain=one.drain,
    )


def _bridge(view: BridgeView) -> Resource:
    return Bridge(
        name=view.name,
        source_region=view.source_region,
        target_region=view.target_region,
        streams=tuple(StreamName(*one.split("/")) for one in view.streams),
        encryption_key_id=view.encryption_key_id,
    )


def _placement(view: PlacementView) -> Resource:
    return ShardPlacement(
        tenant_id=view.tenant_id,
        namespace=view.namespace,
        stream=view.stream,
        placements=tuple(
            Placement(shard_id=one.shard_id, leader=one.leader, replicas=tuple(one.replicas))
            for one in view.placements
        ),
    )


def _quotas(view: QuotasView | None) -> Quotas | None:
    return None if view is None else Quotas(**msgspec.structs.asdict(view))


_KINDS: Final = {
    "tenant": _Kind("/v1/tenants", TenantPage, TenantView, _tenant),
    "namespace": _Kind(_SPACE, NamespacePage, NamespaceView, _namespace),
    "stream": _Kind(_SPACE + "/{}/streams", StreamPage, StreamView, _stream),
    "cache": _Kind(_SPACE + "/{}/caches", CachePage, CacheView, _cache),
    "broker": _Kind("/v1/brokers", BrokerPage, BrokerWithHealth, _broker),
    "bridge": _Kind("/v1/bridges", BridgePage, BridgeView, _bridge),
}
SHARDS: Final = "shardplacement"
KINDS: Final = (*_KINDS, SHARDS)


# --- reading --------------------------------------------------------------------------------------


def documents(client: AdminClient, kind: str, names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Read the objects of a kind below some names, or the one that they lead to.

    Raises: AdminError.
    """
    for row in _rows(client, kind, names):
        yield document_of(row)


def _rows(client: AdminClient, kind: str, names: tuple[str, ...]) -> Iterator[Resource]:
    if kind == SHARDS:
        for stream in _rows(client, "stream", names):
            yield from _placed(client, stream, is_wanted=len(names) == 3)
        return
    how = _KINDS[kind]
    depth = how.path.count("{}") + 1
    if len(names) > depth:
        raise Usage(
            f"the name {'/'.join(names)!r} has too many parts for a {kind}",
            f"felix-admin get {kind} {'/'.join(names[:depth])}",
        )
    if len(names) == depth:
        path = f"{_path(how, names[:-1])}/{quote(names[-1], safe='')}"
        yield how.read(client.read(Request(path=path), how.view))
    elif len(names) == depth - 1:
        yield from _pages(client, how, names)
    else:
        for above in _rows(client, KINDS[len(names)], names):
            yield from _rows(client, kind, above.key)


def _placed(client: AdminClient, stream: Resource, *, is_wanted: bool) -> Iterator[Resource]:
    """Read where the shards of a stream are; of many, one that is not placed yet has nowhere."""
    path = f"{_path(_KINDS['stream'], stream.key[:2])}/{quote(stream.key[2], safe='')}/placement"
    try:
        yield _placement(client.read(Request(path=path), PlacementView))
    except Refused:
        if is_wanted:
            raise


def _pages(client: AdminClient, how: _Kind, names: tuple[str, ...]) -> Iterator[Resource]:
    token = ""
    while True:
        query = urlencode({"page_size": PAGE, "page_token": token})
        page = client.read(Request(path=f"{_path(how, names)}?{query}"), how.page)
        for view in page.items:
            yield how.read(view)
        token = page.next_page_token
        if not token:
            return


def _path(how: _Kind, names: tuple[str, ...]) -> str:
    return how.path.format(*(quote(name, safe="") for name in names))
