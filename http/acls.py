"""Access lists of a namespace: another spelling of its rules (seed, "ACL Management")."""

from __future__ import annotations

import falcon

from felix.http.desk import Desk, answer, text_of
from felix.http.identity_bodies import AclBody
from felix.http.identity_views import AclPage, AclView
from felix.http.rbac import viewer_of, visible
from felix.http.rights import scopes_for
from felix.identity.acls import Acl, Change, acls_of, clearing, replacing
from felix.proto.commands import ChangePolicies
from felix.proto.identity import Done, IdentityView, Policy
from felix.proto.queries import GetNamespace, GetTenantIdentity
from felix.proto.resources import Namespace


class Acls:
    """/v1/tenants/{tenant_id}/namespaces/{namespace}/acls"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(
        self, req: falcon.Request, resp: falcon.Response, tenant_id: str, namespace: str
    ) -> None:
        """List, as far as the caller may view the rules."""
        viewer = viewer_of(req, tenant_id)
        self._check_namespace(req, resp, tenant_id, namespace)
        found = acls_of(visible(viewer, self._policies(req, resp, tenant_id)))
        answer(resp, AclPage([_view(acl) for acl in found if acl.namespace == namespace]))

    on_head = on_get

    def on_put(
        self, req: falcon.Request, resp: falcon.Response, tenant_id: str, namespace: str
    ) -> None:
        """Let a principal do this with a resource, and nothing else that a list can say."""
        scopes = scopes_for(req, "rbac.policy.manage", tenant_id)
        body = self._desk.read(req, AclBody)
        self._check_namespace(req, resp, tenant_id, namespace)
        acl = Acl(
            tenant_id=tenant_id,
            namespace=namespace,
            resource=body.resource,
            principal=body.principal,
            permissions=tuple(body.permissions),
        )
        change = replacing(self._policies(req, resp, tenant_id), acl)
        self._change(req, resp, tenant_id, scopes, change)
        answer(resp, _view(acl))

    def on_delete(
        self, req: falcon.Request, resp: falcon.Response, tenant_id: str, namespace: str
    ) -> None:
        """Let the principal of the query do nothing with its resource that a list can say."""
        scopes = scopes_for(req, "rbac.policy.manage", tenant_id)
        acl = Acl(
            tenant_id=tenant_id,
            namespace=namespace,
            resource=text_of(req, "resource"),
            principal=text_of(req, "principal"),
            permissions=(),
        )
        change = clearing(self._policies(req, resp, tenant_id), acl)
        self._change(req, resp, tenant_id, scopes, change)
        resp.status = 204

    def _change(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        tenant_id: str,
        scopes: tuple[str, ...] | None,
        change: Change,
    ) -> None:
        command = ChangePolicies(
            tenant_id=tenant_id, add=change.add, remove=change.remove, scopes=scopes
        )
        if change.add or change.remove:
            self._desk.ask(req, resp, command, Done)

    def _policies(
        self, req: falcon.Request, resp: falcon.Response, tenant_id: str
    ) -> tuple[Policy, ...]:
        query = GetTenantIdentity(tenant_id=tenant_id)
        return self._desk.ask(req, resp, query, IdentityView).policies

    def _check_namespace(
        self, req: falcon.Request, resp: falcon.Response, tenant_id: str, namespace: str
    ) -> None:
        """Rules may speak of what is yet to come; a path may not. Raises: NotFound."""
        query = GetNamespace(tenant_id=tenant_id, namespace=namespace)
        self._desk.ask(req, resp, query, Namespace)


def _view(acl: Acl) -> AclView:
    return AclView(
        tenant_id=acl.tenant_id,
        namespace=acl.namespace,
        resource=acl.resource,
        principal=acl.principal,
        permissions=list(acl.permissions),
    )
