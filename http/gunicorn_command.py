"""How the node process starts gunicorn: command, environment, settings, lifeline.

The settings hold secrets, so they go over in a file that has no name, never in the environment or
on the command line, which others can see. gunicorn and each worker read it anew.

The lifeline is the reading end of a pipe. The node process holds the only writing end and never
writes: when the node process is gone, however it died, the pipe ends and gunicorn stops.

    settings_fd = put_settings(settings)
    reading, writing = os.pipe()
    subprocess.Popen(
        gunicorn_command(settings),
        env=gunicorn_environment(settings_fd, lifeline_fd=reading),
        pass_fds=[settings_fd, reading],
    )
"""

from __future__ import annotations

import fcntl
import os
import sys
from typing import Final

import msgspec

from felix.http.settings import HttpSettings

SETTINGS_VARIABLE: Final = "FELIX_HTTP_SETTINGS_FD"
LIFELINE_VARIABLE: Final = "FELIX_HTTP_LIFELINE_FD"
APP_LOAD_ERROR: Final = 4
"""gunicorn's exit code when a worker cannot use what it was told."""
APP: Final = "felix.http.wsgi:get_app()"


def gunicorn_command(settings: HttpSettings, app: str = APP) -> list[str]:
    """Give the command line of the gunicorn that serves the app: the bootstrap address is last."""
    binds = [settings.bind, settings.bootstrap_bind] if settings.bootstrap_bind else [settings.bind]
    return [
        sys.executable,
        "-m",
        "gunicorn",
        "--config",
        "python:felix.http.gunicorn_settings",
        *(word for bind in binds for word in ("--bind", bind)),
        app,
    ]


def gunicorn_environment(settings_fd: int, lifeline_fd: int) -> dict[str, str]:
    """Give the environment of the gunicorn that serves the app.

    Nothing of the node's own configuration is in it: there may be secrets in that.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GUNICORN_", "LISTEN_", "FELIX_"))
    }
    environment[SETTINGS_VARIABLE] = str(settings_fd)
    environment[LIFELINE_VARIABLE] = str(lifeline_fd)
    return environment


def put_settings(settings: HttpSettings) -> int:
    """Write the settings into a file in memory that can only be read; give its descriptor."""
    descriptor = os.memfd_create("felix-http", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(msgspec.json.encode(settings))
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def get_settings() -> HttpSettings:
    """Read the settings that this process was started with."""
    descriptor = int(os.environ[SETTINGS_VARIABLE])
    # At an explicit place: the processes share one position in the file.
    text = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    return msgspec.json.decode(text, type=HttpSettings)
