"""A real gunicorn in front of a catalog of its own."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import urllib3

from felix.http.gunicorn_command import gunicorn_command, gunicorn_environment, put_settings
from felix.http.settings import HttpSettings
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
LOCAL_APP = "tests.http.wsgi_entry:get_app()"
SETTINGS = HttpSettings(
    is_open=True,
    workers=1,
    threads=4,
    socket_timeout_s=0.5,
    graceful_timeout_s=3,
    timeout_s=0.5,
)


class Gunicorn:
    """A gunicorn, started as the node process does."""

    def __init__(self, settings: HttpSettings, app: str, home: str) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.create_server(("127.0.0.1", 0)) as second,
        ):
            self.port: int = listener.getsockname()[1]
            self.bootstrap_port: int = second.getsockname()[1]
            settings = msgspec.structs.replace(settings, bind=f"fd://{listener.fileno()}")
            if settings.bootstrap_bind:
                settings = msgspec.structs.replace(
                    settings, bootstrap_bind=f"fd://{second.fileno()}"
                )
            self.cert_file = settings.cert_file
            reading, self.lifeline = os.pipe()
            settings_fd = put_settings(settings)
            self.process = subprocess.Popen(
                gunicorn_command(settings, app),
                env=gunicorn_environment(settings_fd, reading) | {"HOME": home},
                cwd=ROOT,
                pass_fds=[
                    *([settings.counts_fd] if settings.counts_fd != -1 else []),
                    settings_fd,
                    reading,
                    listener.fileno(),
                    second.fileno(),
                ],
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            os.close(settings_fd)
            os.close(reading)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def answers(self) -> bool:
        assert self.process.poll() is None
        scheme = "https" if self.cert_file else "http"
        pool = urllib3.PoolManager(retries=False, ca_certs=self.cert_file or None)
        try:
            response = pool.request(
                "GET", f"{scheme}://127.0.0.1:{self.port}/v1/regions", timeout=5
            )
        except urllib3.exceptions.HTTPError:
            return False
        finally:
            pool.clear()
        return response.status == 200

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def end(self) -> str:
        """End it in order, and give all that it wrote."""
        self.process.terminate()
        self.process.wait(timeout=20)
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def close_lifeline(self) -> None:
        os.close(self.lifeline)
        self.lifeline = -1


@contextmanager
def running(
    settings: HttpSettings = SETTINGS, app: str = LOCAL_APP, home: str = "/nonexistent"
) -> Iterator[Gunicorn]:
    gunicorn = Gunicorn(settings, app, home)
    try:
        eventually(gunicorn.answers, timeout_s=30)
        yield gunicorn
    finally:
        if gunicorn.lifeline != -1:
            gunicorn.close_lifeline()
        gunicorn.process.wait(timeout=20)
        assert gunicorn.process.stderr is not None
        gunicorn.process.stderr.close()
