"""Nodes that are asked now and then: one client for each, let go of together."""

from __future__ import annotations

import threading

import zmq

from felix.proto.control_plane import Answered, Call
from felix.proto.errors import NoLeader, ShuttingDown
from felix.proto.rpc import AnyRequest
from felix.transport.curve import ClientCurve
from felix.transport.node_curve import NodeCurve
from felix.transport.rpc_client import RpcClient


class Contacts:
    """Thread-safe: whoever closes it ends what is being asked in another thread."""

    def __init__(self, curve: NodeCurve | None = None) -> None:
        self._curve = curve
        self._lock = threading.Lock()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._clients: dict[tuple[str, ClientCurve | None], RpcClient] = {}
        self._is_closed = False

    def ask(self, endpoint: str, message: AnyRequest, call: Call, name: str = "") -> Answered:
        """Ask the node at an RPC endpoint. Raises: any `FelixError`.

        With CURVE the node that is asked needs a name: its key is looked up by it. Without a name
        it is this node itself, over its local socket.
        """
        secured = None
        if self._curve is not None and name:
            secured = self._curve.client_of(name)
            if secured is None:
                raise NoLeader(f"node {name} has no key in the allow-list")
        known = (endpoint, secured)
        with self._lock:
            if self._is_closed:
                raise ShuttingDown("no more questions are asked")
            client = self._clients.get(known)
            if client is None:
                client = self._clients[known] = RpcClient(endpoint, self._context, curve=secured)
        return client.ask(message, call)

    def keep_only(self, endpoint: str) -> None:
        """Let go of all nodes but one."""
        with self._lock:
            gone = [self._clients.pop(one) for one in list(self._clients) if one[0] != endpoint]
        for client in gone:
            client.close()

    def close(self) -> None:
        """Let go of all; what is being asked ends with an error."""
        with self._lock:
            self._is_closed = True
            clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()
        self._context.destroy(linger=0)
