"""Tokens: voiding those that are out."""

from __future__ import annotations

import falcon

from felix.http.desk import Desk
from felix.proto.commands import RevokeTokens
from felix.proto.identity import Done

EVERYONE = "*"


class PrincipalRevocation:
    """/v1/tenants/{tenant_id}/principals/{principal}/revoke"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(
        self, req: falcon.Request, resp: falcon.Response, tenant_id: str, principal: str
    ) -> None:
        """Void every token of somebody that was issued up to now, refresh tokens too."""
        self._desk.ask(req, resp, RevokeTokens(tenant_id=tenant_id, principal=principal), Done)
        resp.status = 204


class TenantRevocation:
    """/v1/tenants/{tenant_id}/tokens/revoke"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """Void every token of the tenant that was issued up to now, refresh tokens too."""
        self._desk.ask(req, resp, RevokeTokens(tenant_id=tenant_id, principal=EVERYONE), Done)
        resp.status = 204
