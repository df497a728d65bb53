"""Lookups and listings."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, Final

from felix.core.catalog import identity_queries, quotas, settings
from felix.core.catalog.glob import matcher
from felix.core.catalog.paging import PAGE_BYTES_MAX, invalid, size_of
from felix.core.catalog.placement_tables import DELETED_STREAMS
from felix.core.catalog.store import Store
from felix.proto.errors import NotFound
from felix.proto.names import NAME_CHARS_MAX
from felix.proto.queries import (
    AnyQuery,
    GetCache,
    GetFeatureFlag,
    GetNamespace,
    GetSetting,
    GetStream,
    GetTenant,
    GetTenantIdentity,
    GetUsage,
    ListAllSigningKeys,
    ListBrokerCredentials,
    ListCaches,
    ListFeatureFlags,
    Listing,
    ListNamespaces,
    ListSettings,
    ListStreams,
    ListTenants,
    Paged,
    page_token_after,
)
from felix.proto.resources import Key, Resource, ResourceKind
from felix.proto.rpc import Answer


def answer(store: Store, query: AnyQuery) -> Answer:
    """Answer a lookup or listing. Raises: NotFound, ValidationFailed."""
    return _HANDLERS[type(query)](store, query)


def _get_tenant(store: Store, query: GetTenant) -> Resource:
    return _get(store, "Tenant", (query.tenant_id,))


def _get_namespace(store: Store, query: GetNamespace) -> Resource:
    _get(store, "Tenant", (query.tenant_id,))
    return _get(store, "Namespace", (query.tenant_id, query.namespace))


def _get_stream(store: Store, query: GetStream) -> Resource:
    parent = _parent(store, query)
    return _get(store, "Stream", (*parent, query.stream))


def _get_cache(store: Store, query: GetCache) -> Resource:
    parent = _parent(store, query)
    return _get(store, "Cache", (*parent, query.cache))


def _list_tenants(store: Store, query: ListTenants) -> Listing:
    return _list(store, "Tenant", (), query)


def _list_namespaces(store: Store, query: ListNamespaces) -> Listing:
    _get(store, "Tenant", (query.tenant_id,))
    return _list(store, "Namespace", (query.tenant_id,), query)


def _list_streams(store: Store, query: ListStreams) -> Listing:
    parent = _parent(store, query)
    return _list(store, DELETED_STREAMS if query.is_deleted else "Stream", parent, query)


def _list_caches(store: Store, query: ListCaches) -> Listing:
    return _list(store, "Cache", _parent(store, query), query)


def _parent(store: Store, query: GetStream | GetCache | ListStreams | ListCaches) -> Key:
    """Make sure of tenant and namespace, in this order."""
    _get(store, "Tenant", (query.tenant_id,))
    return _get(store, "Namespace", (query.tenant_id, query.namespace)).key


def _get(store: Store, kind: ResourceKind, key: Key) -> Resource:
    row: Resource | None = store.tables[kind].rows.get(key)
    if row is None:
        raise NotFound(f"there is no {kind.lower()} {'/'.join(key)!r}")
    return row


def _list(store: Store, kind: str, parent: Key, query: Paged) -> Listing:
    page_size = size_of(query)
    table = store.tables[kind]
    items: list[Resource] = []
    size = 0
    matches = matcher(query.filter)
    for key in table.after(parent, _name_of(query.page_token)):
        if not matches(key[-1]):
            continue
        if len(items) == page_size or size > PAGE_BYTES_MAX:
            return Listing(items, page_token_after(items[-1].key[-1]))
        row = table.rows[key]
        items.append(row)
        size += 200 + len(getattr(row, "display_name", "")) + len(getattr(row, "description", ""))
    return Listing(items)


def _name_of(token: str) -> str:
    if not token:
        return ""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        name = raw[1:].decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise invalid("page_token", "is not one of ours") from error
    if raw[:1] != b"1" or not 0 < len(name) <= NAME_CHARS_MAX:
        raise invalid("page_token", "is not one of ours")
    return name


_HANDLERS: Final[dict[type[AnyQuery], Callable[[Store, Any], Answer]]] = {
    GetTenant: _get_tenant,
    ListTenants: _list_tenants,
    GetTenantIdentity: identity_queries.tenant_identity,
    ListAllSigningKeys: identity_queries.all_signing_keys,
    ListBrokerCredentials: identity_queries.broker_credentials,
    GetUsage: quotas.usage,
    GetNamespace: _get_namespace,
    ListNamespaces: _list_namespaces,
    GetStream: _get_stream,
    ListStreams: _list_streams,
    GetCache: _get_cache,
    ListCaches: _list_caches,
    GetSetting: settings.get,
    ListSettings: settings.page,
    GetFeatureFlag: settings.get,
    ListFeatureFlags: settings.page,
}
