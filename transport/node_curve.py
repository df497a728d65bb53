"""CURVE as one node has it: its keys, whom it lets in, and how it finds the keys of others."""

from __future__ import annotations

import msgspec
import structlog
import zmq

from felix.transport.allow_list import AllowList
from felix.transport.curve import ClientCurve, Door, KeyPair, secure_server
from felix.transport.zap import EVENTS, HandshakeFailures

log = structlog.get_logger("felix.curve")


class Place(msgspec.Struct, frozen=True):
    """A member, and where one of its sockets is (`host:port`)."""

    name: str
    address: str


class Way(msgspec.Struct, frozen=True):
    """How to connect to a member."""

    address: str
    curve: ClientCurve | None


class NodeCurve:
    """Handed to everything in a node that opens a socket; any thread may use it."""

    def __init__(self, own: KeyPair, allowed: AllowList) -> None:
        self.own = own
        self.allowed = allowed
        self.failures = HandshakeFailures()
        self._missed: set[str] = set()

    def client_of(self, name: str) -> ClientCurve | None:
        """Give what it takes to connect to a node; None, said once, if its key is not known."""
        key = self.allowed.node_key(name)
        if key is None:
            if name not in self._missed:
                self._missed.add(name)
                log.warning("a node cannot be reached: it has no key in the allow-list", name=name)
            return None
        self._missed.discard(name)
        return ClientCurve(self.own, (key,))


def way_to(place: Place, curve: NodeCurve | None) -> Way | None:
    """Say how to connect to a member; None if it cannot be met encrypted, and has to be."""
    if curve is None:
        return Way(place.address, None)
    client = curve.client_of(place.name)
    return None if client is None else Way(place.address, client)


class Guard:
    """A bound socket's encryption, and the monitor that tells who failed at it."""

    def __init__(self, socket: zmq.Socket[bytes], curve: NodeCurve, door: Door) -> None:
        """To be called before the socket is bound."""
        secure_server(socket, curve.own, door)
        self._socket = socket
        self._failures = curve.failures
        self._door = door
        self.monitor = socket.get_monitor_socket(EVENTS)

    def hear(self, frames: list[bytes]) -> None:
        """Take in what arrived at the monitor."""
        self._failures.take_event(self._door, frames)

    def close(self) -> None:
        """Close the monitor; the socket is its owner's to close, after this."""
        self._socket.disable_monitor()
        self.monitor.close(0)
