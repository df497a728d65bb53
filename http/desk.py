"""Where resources take a request to: parse what every request has in common, ask, render."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeVar

import falcon
import msgspec

from felix.http.bodies import INTEGER_MAX
from felix.http.settings import HttpSettings
from felix.http.strict_json import read_object
from felix.identity.gatekeeper import Gatekeeper
from felix.proto.commands import Command
from felix.proto.control_plane import Call, ControlPlane
from felix.proto.errors import ValidationFailed
from felix.proto.queries import PAGE_SIZE_MAX, AnyQuery, Listing, page_token_after
from felix.proto.resources import Resource
from felix.proto.rpc import AnyRequest, Consistency

T = TypeVar("T")
Body = TypeVar("Body", bound=msgspec.Struct)

_DIGITS: Final = re.compile(r"[0-9]+", re.ASCII)
_KEY: Final = re.compile(r"[!-~]{1,255}", re.ASCII)
_ENTITY_TAG: Final = re.compile(r'"([0-9]{1,19})"', re.ASCII)


class Desk:
    """The control plane as resources use it."""

    def __init__(
        self, control_plane: ControlPlane, settings: HttpSettings, gatekeeper: Gatekeeper
    ) -> None:
        self._control_plane = control_plane
        self.settings = settings
        self.gatekeeper = gatekeeper

    def ask(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        message: AnyRequest,
        answer: type[T],
        *,
        patience_s: float = 0.0,
        consistency: Consistency | None = None,
    ) -> T:
        """Ask for one request, and note the version of the answer in its headers.

        `patience_s` comes on top of the timeout, for what waits on purpose; `consistency`
        overrides what the request wants. Raises: any FelixError.
        """
        is_command = isinstance(message, Command)
        call = Call(
            timeout_s=self.settings.timeout_s + patience_s,
            consistency=consistency or consistency_of(req),
            idempotency_key=idempotency_key_of(req) if is_command else None,
            request_id=req.context.request_id,
            principal=req.context.caller.principal,
            source=req.remote_addr or "",
        )
        req.context.is_proposed = is_command
        answered = self._control_plane.ask(message, call)
        resp.set_header("X-Felix-Version", str(answered.version))
        if call.consistency == "stale" and not is_command:
            resp.set_header("X-Felix-Age-Ms", str(answered.age_ms))
        assert isinstance(answered.result, answer)
        return answered.result

    def go_on(self, message: AnyQuery, answer: type[T], request_id: str) -> T:
        """Ask this node for more of what it began to answer. Raises: any FelixError."""
        call = Call(timeout_s=self.settings.timeout_s, consistency="stale", request_id=request_id)
        result = self._control_plane.ask(message, call).result
        assert isinstance(result, answer)
        return result

    def list(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        message: AnyRequest,
        seen: frozenset[str] | None,
    ) -> Listing:
        """Ask for a page; without `page_size`, for all pages up to `list_items_max` items.

        `seen` names what the caller may know of; None: everything. Of what else there is nothing is
        told, not even by where a page ends.
        """
        if seen is not None:
            return self._list_seen(req, resp, message, seen)
        page = self.ask(req, resp, message, Listing)
        items = page.items
        if not page_size_of(req):
            while page.next_page_token and len(items) < self.settings.list_items_max:
                following = msgspec.structs.replace(message, page_token=page.next_page_token)
                page = self.ask(req, resp, following, Listing)
                items += page.items
        return Listing(items, page.next_page_token)

    def _list_seen(
        self, req: falcon.Request, resp: falcon.Response, message: AnyRequest, seen: frozenset[str]
    ) -> Listing:
        wanted = page_size_of(req) or self.settings.list_items_max
        last = max(seen, default="")
        following = msgspec.structs.replace(message, page_size=PAGE_SIZE_MAX)
        items: list[Resource] = []
        while True:
            page = self.ask(req, resp, following, Listing)
            items += [item for item in page.items if item.key[-1] in seen]
            if len(items) > wanted:
                return Listing(items[:wanted], page_token_after(items[wanted - 1].key[-1]))
            if not page.next_page_token or page.items[-1].key[-1] >= last:
                return Listing(items)
            following = msgspec.structs.replace(following, page_token=page.next_page_token)

    def read(self, req: falcon.Request, kind: type[Body]) -> Body:
        """Read the request's body. Raises: see `strict_json.read_object`."""
        settings = self.settings
        return read_object(
            req, kind, bytes_max=settings.body_bytes_max, depth_max=settings.body_depth_max
        )


def answer(
    resp: falcon.Response,
    body: msgspec.Struct | Sequence[msgspec.Struct],
    *,
    status: int = 200,
    version: int | None = None,
) -> None:
    """Render a record, or several; `version` of a single object becomes its entity tag."""
    resp.status = status
    resp.content_type = falcon.MEDIA_JSON
    resp.data = msgspec.json.encode(body)
    if version is not None:
        resp.set_header("ETag", f'"{version}"')


def consistency_of(req: falcon.Request, default: Consistency = "linearizable") -> Consistency:
    """Read `?consistency=`. Raises: ValidationFailed."""
    match req.get_param("consistency") or default:
        case "linearizable":
            return "linearizable"
        case "stale":
            return "stale"
        case _:
            raise invalid("consistency", "must be linearizable or stale")


def idempotency_key_of(req: falcon.Request) -> str | None:
    """Read the `Idempotency-Key` header. Raises: ValidationFailed."""
    key = req.get_header("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise invalid("Idempotency-Key", "must be 1 to 255 printable ASCII characters, no blanks")
    return key


def expected_version_of(req: falcon.Request) -> int | None:
    """Read `If-Match: "<version>"` or `?expected_version=`. Raises: ValidationFailed."""
    tag = req.get_header("If-Match")
    wanted = None
    if "expected_version" in req.params:
        wanted = integer_of(req, "expected_version")
    if tag is None or tag.strip() == "*":
        return wanted
    match = _ENTITY_TAG.fullmatch(tag.strip())
    if match is None or int(match[1]) > INTEGER_MAX:
        raise invalid("If-Match", 'must be one version in quotes, as in "42", or *')
    tagged = int(match[1])
    if wanted not in (None, tagged):
        raise invalid("expected_version", "does not agree with If-Match")
    return tagged


def integer_of(req: falcon.Request, name: str, default: int = 0) -> int:
    """Read a whole number of at most 63 bits from the query. Raises: ValidationFailed."""
    value = req.get_param(name)
    if not value:
        return default
    if len(value) > 19 or not _DIGITS.fullmatch(value) or int(value) > INTEGER_MAX:
        raise invalid(name, "must be a whole number from 0 to 2^63 - 1")
    return int(value)


def page_size_of(req: falcon.Request) -> int:
    """Read `?page_size=`, cut to the largest there is. Raises: ValidationFailed."""
    return min(integer_of(req, "page_size"), PAGE_SIZE_MAX)


def text_of(req: falcon.Request, name: str) -> str:
    """Read text from the query; of repeated keys the last one counts."""
    return req.get_param(name) or ""


def flag_of(req: falcon.Request, name: str) -> bool:
    """Read yes or no from the query; no where it is not given. Raises: ValidationFailed."""
    match req.get_param(name) or "false":
        case "true" | "1":
            return True
        case "false" | "0":
            return False
        case _:
            raise invalid(name, "must be true or false")


def invalid(name: str, problem: str) -> ValidationFailed:
    """Build the error for a query parameter or header."""
    return ValidationFailed(f"{name} {problem}", details={"parameter": name})
