"""A door that answers everybody alike, and keeps what it was shown."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import msgspec

from felix.http.tls import load_context
from tests.support.certificates import Pair


class Gate:
    """Answers every request alike, and keeps what it was shown."""

    def __init__(self) -> None:
        self.status = 401
        self.code = "unauthorized"
        self.shown: list[str | None] = []
        self.paths: list[str] = []
        self.location = ""
        self.port = 0


@contextmanager
def standing(gate: Gate, pair: Pair | None = None) -> Iterator[str]:
    """Run it on a free port, with TLS or without; give `host:port`."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            gate.shown.append(self.headers["Authorization"])
            gate.paths.append(self.path)
            body = {"code": gate.code, "message": "no", "request_id": "1"}
            self.send_response(gate.status)
            if gate.location:
                self.send_header("Location", gate.location)
            self.end_headers()
            self.wfile.write(msgspec.json.encode(body))

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Server(HTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A handshake that failed is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    if pair is not None:
        server.socket = load_context(*pair).wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
