"""Passes requests on to the node that leads and brings back its replies."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec
import zmq

from felix.proto import codec
from felix.proto.errors import FelixError, NoLeader
from felix.proto.ids import NodeId
from felix.proto.rpc import Reply
from felix.transport.node_curve import NodeCurve, Place, Way, way_to
from felix.transport.options import harden, try_to_connect
from felix.transport.rpc_server import REPLY_BYTES_MAX, RPC_QUEUE_MAX, Incoming

HOPS_MAX = 2
"""A request that was passed on this often chases a leader that keeps moving."""


class Forwarded(msgspec.Struct, frozen=True):
    """A request on its way to another node."""

    incoming: Incoming
    to: NodeId
    deadline: float
    """Monotonic."""
    is_doubtful: bool = False
    """That node does not lead any more; if it lives, it will say what became of the request."""


class Forwarder:
    """One DEALER socket for each node that was ever asked; used by one thread only."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        listen: Callable[[zmq.Socket[bytes], Callable[[list[bytes]], None]], None],
        unlisten: Callable[[zmq.Socket[bytes]], None],
        on_frames: Callable[[list[bytes]], None],
        curve: NodeCurve | None = None,
    ) -> None:
        """`listen` polls a socket from its first request on: a leader, which passes nothing on,
        polls none. `unlisten` is called before such a socket is closed.
        """
        self._context = context
        self._curve = curve
        self._ways: dict[NodeId, Way] = {}
        self._listen = listen
        self._unlisten = unlisten
        self._on_frames = on_frames
        self._sockets: dict[NodeId, zmq.Socket[bytes]] = {}
        self._listened: set[NodeId] = set()
        self._pending: dict[int, Forwarded] = {}
        self._ids = 0
        self._replies: codec.Decoder[Reply] = codec.Decoder(Reply, REPLY_BYTES_MAX)

    def __len__(self) -> int:
        """Count the requests under way."""
        return len(self._pending)

    def reach(self, places: Mapping[NodeId, Place]) -> None:
        """Be connected to exactly these RPC sockets, before the first request.

        With CURVE, whose key is not known is not reached.
        """
        found = {node: way_to(place, self._curve) for node, place in places.items()}
        wanted = {node: way for node, way in found.items() if way is not None}
        for node, way in self._ways.items():
            if wanted.get(node) != way:
                socket = self._sockets.pop(node)
                if node in self._listened:
                    self._listened.remove(node)
                    self._unlisten(socket)
                socket.close()
        self._ways = wanted
        for node, way in wanted.items():
            if node not in self._sockets:
                self._sockets[node] = self._connected(way)

    def forward(self, incoming: Incoming, to: NodeId, timeout_s: float) -> None:
        """Pass a request on. Raises: NoLeader when that node cannot be reached now."""
        request = incoming.request
        if request.hops >= HOPS_MAX:
            raise NoLeader("leadership is moving", retry_after_ms=100)
        self._ids += 1
        onward = msgspec.structs.replace(
            request, id=self._ids, hops=request.hops + 1, timeout_ms=int(timeout_s * 1000)
        )
        socket = self._sockets.get(to)
        if socket is None:
            raise NoLeader("the leader's address or key is not known yet", retry_after_ms=100)
        if to not in self._listened:
            self._listened.add(to)
            self._listen(socket, self._on_frames)
        try:
            socket.send(codec.encode(onward), zmq.NOBLOCK)
        except zmq.Again as error:
            raise NoLeader("the leader cannot be reached", retry_after_ms=100) from error
        self._pending[self._ids] = Forwarded(incoming, to, time.monotonic() + timeout_s)

    def take(self, frames: list[bytes]) -> tuple[Incoming, Reply] | None:
        """Match a reply with its request; None when nobody waits for it any more."""
        try:
            reply = self._replies.decode(frames[-1])
        except FelixError:
            return None
        forwarded = self._pending.pop(reply.id, None)
        if forwarded is None:
            return None
        incoming = forwarded.incoming
        return incoming, msgspec.structs.replace(reply, id=incoming.request.id)

    def doubt(self, leader: NodeId | None, patience_s: float) -> None:
        """Wait only so long for what nodes were asked that do not lead any more."""
        until = time.monotonic() + patience_s
        for id_, one in self._pending.items():
            if one.to != leader and not one.is_doubtful:
                self._pending[id_] = msgspec.structs.replace(
                    one, deadline=min(one.deadline, until), is_doubtful=True
                )

    def give_up(self, is_hopeless: Callable[[Forwarded], bool]) -> list[Incoming]:
        """Forget the requests for which this holds, and return them."""
        hopeless = [id_ for id_, one in self._pending.items() if is_hopeless(one)]
        return [self._pending.pop(id_).incoming for id_ in hopeless]

    def close(self) -> None:
        """Close the sockets."""
        for socket in self._sockets.values():
            socket.close()

    def _connected(self, way: Way) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.DEALER)
        harden(socket, queue_max=RPC_QUEUE_MAX, message_bytes_max=REPLY_BYTES_MAX)
        socket.setsockopt(zmq.IMMEDIATE, 1)  # nothing waits for a node that is not there
        if way.curve is not None:
            way.curve.secure(socket)
        try_to_connect(socket, way.address)
        return socket
