"""The app of the bootstrap listener: nothing that the public one serves."""

from __future__ import annotations

import falcon

from felix.http import errors
from felix.http.app import App
from felix.http.middleware import AccessLog, RequestId, StrictPath
from felix.http.settings import HttpSettings
from felix.proto.control_plane import ControlPlane


def create_bootstrap_app(_control_plane: ControlPlane, _settings: HttpSettings) -> App:
    """Build the app of the bootstrap listener on something that can be asked."""
    app: App = falcon.App(middleware=[RequestId(), AccessLog(), StrictPath()])
    errors.install(app)
    return app
