"""Felix tokens: what they say, how they are signed, and whom this API believes by them.

Contract, chapter 10. Claims of ours, which brokers do not look at: `jti`, `idp` (short id of the
issuer that vouched) and `grp` (the groups that rules spoke of).
"""

from __future__ import annotations

from typing import Final

import msgspec

from felix.core.auth.objects import overlap
from felix.identity.caller import Caller
from felix.identity.jose import Compact, encode_text, is_signed_by, read_compact
from felix.identity.principals import groups_still_meant
from felix.identity.reasons import NotAllowed, NotProven
from felix.identity.tenants import Rights, Tenant
from felix.proto.errors import Internal
from felix.proto.issuers import OWN_ISSUER
from felix.proto.permissions import CLUSTER_ACTIONS, OPERATOR_TENANT, Permission, read_permission

ISSUER: Final = OWN_ISSUER
BROKER: Final = "felix-broker"
CONTROL_PLANE: Final = "felix-controlplane"
AUDIENCES: Final = (BROKER, CONTROL_PLANE)
ALGORITHM: Final = "EdDSA"
LEEWAY_S: Final = 5
LIFETIME_MAX_S: Final = 86_400
"""None is given out for nearly as long: whatever signed one that is good for longer, it was not
this service."""
TOKEN_BYTES_MAX: Final = 65_536
"""Whoever may do more than fits must ask for less."""

_ALGORITHMS: Final = frozenset({ALGORITHM})


class FelixClaims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a Felix token says; the first seven are the contract's, with its JSON types."""

    iss: str
    aud: str
    sub: str
    tid: str
    iat: int
    exp: int
    perms: tuple[str, ...]
    jti: str = ""
    idp: str = ""
    grp: tuple[str, ...] = ()


class Unproven(msgspec.Struct, frozen=True):
    """A Felix token that has only been read: it names the tenant whose keys are to judge it."""

    compact: Compact
    claims: FelixClaims


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(FelixClaims)


def default_audience(tenant_id: str) -> str:
    """Name the audience of tokens for which none was asked.

    Operators have nothing to do with brokers.
    """
    return CONTROL_PLANE if tenant_id == OPERATOR_TENANT else BROKER


def is_allowed_in(permission: Permission, audience: str, tenant_id: str) -> bool:
    """Tell whether a permission may stand in a token.

    One that brokers do not know would make the token useless to them (contract, section 11.5).
    """
    if permission.action not in CLUSTER_ACTIONS:
        return True
    return (audience, tenant_id) == (CONTROL_PLANE, OPERATOR_TENANT)


def mint(tenant: Tenant, claims: FelixClaims) -> str:
    """Sign a token with the tenant's active key.

    Raises: NotAllowed (too many permissions), Internal (the private key cannot be had here).
    """
    if tenant.signer is None:
        raise Internal("this node cannot sign for the tenant; its log says why")
    signer = tenant.signer
    signed = signer.header + b"." + encode_text(_encoder.encode(claims))
    token = (signed + b"." + encode_text(signer.key.sign(signed))).decode("ascii")
    if len(token) > TOKEN_BYTES_MAX:
        raise NotAllowed("too_many_permissions", principal=claims.sub)
    return token


def read_token(token: str) -> Unproven:
    """Read a Felix token without believing it.

    Raises: NotProven.
    """
    compact = read_compact(token, _ALGORITHMS, TOKEN_BYTES_MAX)
    try:
        return Unproven(compact, _decoder.decode(compact.payload))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotProven("malformed") from error


def verify(token: Unproven, tenant: Tenant, now_s: float, *, accept_broker_tokens: bool) -> Caller:
    """Find out who bears a token of a tenant, and what of it they may still do.

    Signed is what was true when it was minted. What counts besides is now: the issuer is trusted,
    nothing was revoked, and the rules still say so (contract, chapter 15, S14).

    Raises: NotProven.
    """
    claims = token.claims
    assert claims.tid == tenant.tenant_id, "a token is judged by the tenant that it names"
    _check_signature(token.compact, tenant)
    if claims.iss != ISSUER:
        raise NotProven("wrong_issuer")
    if claims.aud not in AUDIENCES:
        raise NotProven("audience")
    if claims.aud == BROKER and not accept_broker_tokens:
        raise NotProven("broker_token_not_accepted", principal=claims.sub)
    if claims.exp < now_s - LEEWAY_S:
        raise NotProven("expired", principal=claims.sub)
    if claims.exp > now_s + LIFETIME_MAX_S:
        raise NotProven("lifetime_too_long", principal=claims.sub)
    issuer = tenant.issuers_by_short_id.get(claims.idp)
    if issuer is None:
        raise NotProven("issuer_not_trusted", principal=claims.sub)
    _check_revocations(claims, tenant)
    groups = groups_still_meant(issuer, claims.grp, is_only_issuer=tenant.has_one_issuer)
    rights = tenant.rights_of(tenant.subjects_of(claims.sub, groups))
    return Caller(
        kind="token",
        principal=claims.sub,
        tenant_id=claims.tid,
        groups=groups,
        permissions=tuple(
            one
            for one in still_held(claims.perms, rights)
            if is_allowed_in(one, claims.aud, claims.tid)
        ),
    )


def still_held(texts: tuple[str, ...], rights: Rights) -> tuple[Permission, ...]:
    """Cut permissions that were given earlier down to what is granted now."""
    held: dict[Permission, None] = {}
    for text in texts:
        same = rights.by_text.get(text)
        if same is not None:
            held[same] = None
            continue
        given = read_permission(text)
        if given is None:
            continue
        for granted in rights.permissions:
            if granted.action == given.action:
                common = overlap(given.object, granted.object)
                if common is not None:
                    held[Permission(given.action, common)] = None
    return tuple(held)


def _check_signature(token: Compact, tenant: Tenant) -> None:
    named = tenant.public_keys.get(token.kid or "")
    if named is not None and is_signed_by(token, named):
        return
    for kid, key in tenant.public_keys.items():
        if kid != token.kid and is_signed_by(token, key):
            return
    raise NotProven("signature")


def _check_revocations(claims: FelixClaims, tenant: Tenant) -> None:
    """Refuse what was issued up to a revocation.

    `iat` has whole seconds: what was issued later in the second of a revocation goes too.
    """
    for whom in (claims.sub, f"issuer:{claims.idp}", "*"):
        before_ms = tenant.revoked_before_ms.get(whom)
        if before_ms is not None and claims.iat * 1000 <= before_ms:
            raise NotProven("revoked", principal=claims.sub)
