"""Tokens of identity providers (contract, section 7.3, and chapter 15, S10)."""

from __future__ import annotations

from typing import Final

import msgspec

from felix.identity.jose import Compact, is_signed_by, read_compact, read_object
from felix.identity.jwks import IssuerKeys
from felix.identity.principals import group_subjects, principal_id
from felix.identity.reasons import NotAllowed, NotProven
from felix.identity.tenants import Tenant
from felix.proto.errors import NotFound
from felix.proto.identity import IdpIssuer

SKEW_S: Final = 60
"""By which clocks may differ."""
LIFETIME_MAX_S: Final = 86_400
"""Nobody needs an identity provider's word for longer; `exp` far ahead is a mistake or worse."""
SUBJECT_CHARS_MAX: Final = 512
GROUPS_MAX: Final = 200


class Vouched(msgspec.Struct, frozen=True, kw_only=True):
    """Whom an identity provider has vouched for."""

    issuer: IdpIssuer
    principal: str
    groups: tuple[str, ...]
    """As subjects of rules."""
    exp: int
    """Until when, in Unix seconds."""


class Upstream:
    """Judges tokens. Any thread may use it."""

    def __init__(self, keys: IssuerKeys, algorithms: frozenset[str]) -> None:
        self._keys = keys
        self._algorithms = algorithms

    def judge(self, token: str, tenant: Tenant, now_s: float) -> Vouched:
        """Find out for whom a token stands.

        Raises: NotProven; NotAllowed (an issuer that is not trusted, groups that cannot be taken);
        IdpUnavailable.
        """
        compact = read_compact(token, self._algorithms)
        if compact.kid is None:
            raise NotProven("no_kid")
        claims = read_object(compact.payload)
        named = claims.get("iss")
        if not isinstance(named, str):
            raise NotProven("no_issuer")
        issuer = tenant.issuers.get(named)
        if issuer is None:
            raise NotAllowed("issuer_not_trusted")
        self._check_signature(compact, compact.kid, issuer)
        exp = _check_times(claims, now_s)
        _check_audience(claims.get("aud"), issuer)
        principal = principal_id(issuer.issuer, _subject(claims, issuer))
        groups = group_subjects(
            issuer, _groups(claims, issuer, principal), is_only_issuer=tenant.has_one_issuer
        )
        return Vouched(issuer=issuer, principal=principal, groups=groups, exp=exp)

    def _check_signature(self, compact: Compact, kid: str, issuer: IdpIssuer) -> None:
        try:
            found = self._keys.find(issuer, kid)
        except NotFound as error:  # it was taken from the list a moment ago
            raise NotAllowed("issuer_not_trusted") from error
        if found is None:
            raise NotProven("kid_unknown")
        if compact.algorithm not in found.algorithms:
            raise NotProven("key_unusable")
        if not is_signed_by(compact, found.key):
            raise NotProven("signature")


def _check_times(claims: dict[str, object], now_s: float) -> int:
    exp, nbf, iat = claims.get("exp"), claims.get("nbf"), claims.get("iat")
    # `bool` is an `int` to Python and a mistake to us; hence `type`.
    if type(exp) is not int:
        raise NotProven("exp_missing")
    if exp < now_s - SKEW_S:
        raise NotProven("expired")
    if exp > now_s + LIFETIME_MAX_S:
        raise NotProven("lifetime_too_long")
    if nbf is not None:
        if type(nbf) not in {int, float}:
            raise NotProven("nbf_invalid")
        if nbf > now_s + SKEW_S:  # type: ignore[operator]  # one of the types of the line above
            raise NotProven("not_yet_valid")
    if type(iat) is not int:
        raise NotProven("iat_missing")
    if iat > now_s + SKEW_S:
        raise NotProven("iat_in_future")
    return exp


def _check_audience(audience: object, issuer: IdpIssuer) -> None:
    values = audience if isinstance(audience, list) else [audience]
    if not all(isinstance(one, str) for one in values):
        raise NotProven("audience")
    if not any(one in issuer.audiences for one in values):
        raise NotProven("audience")


def _subject(claims: dict[str, object], issuer: IdpIssuer) -> str:
    subject = claims.get(issuer.subject_claim)
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARS_MAX:
        raise NotProven("subject")
    if not subject.strip():
        raise NotProven("subject")
    return subject


def _groups(claims: dict[str, object], issuer: IdpIssuer, principal: str) -> list[str]:
    """Read the groups of a token, or none if the tenant does not ask for them.

    A provider that leaves groups out because there are too many says so in one of two ways. To go
    on without them would take rights away in silence, so it is refused aloud.
    """
    claim = issuer.groups_claim
    if claim is None:
        return []
    elsewhere = claims.get("_claim_names")
    if claims.get("hasgroups") or (isinstance(elsewhere, dict) and claim in elsewhere):
        raise NotAllowed("group_overage", principal=principal)
    values = claims.get(claim)
    if values is None:
        return []
    if isinstance(values, str):
        values = [values]
    if not isinstance(values, list):
        raise NotProven("groups", principal=principal)
    if len(values) > GROUPS_MAX:
        raise NotAllowed("too_many_groups", principal=principal)
    return [one for one in values if isinstance(one, str)]
