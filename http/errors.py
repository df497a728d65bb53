"""One envelope for every refusal, and one table from error codes to HTTP statuses.

The envelope is `{"code", "message", "request_id"}` (contract, section 2.1), with `details` where
there are some.
"""

from __future__ import annotations

from typing import Final

import falcon
import msgspec
import structlog

from felix.http.access import OPEN
from felix.proto.errors import FelixError, Gone, NotApplied, Outcome, Unknown

STATUS_BY_CODE: Final[dict[str, int]] = {
    "validation_error": 400,
    "malformed": 400,
    "unknown_message": 400,
    "unsupported_version": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "quota_exceeded": 403,
    "not_found": 404,
    "not_enabled": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "already_exists": 409,
    "conflict": 409,
    "broker_fenced": 409,
    "already_initialized": 409,
    "last_admin": 409,
    "key_state": 409,
    "future_version": 409,
    "membership_refused": 409,
    "transfer_refused": 409,
    "feature_level_too_low": 409,
    "compacted": 410,
    "precondition_failed": 412,
    "too_large": 413,
    "unsupported_media_type": 415,
    "unprocessable": 422,
    "key_reused": 422,
    "overloaded": 429,
    "internal": 500,
    "idp_unavailable": 503,
    "no_leader": 503,
    "not_leader": 503,
    "deadline_exceeded": 503,
    "outcome_unknown": 503,
    "shutting_down": 503,
    "disk_full": 507,
}
"""Every code that this face can say."""

_STATUS_BY_OUTCOME: Final[dict[Outcome, int]] = {"not_applied": 400, "gone": 404, "unknown": 503}
_FAMILIES: Final = (NotApplied, Gone, Unknown)
STATUSES_WITH_RETRY: Final = (429, 503)
_CODE_BY_HTTP_STATUS: Final[dict[int, str]] = {
    400: "malformed",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "too_large",
    415: "unsupported_media_type",
}
"""For refusals of the framework itself, before a resource is reached."""


class BodyTooSlow(NotApplied):
    """The client stopped sending in the middle of its body."""

    code = "request_timeout"


class Envelope(msgspec.Struct, omit_defaults=True):
    """The body of every refusal."""

    code: str
    message: str
    request_id: str | None
    details: dict[str, int | str] = {}


def status_and_code(error: FelixError) -> tuple[int, str]:
    """Give the HTTP status and the `code` of an error.

    A code that only a newer node knows reaches us as the bare error of its family: its status and
    code are those of the family.
    """
    if type(error) in _FAMILIES:
        return _STATUS_BY_OUTCOME[error.outcome], error.outcome
    return STATUS_BY_CODE[error.code], error.code


def retry_after_s(error: FelixError) -> int:
    """Give the whole seconds, at least 1, after which trying again makes sense."""
    return max(1, -(-(error.retry_after_ms or 0) // 1000))


def _answer(
    req: falcon.Request,
    resp: falcon.Response,
    status: int,
    *,
    code: str,
    message: str,
    details: dict[str, int | str] | None = None,
) -> None:
    req.context.code = code
    envelope = Envelope(code, message, getattr(req.context, "request_id", None), details or {})
    resp.status = status
    resp.content_type = falcon.MEDIA_JSON
    resp.text = None
    resp.data = msgspec.json.encode(envelope)


def _on_felix_error(
    req: falcon.Request, resp: falcon.Response, error: FelixError, _params: dict[str, object]
) -> None:
    status, code = status_and_code(error)
    req.context.refusal = error
    if status in STATUSES_WITH_RETRY:
        resp.set_header("Retry-After", str(retry_after_s(error)))
    if status == 401:
        access = getattr(req.context, "access", OPEN)
        resp.set_header("WWW-Authenticate", access.challenge)
    _answer(req, resp, status, code=code, message=error.message, details=error.details)


def _on_http_error(
    req: falcon.Request,
    resp: falcon.Response,
    error: falcon.HTTPError,
    _params: dict[str, object],
) -> None:
    status = falcon.http_status_to_code(error.status)
    if error.headers is not None:
        resp.set_headers(error.headers)
    code = _CODE_BY_HTTP_STATUS.get(status, "malformed" if status < 500 else "internal")
    _answer(req, resp, status, code=code, message=error.description or error.title or code)


def _on_fault(
    req: falcon.Request, resp: falcon.Response, error: Exception, _params: dict[str, object]
) -> None:
    structlog.get_logger(__name__).error(
        "http_request_failed",
        method=req.method,
        path=req.path,
        request_id=getattr(req.context, "request_id", None),
        exc_info=error,
    )
    _answer(req, resp, 500, code="internal", message="a fault of this server; it has been logged")


def install(app: falcon.App[falcon.Request, falcon.Response]) -> None:
    """Make the app answer every error with the envelope."""
    app.add_error_handler(Exception, _on_fault)
    app.add_error_handler(falcon.HTTPError, _on_http_error)
    app.add_error_handler(FelixError, _on_felix_error)
