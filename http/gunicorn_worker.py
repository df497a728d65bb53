"""gunicorn's threaded worker, without the ways in which clients can hold it up."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from typing import Any, Final

from gunicorn.workers.gthread import ThreadWorker

LINGER_S: Final = 1.0
"""How long a closed connection is read on, so that the client gets to read the answer."""
_READ_BYTES: Final = 1 << 16


class PatientWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Answer without delay, time out reads, and linger in the pool, not in the accepting thread."""

    socket_timeout_s: float
    """Put here by the `post_fork` hook."""

    def handle(self, conn: Any) -> Any:
        """Serve one request. What is not kept alive is closed by the caller, at once."""
        _prepare(conn.sock, self.socket_timeout_s)
        kept = super().handle(conn)
        if kept is False:
            _linger(conn.sock)
        return kept


def _prepare(connection: socket.socket, seconds: float) -> None:
    # gunicorn writes head and body of an answer apart: with Nagle's algorithm the body waits for
    # the client's delayed acknowledgement of the head, 40 ms.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # By an option of the socket: gthread calls setblocking(True), which resets settimeout().
    timeout = struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)


def _linger(connection: socket.socket) -> None:
    """Do what gunicorn does with a closed connection on its main thread (RFC 9112, section 9.6).

    A connection shut down in both directions has nothing left for gunicorn to wait for.
    """
    with contextlib.suppress(OSError):  # the client has gone already, or reset the connection
        connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + LINGER_S
        while (left_s := deadline - time.monotonic()) > 0:
            connection.settimeout(left_s)
            if not connection.recv(_READ_BYTES):
                break
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
