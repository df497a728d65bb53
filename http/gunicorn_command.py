"""How the node process starts gunicorn: command, environment, lifeline.

The lifeline is the reading end of a pipe. The node process holds the only writing end and never
writes: when the node process is gone, however it died, the pipe ends and gunicorn stops.

    reading, writing = os.pipe()
    subprocess.Popen(
        gunicorn_command(settings),
        env=gunicorn_environment(settings, lifeline_fd=reading),
        pass_fds=[reading],
    )
"""

from __future__ import annotations

import os
import sys
from typing import Final

import msgspec

from felix.http.settings import HttpSettings

SETTINGS_VARIABLE: Final = "FELIX_HTTP_SETTINGS"
LIFELINE_VARIABLE: Final = "FELIX_HTTP_LIFELINE_FD"
APP: Final = "felix.http.wsgi:get_app()"


def gunicorn_command(settings: HttpSettings, app: str = APP) -> list[str]:
    """Give the command line of the gunicorn that serves the app."""
    return [
        sys.executable,
        "-m",
        "gunicorn",
        "--config",
        "python:felix.http.gunicorn_settings",
        "--bind",
        settings.bind,
        app,
    ]


def gunicorn_environment(settings: HttpSettings, lifeline_fd: int) -> dict[str, str]:
    """Give the environment of the gunicorn that serves the app."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GUNICORN_", "LISTEN_"))
    }
    environment[SETTINGS_VARIABLE] = msgspec.json.encode(settings).decode()
    environment[LIFELINE_VARIABLE] = str(lifeline_fd)
    return environment
