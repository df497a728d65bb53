"""What a gunicorn worker runs: the app on an RPC client to the node that started gunicorn."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import structlog
from gunicorn.errors import AppImportError

from felix.http.app import create_app
from felix.http.bootstrap import create_bootstrap_app
from felix.http.gunicorn_command import get_settings
from felix.http.gunicorn_worker import BOOTSTRAP_SERVER
from felix.http.request_counts import RequestCounter
from felix.http.settings import HttpSettings
from felix.identity.refusal_log import RefusalLog
from felix.identity.settings import BadSettings
from felix.proto.control_plane import ControlPlane
from felix.transport.rpc_client import RpcClient

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


class Doors:
    """The apps behind the addresses of a worker: neither serves what the other does."""

    def __init__(
        self,
        control_plane: ControlPlane,
        settings: HttpSettings,
        refusals: RefusalLog,
        counter: RequestCounter | None = None,
    ) -> None:
        self._public = create_app(control_plane, settings, refusals=refusals, counter=counter)
        self._bootstrap = create_bootstrap_app(control_plane, settings, refusals, counter=counter)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request with the app of the address that it came in on."""
        is_bootstrap = environ["SERVER_NAME"] == BOOTSTRAP_SERVER
        app = self._bootstrap if is_bootstrap else self._public
        return app(environ, start_response)


class WorkerApp:
    """A WSGI app that knows what to close when its worker ends."""

    def __init__(self, settings: HttpSettings) -> None:
        # Opened by the first request: ZeroMQ contexts do not survive a fork.
        self._client = RpcClient(settings.rpc_endpoint)
        self._refusals = RefusalLog(self._client, settings.node_name)
        is_counted = settings.counts_fd != -1
        counter = RequestCounter(settings.counts_fd) if is_counted else None
        self._doors = Doors(self._client, settings, self._refusals, counter)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        return self._doors(environ, start_response)

    def close(self) -> None:
        """Send what is noted, and release the client's socket and thread."""
        self._refusals.close()
        self._client.close()


def get_app() -> WorkerApp:
    """Build the app from the environment and the settings that `gunicorn_command` tells of.

    gunicorn calls this in each worker, after the fork. Raises: AppImportError, on which it says the
    reason in one line and ends with `APP_LOAD_ERROR`.
    """
    settings = get_settings()
    configure_logging(settings.log_level)
    try:
        return WorkerApp(settings)
    except BadSettings as error:
        raise AppImportError(f"felix-controlplane: {error}") from error


def configure_logging(level: str) -> None:
    """Write one JSON object for each line to standard error, as gunicorn does with its own."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
