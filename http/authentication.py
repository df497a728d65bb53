"""Who asks, and whether they may: decided between routing and the reading of the body."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Final

import falcon

from felix.http.access import Access
from felix.http.rate_limit import RateLimit
from felix.http.route import Route
from felix.http.settings import HttpSettings
from felix.identity.caller import ANYONE, Caller
from felix.identity.gatekeeper import Gatekeeper
from felix.proto.errors import Forbidden, Unauthorized
from felix.proto.permissions import Object, read_object

BEARER: Final = "Bearer "
BASIC: Final = "Basic "
NOBODY: Final = Caller(kind="anonymous")


class Authenticate:
    """Put the caller into `req.context`, or refuse."""

    def __init__(
        self,
        routes: tuple[Route, ...],
        template_of: Callable[[Route], str],
        gatekeeper: Gatekeeper,
        settings: HttpSettings,
        limit: RateLimit,
    ) -> None:
        """`template_of` says how the app spells a route's path."""
        self._routes: dict[tuple[str, str], Route] = {
            (template_of(one), one.method): one for one in routes
        }
        self._gatekeeper = gatekeeper
        self._settings = settings
        self._limit = limit

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, _resource: object, params: dict[str, str]
    ) -> None:
        """Raises: Unauthorized, Forbidden; NoLeader where nobody can be authenticated now."""
        method = "GET" if req.method == "HEAD" else req.method
        route = self._routes.get((req.uri_template or "", method))
        req.context.caller = NOBODY
        if route is None:
            return  # no method of this path, or a page about the API
        req.context.route, req.context.params = route, params
        req.context.access = route.access
        req.context.caller = caller = self._caller_of(req, route.access)
        self._check(caller, route.access, params)

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, _resource: object, _succeeded: bool
    ) -> None:
        """Make guessing dear, here and where tokens are traded in."""
        if resp.status_code == 401:
            self._limit.note_refused(req.remote_addr)

    def _caller_of(self, req: falcon.Request, access: Access) -> Caller:
        settings = self._settings
        if access.kind in {"open", "upstream"}:
            return NOBODY
        if settings.is_open and not access.always:
            return ANYONE
        given = req.get_header("Authorization") or ""
        if access.kind == "feed":
            if settings.open_feeds:
                return ANYONE
            if given.startswith(BASIC):
                return self._gatekeeper.caller_of_basic(*_name_and_password(given))
        return self._gatekeeper.caller_of_token(bearer_of(req))

    @staticmethod
    def _check(caller: Caller, access: Access, params: dict[str, str]) -> None:
        if access.kind == "feed":
            if not (caller.kind == "broker" or caller.sees_all):
                raise Forbidden(
                    "this takes a broker's credential, or the right to view the cluster"
                )
            return
        if access.kind != "caller" or caller.is_operator:
            return
        tenant_id = params.get("tenant_id")
        if tenant_id is not None and not (caller.sees_all or caller.tenant_id == tenant_id):
            raise Unauthorized("the token is not one of this tenant")
        if access.object:
            require(caller, access.action, _target(access.object, params))
        elif access.action and not (caller.is_operator or caller.scopes(access.action)):
            raise Forbidden(f"this needs {access.action}")


def require(caller: Caller, action: str, target: Object) -> None:
    """Make sure that a caller may do something, or without an action, see it. Raises: Forbidden."""
    if action:
        if not caller.may(action, target):
            raise Forbidden(f"this needs {action} on {target}")
    elif not caller.sees(target):
        raise Forbidden(f"this needs a permission that reaches {target}")


def bearer_of(req: falcon.Request) -> str:
    """Take the token out of the header as the contract does (section 2.4). Raises: Unauthorized."""
    given = req.get_header("Authorization") or ""
    if not given.startswith(BEARER):
        raise Unauthorized("a bearer token is needed")
    return given[len(BEARER) :]


def _name_and_password(header: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(header[len(BASIC) :], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Unauthorized("the credential cannot be read") from error
    name, _, password = text.partition(":")
    return name, password


def _target(template: str, params: dict[str, str]) -> Object:
    """Fill the fields of a path in; what cannot be a name is nothing that anybody may."""
    found = read_object(template.format_map(params))
    if found is None or "*" in found.names:
        raise Forbidden("no permission can be about an object of this name")
    return found
