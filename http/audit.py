"""The audit trail: who did what, from where, with which result."""

from __future__ import annotations

from typing import Final

import falcon
import msgspec

from felix.http.audit_views import page_view, unix_ms
from felix.http.desk import Desk, answer, integer_of, invalid, text_of
from felix.identity.caller import Caller
from felix.proto.errors import Forbidden
from felix.proto.identity import AuditPage
from felix.proto.permissions import Object, read_object
from felix.proto.queries import GetAudit

PAGE_SIZE_MAX: Final = 1000
PAGE_SIZE_DEFAULT: Final = 100
ROUNDS_MAX: Final = 20
"""A search for something rare takes several questions; after these the client has to go on."""


class Audit:
    """/v1/audit"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Find records, newest first. A page without items may still have a next one."""
        query = GetAudit(
            tenant_id=tenant_shown(req.context.caller, text_of(req, "tenant")),
            principal=text_of(req, "principal"),
            operation=text_of(req, "operation"),
            result=text_of(req, "result"),
            request_id=text_of(req, "request_id"),
            from_ms=_time_of(req, "from"),
            to_ms=_time_of(req, "to"),
            before=integer_of(req, "before"),
            page_size=min(integer_of(req, "page_size") or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX),
        )
        page = self._desk.ask(req, resp, query, AuditPage)
        for _ in range(ROUNDS_MAX):
            if page.items or not page.next_before:
                break
            query = msgspec.structs.replace(query, before=page.next_before)
            page = self._desk.ask(req, resp, query, AuditPage)
        answer(resp, page_view(page))

    on_head = on_get


def tenant_shown(caller: Caller, wanted: str) -> str:
    """Say whose records a caller gets, who asked for those of `wanted`; empty: everybody's.

    Whoever may look at the cluster gets what they want, others one tenant of theirs, and by default
    the one that the token is of. Raises: Forbidden.
    """
    if caller.may("cluster.view", Object("cluster")):
        return wanted
    tenant_id = wanted or caller.tenant_id
    found = read_object(f"tenant:{tenant_id}")
    if found is None or not caller.may("rbac.view", found):
        raise Forbidden(f"this needs rbac.view on tenant:{tenant_id}, or cluster.view")
    return tenant_id


def _time_of(req: falcon.Request, name: str) -> int:
    text = text_of(req, name)
    if not text:
        return 0
    try:
        return max(0, unix_ms(text.replace(" ", "+")))
    except ValueError as error:
        raise invalid(name, "must be a time as in 2026-01-31T12:00:00Z") from error
