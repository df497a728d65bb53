"""Every refused request into the audit trail: who asked for what, and why it was refused."""

from __future__ import annotations

import time
from typing import Final, Protocol

import falcon

from felix.http.errors import status_and_code
from felix.http.rate_limit import client_of
from felix.http.route import Route
from felix.identity.reasons import Refused, reason_of
from felix.proto.errors import DECIDED_AT_APPLY, FelixError, Overloaded
from felix.proto.identity import Refusal
from felix.proto.names import NAME_CHARS_MAX

UNROUTED: Final = "AnyRequest"
"""What was refused before it was known what it was."""
_KINDS: Final = ("cache", "stream", "namespace")


class Refusals(Protocol):
    """Where refused requests go, on their way to the audit trail."""

    def add(self, refusal: Refusal) -> None:
        """Take one; never waits."""
        ...


class NoteRefusals:
    """Hand what was refused to the log of refusals."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals

    def process_response(
        self, req: falcon.Request, _resp: falcon.Response, _resource: object, _succeeded: bool
    ) -> None:
        """Note a refusal that the trail would not know of otherwise."""
        error = getattr(req.context, "refusal", None)
        route = getattr(req.context, "route", None)
        if route is None:
            if isinstance(error, Overloaded):
                self._refusals.add(_too_many(req, error))
        elif isinstance(error, FelixError) and _is_noted(req, route, error):
            self._refusals.add(_refusal(req, route, error))


def _is_noted(req: falcon.Request, route: Route, error: FelixError) -> bool:
    status, code = status_and_code(error)
    if status in {401, 403, 429}:
        is_read_only = False
    elif 400 <= status < 500:
        is_read_only = route.method == "GET"
    else:
        return False  # not refused: not possible now
    is_in_log = getattr(req.context, "is_proposed", False) and code in DECIDED_AT_APPLY
    return not is_read_only and not is_in_log


def _refusal(req: falcon.Request, route: Route, error: FelixError) -> Refusal:
    params: dict[str, str] = req.context.params
    kind = next((one for one in _KINDS if one in params), None)
    return Refusal(
        time_ms=time.time_ns() // 1_000_000,
        operation="".join(word.capitalize() for word in route.operation.split("_")),
        code=error.code,
        reason=reason_of(error) or error.message,
        principal=_principal(req, error),
        source=req.remote_addr or "",
        request_id=req.context.request_id,
        tenant_id=_shown(params.get("tenant_id", "")),
        namespace=_shown(params.get("namespace", "")),
        object=f"{kind}:{_shown(params[kind])}" if kind else "",
    )


def _too_many(req: falcon.Request, error: Overloaded) -> Refusal:
    """Describe what the rate limit refused, before anything was looked at.

    All that one client sends is alike, so that however much it is, it is a few records.
    """
    return Refusal(
        time_ms=time.time_ns() // 1_000_000,
        operation=UNROUTED,
        code=error.code,
        reason=error.message,
        source=client_of(req.remote_addr or ""),
        request_id=req.context.request_id,
    )


def _principal(req: falcon.Request, error: FelixError) -> str:
    """Name who asked, as far as it was proven before the refusal."""
    found: str = req.context.caller.principal
    return error.principal if isinstance(error, Refused) and error.principal else found


def _shown(name: str) -> str:
    """Write down a name that may be anything at all."""
    return ascii(name)[1:-1][:NAME_CHARS_MAX]
