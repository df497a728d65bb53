"""Identity providers that a tenant trusts: contract, section 9.1, and reading and probing them."""

from __future__ import annotations

import hashlib
import re
from typing import Final

import falcon
from urllib3.util import Url

from felix.http.desk import Desk, answer, flag_of, invalid, text_of
from felix.http.identity_bodies import IssuerBody
from felix.http.identity_views import IssuerPage, issuer_view, probe_view
from felix.http.rights import caller_of, is_operator
from felix.proto.commands import DeleteIssuer, NewIssuer, PutIssuer
from felix.proto.errors import Forbidden, NotFound, ValidationFailed
from felix.proto.identity import Done, IdentityView, IdpIssuer, IssuerProbe
from felix.proto.issuers import check_issuer
from felix.proto.permissions import OPERATOR_TENANT
from felix.proto.queries import GetTenantIdentity, ProbeIssuer
from felix.transport.outbound import FetchFailed, check_url

PROBE_PATIENCE_S: Final = 10.0
"""On top of the usual timeout: it is another service that takes this time."""

_SHORT_ID: Final = re.compile(r"[0-9a-f]{12}", re.ASCII)
_URL_START: Final = re.compile(r"https?://", re.IGNORECASE)


class Issuers:
    """/v1/tenants/{tenant_id}/idp-issuers"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """List; with `?issuer=` only that one, if it is there."""
        wanted = text_of(req, "issuer")
        found = [
            one
            for one in _trusted(self._desk, req, resp, tenant_id)
            if not wanted or wanted in {one.issuer, short_id(one.issuer)}
        ]
        answer(resp, IssuerPage([issuer_view(one, short_id(one.issuer)) for one in found]))

    on_head = on_get

    def on_post(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """Trust one from now on, or change how; with `?dry_run=true` only ask who it is."""
        issuer = new_issuer(self._desk.read(req, IssuerBody))
        check_urls(issuer, private_allowed=self._desk.settings.idp_private_addresses)
        if flag_of(req, "dry_run"):
            probe = self._probe(req, resp, issuer)
            answer(resp, probe_view(issuer.issuer, issuer.jwks_url, probe))
            return
        self._check_spelling(req, resp, tenant_id, issuer)
        command = PutIssuer(
            tenant_id=tenant_id, issuer=issuer, may_change=_may_change(self._desk, req, tenant_id)
        )
        self._desk.ask(req, resp, command, Done)
        resp.status = 204

    def on_delete(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """Trust the one of `?issuer=` no longer, whether it was trusted or not."""
        wanted = text_of(req, "issuer")
        if not wanted:
            raise invalid("issuer", "must say which one")
        _delete(self._desk, req, resp, tenant_id=tenant_id, wanted=wanted)

    def _probe(self, req: falcon.Request, resp: falcon.Response, issuer: NewIssuer) -> IssuerProbe:
        query = ProbeIssuer(
            issuer=issuer.issuer, discovery_url=issuer.discovery_url, jwks_url=issuer.jwks_url
        )
        return self._desk.ask(
            req, resp, query, IssuerProbe, patience_s=PROBE_PATIENCE_S, consistency="stale"
        )

    def _check_spelling(
        self, req: falcon.Request, resp: falcon.Response, tenant_id: str, issuer: NewIssuer
    ) -> None:
        """Hold a new issuer against what it says of itself: a slash too many locks everyone out.

        One that cannot be reached now is taken all the same: its users cannot be either.
        """
        known = {one.issuer for one in _trusted(self._desk, req, resp, tenant_id)}
        if issuer.issuer in known or (issuer.jwks_url and not issuer.discovery_url):
            return
        found = self._probe(req, resp, issuer).found_issuer
        if found is not None and found != issuer.issuer:
            raise ValidationFailed(
                f"/issuer: given is {issuer.issuer!r}, but it calls itself {found!r}",
                details={"pointer": "/issuer", "issuer": issuer.issuer, "found_issuer": found},
            )


class OneIssuer:
    """/v1/tenants/{tenant_id}/idp-issuers/{issuer}: by URL, encoded or not, or by short id."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(
        self, req: falcon.Request, resp: falcon.Response, tenant_id: str, issuer: str
    ) -> None:
        """Read."""
        _check_spelled_out(issuer)
        found = _find(_trusted(self._desk, req, resp, tenant_id), issuer)
        if found is None:
            raise NotFound("the tenant trusts no such issuer")
        answer(resp, issuer_view(found, short_id(found.issuer)))

    on_head = on_get

    def on_delete(
        self, req: falcon.Request, resp: falcon.Response, tenant_id: str, issuer: str
    ) -> None:
        """Trust it no longer, whether it was trusted or not."""
        _check_spelled_out(issuer)
        _delete(self._desk, req, resp, tenant_id=tenant_id, wanted=issuer)


