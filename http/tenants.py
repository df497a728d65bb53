"""Tenants: contract, section 4.1, and reading and changing one."""

from __future__ import annotations

import falcon

from felix.http.bodies import NewTenant, TenantPatch
from felix.http.deletions import Preview, demand_version
from felix.http.desk import Desk, answer, expected_version_of, flag_of, page_size_of, text_of
from felix.http.spelling import encryption, quotas
from felix.http.usage import require_right_to_quotas
from felix.http.views import TenantPage, tenant_view
from felix.proto.commands import CreateTenant, Deleted, DeleteTenant, UpdateTenant
from felix.proto.queries import GetTenant, ListTenants
from felix.proto.resources import Tenant


class Tenants:
    """/v1/tenants"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List."""
        listing = self._desk.list(
            req,
            resp,
            ListTenants(
                filter=text_of(req, "filter"),
                page_size=page_size_of(req),
                page_token=text_of(req, "page_token"),
            ),
            seen=req.context.caller.names_seen("tenant", ()),
        )
        items = [tenant_view(item) for item in listing.items if isinstance(item, Tenant)]
        answer(resp, TenantPage(items, listing.next_page_token))

    on_head = on_get

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Create."""
        body = self._desk.read(req, NewTenant)
        command = CreateTenant(
            tenant_id=body.tenant_id,
            display_name=body.display_name,
            description=body.description or "",
            quotas=quotas(body.quotas),
            encryption=encryption(body.encryption),
        )
        tenant = self._desk.ask(req, resp, command, Tenant)
        resp.location = f"{req.path}/{tenant.tenant_id}"
        answer(resp, tenant_view(tenant), status=201, version=tenant.version)


class OneTenant:
    """/v1/tenants/{tenant_id}"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """Read."""
        tenant = self._desk.ask(req, resp, GetTenant(tenant_id=tenant_id), Tenant)
        answer(resp, tenant_view(tenant), version=tenant.version)

    on_head = on_get

    def on_patch(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """Change."""
        body = self._desk.read(req, TenantPatch)
        if body.quotas is not None:
            require_right_to_quotas(req.context.caller, tenant_id, of_namespace=False)
        command = UpdateTenant(
            tenant_id=tenant_id,
            display_name=body.display_name,
            description=body.description,
            quotas=quotas(body.quotas),
            encryption=encryption(body.encryption),
            expected_version=expected_version_of(req),
        )
        tenant = self._desk.ask(req, resp, command, Tenant)
        answer(resp, tenant_view(tenant), version=tenant.version)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """Delete, with everything inside; a dry run says what that is."""
        if flag_of(req, "dry_run"):
            found = self._desk.ask(req, resp, GetTenant(tenant_id=tenant_id), Tenant)
            demand_version(found, expected_version_of(req))
            preview = Preview(self._desk, req).of_tenant(tenant_id)
            answer(resp, preview, version=found.version)
            return
        command = DeleteTenant(tenant_id=tenant_id, expected_version=expected_version_of(req))
        self._desk.ask(req, resp, command, Deleted)
        resp.status = 204
