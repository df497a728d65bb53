"""What gunicorn serves in tests: the app on a catalog of its own, and a few odd resources."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from felix.http.app import create_app
from felix.http.gunicorn_command import SETTINGS_VARIABLE
from felix.http.settings import HttpSettings
from tests.support.local_control_plane import LocalControlPlane

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


class LocalApp:
    """Like `felix.http.wsgi.WorkerApp`, without a node."""

    def __init__(self, settings: HttpSettings) -> None:
        self._app = create_app(LocalControlPlane(), settings)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._app(environ, start_response)

    def close(self) -> None:
        """There is nothing to close."""


def get_app() -> LocalApp:
    """Build the app as `felix.http.wsgi.get_app` does."""
    return LocalApp(msgspec.json.decode(os.environ[SETTINGS_VARIABLE], type=HttpSettings))
