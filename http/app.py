"""The Falcon app: routes of the table, middleware, errors. Opens nothing but what it is handed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from functools import cache
from typing import Final, TypeAlias

import falcon
from falcon.routing import BaseConverter

from felix.http import errors
from felix.http.authentication import Authenticate
from felix.http.counting import CountRequests
from felix.http.dashboard import Dashboard, DashboardRedirect
from felix.http.desk import Desk
from felix.http.docs_page import DocsPage, DocsRedirect
from felix.http.identity_routes import BOOTSTRAP
from felix.http.middleware import AccessLog, RequestId, StrictPath
from felix.http.noted_refusals import NoteRefusals, Refusals
from felix.http.openapi import OPENAPI_PATH, OpenApi, openapi
from felix.http.rate_limit import RateLimit
from felix.http.request_counts import RequestCounter
from felix.http.route import Door
from felix.http.routes import ROUTES
from felix.http.settings import HttpSettings
from felix.identity.gatekeeper import Gatekeeper
from felix.identity.refusal_log import RefusalLog
from felix.proto.control_plane import ControlPlane

App: TypeAlias = "falcon.App[falcon.Request, falcon.Response]"

_FIELD: Final = re.compile(r"{(\w+)}")


class Segment(BaseConverter):
    """Match any path segment but an empty one (contract, section 1)."""

    def convert(self, value: str) -> str | None:
        """Take the segment as it is."""
        return value or None


class Rest(BaseConverter):
    """Match what is left of a path, slashes and all, but not nothing."""

    CONSUME_MULTIPLE_SEGMENTS = True

    def convert(self, value: Iterable[str]) -> str | None:
        """Put the segments together again."""
        return "/".join(value) or None


def template_of(route: Door) -> str:
    """Spell a route's path as Falcon's router wants it."""
    path = _FIELD.sub(r"{\1:segment}", route.path)
    return path.removesuffix(":segment}") + ":rest}" if route.has_slashes else path


def create_app(
    control_plane: ControlPlane,
    settings: HttpSettings,
    *,
    gatekeeper: Gatekeeper | None = None,
    refusals: Refusals | None = None,
    counter: RequestCounter | None = None,
) -> App:
    """Build the app on something that can be asked.

    A gatekeeper and a place for refusals that are not given are made; without a `counter` nothing
    is counted.
    """
    gatekeeper = gatekeeper or Gatekeeper(control_plane, settings.identity)
    limit = RateLimit(settings.client_requests_per_s, time.monotonic)
    app: App = falcon.App(
        middleware=[
            *([CountRequests(counter, ROUTES, template_of)] if counter else []),
            RequestId(),
            AccessLog(),
            NoteRefusals(refusals or RefusalLog(control_plane)),
            limit,
            StrictPath(),
            Authenticate(ROUTES, template_of, gatekeeper, settings, limit),
        ]
    )
    app.router_options.converters["segment"] = Segment
    app.router_options.converters["rest"] = Rest
    errors.install(app)
    desk = Desk(control_plane, settings, gatekeeper)
    seen: set[str] = set()
    for route in ROUTES:
        if route.path not in seen:
            seen.add(route.path)
            app.add_route(template_of(route), route.resource(desk))
    document, page = _documentation(settings.api_version)
    app.add_route(OPENAPI_PATH, document)
    app.add_route("/docs", DocsRedirect())
    app.add_route("/docs/", page)
    app.add_route("/docs/{page:path}", page)
    dashboard = Dashboard()
    app.add_route("/ui", DashboardRedirect())
    app.add_route("/ui/", dashboard)
    app.add_route("/ui/{name:segment}", dashboard)
    return app


@cache
def _documentation(api_version: str) -> tuple[OpenApi, DocsPage]:
    """Describe the routes; once in a process, for the table of routes does not change."""
    document = openapi((*ROUTES, BOOTSTRAP), api_version)
    return OpenApi(document), DocsPage(document)
