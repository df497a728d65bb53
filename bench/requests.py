"""A client of the HTTP API for measuring: one kept connection, and bytes made before the clock."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from multiprocessing.connection import Connection
from typing import Final

import msgspec

from bench.errors import BenchError

_TIMEOUT_S: Final = 10.0
_READ_BYTES: Final = 1 << 18
_LOWEST: Final = 19


class Requests(msgspec.Struct, frozen=True):
    """What to ask for, again and again."""

    method: str
    path: str
    token: str = ""

    def encoded(self, place: str) -> bytes:
        """Write the request as it goes over the wire."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {place}"]
        if self.token:
            lines.append(f"Authorization: Bearer {self.token}")
        if self.method != "GET":
            lines.append("Content-Length: 0")
        return "\r\n".join([*lines, "", ""]).encode("ascii")


class Asked(msgspec.Struct, frozen=True):
    """What a client saw."""

    latencies_s: list[float]
    answered_at: list[float]
    """Monotonic seconds."""


def ask_on(link: Connection, place: str, requests: Requests) -> None:
    """Task: connect, ask once, say "ready", go on until a word comes, send `Asked`.

    Raises: BenchError, when a request is refused.
    """
    _stand_back()
    host, _, port = place.partition(":")
    asked = Asked([], [])
    request = requests.encoded(place)
    with socket.create_connection((host, int(port)), timeout=_TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ask(connection, request)
        link.send("ready")
        while not link.poll():
            began = time.monotonic()
            ask(connection, request)
            ended = time.monotonic()
            asked.latencies_s.append(ended - began)
            asked.answered_at.append(ended)
    link.send(asked)


def ask(connection: socket.socket, request: bytes) -> bytes:
    """Send a request and give the body of its answer. Raises: BenchError, unless it is a 200."""
    connection.sendall(request)
    answer, end = bytearray(), -1
    while end < 0:
        answer += _piece(connection)
        end = answer.find(b"\r\n\r\n")
    head, body = bytes(answer[:end]), answer[end + 4 :]
    if not head.startswith(b"HTTP/1.1 200 "):
        raise BenchError(f"refused: {head!r} {bytes(body)!r}")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += _piece(connection)
    return bytes(body)


def _piece(connection: socket.socket) -> bytes:
    piece = connection.recv(_READ_BYTES)
    if not piece:
        raise BenchError("the server has closed the connection")
    return piece


def _stand_back() -> None:
    """Take only what the cluster leaves of the processor: elsewhere clients have their own."""
    os.setsid()
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as file:
        file.write(str(_LOWEST))
    os.nice(_LOWEST)