def short_id(issuer: str) -> str:
    """Name an issuer in 12 hex digits."""
    return hashlib.sha256(issuer.encode()).hexdigest()[:12]


def new_issuer(body: IssuerBody) -> NewIssuer:
    """Turn a body into what the command carries; `""` for an address is none."""
    mappings = body.claim_mappings
    return NewIssuer(
        issuer=body.issuer,
        audiences=tuple(body.audiences),
        discovery_url=body.discovery_url or None,
        jwks_url=body.jwks_url or None,
        subject_claim="sub"
        if mappings is None or mappings.subject_claim is None
        else mappings.subject_claim,
        groups_claim=None if mappings is None else mappings.groups_claim,
        plain_groups=bool(body.plain_groups),
    )


def check_urls(issuer: NewIssuer, *, private_allowed: bool, base: str = "") -> None:
    """Check the issuer's name, and the addresses that will be fetched; hosts are resolved and
    looked at only then.

    Raises: ValidationFailed; Unprocessable, see `check_issuer`.
    """
    has_address = issuer.discovery_url is not None or issuer.jwks_url is not None
    check_issuer(f"{base}/issuer", issuer.issuer, has_address=has_address)
    for member in ("discovery_url", "jwks_url"):
        url = getattr(issuer, member)
        if url is not None:
            _check_url(f"{base}/{member}", url, private_allowed=private_allowed)
    if not has_address:
        parts = _check_url(f"{base}/issuer", issuer.issuer, private_allowed=private_allowed)
        if parts.query is not None:
            raise _bad(f"{base}/issuer", "must have no query, for discovery is below it")


def _check_url(pointer: str, url: str, *, private_allowed: bool) -> Url:
    try:
        return check_url(url, private_addresses=private_allowed)
    except FetchFailed as error:
        raise _bad(pointer, error.message) from error


def _check_spelled_out(issuer: str) -> None:
    """Refuse what was encoded twice or had its slashes merged on the way: it would match nothing.

    Raises: ValidationFailed.
    """
    if not _SHORT_ID.fullmatch(issuer) and not _URL_START.match(issuer):
        raise invalid(
            "issuer",
            "must be a URL, encoded once, or a short id of 12 hex digits; where a proxy changes "
            "paths, or for an issuer that is no URL, say ?issuer= instead",
        )


def _find(issuers: tuple[IdpIssuer, ...], wanted: str) -> IdpIssuer | None:
    exact = [one for one in issuers if one.issuer == wanted]
    short = [one for one in issuers if short_id(one.issuer) == wanted]
    return next(iter(exact + short), None)


def _delete(
    desk: Desk, req: falcon.Request, resp: falcon.Response, *, tenant_id: str, wanted: str
) -> None:
    if not _may_change(desk, req, tenant_id):
        raise Forbidden("here only operators of the cluster take trust away")
    found = _find(_trusted(desk, req, resp, tenant_id), wanted)
    if found is not None:
        command = DeleteIssuer(tenant_id=tenant_id, issuer=found.issuer)
        desk.ask(req, resp, command, Done)
    resp.status = 204


def _trusted(
    desk: Desk, req: falcon.Request, resp: falcon.Response, tenant_id: str
) -> tuple[IdpIssuer, ...]:
    view = desk.ask(req, resp, GetTenantIdentity(tenant_id=tenant_id), IdentityView)
    return tuple(sorted(view.issuers, key=lambda one: one.issuer))


def _may_change(desk: Desk, req: falcon.Request, tenant_id: str) -> bool:
    """Tell whether a caller may change whom a tenant trusts already.

    Whoever says who the operators are could be one of them: that takes one, always.
    """
    needs_cluster = desk.settings.issuer_changes_need_cluster or tenant_id == OPERATOR_TENANT
    return not needs_cluster or is_operator(caller_of(req))


def _bad(pointer: str, why: str) -> ValidationFailed:
    return ValidationFailed(f"{pointer}: {why}", details={"pointer": pointer})
