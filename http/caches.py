"""Caches: contract, section 4.4."""

from __future__ import annotations

import falcon

from felix.http.authentication import require
from felix.http.bodies import CachePatch, NewCache
from felix.http.desk import Desk, answer, expected_version_of, page_size_of, text_of
from felix.http.views import CachePage, cache_view
from felix.proto.commands import CreateCache, DeleteCache, Deleted, UpdateCache
from felix.proto.permissions import Object
from felix.proto.queries import GetCache, ListCaches
from felix.proto.resources import Cache


class Caches:
    """/v1/tenants/{tenant_id}/namespaces/{namespace}/caches"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(
        self, req: falcon.Request, resp: falcon.Response, tenant_id: str, namespace: str
    ) -> None:
        """List."""
        listing = self._desk.list(
            req,
            resp,
            ListCaches(
                tenant_id=tenant_id,
                namespace=namespace,
                filter=text_of(req, "filter"),
                page_size=page_size_of(req),
                page_token=text_of(req, "page_token"),
            ),
            seen=req.context.caller.names_seen("cache", (tenant_id, namespace)),
        )
        items = [cache_view(item) for item in listing.items if isinstance(item, Cache)]
        answer(resp, CachePage(items, listing.next_page_token))

    on_head = on_get

    def on_post(
        self, req: falcon.Request, resp: falcon.Response, tenant_id: str, namespace: str
    ) -> None:
        """Create."""
        body = self._desk.read(req, NewCache)
        require(
            req.context.caller, "cache.manage", Object("cache", (tenant_id, namespace, body.cache))
        )
        command = CreateCache(
            tenant_id=tenant_id,
            namespace=namespace,
            cache=body.cache,
            display_name=body.display_name,
        )
        cache = self._desk.ask(req, resp, command, Cache)
        resp.location = f"{req.path}/{cache.cache}"
        answer(resp, cache_view(cache), status=201, version=cache.version)


class OneCache:
    """/v1/tenants/{tenant_id}/namespaces/{namespace}/caches/{cache}"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        tenant_id: str,
        namespace: str,
        cache: str,
    ) -> None:
        """Read."""
        query = GetCache(tenant_id=tenant_id, namespace=namespace, cache=cache)
        found = self._desk.ask(req, resp, query, Cache)
        answer(resp, cache_view(found), version=found.version)

    on_head = on_get

    def on_patch(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        tenant_id: str,
        namespace: str,
        cache: str,
    ) -> None:
        """Change."""
        body = self._desk.read(req, CachePatch)
        command = UpdateCache(
            tenant_id=tenant_id,
            namespace=namespace,
            cache=cache,
            display_name=body.display_name,
            expected_version=expected_version_of(req),
        )
        changed = self._desk.ask(req, resp, command, Cache)
        answer(resp, cache_view(changed), version=changed.version)

    def on_delete(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        tenant_id: str,
        namespace: str,
        cache: str,
    ) -> None:
        """Delete."""
        command = DeleteCache(
            tenant_id=tenant_id,
            namespace=namespace,
            cache=cache,
            expected_version=expected_version_of(req),
        )
        self._desk.ask(req, resp, command, Deleted)
        resp.status = 204
