"""What gunicorn serves in tests: the app on a catalog of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from felix.http.gunicorn_command import get_settings
from felix.http.request_counts import RequestCounter
from felix.http.settings import HttpSettings
from felix.http.wsgi import Doors, configure_logging
from felix.identity.refusal_log import RefusalLog
from tests.support.local_control_plane import LocalControlPlane

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


class LocalApp:
    """Like `felix.http.wsgi.WorkerApp`, without a node."""

    def __init__(self, settings: HttpSettings) -> None:
        print(f"the app was made by {os.getpid()}", file=sys.stderr, flush=True)
        plane = LocalControlPlane()
        is_counted = settings.counts_fd != -1
        counter = RequestCounter(settings.counts_fd) if is_counted else None
        self._app = Doors(plane, settings, RefusalLog(plane), counter)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._app(environ, start_response)

    def close(self) -> None:
        """Say that the worker has ended in order; there is nothing to close."""
        print("the app was closed", file=sys.stderr, flush=True)


def get_app() -> LocalApp:
    """Build the app as `felix.http.wsgi.get_app` does."""
    settings = get_settings()
    configure_logging(settings.log_level)
    return LocalApp(settings)
