"""Counts every request, however it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import falcon

from felix.http.request_counts import OTHER, RequestCounter
from felix.http.route import Door


class CountRequests:
    """Falcon middleware, the outermost one."""

    def __init__(
        self, counter: RequestCounter, doors: Iterable[Door], template_of: Callable[[Door], str]
    ) -> None:
        """`template_of` says how the app spells the path of one of the `doors`."""
        self._counter = counter
        self._paths = {template_of(door): door.path for door in doors}

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Note the time."""
        req.context.counted_from_s = time.monotonic()

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, _resource: object, _succeeded: bool
    ) -> None:
        """Count the answer."""
        self._counter.add(
            self._paths.get(req.uri_template or "", OTHER),
            "GET" if req.method == "HEAD" else req.method,
            resp.status_code,
            getattr(req.context, "code", ""),
            time.monotonic() - req.context.counted_from_s,
        )
