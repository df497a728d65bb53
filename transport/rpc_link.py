"""A connection to one node's RPC socket that knows whether it stands."""

from __future__ import annotations

from typing import Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from felix.transport.curve import ClientCurve
from felix.transport.options import harden
from felix.transport.rpc_server import REPLY_BYTES_MAX

_UP: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED
_DOWN: Final = zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_CONNECT_RETRIED


class Link:
    """One socket with its monitor; used by one thread only."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        kind: int,
        endpoint: str,
        *,
        queue_max: int,
        topic: bytes | None = None,
        early: bool = False,
        curve: ClientCurve | None = None,
        node: int = 0,
    ) -> None:
        """Connect; `topic` is what a SUB socket subscribes to.

        With `early` what is sent before the connection stands waits for it. With `curve` it is
        encrypted, for that node.
        """
        self.endpoint = endpoint
        self.up = False
        """Whether the connection stands."""
        self.socket = context.socket(kind)
        harden(self.socket, queue_max=queue_max, message_bytes_max=REPLY_BYTES_MAX)
        self.socket.setsockopt(zmq.IMMEDIATE, int(not early))
        if topic is not None:
            self.socket.setsockopt(zmq.SUBSCRIBE, topic)
        if curve is not None:
            curve.secure(self.socket, node)
        self.monitor = self.socket.get_monitor_socket(_UP | _DOWN)
        self.socket.connect(endpoint)

    def take_event(self, frames: list[bytes]) -> bool | None:
        """Read what the monitor says: True is up, False is down, None is no change."""
        event = parse_monitor_message(frames)["event"]
        was_up = self.up
        self.up = event == _UP
        if self.up != was_up:
            return self.up
        return None if self.up else False

    def send(self, frame: bytes) -> bool:
        """Send now; False when there is no connection or it is choked."""
        try:
            self.socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def receive(self) -> list[bytes] | None:
        """Take one message that has arrived, if any."""
        try:
            return self.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None

    def close(self) -> None:
        """Close both sockets."""
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close(0)
