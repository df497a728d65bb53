"""What a gunicorn worker runs: the app on an RPC client to the node that started gunicorn."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec
import structlog

from felix.http.app import create_app
from felix.http.gunicorn_command import SETTINGS_VARIABLE
from felix.http.settings import HttpSettings
from felix.transport.rpc_client import RpcClient

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


class WorkerApp:
    """A WSGI app that knows what to close when its worker ends."""

    def __init__(self, settings: HttpSettings) -> None:
        # Opened by the first request: ZeroMQ contexts do not survive a fork.
        self._client = RpcClient(settings.rpc_endpoint)
        self._app = create_app(self._client, settings)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        return self._app(environ, start_response)

    def close(self) -> None:
        """Release the client's socket and thread."""
        self._client.close()


def get_app() -> WorkerApp:
    """Build the app from the environment that `gunicorn_environment` has made."""
    settings = msgspec.json.decode(os.environ[SETTINGS_VARIABLE], type=HttpSettings)
    configure_logging(settings.log_level)
    return WorkerApp(settings)


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
