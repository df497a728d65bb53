"""The wires of a machine without namespaces: one way cut, the other not, nothing lost."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests.nemesis.proxy import Proxy, Route
from tests.support.cluster import HOST, free_ports

pytestmark = pytest.mark.slow

OUTSIDE = ""
"""The test is none of the nodes."""
TIMEOUT_S = 5.0


class Wire:
    """Both ends of one connection through a proxy."""

    def __init__(self, stack: ExitStack) -> None:
        front, target = (f"{HOST}:{port}" for port in free_ports(2))
        server = stack.enter_context(closing(socket.create_server(_place(target))))
        self.proxy = stack.enter_context(closing(Proxy(dict)))
        self.proxy.open([Route("n1", front, target)])
        self.near = stack.enter_context(socket.create_connection(_place(front), TIMEOUT_S))
        self.far = stack.enter_context(closing(server.accept()[0]))
        self.far.settimeout(TIMEOUT_S)


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with ExitStack() as stack:
        yield Wire(stack)


def nothing_comes(end: socket.socket) -> bool:
    end.settimeout(0.2)
    try:
        return not end.recv(1)
    except TimeoutError:
        return True
    finally:
        end.settimeout(TIMEOUT_S)


def test_a_wire_carries_both_ways(wire: Wire) -> None:
    wire.near.sendall(b"there")
    assert wire.far.recv(5, socket.MSG_WAITALL) == b"there"
    wire.far.sendall(b"back")
    assert wire.near.recv(4, socket.MSG_WAITALL) == b"back"


def test_one_way_is_cut_and_what_was_held_comes_when_it_is_mended(wire: Wire) -> None:
    wire.proxy.set_cut((OUTSIDE, "n1"), is_cut=True)
    wire.near.sendall(b"held")
    assert nothing_comes(wire.far)
    wire.far.sendall(b"back")
    assert wire.near.recv(4, socket.MSG_WAITALL) == b"back"
    wire.proxy.set_cut((OUTSIDE, "n1"), is_cut=False)
    assert wire.far.recv(4, socket.MSG_WAITALL) == b"held"


def test_what_a_slow_node_says_is_late_and_what_it_hears_is_not(wire: Wire) -> None:
    wire.proxy.set_delay("n1", 0.3)
    begun = time.monotonic()
    wire.far.sendall(b"late")
    wire.near.sendall(b"soon")
    assert wire.far.recv(4, socket.MSG_WAITALL) == b"soon"
    assert wire.near.recv(4, socket.MSG_WAITALL) == b"late"
    assert time.monotonic() - begun >= 0.3


def test_the_end_of_one_side_ends_the_other(wire: Wire) -> None:
    wire.near.close()
    assert wire.far.recv(1) == b""
