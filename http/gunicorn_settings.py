"""gunicorn's configuration: it reads the names in this module.

Read by gunicorn alone, in the process that `gunicorn_command` starts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Final

from felix.http.gunicorn_command import LIFELINE_VARIABLE, get_settings
from felix.http.tls import TlsFiles

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from gunicorn.arbiter import Arbiter

    from felix.http.gunicorn_worker import PatientWorker

_settings = get_settings()
_tls = TlsFiles(_settings.cert_file, _settings.key_file)

worker_class = "felix.http.gunicorn_worker.PatientWorker"
workers = _settings.workers
threads = _settings.threads
preload_app = False  # sockets and threads of the app do not survive the fork
keepalive = _settings.keepalive_s
graceful_timeout = _settings.graceful_timeout_s
limit_request_line = 8190
limit_request_fields = 64
limit_request_field_size = (32 << 10) + 64  # a token of 32 kB, and the words in front of it
control_socket_disable = True  # it would write below $HOME, which may be read-only
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - memory
accesslog = None  # the app writes one structured line for each request
errorlog = "-"
loglevel = _settings.log_level
proc_name = "felix-http"
certfile = _settings.cert_file or None  # by these gunicorn knows that there is to be TLS
keyfile = _settings.key_file or None
do_handshake_on_connect = False  # the worker does it, in a thread of its pool
http_parser = "python"  # the one that the tests know, whatever else is installed
forwarded_allow_ips = ""  # nobody may set SCRIPT_NAME, PATH_INFO or the scheme by a header


def on_starting(_arbiter: Arbiter) -> None:
    """Watch the lifeline from the arbiter, and let the node process go first."""
    _stand_back()
    lifeline_fd = int(os.environ[LIFELINE_VARIABLE])
    threading.Thread(
        target=_stop_at_the_end_of, args=(lifeline_fd,), name="lifeline", daemon=True
    ).start()


NICENESS: Final = 10
"""Workers verify and sign; consensus, which all of them wait for, gets the processor first. A
worker that shares a core with it still gets a tenth."""


def post_fork(_arbiter: Arbiter, worker: PatientWorker) -> None:
    """Tell a new worker what gunicorn has no setting for."""
    worker.socket_timeout_s = _settings.socket_timeout_s
    worker.request_s_max = _settings.request_s_max
    worker.has_bootstrap = bool(_settings.bootstrap_bind)
    os.nice(NICENESS)


def ssl_context(_config: object, _default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Give the context for a new connection."""
    return _tls.context()


def worker_exit(_arbiter: Arbiter, worker: PatientWorker) -> None:
    """Let the app of a worker close what it has opened."""
    app = getattr(worker, "wsgi", None)  # a worker that could not make its app has none
    if app is not None:
        app.close()


def _stand_back() -> None:
    """Lower the priority of a session of one's own.

    Linux may share the processor out between sessions first (`sched_autogroup_enabled`). Then the
    niceness of a worker counts for nothing beside the node process, which is of another session.
    In a service or a container there is no such sharing, and niceness is what counts.
    """
    if os.getsid(0) != os.getpid():
        return  # the session is another's
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as file:
        file.write(str(NICENESS))


def _stop_at_the_end_of(lifeline_fd: int) -> None:
    while os.read(lifeline_fd, 1):
        pass
    os.kill(os.getpid(), signal.SIGQUIT)
