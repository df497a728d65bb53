"""Nodes that are asked now and then: one client for each, let go of together."""

from __future__ import annotations

import threading

import zmq

from felix.proto.control_plane import Answered, Call
from felix.proto.errors import ShuttingDown
from felix.proto.rpc import AnyRequest
from felix.transport.rpc_client import RpcClient


class Contacts:
    """Thread-safe: whoever closes it ends what is being asked in another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._clients: dict[str, RpcClient] = {}
        self._is_closed = False

    def ask(self, endpoint: str, message: AnyRequest, call: Call) -> Answered:
        """Ask the node at an RPC endpoint. Raises: any `FelixError`."""
        with self._lock:
            if self._is_closed:
                raise ShuttingDown("no more questions are asked")
            client = self._clients.get(endpoint)
            if client is None:
                client = self._clients[endpoint] = RpcClient(endpoint, self._context)
        return client.ask(message, call)

    def keep_only(self, endpoint: str) -> None:
        """Let go of all nodes but one."""
        with self._lock:
            gone = [self._clients.pop(one) for one in list(self._clients) if one != endpoint]
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
