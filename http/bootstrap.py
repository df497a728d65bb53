"""The first administrators of a tenant: contract, chapter 6, on a listener of its own.

Whoever has no token learns nothing here but that: it is looked at before the body, and how often
somebody may guess is bounded. The token stands in no log, no answer and no audit record.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import falcon
from falcon.routing import BaseConverter

from felix.http import errors
from felix.http.access import BOOTSTRAP_HEADER as HEADER
from felix.http.app import App, Segment, template_of
from felix.http.counting import CountRequests
from felix.http.desk import answer, idempotency_key_of
from felix.http.identity_bodies import BootstrapBody, Identity
from felix.http.identity_routes import BOOTSTRAP
from felix.http.identity_views import BootstrapView
from felix.http.issuers import check_urls, new_issuer
from felix.http.middleware import AccessLog, RequestId, StrictPath
from felix.http.noted_refusals import Refusals
from felix.http.request_counts import RequestCounter
from felix.http.settings import HttpSettings
from felix.http.strict_json import read_object
from felix.proto.commands import BootstrapTenant, NewIssuer
from felix.proto.control_plane import Call, ControlPlane
from felix.proto.errors import (
    FelixError,
    NotEnabled,
    Overloaded,
    Unauthorized,
    ValidationFailed,
)
from felix.proto.identity import Assignment, Done, Refusal, Rule
from felix.proto.names import why_not_a_name
from felix.proto.permissions import check_rule

PRINCIPAL: Final = "bootstrap"
"""Who has done it, in stamps and the audit trail."""
WRONG_PER_ADDRESS_MAX: Final = 10
WRONG_MAX: Final = 60
WINDOW_S: Final = 60.0


def create_bootstrap_app(
    control_plane: ControlPlane,
    settings: HttpSettings,
    refusals: Refusals | None = None,
    clock: Callable[[], float] = time.monotonic,
    counter: RequestCounter | None = None,
) -> App:
    """Build the app of the bootstrap listener on something that can be asked."""
    counting = [CountRequests(counter, [BOOTSTRAP], template_of)] if counter else []
    app: App = falcon.App(middleware=[*counting, RequestId(), AccessLog(), StrictPath()])
    converter: type[BaseConverter] = Segment
    app.router_options.converters["segment"] = converter
    errors.install(app)
    gate = TokenGate(settings.bootstrap_tokens, clock)
    resource = Bootstrap(control_plane, settings, gate, refusals)
    app.add_route(template_of(BOOTSTRAP), resource)
    return app


class TokenGate:
    """Compares tokens, and lets nobody guess for long. Any thread may ask."""

    def __init__(self, tokens: tuple[str, ...], clock: Callable[[], float]) -> None:
        self._digests = tuple(_digest(token.encode()) for token in tokens if token)
        self._clock = clock
        self._lock = threading.Lock()
        self._wrong: deque[tuple[float, str]] = deque()
        """When and from where, oldest first; never more than `WRONG_MAX`."""

    def check(self, given: str | None, address: str) -> None:
        """Let on who has a token. Raises: NotEnabled, Overloaded, Unauthorized."""
        if not self._digests:
            raise NotEnabled("bootstrap is not enabled")
        with self._lock:
            self._check_attempts(address)
            if given is not None and self._is_right(given):
                return
            if given is not None:
                self._wrong.append((self._clock(), address))
        raise Unauthorized(f"{HEADER} is missing or wrong")

    def _check_attempts(self, address: str) -> None:
        now = self._clock()
        while self._wrong and self._wrong[0][0] <= now - WINDOW_S:
            self._wrong.popleft()
        mine = [when for when, where in self._wrong if where == address]
        until = now
        if len(self._wrong) >= WRONG_MAX:
            until = self._wrong[0][0] + WINDOW_S
        if len(mine) >= WRONG_PER_ADDRESS_MAX:
            until = max(until, mine[0] + WINDOW_S)
        if until > now:
            raise Overloaded(
                "too many wrong tokens; wait", retry_after_ms=int((until - now) * 1000) + 1
            )

    def _is_right(self, given: str) -> bool:
        """Compare digests, with all of them: neither length nor which one matched takes time."""
        digest = _digest(given.encode("latin-1", "replace"))
        return any([hmac.compare_digest(digest, known) for known in self._digests])  # noqa: C419 - no early end


class Bootstrap:
    """/internal/bootstrap/tenants/{tenant_id}/initialize"""

    def __init__(
        self,
        control_plane: ControlPlane,
        settings: HttpSettings,
        gate: TokenGate,
        refusals: Refusals | None,
    ) -> None:
        self._control_plane = control_plane
        self._settings = settings
        self._gate = gate
        self._refusals = refusals

    def on_post(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """Give the tenant its first administrators, once for all times."""
        req.context.access = BOOTSTRAP.access
        try:
            self._gate.check(req.get_header(HEADER), req.remote_addr or "")
            command = self._command(req, tenant_id)
            call = Call(
                timeout_s=self._settings.timeout_s,
                idempotency_key=idempotency_key_of(req),
                request_id=req.context.request_id,
                principal=PRINCIPAL,
                source=req.remote_addr or "",
            )
        except FelixError as error:
            self._note(req, tenant_id, error)
            raise
        done = self._control_plane.ask(command, call).result
        assert isinstance(done, Done)
        jwks_url = f"/v1/tenants/{tenant_id}/.well-known/jwks.json"
        answer(resp, BootstrapView(tenant_id=tenant_id, kid=done.id, jwks_url=jwks_url))

    def _command(self, req: falcon.Request, tenant_id: str) -> BootstrapTenant:
        settings = self._settings
        body = read_object(
            req,
            BootstrapBody,
            bytes_max=settings.body_bytes_max,
            depth_max=settings.body_depth_max,
        )
        if not body.display_name.strip():
            raise _bad("/display_name", "must not be blank")
        if not body.initial_admin_principals:
            raise _bad("/initial_admin_principals", "must name at least one")
        return BootstrapTenant(
            tenant_id=tenant_id,
            display_name=body.display_name,
            issuers=self._issuers(body),
            admins=tuple(
                _principal(f"/initial_admin_principals/{number}", one)
                for number, one in enumerate(body.initial_admin_principals)
            ),
            policies=_rules(body, tenant_id),
            groupings=tuple(Assignment(one.user, one.role) for one in body.groupings),
        )

    def _issuers(self, body: BootstrapBody) -> tuple[NewIssuer, ...]:
        issuers = []
        for number, one in enumerate(body.idp_issuers):
            pointer = f"/idp_issuers/{number}"
            if not one.issuer.strip():
                raise _bad(f"{pointer}/issuer", "must not be blank")
            issuer = new_issuer(one)
            private_allowed = self._settings.idp_private_addresses
            check_urls(issuer, private_allowed=private_allowed, base=pointer)
            issuers.append(issuer)
        return tuple(issuers)

    def _note(self, req: falcon.Request, tenant_id: str, error: FelixError) -> None:
        if self._refusals is None:
            return
        self._refusals.add(
            Refusal(
                time_ms=time.time_ns() // 1_000_000,
                operation="BootstrapTenant",
                code=error.code,
                reason=error.message,
                source=req.remote_addr or "",
                request_id=req.context.request_id,
                tenant_id=tenant_id if why_not_a_name(tenant_id) is None else "",
            )
        )


def _principal(pointer: str, given: str | Identity) -> str:
    if isinstance(given, str):
        if not given.strip():
            raise _bad(pointer, "must not be blank")
        return given
    if not given.issuer or "|" in given.issuer:
        raise _bad(f"{pointer}/issuer", "must not be empty and have no | in it")
    if not given.subject:
        raise _bad(f"{pointer}/subject", "must not be empty")
    return hashlib.sha256(f"{given.issuer}|{given.subject}".encode()).hexdigest()


def _rules(body: BootstrapBody, tenant_id: str) -> tuple[Rule, ...]:
    rules = []
    for number, one in enumerate(body.policies):
        try:
            check_rule(one.action, one.object, tenant_id)
        except ValidationFailed as error:
            pointer = f"/policies/{number}{error.details['pointer']}"
            raise ValidationFailed(error.message, details={"pointer": pointer}) from error
        rules.append(Rule(one.subject, one.object, one.action))
    return tuple(rules)


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _bad(pointer: str, why: str) -> ValidationFailed:
    return ValidationFailed(f"{pointer}: {why}", details={"pointer": pointer})
