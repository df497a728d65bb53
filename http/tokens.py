"""Tokens: trading them in, and voiding those that are out. Contract, chapter 7."""

from __future__ import annotations

from typing import Final

import falcon
from msgspec import UNSET

from felix.http.body_or_query import read_optional
from felix.http.desk import Desk, answer, idempotency_key_of
from felix.http.identity_bodies import ExchangeBody, RefreshBody
from felix.http.identity_views import TokenView
from felix.http.rights import bearer_of
from felix.identity.exchange import ExchangeRequest, Issued
from felix.proto.commands import RevokeTokens
from felix.proto.control_plane import Call
from felix.proto.errors import Unauthorized
from felix.proto.identity import Done

EVERYONE: Final = "*"


class Exchange:
    """/v1/tenants/{tenant_id}/token/exchange"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """Trade a token of an identity provider for a Felix token."""
        token = bearer_of(req)
        if token is None:
            raise Unauthorized("a token of an identity provider is needed")
        body = read_optional(self._desk, req, ExchangeBody())
        wish = ExchangeRequest(
            requested=_optional(body.requested),
            resources=_optional(body.resources),
            audience=body.audience,
            refresh=bool(body.refresh),
        )
        granted = self._desk.gatekeeper.exchange(tenant_id, token, wish, _call(self._desk, req))
        answer(resp, _view(granted))


class Refresh:
    """/v1/tenants/{tenant_id}/token/refresh"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """Trade a refresh token, once, for a Felix token and the next refresh token.

        A client that did not get the answer repeats the request with its `Idempotency-Key`.
        """
        body = self._desk.read(req, RefreshBody)
        wish = ExchangeRequest(
            requested=_optional(body.requested), resources=_optional(body.resources)
        )
        call = _call(self._desk, req, idempotency_key_of(req))
        granted = self._desk.gatekeeper.refresh(tenant_id, body.refresh_token, wish, call)
        answer(resp, _view(granted))


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


def _call(desk: Desk, req: falcon.Request, idempotency_key: str | None = None) -> Call:
    return Call(
        timeout_s=desk.settings.timeout_s,
        idempotency_key=idempotency_key,
        request_id=req.context.request_id,
        source=req.remote_addr or "",
    )


def _optional(given: list[str] | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(given)


def _view(granted: Issued) -> TokenView:
    return TokenView(
        felix_token=granted.felix_token,
        expires_in=granted.expires_in,
        refresh_token=granted.refresh_token or UNSET,
        refresh_expires_in=granted.refresh_expires_in or UNSET,
    )
