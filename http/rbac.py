"""Rules and assignments of a tenant: contract, section 9.2, and taking them away."""

from __future__ import annotations

import falcon

from felix.http.body_or_query import read_either
from felix.http.desk import Desk, answer
from felix.http.identity_bodies import GroupingBody, PolicyBody
from felix.http.identity_views import GroupingView, policy_view
from felix.http.rights import caller_of, scopes_for
from felix.identity.caller import Caller
from felix.proto.commands import ChangeGroupings, ChangePolicies
from felix.proto.errors import Forbidden, ValidationFailed
from felix.proto.identity import Assignment, Done, IdentityView, Policy, Rule
from felix.proto.permissions import Object, check_rule, read_object
from felix.proto.queries import GetTenantIdentity


class Policies:
    """/v1/tenants/{tenant_id}/rbac/policies"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """List those that the caller may view."""
        viewer = viewer_of(req, tenant_id)
        view = self._desk.ask(req, resp, GetTenantIdentity(tenant_id=tenant_id), IdentityView)
        found = visible(viewer, view.policies)
        answer(resp, [policy_view(one) for one in found])

    on_head = on_get

    def on_post(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """Add one, if it is not there."""
        scopes = scopes_for(req, "rbac.policy.manage", tenant_id)
        body = self._desk.read(req, PolicyBody)
        check_rule(body.action, body.object, tenant_id)
        rule = Rule(body.subject, body.object, body.action)
        command = ChangePolicies(tenant_id=tenant_id, add=(rule,), scopes=scopes)
        self._desk.ask(req, resp, command, Done)
        resp.status = 204

    def on_delete(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """Remove one, whether it was there or not; named by the query or by a body."""
        scopes = scopes_for(req, "rbac.policy.manage", tenant_id)
        body = read_either(self._desk, req, PolicyBody)
        rule = Rule(body.subject, body.object, body.action)
        command = ChangePolicies(tenant_id=tenant_id, remove=(rule,), scopes=scopes)
        self._desk.ask(req, resp, command, Done)
        resp.status = 204


class Groupings:
    """/v1/tenants/{tenant_id}/rbac/groupings"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """List those whose role the caller may view, by a rule of it; all to who may view all."""
        viewer = viewer_of(req, tenant_id)
        view = self._desk.ask(req, resp, GetTenantIdentity(tenant_id=tenant_id), IdentityView)
        roles = {one.subject for one in visible(viewer, view.policies)}
        everything = viewer.may("rbac.view", Object("tenant", (tenant_id,)))
        found = [one for one in view.groupings if everything or one.role in roles]
        answer(resp, [GroupingView(one.user, one.role) for one in found])

    on_head = on_get

    def on_post(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """Add one, if it is not there. Every refusal is 403 (contract, section 9.2)."""
        scopes = scopes_for(req, "rbac.assignment.manage", tenant_id)
        assignment = _assignment(self._desk.read(req, GroupingBody))
        command = ChangeGroupings(tenant_id=tenant_id, add=(assignment,), scopes=scopes)
        self._change(req, resp, command)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """Remove one, whether it was there or not; named by the query or by a body."""
        scopes = scopes_for(req, "rbac.assignment.manage", tenant_id)
        assignment = _assignment(read_either(self._desk, req, GroupingBody))
        command = ChangeGroupings(tenant_id=tenant_id, remove=(assignment,), scopes=scopes)
        self._change(req, resp, command)

    def _change(self, req: falcon.Request, resp: falcon.Response, command: ChangeGroupings) -> None:
        try:
            self._desk.ask(req, resp, command, Done)
        except ValidationFailed as error:
            if "parameter" in error.details:  # a header of this request, not the assignment
                raise
            raise Forbidden(error.message, details=error.details) from error
        resp.status = 204


def viewer_of(req: falcon.Request, tenant_id: str) -> Caller:
    """Let only somebody on who may view some rule of a tenant. Raises: Forbidden."""
    caller = caller_of(req)
    if not caller.may("cluster.view", Object("cluster")):
        scopes_for(req, "rbac.view", tenant_id)
    return caller


def visible(viewer: Caller, policies: tuple[Policy, ...]) -> list[Policy]:
    """Keep the rules whose object somebody may view; what is no object only operators see."""
    kept = []
    for policy in policies:
        target = read_object(policy.object) or Object("cluster")
        if viewer.may("rbac.view", target):
            kept.append(policy)
    return kept


def _assignment(body: GroupingBody) -> Assignment:
    if not body.user.strip() or not body.role.strip():
        raise Forbidden("user and role must not be blank")
    return Assignment(body.user, body.role)
