"""Who is let in at a node's encrypted sockets: the ZAP handler (ZeroMQ RFC 27), and its counts."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Final

import structlog
import zmq
from zmq.utils import z85
from zmq.utils.monitor import parse_monitor_message

from felix.transport.allow_list import ROLES, AllowList
from felix.transport.curve import Role

ENDPOINT: Final = "inproc://zeromq.zap.01"
LET_IN: Final[dict[str, tuple[Role, ...]]] = {"peers": ("node",), "rpc": ROLES, "watch": ROLES}
"""By ZAP domain."""
EVENTS: Final = int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
"""Of a bound socket's monitor. Those that the handler turns away it counts itself."""
LOG_AGAIN_S: Final = 10.0
LOG_SOURCES_MAX: Final = 256

_VERSION: Final = b"1.0"
_KEY_BYTES: Final = 32
_PROTOCOL_ERRORS: Final = {
    int(zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC): "wrong_server_key",
    int(zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH): "not_encrypted",
}

log = structlog.get_logger("felix.curve")


class HandshakeFailures:
    """Counts those who were not let in, and writes some of them down; any thread may."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._told: dict[tuple[str, str, str], tuple[float, int]] = {}

    def note(self, socket: str, reason: str, address: str = "", **details: str) -> None:
        """Count a failure. Of one source and reason, one line in ten seconds is written."""
        now = time.monotonic()
        source = (socket, reason, address)
        with self._lock:
            self._counts[socket, reason] += 1
            told_at, untold = self._told.get(source, (-LOG_AGAIN_S, 0))
            if now - told_at < LOG_AGAIN_S:
                self._told[source] = (told_at, untold + 1)
                return
            if len(self._told) >= LOG_SOURCES_MAX:
                self._told.clear()
            self._told[source] = (now, 0)
        log.warning(
            "somebody was not let in",
            socket=socket,
            reason=reason,
            address=address or None,
            more=untold,
            **details,
        )

    def take_event(self, socket: str, frames: list[bytes]) -> None:
        """Take in what the monitor of a bound socket says."""
        event = parse_monitor_message(frames)
        kind, value = int(event["event"]), int(event["value"])
        if kind == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            self.note(socket, _PROTOCOL_ERRORS.get(value, "protocol"))
        elif kind == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            self.note(socket, "broken_off")

    def counts(self) -> dict[tuple[str, str], int]:
        """Give the numbers, by socket and reason."""
        with self._lock:
            return dict(self._counts)


class ZapHandler:
    """Answers the questions of libzmq; used by one thread."""

    def __init__(self, allowed: AllowList, failures: HandshakeFailures) -> None:
        self._allowed = allowed
        self._failures = failures

    def answer(self, frames: list[bytes]) -> list[bytes]:
        """Turn a question into its answer.

        Whoever is not let in gets 300, "try again", and not 400, "never": after that, libzmq's
        clients do not come back once their key is in the list.
        """
        if len(frames) < 2:
            return [_VERSION, b"", b"500", b"not a question", b"", b""]
        number = frames[1]
        if len(frames) != 7 or frames[0] != _VERSION or frames[5] != b"CURVE":
            return [_VERSION, number, b"400", b"CURVE is expected", b"", b""]
        socket, address = (frames[at].decode("utf-8", "replace") for at in (2, 3))
        key = z85.encode(frames[6]).decode() if len(frames[6]) == _KEY_BYTES else ""
        reason = self._why_not(socket, key)
        if reason is None:
            return [_VERSION, number, b"200", b"OK", key.encode(), b""]
        owner = self._allowed.find(key)
        self._failures.note(
            socket,
            reason,
            address,
            key=key[:8],
            owner=f"{owner.role} {owner.name}" if owner else "",
        )
        return [_VERSION, number, b"300", b"not let in", b"", b""]

    def _why_not(self, socket: str, key: str) -> str | None:
        owner = self._allowed.find(key)
        if owner is None:
            return "unknown_key"
        if owner.role not in LET_IN.get(socket, ()):
            return "wrong_role"
        return None
