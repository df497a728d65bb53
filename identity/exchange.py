"""From a token of an identity provider, or a refresh token, to a Felix token.

Contract, chapter 7; the order of the checks is that of section 7.2.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from felix.core.auth.narrowing import narrow
from felix.identity.principals import groups_still_meant, short_id
from felix.identity.reasons import DEPENDS_ON_RULES, NotAllowed, NotProven, Refused
from felix.identity.settings import IdentitySettings
from felix.identity.tenants import Tenant, Tenants
from felix.identity.tokens import (
    AUDIENCES,
    ISSUER,
    FelixClaims,
    default_audience,
    is_allowed_in,
    mint,
    still_held,
)
from felix.identity.upstream import Upstream, Vouched
from felix.proto.commands import GrantRefresh, UseRefresh
from felix.proto.control_plane import Call, ControlPlane
from felix.proto.errors import NotEnabled, NotFound, Unauthorized, ValidationFailed
from felix.proto.identity import RefreshGrant
from felix.proto.permissions import Permission

ID_BYTES: Final = 16
SECRET_BYTES: Final = 32

_REFRESH_TOKEN = re.compile(r"frt_([0-9a-f]{32})_([0-9a-f]{64})", re.ASCII)


class ExchangeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for; by default everything that it may have."""

    requested: tuple[str, ...] | None = None
    """Actions."""
    resources: tuple[str, ...] | None = None
    """Objects."""
    audience: str | None = None
    """Who is to take the token; None: whoever the tenant's tokens are for."""
    refresh: bool = False
    """Give a refresh token too."""


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """What a client gets."""

    felix_token: str
    expires_in: int
    """Seconds; 0: only those that allow for a difference of clocks will take it."""
    refresh_token: str | None = None
    refresh_expires_in: int | None = None
    principal: str = ""
    """For the log."""


class _Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into a token."""

    principal: str
    issuer: str
    groups: tuple[str, ...]
    permissions: tuple[str, ...]
    audience: str
    until_s: int


class Exchange:
    """Gives out tokens. Any thread may use it."""

    def __init__(
        self,
        control_plane: ControlPlane,
        settings: IdentitySettings,
        tenants: Tenants,
        upstream: Upstream,
        clock: Callable[[], float],
    ) -> None:
        self._control_plane = control_plane
        self._settings = settings
        self._tenants = tenants
        self._upstream = upstream
        self._clock = clock

    def exchange(
        self, tenant_id: str, token: str | None, request: ExchangeRequest, call: Call
    ) -> Issued:
        """Trade an identity provider's token for a Felix token.

        Raises: NotProven, NotAllowed, ValidationFailed, IdpUnavailable, and what else the node
        says.
        """
        _check(request)
        if not token:
            raise NotProven("no_token")
        now_s = self._clock()
        tenant: Tenant | None = None
        try:
            tenant = self._tenant(tenant_id)
            grant = self._judge(tenant, token, request, now_s)
        except Refused as refusal:
            if refusal.reason not in DEPENDS_ON_RULES:
                raise
            tenant = self._tenants.look_again(tenant_id, tenant)
            if tenant is None:
                raise
            grant = self._judge(tenant, token, request, now_s)
        issued = self._issue(tenant, grant, now_s)
        if request.refresh and self._settings.refresh_lifetime_s:
            return self._with_refresh(tenant, grant, issued, call)
        return issued

    def _judge(self, tenant: Tenant, token: str, request: ExchangeRequest, now_s: float) -> _Grant:
        if not tenant.issuers:
            raise NotAllowed("no_issuers")
        return _grant(tenant, self._upstream.judge(token, tenant, now_s), request)

    def refresh(
        self, tenant_id: str, refresh_token: str, request: ExchangeRequest, call: Call
    ) -> Issued:
        """Trade a refresh token for a Felix token and the next refresh token.

        It is used up by that, even if nothing that was asked for is left: what it stands for is
        only known to the cluster, and there it is used once. With an idempotency key in `call` the
        same request again, by whoever did not get the answer, has the same successor; see
        `_successor_of`.

        Raises: NotProven, NotAllowed, ValidationFailed, NotEnabled, and what else the node says;
        `Unknown` errors leave open whether it is used up.
        """
        _check(request)
        if not self._settings.refresh_lifetime_s:
            raise NotEnabled("refresh tokens are turned off")
        parts = _REFRESH_TOKEN.fullmatch(refresh_token)
        if parts is None:
            raise NotProven("refresh_token")
        tenant = self._tenant(tenant_id)
        next_id, next_secret = _successor_of(parts[1], parts[2], call.idempotency_key)
        command = UseRefresh(
            tenant_id=tenant_id,
            grant_id=parts[1],
            secret_hash=_hash(parts[2]),
            next_id=next_id,
            next_secret_hash=_hash(next_secret),
        )
        try:
            # Answers that are remembered by a key are remembered for a principal, and this caller
            # has none yet: it would share its keys with every other one.
            unkeyed = msgspec.structs.replace(call, idempotency_key=None)
            successor = self._control_plane.ask(command, unkeyed).result
        except (Unauthorized, NotFound) as error:
            raise NotProven("refresh_token") from error
        assert isinstance(successor, RefreshGrant)
        try:
            grant = _grant_again(tenant, successor, request)
        except Refused:
            again = self._tenants.look_again(tenant_id, tenant)
            if again is None:
                raise
            tenant, grant = again, _grant_again(again, successor, request)
        now_s = self._clock()
        return msgspec.structs.replace(
            self._issue(tenant, grant, now_s),
            refresh_token=f"frt_{next_id}_{next_secret}",
            refresh_expires_in=max(0, successor.expires_at_ms // 1000 - int(now_s)),
        )

    def _tenant(self, tenant_id: str) -> Tenant:
        """Find a tenant; that there is none is not told (contract, section 7.2, step 3)."""
        try:
            return self._tenants.get(tenant_id)
        except NotFound as error:
            raise NotAllowed("unknown_tenant") from error

    def _issue(self, tenant: Tenant, grant: _Grant, now_s: float) -> Issued:
        iat = int(now_s)
        exp = min(iat + self._settings.token_lifetime_s, grant.until_s)
        claims = FelixClaims(
            iss=ISSUER,
            aud=grant.audience,
            sub=grant.principal,
            tid=tenant.tenant_id,
            iat=iat,
            exp=exp,
            perms=grant.permissions,
            jti=secrets.token_hex(ID_BYTES),
            idp=short_id(grant.issuer),
            grp=grant.groups,
        )
        token = mint(tenant, claims)
        return Issued(felix_token=token, expires_in=max(0, exp - iat), principal=grant.principal)

    def _with_refresh(self, tenant: Tenant, grant: _Grant, issued: Issued, call: Call) -> Issued:
        grant_id, secret = secrets.token_hex(ID_BYTES), secrets.token_hex(SECRET_BYTES)
        lifetime_s = self._settings.refresh_lifetime_s
        kept = RefreshGrant(
            tenant_id=tenant.tenant_id,
            grant_id=grant_id,
            secret_hash=_hash(secret),
            family=grant_id,
            principal=grant.principal,
            issuer=grant.issuer,
            groups=grant.groups,
            permissions=grant.permissions,
            audience=grant.audience,
            expires_at_ms=(int(self._clock()) + lifetime_s) * 1000,
        )
        call = msgspec.structs.replace(call, principal=grant.principal)
        self._control_plane.ask(GrantRefresh(grant=kept), call)
        return msgspec.structs.replace(
            issued,
            refresh_token=f"frt_{grant_id}_{secret}",
            refresh_expires_in=lifetime_s,
        )


def _check(request: ExchangeRequest) -> None:
    """Refuse what no tenant's rules could make a good request."""
    narrow((), request.requested, request.resources)
    if request.audience is not None and request.audience not in AUDIENCES:
        known = " or ".join(AUDIENCES)
        raise ValidationFailed(f"/audience: must be {known}", details={"pointer": "/audience"})


