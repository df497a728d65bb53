"""The sockets between control-plane nodes: one way per direction.

A node reads everything from one PULL socket and writes to each peer through a PUSH socket. Nothing
is queued for a peer that is not connected, and what a slow peer cannot take is dropped: RAFT sends
again what matters.
"""

from __future__ import annotations

from collections.abc import Mapping

import zmq

from felix.proto import codec
from felix.proto.errors import FelixError
from felix.proto.ids import NodeId
from felix.proto.raft import AnyPeerMessage, PeerFrame
from felix.proto.rpc import PROTOCOL
from felix.transport.node_curve import Guard, NodeCurve, Place, Way, way_to
from felix.transport.options import bind, harden, try_to_connect

PEER_QUEUE_MAX = 512
_NOBLOCK = int(zmq.NOBLOCK)
PEER_MESSAGE_BYTES_MAX = 64 << 20


class Peers:
    """Everything a node says to and hears from the other nodes.

    Used by one thread only. The host of an address is resolved anew at every connect.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        cluster_id: str,
        me: NodeId,
        listen: str,
        curve: NodeCurve | None = None,
    ) -> None:
        """Open the socket to hear from. Raises: OSError when the port is taken."""
        self.dropped = 0
        """Messages that a peer could not take."""
        self.refused = 0
        """Messages that were not for us: damaged, of another cluster or of another version."""
        self._context = context
        self._cluster_id = cluster_id
        self._me = me
        self._decoder: codec.Decoder[PeerFrame] = codec.Decoder(PeerFrame, PEER_MESSAGE_BYTES_MAX)
        self._listen = listen
        self._curve = curve
        self.open_inbox()
        self._outboxes: dict[NodeId, zmq.Socket[bytes]] = {}
        self._ways: dict[NodeId, Way] = {}

    def open_inbox(self) -> None:
        """Open the socket to hear from. Raises: OSError when the port is taken."""
        self.inbox = self._context.socket(zmq.PULL)
        harden(self.inbox, queue_max=PEER_QUEUE_MAX, message_bytes_max=PEER_MESSAGE_BYTES_MAX)
        self.guard = None if self._curve is None else Guard(self.inbox, self._curve, "peers")
        try:
            bind(self.inbox, f"tcp://{self._listen}")
        except OSError:
            self.close_inbox()
            raise

    def close_inbox(self) -> None:
        """Hang up on everybody who is connected; the port is free a moment later."""
        if self.guard is not None:
            self.guard.close()
            self.guard = None
        self.inbox.close()

    def reach(self, places: Mapping[NodeId, Place]) -> None:
        """Be connected to exactly these; an address or a key that changed means to connect anew.

        With CURVE, whose key is not known is not reached.
        """
        wanted = {
            peer: way_to(one, self._curve) for peer, one in places.items() if peer != self._me
        }
        for peer, way in list(self._ways.items()):
            if wanted.get(peer) != way:
                self._outboxes.pop(peer).close()
                del self._ways[peer]
        for peer, found in wanted.items():
            if found is not None and peer not in self._ways:
                self._outboxes[peer] = self._connected(found)
                self._ways[peer] = found

    def _connected(self, way: Way) -> zmq.Socket[bytes]:
        outbox = self._context.socket(zmq.PUSH)
        harden(outbox, queue_max=PEER_QUEUE_MAX, message_bytes_max=PEER_MESSAGE_BYTES_MAX)
        outbox.setsockopt(zmq.IMMEDIATE, 1)
        if way.curve is not None:
            way.curve.secure(outbox)
        try_to_connect(outbox, way.address)
        return outbox

    def send(self, message: AnyPeerMessage) -> None:
        """Send, or drop at once."""
        outbox = self._outboxes.get(message.to)
        if outbox is None:
            self.dropped += 1
            return
        try:
            outbox.send(codec.encode(PeerFrame(PROTOCOL, self._cluster_id, message)), _NOBLOCK)
        except zmq.Again:
            self.dropped += 1

    def receive(self, frames: list[bytes]) -> AnyPeerMessage | None:
        """Read what arrived; None for what is not to be trusted."""
        try:
            frame = self._decoder.decode(frames[0])
        except FelixError:
            self.refused += 1
            return None
        if len(frames) != 1 or frame.protocol != PROTOCOL or frame.cluster_id != self._cluster_id:
            self.refused += 1
            return None
        return frame.message

    def close(self) -> None:
        """Close the sockets; what is not sent yet is dropped."""
        self.close_inbox()
        for outbox in self._outboxes.values():
            outbox.close()
