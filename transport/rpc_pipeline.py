"""The cheapest way to keep many requests in flight: one thread, one socket, no retries.

For benches and bulk loads; everybody else wants `felix.transport.rpc_client`.
"""

from __future__ import annotations

from types import TracebackType

import zmq

from felix.proto.control_plane import Answered, Call
from felix.proto.errors import FelixError
from felix.proto.rpc import AnyRequest
from felix.transport.options import harden
from felix.transport.rpc_server import REPLY_BYTES_MAX
from felix.transport.rpc_wire import decode_reply, encode_request, read_reply

QUEUE_MAX = 100_000
Outcome = tuple[int, Answered | FelixError]


class PipelinedRpc:
    """Sends without waiting and collects answers as they come; used by one thread only."""

    def __init__(
        self, endpoint: str, context: zmq.Context[zmq.Socket[bytes]] | None = None
    ) -> None:
        """Connect. A `context` that is given is left open."""
        self._own_context = context is None
        self._context = context or zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        harden(self._socket, queue_max=QUEUE_MAX, message_bytes_max=REPLY_BYTES_MAX)
        self._socket.connect(endpoint)
        self._messages: dict[int, AnyRequest] = {}
        self._last_id = 0

    @property
    def in_flight(self) -> int:
        """Count the requests without an answer."""
        return len(self._messages)

    def send(self, message: AnyRequest, call: Call = Call()) -> int:  # noqa: B008 - immutable
        """Send a request and return its number. Raises: TooLarge, Unprocessable, zmq.Again."""
        self._last_id += 1
        frame = encode_request(self._last_id, message, call, call.timeout_s)
        self._socket.send(frame, zmq.NOBLOCK)
        self._messages[self._last_id] = message
        return self._last_id

    def poll(self, timeout_s: float = 1.0) -> list[Outcome]:
        """Wait for an answer, and return all that are there: numbers with answers or errors.

        Raises: Malformed, Unprocessable when what arrives is not a reply.
        """
        found: list[Outcome] = []
        if not self._socket.poll(int(timeout_s * 1000)):
            return found
        while True:
            try:
                frame = self._socket.recv_multipart(zmq.NOBLOCK)[-1]
            except zmq.Again:
                return found
            reply = decode_reply(frame)
            message = self._messages.pop(reply.id, None)
            if message is not None:
                found.append((reply.id, read_reply(message, reply)))

    def forget(self) -> list[int]:
        """Give up on the requests without an answer, and return their numbers."""
        forgotten = list(self._messages)
        self._messages.clear()
        return forgotten

    def close(self) -> None:
        """Close the socket."""
        self._socket.close(0)
        if self._own_context:
            self._context.term()

    def __enter__(self) -> PipelinedRpc:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
