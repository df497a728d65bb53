"""The server's side of the native API: requests in, replies out, on a ROUTER socket.

With CURVE there are two: one for this machine, whose callers are trusted, and an encrypted one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

import msgspec
import zmq

from felix.proto import codec
from felix.proto.errors import ErrorReply, FelixError, TooLarge, UnsupportedVersion
from felix.proto.rpc import NO_RESULT, PROTOCOL, Answer, Reply, Request, RequestEnvelope
from felix.transport.allow_list import Owner
from felix.transport.node_curve import Guard, NodeCurve
from felix.transport.options import bind, harden

RPC_QUEUE_MAX = 10_000
REPLY_BYTES_MAX = 32 << 20
_NOBLOCK = int(zmq.NOBLOCK)
_MORE = int(zmq.SNDMORE | zmq.NOBLOCK)

Route: TypeAlias = tuple[bytes, ...]
"""The frames in front of a request: who asked, and a delimiter if there was one."""


class _SecuredRoute(tuple[bytes, ...]):
    """A route to a caller at the encrypted socket."""

    __slots__ = ()


class RpcCaller(msgspec.Struct, frozen=True):
    """Who sent a request that came encrypted."""

    owner: Owner | None
    """Of the key, as the allow-list says now; None: it is not in there any more."""
    address: str
    """The machine it came from."""
    key: str = ""
    """Its public key."""


class Incoming(msgspec.Struct, frozen=True):
    """A request that can be answered."""

    route: Route
    request: Request
    caller: RpcCaller | None = None
    """None: it came unencrypted, from this machine."""


class RpcServer:
    """Decodes requests under limits and sends replies; used by one thread only."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoints: Sequence[str],
        curve: NodeCurve | None = None,
    ) -> None:
        """Open and bind the sockets; with `curve`, `tcp` endpoints are encrypted.

        Raises: OSError when an endpoint is taken.
        """
        self.malformed = 0
        """Frames that could not even be answered."""
        self.replies_dropped = 0
        """Replies to callers that were gone or did not read."""
        self.refused: Counter[str] = Counter()
        """Requests that were answered with an error, by its code."""
        self._decoder: codec.ForeignDecoder[Request] = codec.ForeignDecoder(Request)
        self._envelopes: codec.ForeignDecoder[RequestEnvelope] = codec.ForeignDecoder(
            RequestEnvelope
        )
        self.socket = _router(context)
        self.secured: zmq.Socket[bytes] | None = None
        self.guard: Guard | None = None
        if curve is not None:
            self._allowed = curve.allowed
            self.secured = _router(context)
            self.guard = Guard(self.secured, curve, "rpc")
        for endpoint in endpoints:
            foreign = self.secured if endpoint.startswith("tcp:") else None
            bind(foreign or self.socket, endpoint)

    def take(self, frames: list[bytes], route_type: type[Route] = tuple) -> Incoming | None:
        """Decode a request; a faulty one is answered or counted here and gives None."""
        route = _route_of(frames, route_type)
        if route is None:
            self.malformed += 1
            return None
        try:
            request = self._decoder.decode(frames[-1])
        except FelixError as error:
            self._refuse_unread(route, frames[-1], error)
            return None
        if request.protocol != PROTOCOL:
            self.refuse(route, request.id, _unsupported(request.protocol))
            return None
        return Incoming(route, request)

    def take_secured(self, frames: list[zmq.Frame]) -> Incoming | None:
        """Decode a request from the encrypted socket; see `take`.

        Whose the key is, is looked up now: a connection outlives its key's place in the list.
        """
        incoming = self.take([frame.bytes for frame in frames], _SecuredRoute)
        if incoming is None:
            return None
        last = frames[-1]
        key = str(last.get("User-Id"))
        caller = RpcCaller(self._allowed.find(key), str(last.get("Peer-Address")), key)
        return Incoming(incoming.route, incoming.request, caller)

    def answer(
        self, route: Route, request_id: int, result: Answer, version: int, age_ms: int = 0
    ) -> None:
        """Send the result of a request."""
        self.answer_encoded(route, request_id, codec.encode(result), version, age_ms)

    def answer_encoded(
        self, route: Route, request_id: int, result: bytes, version: int, age_ms: int = 0
    ) -> None:
        """Send a result that is encoded already."""
        self.relay(route, Reply(PROTOCOL, request_id, version, age_ms, None, msgspec.Raw(result)))

    def refuse(self, route: Route, request_id: int, error: FelixError | ErrorReply) -> None:
        """Send an error."""
        reply = error if isinstance(error, ErrorReply) else error.to_reply()
        self.relay(route, Reply(PROTOCOL, request_id, 0, 0, reply, NO_RESULT))

    def relay(self, route: Route, reply: Reply) -> None:
        """Send a reply as it is, or count it as dropped: never wait for a caller."""
        frame = codec.encode(reply)
        if len(frame) > REPLY_BYTES_MAX:
            self.refuse(route, reply.id, TooLarge("the answer is too large: ask for pages"))
            return
        if reply.error is not None:
            self.refused[reply.error.code] += 1
        socket = self.socket
        if type(route) is _SecuredRoute and self.secured is not None:
            socket = self.secured
        try:
            for part in route:
                socket.send(part, _MORE)
            socket.send(frame, _NOBLOCK)
        except zmq.ZMQError:  # gone, or its queue is full
            self.replies_dropped += 1

    def close(self) -> None:
        """Close the sockets."""
        if self.guard is not None:
            self.guard.close()
        if self.secured is not None:
            self.secured.close()
        self.socket.close()

    def _refuse_unread(self, route: Route, frame: bytes, error: FelixError) -> None:
        """Answer a request that cannot be read, if at least its number can; else count it."""
        try:
            envelope = self._envelopes.decode(frame)
        except FelixError:
            self.malformed += 1
            return
        if envelope.protocol != PROTOCOL:
            error = _unsupported(envelope.protocol)
        self.refuse(route, envelope.id, error)


def _unsupported(protocol: int) -> UnsupportedVersion:
    return UnsupportedVersion(f"protocol {protocol}, this is {PROTOCOL}")


def _router(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.ROUTER)
    harden(socket, queue_max=RPC_QUEUE_MAX, message_bytes_max=codec.FOREIGN_BYTES_MAX)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # else replies vanish without a word
    return socket


def _route_of(frames: list[bytes], route_type: type[Route]) -> Route | None:
    """Split off the route: the identity, and the empty delimiter of a REQ socket."""
    if len(frames) == 2 or (len(frames) == 3 and not frames[1]):
        return route_type(frames[:-1])
    return None
