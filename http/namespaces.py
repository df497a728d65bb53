"""Namespaces: contract, section 4.2, and reading and changing one."""

from __future__ import annotations

import falcon

from felix.http.authentication import require
from felix.http.bodies import NamespacePatch, NewNamespace
from felix.http.deletions import Preview, demand_version
from felix.http.desk import Desk, answer, expected_version_of, flag_of, page_size_of, text_of
from felix.http.spelling import quotas
from felix.http.usage import require_right_to_quotas
from felix.http.views import NamespacePage, namespace_view
from felix.proto.commands import CreateNamespace, Deleted, DeleteNamespace, UpdateNamespace
from felix.proto.permissions import Object
from felix.proto.queries import GetNamespace, ListNamespaces
from felix.proto.resources import Namespace


class Namespaces:
    """/v1/tenants/{tenant_id}/namespaces"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """List."""
        listing = self._desk.list(
            req,
            resp,
            ListNamespaces(
                tenant_id=tenant_id,
                filter=text_of(req, "filter"),
                page_size=page_size_of(req),
                page_token=text_of(req, "page_token"),
            ),
            seen=req.context.caller.names_seen("namespace", (tenant_id,)),
        )
        items = [namespace_view(item) for item in listing.items if isinstance(item, Namespace)]
        answer(resp, NamespacePage(items, listing.next_page_token))

    on_head = on_get

    def on_post(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """Create."""
        body = self._desk.read(req, NewNamespace)
        require(req.context.caller, "ns.manage", Object("namespace", (tenant_id, body.namespace)))
        command = CreateNamespace(
            tenant_id=tenant_id,
            namespace=body.namespace,
            display_name=body.display_name,
            description=body.description or "",
            quotas=quotas(body.quotas),
        )
        namespace = self._desk.ask(req, resp, command, Namespace)
        resp.location = f"{req.path}/{namespace.namespace}"
        answer(resp, namespace_view(namespace), status=201, version=namespace.version)


class OneNamespace:
    """/v1/tenants/{tenant_id}/namespaces/{namespace}"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(
        self, req: falcon.Request, resp: falcon.Response, tenant_id: str, namespace: str
    ) -> None:
        """Read."""
        query = GetNamespace(tenant_id=tenant_id, namespace=namespace)
        found = self._desk.ask(req, resp, query, Namespace)
        answer(resp, namespace_view(found), version=found.version)

    on_head = on_get

    def on_patch(
        self, req: falcon.Request, resp: falcon.Response, tenant_id: str, namespace: str
    ) -> None:
        """Change."""
        body = self._desk.read(req, NamespacePatch)
        if body.quotas is not None:
            require_right_to_quotas(req.context.caller, tenant_id, of_namespace=True)
        command = UpdateNamespace(
            tenant_id=tenant_id,
            namespace=namespace,
            display_name=body.display_name,
            description=body.description,
            quotas=quotas(body.quotas),
            expected_version=expected_version_of(req),
        )
        changed = self._desk.ask(req, resp, command, Namespace)
        answer(resp, namespace_view(changed), version=changed.version)

    def on_delete(
        self, req: falcon.Request, resp: falcon.Response, tenant_id: str, namespace: str
    ) -> None:
        """Delete, with everything inside; a dry run says what that is."""
        if flag_of(req, "dry_run"):
            found = self._desk.ask(
                req, resp, GetNamespace(tenant_id=tenant_id, namespace=namespace), Namespace
            )
            demand_version(found, expected_version_of(req))
            preview = Preview(self._desk, req).of_namespace(tenant_id, namespace)
            answer(resp, preview, version=found.version)
            return
        command = DeleteNamespace(
            tenant_id=tenant_id, namespace=namespace, expected_version=expected_version_of(req)
        )
        self._desk.ask(req, resp, command, Deleted)
        resp.status = 204
