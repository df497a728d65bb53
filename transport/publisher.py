"""The watch socket: every update and bookmark, to whoever subscribed."""

from __future__ import annotations

import zmq

from felix.proto import codec
from felix.proto.updates import WATCH_TOPIC, WatchHeader
from felix.transport.node_curve import Guard, NodeCurve
from felix.transport.options import bind, harden

WATCH_QUEUE_MAX = 1000
"""Messages queued for one subscriber; what comes on top is dropped, and it will see the gap.

Subscribers share the bytes of a message, so a slow one costs its queue and little more.
"""


class Publisher:
    """An XPUB socket; used by one thread only."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        listen: str,
        curve: NodeCurve | None = None,
    ) -> None:
        """Open and bind the socket. Raises: OSError when the port is taken."""
        self.subscribers = 0
        self.socket = context.socket(zmq.XPUB)
        harden(self.socket, queue_max=WATCH_QUEUE_MAX, message_bytes_max=1 << 16)
        self.socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # hear of every subscriber, not the first
        self.guard = None if curve is None else Guard(self.socket, curve, "watch")
        try:
            bind(self.socket, f"tcp://{listen}")
        except OSError:
            self.close()
            raise

    def send(self, header: WatchHeader, payload: bytes) -> None:
        """Send to all subscribers; never waits."""
        self.socket.send_multipart([WATCH_TOPIC, codec.encode(header), payload], zmq.NOBLOCK)

    def take(self, frames: list[bytes]) -> bool:
        """Count a subscription or its end; say whether somebody new is there."""
        first = frames[0][:1]
        if frames[0][1:] and not WATCH_TOPIC.startswith(frames[0][1:]):
            return False
        if first == b"\x01":
            self.subscribers += 1
            return True
        if first == b"\x00":
            self.subscribers = max(0, self.subscribers - 1)
        return False

    def close(self) -> None:
        """Close the socket."""
        if self.guard is not None:
            self.guard.close()
        self.socket.close()
