"""A real HTTP server in front of something that can be asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog

from felix.http.app import create_app
from felix.http.settings import HttpSettings
from felix.proto.control_plane import ControlPlane


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = False
    block_on_close = True


class _Quiet(WSGIRequestHandler):
    timeout = 5.0

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(control_plane: ControlPlane) -> Iterator[str]:
    """Serve the HTTP API on a free port until the block ends; give `host:port`."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    app = create_app(control_plane, HttpSettings(is_open=True))
    server = make_server("127.0.0.1", 0, app, server_class=_Server, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
