"""The sockets between nodes, whatever the log says of addresses."""

from __future__ import annotations

import pytest
import zmq

from felix.proto.addresses import is_address
from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import Heartbeat
from felix.transport.node_curve import Place
from felix.transport.peers import Peers
from tests.support.cluster import free_ports

pytestmark = pytest.mark.slow

ME, OTHER = NodeId("me"), NodeId("other")


@pytest.mark.parametrize("address", ["", "node-b", "host:", "*:80", "http://x:1", "a b:1"])
def test_a_member_whose_address_is_none_is_only_not_reached(address: str) -> None:
    assert not is_address(address)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    peers = Peers(context, "c", ME, f"127.0.0.1:{free_ports(1)[0]}")
    try:
        peers.reach({ME: Place("me", "127.0.0.1:1"), OTHER: Place("other", address)})
        peers.send(Heartbeat(ME, OTHER, Term(1), Index(0), 1))
        assert peers.dropped == 1
        peers.reach({})
    finally:
        peers.close()
        context.destroy(linger=0)


@pytest.mark.parametrize("address", ["a:1", "10.0.0.1:8444", "[::1]:9000", "n-1.felix.svc:65535"])
def test_names_and_addresses_with_a_port_are_taken(address: str) -> None:
    assert is_address(address)
