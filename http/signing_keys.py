"""The keys that sign a tenant's tokens: their public half for everyone, their life for admins."""

from __future__ import annotations

import hashlib
from typing import Final

import falcon
import msgspec

from felix.http.body_or_query import read_optional
from felix.http.desk import Desk, answer, flag_of
from felix.http.identity_bodies import ActivateBody
from felix.http.identity_views import (
    KeyChange,
    SigningKeyStates,
    jwks_view,
    key_view,
)
from felix.identity.key_order import keys_of
from felix.proto.commands import ActivateSigningKey, RetireSigningKey, StageSigningKey
from felix.proto.errors import NotFound
from felix.proto.identity import Done, IdentityView
from felix.proto.queries import GetTenantIdentity

JWKS_MAX_AGE_S: Final = 300


class TenantJwks:
    """/v1/tenants/{tenant_id}/.well-known/jwks.json (contract, section 10.3)"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """Read; with the entity tag of before, 304."""
        keys = keys_of(self._identity(req, resp, tenant_id))
        if not keys:
            raise NotFound("the tenant has no signing key")
        data = msgspec.json.encode(jwks_view(keys))
        tag = hashlib.sha256(data).hexdigest()[:32]
        resp.set_header("ETag", f'"{tag}"')
        resp.set_header("Cache-Control", f"public, max-age={JWKS_MAX_AGE_S}")
        known = req.if_none_match or []
        if any(one == "*" or str(one) == tag for one in known):
            resp.status = 304
            return
        resp.content_type = falcon.MEDIA_JSON
        resp.data = data

    on_head = on_get

    def _identity(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> IdentityView:
        """Take what this node has, for brokers read without a quorum too; a tenant that it has not
        heard of may be one that was made a moment ago elsewhere."""
        query = GetTenantIdentity(tenant_id=tenant_id)
        try:
            return self._desk.ask(req, resp, query, IdentityView, consistency="stale")
        except NotFound:
            return self._desk.ask(req, resp, query, IdentityView)


class SigningKeys:
    """/v1/tenants/{tenant_id}/signing-keys"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """List."""
        view = self._desk.ask(req, resp, GetTenantIdentity(tenant_id=tenant_id), IdentityView)
        answer(resp, SigningKeyStates([key_view(key) for key in keys_of(view)]))

    on_head = on_get

    def on_post(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """Publish a new one, which does not sign yet."""
        done = self._desk.ask(req, resp, StageSigningKey(tenant_id=tenant_id), Done)
        resp.location = f"{req.path}/{done.id}"
        answer(resp, KeyChange(done.id, "published"), status=201)


class OneSigningKey:
    """/v1/tenants/{tenant_id}/signing-keys/{kid}"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_delete(
        self, req: falcon.Request, resp: falcon.Response, tenant_id: str, kid: str
    ) -> None:
        """Take it out of use: once nothing it signed is valid, or with `?revoke=true` at once."""
        command = RetireSigningKey(
            tenant_id=tenant_id,
            kid=kid,
            after_ms=self._desk.settings.key_retire_after_s * 1000,
            revoke=flag_of(req, "revoke"),
        )
        done = self._desk.ask(req, resp, command, Done)
        answer(resp, KeyChange(done.id, "active"))


class KeyActivation:
    """/v1/tenants/{tenant_id}/signing-keys/{kid}/activate"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(self, req: falcon.Request, resp: falcon.Response, tenant_id: str, kid: str) -> None:
        """Sign with it from now on, once brokers have had the time to learn of it."""
        body = read_optional(self._desk, req, ActivateBody())
        lead_ms = 0 if body.force else self._desk.settings.key_publish_lead_s * 1000
        command = ActivateSigningKey(tenant_id=tenant_id, kid=kid, lead_ms=lead_ms)
        self._desk.ask(req, resp, command, Done)
        answer(resp, KeyChange(kid, "active"))
