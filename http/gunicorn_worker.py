"""gunicorn's threaded worker, without the ways in which clients can hold it up."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import ssl
import threading
import time
from typing import Any, Final

from gunicorn.http import get_parser
from gunicorn.http.unreader import SocketUnreader
from gunicorn.sock import ssl_wrap_socket
from gunicorn.workers.gthread import TConn, ThreadWorker

from felix.http.tls import say_goodbye

LINGER_S: Final = 1.0
"""How long a closed connection is read on, so that the client gets to read the answer."""
BOOTSTRAP_SERVER: Final = "bootstrap"
"""SERVER_NAME of requests that came in on the second address. No address looks like this, and no
header can set it."""
STAY_MS: Final = 10
"""How long a thread waits for the next request of the connection that it has just answered."""
THREADS_PER_SEAT: Final = 4
"""Of so many threads one may stay with a connection: the others are for everybody, also while all
the long polls that there may be (`watch_waiters_max`) hold theirs."""
_READ_BYTES: Final = 1 << 16
_NOT_WORTH_A_TRACEBACK: Final = errno.ECONNRESET
"""gunicorn says of such an error at debug level that it ignores it."""


class Connection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """A connection whose client has so much time for each request, and no more."""

    sock: socket.socket
    initialized: bool

    def __init__(
        self, cfg: Any, sock: socket.socket, client: Any, server: Any, limits: tuple[float, float]
    ) -> None:
        """`limits`: seconds of silence, and seconds for the whole of a request."""
        super().__init__(cfg, sock, client, server)
        self.silence_s, self.request_s = limits
        self.deadline_s = 0.0

    def begin_request(self) -> None:
        """Let the time for a request begin."""
        self.deadline_s = time.monotonic() + self.request_s

    def init(self) -> None:
        """Shake hands, in a thread of the pool. Raises: ConnectionResetError."""
        if self.initialized:
            return
        self.initialized = True
        # gunicorn writes head and body of an answer apart: with Nagle's algorithm the body waits
        # for the client's delayed acknowledgement of the head, 40 ms.
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(self.silence_s)
        if self.cfg.is_ssl:
            try:
                secured: ssl.SSLSocket = ssl_wrap_socket(self.sock, self.cfg)
                self.sock = secured
                secured.do_handshake()
            except OSError as error:  # not TLS, not in time, or gone
                raise ConnectionResetError(_NOT_WORTH_A_TRACEBACK, f"no TLS: {error}") from error
        self.parser = get_parser(self.cfg, self.sock, self.client)
        self.parser.unreader = _PunctualUnreader(self)

    def close(self, graceful: bool = False) -> None:
        """Close the socket, also one that a failed handshake has closed already."""
        with contextlib.suppress(OSError):
            super().close(graceful)


class _PunctualUnreader(SocketUnreader):  # type: ignore[misc]  # gunicorn has no types
    """Reads from a connection as long as its client has time left."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection.sock)
        self._connection = connection

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Read what there is. Raises: TimeoutError, OSError."""
        connection = self._connection
        left_s = min(connection.silence_s, connection.deadline_s - time.monotonic())
        already_s = self.sock.gettimeout()
        if already_s:  # whoever drains a body sets one of its own
            left_s = min(left_s, already_s)
        try:
            if left_s <= 0:
                raise TimeoutError("the time for a request is over")
            self.sock.settimeout(left_s)
            data: bytes = super().chunk(size_hint)
        except TimeoutError as error:
            raise TimeoutError(_NOT_WORTH_A_TRACEBACK, "the client is too slow") from error
        except ssl.SSLError as error:
            raise ConnectionResetError(_NOT_WORTH_A_TRACEBACK, str(error)) from error
        return data


class PatientWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Answer without delay, time out reads, and linger in the pool, not in the accepting thread."""

    socket_timeout_s: float
    request_s_max: float
    has_bootstrap: bool
    """These are put here by the `post_fork` hook."""

    def accept(self, listener: Any) -> None:
        """Take a connection, and note which door it came through."""
        try:
            client_sock, client_addr = listener.accept()
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK}:
                raise
            return
        self.nr_conns += 1
        server = listener.getsockname()
        if self.has_bootstrap and listener is self.sockets[1]:
            server = (BOOTSTRAP_SERVER, server[1])
        limits = (self.socket_timeout_s, self.request_s_max)
        self.enqueue_req(Connection(self.cfg, client_sock, client_addr, server, limits))

    def init_process(self) -> None:
        """Make room for connections that keep their thread."""
        self._seats = threading.BoundedSemaphore(self.cfg.threads // THREADS_PER_SEAT)
        super().init_process()

    def handle(self, conn: Any) -> Any:
        """Serve a connection. What is not kept alive is closed by the caller, at once.

        By way of gunicorn's poller every request wakes the main thread twice and a thread of the
        pool once, which costs more than most answers. A client that asks again at once is answered
        in the same thread, as long as few do.
        """
        kept = self._serve(conn)
        if kept is True and self._seats.acquire(blocking=False):
            try:
                while kept is True and self.alive and _says_more(conn):
                    kept = self._serve(conn)
            finally:
                self._seats.release()
        return kept

    def _serve(self, conn: Any) -> Any:
        conn.begin_request()
        kept = super().handle(conn)
        if kept is False:
            _linger(conn.sock)
        return kept

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answer one request. Raises: ConnectionResetError when the client does not read."""
        conn.sock.settimeout(self.socket_timeout_s)
        try:
            return super().handle_request(req, conn)
        except (TimeoutError, ssl.SSLError) as error:
            raise ConnectionResetError(_NOT_WORTH_A_TRACEBACK, str(error)) from error


def _says_more(conn: Any) -> bool:
    """Wait a moment for the next request of a connection."""
    if conn.parser.unreader.buf.getvalue():
        return True
    waiting = select.poll()
    waiting.register(conn.sock, select.POLLIN)
    return bool(waiting.poll(STAY_MS))


def _linger(connection: socket.socket) -> None:
    """Do what gunicorn does with a closed connection on its main thread (RFC 9112, section 9.6).

    A connection shut down in both directions has nothing left for gunicorn to wait for.
    """
    say_goodbye(connection)
    with contextlib.suppress(OSError):  # the client has gone already, or reset the connection
        connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + LINGER_S
        while (left_s := deadline - time.monotonic()) > 0:
            connection.settimeout(left_s)
            if not connection.recv(_READ_BYTES):
                break
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
