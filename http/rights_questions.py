"""May somebody do something, and why: answered by what enforcement asks too."""

from __future__ import annotations

import falcon
import msgspec

from felix.http.desk import Desk, answer, invalid, text_of
from felix.http.identity_views import ExplanationView, MayView, policy_view
from felix.http.rights import caller_of, require
from felix.identity.caller import Caller
from felix.identity.explaining import Explanation, explain_to
from felix.proto.errors import Forbidden
from felix.proto.identity import IdentityView
from felix.proto.permissions import ACTIONS, Object, read_object
from felix.proto.queries import GetTenantIdentity


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What `can-i` and `explain` are asked."""

    action: str
    target: Object
    principal: str
    groups: tuple[str, ...]
    about_self: bool


class CanI:
    """/v1/tenants/{tenant_id}/rbac/can-i"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """Tell whether; about the caller it is this very token that counts."""
        asked = question_of(req, tenant_id)
        if asked.about_self:
            allowed = caller_of(req).may(asked.action, asked.target)
        else:
            require(req, "rbac.view", asked.target)
            allowed = _explain(self._desk, req, resp, tenant_id, asked).allowed
        view = MayView(
            allowed=allowed,
            principal=asked.principal,
            action=asked.action,
            object=str(asked.target),
        )
        answer(resp, view)

    on_head = on_get


class Explain:
    """/v1/tenants/{tenant_id}/rbac/explain"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """Say which rule, through which roles; or which rules come nearest.

        Of somebody else that shows rules from anywhere in the tenant, so one must be allowed to
        view all of them.
        """
        asked = question_of(req, tenant_id)
        if not asked.about_self:
            require(req, "rbac.view", Object("tenant", (tenant_id,)))
        found = _explain(self._desk, req, resp, tenant_id, asked)
        view = ExplanationView(
            allowed=found.allowed,
            principal=asked.principal,
            action=asked.action,
            object=str(asked.target),
            permission=None if found.permission is None else str(found.permission),
            implied_by=None if found.implied_by is None else str(found.implied_by),
            rule=None if found.rule is None else policy_view(found.rule),
            chain=list(found.chain),
            nearest=[policy_view(rule) for rule in found.nearest],
        )
        answer(resp, view)

    on_head = on_get


def _explain(
    desk: Desk, req: falcon.Request, resp: falcon.Response, tenant_id: str, asked: Question
) -> Explanation:
    view = desk.ask(req, resp, GetTenantIdentity(tenant_id=tenant_id), IdentityView)
    subjects = {one for one in (asked.principal, *asked.groups) if one}
    return explain_to(view, subjects, asked.action, asked.target)


def question_of(req: falcon.Request, tenant_id: str) -> Question:
    """Read the query. Raises: ValidationFailed, Forbidden."""
    action = text_of(req, "action")
    if action not in ACTIONS:
        raise invalid("action", f"must be one of {', '.join(sorted(ACTIONS))}")
    target = read_object(text_of(req, "object"))
    if target is None:
        raise invalid("object", "must be an object, as in stream:acme/billing/invoices")
    if target.names[:1] not in {(), (tenant_id,)}:
        raise invalid("object", "must be one of the tenant in the path")
    caller = caller_of(req)
    principal = text_of(req, "principal")
    groups = tuple(req.get_param_as_list("group") or ())
    if principal or groups:
        return Question(
            action=action, target=target, principal=principal, groups=groups, about_self=False
        )
    return _about(caller, tenant_id, action, target)


def _about(caller: Caller, tenant_id: str, action: str, target: Object) -> Question:
    if caller.kind != "token" or caller.tenant_id != tenant_id:
        raise Forbidden("only a token of this tenant has rules here; say principal= or group=")
    return Question(
        action=action,
        target=target,
        principal=caller.principal,
        groups=caller.groups,
        about_self=True,
    )
