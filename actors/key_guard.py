"""The KeyGuard actor: says who is let in at the encrypted sockets, and keeps the list of them new.

There is one before any such socket is bound. A node without it must end: nobody would be let in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
import zmq

from felix.actors.messages import GetStatistics
from felix.transport.node_curve import NodeCurve
from felix.transport.socket_actor import SocketActor, handles
from felix.transport.zap import ENDPOINT, ZapHandler

LOOK_S: Final = 1.0


class _Look(msgspec.Struct, frozen=True):
    """See whether the file is another one."""


class KeyGuardStatistics(msgspec.Struct, frozen=True):
    """KeyGuard's numbers at one moment."""

    keys: int


class KeyGuard(SocketActor):
    """Owns the ZAP socket of a context."""

    def __init__(
        self,
        failed: Callable[[SocketActor, BaseException], None],
        context: zmq.Context[zmq.Socket[bytes]],
        curve: NodeCurve,
    ) -> None:
        super().__init__(failed)
        self._context = context
        self._curve = curve
        self._handler = ZapHandler(curve.allowed, curve.failures)

    def acquire(self) -> None:
        """Open the socket that libzmq asks at."""
        self._socket = self._context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(ENDPOINT)
        self.listen(self._socket, self._hear_question)
        self.after(LOOK_S, _Look())

    def release(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _hear_question(self, frames: list[bytes]) -> None:
        self._socket.send_multipart(self._handler.answer(frames))

    @handles(_Look)
    def _look(self, message: _Look) -> None:
        self._curve.allowed.look()
        self.after(LOOK_S, message)

    @handles(GetStatistics)
    def _statistics(self, _: GetStatistics) -> KeyGuardStatistics:
        return KeyGuardStatistics(len(self._curve.allowed))