def _grant(tenant: Tenant, vouched: Vouched, request: ExchangeRequest) -> _Grant:
    audience = request.audience or default_audience(tenant.tenant_id)
    subjects = tenant.subjects_of(vouched.principal, vouched.groups)
    granted = tenant.rights_of(subjects).by_text
    return _Grant(
        principal=vouched.principal,
        issuer=vouched.issuer.issuer,
        groups=subjects[1:],
        permissions=_asked_for(granted, request, audience, tenant, vouched.principal),
        audience=audience,
        until_s=vouched.exp,
    )


def _grant_again(tenant: Tenant, successor: RefreshGrant, request: ExchangeRequest) -> _Grant:
    """Say what a refresh token is good for now: never for more than the exchange it came from."""
    principal = successor.principal
    issuer = tenant.issuers.get(successor.issuer)
    if issuer is None:
        raise NotProven("issuer_not_trusted", principal=principal)
    if request.audience not in {None, successor.audience}:
        raise NotAllowed("refresh_audience", principal=principal)
    groups = groups_still_meant(issuer, successor.groups, is_only_issuer=tenant.has_one_issuer)
    subjects = tenant.subjects_of(principal, groups)
    granted = _by_text(still_held(successor.permissions, tenant.rights_of(subjects)))
    return _Grant(
        principal=principal,
        issuer=successor.issuer,
        groups=subjects[1:],
        permissions=_asked_for(granted, request, successor.audience, tenant, principal),
        audience=successor.audience,
        until_s=successor.expires_at_ms // 1000,
    )


def _asked_for(
    granted: dict[str, Permission],
    request: ExchangeRequest,
    audience: str,
    tenant: Tenant,
    principal: str,
) -> tuple[str, ...]:
    if request.requested is not None or request.resources is not None:
        granted = _by_text(narrow(granted.values(), request.requested, request.resources))
    kept = tuple(
        [text for text, one in granted.items() if is_allowed_in(one, audience, tenant.tenant_id)]
    )
    if not kept:
        raise NotAllowed("no_permissions", principal=principal)
    return kept


def _by_text(permissions: Iterable[Permission]) -> dict[str, Permission]:
    return {str(one): one for one in permissions}


def _successor_of(grant_id: str, secret: str, idempotency_key: str | None) -> tuple[str, str]:
    """Choose id and secret of the next refresh token: by chance, or by an idempotency key.

    Derived from the token's own secret, which is kept nowhere, and the key, the next one can only
    be had by who holds both. So a retry whose first answer was lost (RFC 6749 has nothing for it,
    and RFC 9700 would end the session) gets the same token, and another caller with the same key
    another one.
    """
    if idempotency_key is None:
        return secrets.token_hex(ID_BYTES), secrets.token_hex(SECRET_BYTES)
    seed = bytes.fromhex(secret)
    text = f"{grant_id}\0{idempotency_key}".encode()
    next_id = hmac.digest(seed, b"felix refresh id\0" + text, "sha256")[:ID_BYTES]
    next_secret = hmac.digest(seed, b"felix refresh secret\0" + text, "sha256")
    return next_id.hex(), next_secret.hex()


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
