"""gunicorn as a child of the node process: started, watched, and ended with it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator

import structlog

from felix.cli.config import Config
from felix.http.gunicorn_command import gunicorn_command, gunicorn_environment
from felix.http.settings import HttpSettings

CHILD_CHECK_S = 0.25
CHILD_RESTART_S = 1.0

log = structlog.get_logger("felix.serve")


@contextlib.contextmanager
def http_processes(config: Config, rpc_local: str) -> Iterator[None]:
    """Run gunicorn, start it anew when it dies, and end it within the drain timeout."""
    grace_s = config.shutdown_drain_timeout_ms / 1000
    settings = HttpSettings(
        region_id=config.region_id,
        timeout_s=config.limits.timeout_s,
        changes_limit=config.changes_limit,
        rpc_endpoint=rpc_local,
        bind=config.listen.http,
        workers=config.http.workers,
        threads=config.http.threads,
        graceful_timeout_s=max(1, int(grace_s) - 1),  # it ends by itself before it is made to
        log_level=config.log.level,
    )
    lifeline, ours = os.pipe()  # the child reads; our end closes with us, however we end
    child = HttpChild(settings, lifeline)
    child.start()
    try:
        yield
    finally:
        child.stop(grace_s)
        os.close(ours)
        os.close(lifeline)


class HttpChild:
    """The gunicorn process of a node."""

    def __init__(self, settings: HttpSettings, lifeline: int) -> None:
        """`lifeline` is the reading end of a pipe whose other end this process holds."""
        self._settings = settings
        self._lifeline = lifeline
        self._stopping = threading.Event()
        self._process = self._spawn()
        self._watcher = threading.Thread(target=self._watch, name="http-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch the child."""
        self._watcher.start()

    def stop(self, grace_s: float) -> None:
        """End the child: politely, then by force."""
        self._stopping.set()
        self._watcher.join()
        self._process.terminate()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own command, no shell
            gunicorn_command(self._settings),
            env=gunicorn_environment(self._settings, self._lifeline),
            pass_fds=[self._lifeline],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches this process only, which stops the child
        )

    def _watch(self) -> None:
        while not self._stopping.wait(CHILD_CHECK_S):
            code = self._process.poll()
            if code is not None:
                log.error("the HTTP processes ended, starting them anew", exit_code=code)
                if self._stopping.wait(CHILD_RESTART_S):
                    return
                self._process = self._spawn()
