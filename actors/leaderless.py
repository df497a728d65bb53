"""Requests that came while no leader was known, and wait a moment for one."""

from __future__ import annotations

import time

import msgspec

from felix.transport.rpc_server import Incoming

PATIENCE_S = 0.3
"""While leadership is handed over none is known for some milliseconds: not worth a refusal."""
LEADERLESS_MAX = 4096


class _Held(msgspec.Struct, frozen=True):
    incoming: Incoming
    until: float
    deadline: float


class Leaderless:
    """Bounded in number and time; used by one thread."""

    def __init__(self) -> None:
        self._held: list[_Held] = []

    def __len__(self) -> int:
        """Count what waits."""
        return len(self._held)

    def hold(self, incoming: Incoming, timeout_s: float) -> bool:
        """Let a request wait that has this much time left; False if it cannot."""
        if len(self._held) >= LEADERLESS_MAX or timeout_s <= 0:
            return False
        now = time.monotonic()
        until = now + min(timeout_s, PATIENCE_S)
        self._held.append(_Held(incoming, until, now + timeout_s))
        return True

    def take_all(self) -> list[Incoming]:
        """Take out everything, each with the time that it has left."""
        held, self._held = self._held, []
        now = time.monotonic()
        return [_with_time_left(one, now) for one in held]

    def take_overdue(self) -> list[Incoming]:
        """Take out what has waited as long as it may."""
        now = time.monotonic()
        late = [one.incoming for one in self._held if one.until <= now]
        if late:
            self._held = [one for one in self._held if one.until > now]
        return late


def _with_time_left(one: _Held, now: float) -> Incoming:
    left_ms = max(0, int((one.deadline - now) * 1000))
    request = msgspec.structs.replace(one.incoming.request, timeout_ms=left_ms)
    return msgspec.structs.replace(one.incoming, request=request)
