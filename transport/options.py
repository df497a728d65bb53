"""ZeroMQ socket options that every socket here shares."""

from __future__ import annotations

import os
from typing import Final

import structlog
import zmq

log = structlog.get_logger("felix.transport")

HEARTBEAT_INTERVAL_MS = 1000
HEARTBEAT_TIMEOUT_MS = 4000
BACKLOG: Final = 1024
"""Connections that may wait to be accepted: where all brokers come back at once and find no place,
they try again only after a second or more."""
OWNER_ALONE: Final = 0o077
"""A umask."""


def harden(socket: zmq.Socket[bytes], *, queue_max: int, message_bytes_max: int) -> None:
    """Bound a socket's queues and messages, notice dead connections, and never linger.

    A connection that stays silent is dropped by ZMTP heartbeats and made anew, with the address
    resolved again. A message above the limit ends the connection it came on.
    """
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, queue_max)
    socket.setsockopt(zmq.RCVHWM, queue_max)
    socket.setsockopt(zmq.MAXMSGSIZE, message_bytes_max)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_INTERVAL_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.BACKLOG, BACKLOG)
    socket.setsockopt(zmq.RECONNECT_IVL, 20)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, 2000)


def bind(socket: zmq.Socket[bytes], endpoint: str) -> None:
    """Bind, or say plainly why not. Raises: OSError naming the endpoint.

    Who connects to a socket of this machine is trusted: it is there for the node's own user alone.
    """
    is_local = endpoint.startswith("ipc:")
    before = os.umask(OWNER_ALONE) if is_local else 0  # no moment in which others get in
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        raise OSError(error.errno, f"cannot listen on {endpoint}: {error}") from error
    finally:
        if is_local:
            os.umask(before)


def try_to_connect(socket: zmq.Socket[bytes], address: str) -> None:
    """Connect to `host:port`; what is no address is reported, and nobody is there.

    Addresses of members come from the log. What is in there must never end a node, or it would end
    all of them, and again at every start.
    """
    try:
        socket.connect(f"tcp://{address}")
    except zmq.ZMQError as error:
        log.warning("a member cannot be reached", address=address, reason=str(error))
