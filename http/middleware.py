"""What every request goes through: a request id, a check of its path, an access log line."""

from __future__ import annotations

import re
import time
import uuid
from typing import Final

import falcon
import structlog

from felix.proto.errors import Malformed, NotFound

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_BEFORE_ISSUER: Final = re.compile(r"/v1/tenants/[^/]+/idp-issuers/")


class RequestId:
    """Take the caller's `X-Request-Id` if it is a sane one, else make one; always return it."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Put the id into `req.context` and into the answer."""
        given = req.get_header("X-Request-Id") or ""
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        req.context.request_id = request_id
        resp.set_header("X-Request-Id", request_id)
        resp.set_header("Cache-Control", "no-store")


class StrictPath:
    """Refuse paths that decoding has changed the meaning of.

    WSGI decodes the path before it is routed: an encoded slash would silently become two segments,
    and bytes that are not UTF-8 would silently become another name. Behind an issuer's collection
    stands one issuer, which is a URL and has slashes of its own.
    """

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Raises: Malformed, NotFound."""
        raw_path = str(req.env.get("RAW_URI", "")).partition("?")[0]
        before_issuer = _BEFORE_ISSUER.match(raw_path)
        names = raw_path if before_issuer is None else before_issuer[0]
        if "%2f" in names.lower() or req.path.startswith("//"):
            raise NotFound("no name has a slash in it")
        try:
            str(req.env["PATH_INFO"]).encode("latin-1").decode()
        except UnicodeDecodeError as error:
            raise Malformed("the path is not UTF-8") from error


class AccessLog:
    """Say what was asked and answered, at debug level."""

    def __init__(self) -> None:
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Note the time."""
        req.context.started_s = time.monotonic()

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, _resource: object, _succeeded: bool
    ) -> None:
        """Write the line."""
        self._log.debug(
            "http_request",
            method=req.method,
            path=req.path,
            status=falcon.http_status_to_code(resp.status),
            duration_ms=round((time.monotonic() - req.context.started_s) * 1000, 3),
            request_id=req.context.request_id,
            source=req.remote_addr,
        )
