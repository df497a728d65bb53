"""The metrics listener of the node process: `/metrics`, `/live`, `/ready`."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import falcon
import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from felix.http import errors
from felix.http.tls import TlsFiles, say_goodbye

if TYPE_CHECKING:
    from socket import socket
    from wsgiref.types import StartResponse, WSGIEnvironment

WsgiApp: TypeAlias = "Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]"
Probe: TypeAlias = Callable[[], str | None]
"""Returns why not, or None when all is well."""

CONNECTIONS_MAX: Final = 16
"""One more is closed unanswered."""
SOCKET_TIMEOUT_S: Final = 5.0


class Metrics:
    """/metrics"""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Read."""
        resp.content_type = CONTENT_TYPE_LATEST
        resp.data = generate_latest(self._registry)

    on_head = on_get


class ProbeResource:
    """/live or /ready"""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer `ok`, or 503 with the reason."""
        reason = self._probe()
        resp.content_type = falcon.MEDIA_TEXT
        resp.status = 200 if reason is None else 503
        resp.text = "ok" if reason is None else reason

    on_head = on_get


def create_probe_app(
    registry: CollectorRegistry, live: Probe, ready: Probe
) -> falcon.App[falcon.Request, falcon.Response]:
    """Build the app of the metrics listener."""
    app: falcon.App[falcon.Request, falcon.Response] = falcon.App()
    errors.install(app)
    app.add_route("/metrics", Metrics(registry))
    app.add_route("/live", ProbeResource(live))
    app.add_route("/ready", ProbeResource(ready))
    return app


class ProbeServer:
    """A small threaded HTTP server, one request for each connection."""

    def __init__(self, host: str, port: int, app: WsgiApp, tls: TlsFiles | None = None) -> None:
        self._tls = tls
        self._address = (host, port)
        self._app = app
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens on, once started: tells what port 0 became."""
        assert self._server is not None
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Bind and serve in a thread. Raises: OSError when the address is taken."""
        assert self._server is None
        self._server = _Server(self._address, _Handler, self._tls)
        self._server.set_app(self._app)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.1},
            name="probes",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop accepting and close the listening socket."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server = self._thread = None


class _Handler(WSGIRequestHandler):
    timeout = SOCKET_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the base class
        """Say nothing: probes come every few seconds."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a client that trickles does not hold up a stop
    request_queue_size = 64

    def __init__(
        self, address: tuple[str, int], handler: type[_Handler], tls: TlsFiles | None
    ) -> None:
        self._tls = tls
        self._slots = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # HTTPServer would look up the host's full name, which may take as long as DNS does.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request(self, request: socket | tuple[bytes, socket], client: Any) -> None:
        if self._slots.acquire(blocking=False):
            super().process_request(request, client)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: socket | tuple[bytes, socket], client: Any) -> None:
        try:
            secured = self._shake_hands(request)
            if secured is not None:
                super().process_request_thread(secured, client)
        finally:
            self._slots.release()

    def _shake_hands(
        self, request: socket | tuple[bytes, socket]
    ) -> socket | tuple[bytes, socket] | None:
        """Speak TLS if there is to be any, in the client's own thread; None if it does not."""
        if self._tls is None or isinstance(request, tuple):
            return request
        secured: socket = request
        try:
            secured.settimeout(SOCKET_TIMEOUT_S)
            secured = self._tls.context().wrap_socket(
                request, server_side=True, do_handshake_on_connect=False
            )
            secured.do_handshake()
        except OSError as error:
            structlog.get_logger(__name__).debug("probe_without_tls", problem=str(error))
            self.shutdown_request(secured)
            return None
        return secured

    def shutdown_request(self, request: socket | tuple[bytes, socket]) -> None:
        say_goodbye(request)
        super().shutdown_request(request)

    def handle_error(self, _request: socket | tuple[bytes, socket], client: Any) -> None:
        structlog.get_logger(__name__).debug("probe_connection_failed", client=client[0])
