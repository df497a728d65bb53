"""What the server's side of the native API makes of the frames it gets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgpack
import pytest
import zmq

from felix.proto.codec import Decoder, encode
from felix.proto.errors import ShuttingDown
from felix.proto.queries import GetCluster
from felix.proto.rpc import PROTOCOL, Reply, Request
from felix.transport.rpc_server import RpcServer

pytestmark = pytest.mark.slow


@contextmanager
def connected(kind: int) -> Iterator[tuple[RpcServer, zmq.Socket[bytes]]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    server = RpcServer(context, ["tcp://127.0.0.1:*"])
    socket = context.socket(kind)
    socket.setsockopt(zmq.RCVTIMEO, 10_000)
    socket.connect(server.socket.getsockopt_string(zmq.LAST_ENDPOINT))
    server.socket.setsockopt(zmq.RCVTIMEO, 10_000)
    try:
        yield server, socket
    finally:
        server.close()
        socket.close(0)
        context.term()


def code_of(reply: bytes) -> str:
    error = Decoder[Reply](Reply).decode(reply).error
    assert error is not None
    return error.code


@pytest.mark.parametrize("kind", [zmq.DEALER, zmq.REQ])
def test_the_reply_comes_back_in_the_form_of_the_request(kind: int) -> None:
    with connected(kind) as (server, socket):
        socket.send(encode(Request(PROTOCOL, 9, 1000, GetCluster())))
        incoming = server.take(server.socket.recv_multipart())
        assert incoming is not None
        assert incoming.request.message == GetCluster()
        server.refuse(incoming.route, 9, ShuttingDown("soon"))
        frames = socket.recv_multipart()
        assert len(frames) == 1
        assert code_of(frames[0]) == "shutting_down"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ([2, 9, 1000, {"type": "GetCluster"}], "unsupported_version"),
        ([2, 9, "of another kind"], "unsupported_version"),
        ([1, 9, 1000, {"type": "GetNothing"}], "unknown_message"),
        ([1, 9, 1000, {"type": "GetTenant"}], "unprocessable"),
        ([1, 9, 1000], "unprocessable"),
    ],
)
def test_a_faulty_request_with_a_number_gets_an_error(request_: list[object], code: str) -> None:
    with connected(zmq.DEALER) as (server, socket):
        socket.send(msgpack.packb(request_))
        assert server.take(server.socket.recv_multipart()) is None
        assert code_of(socket.recv()) == code


@pytest.mark.parametrize("frames", [[b""], [b"\xc1"], [b"\x91\x01"], [b"a", b"b", b"c"]])
def test_what_has_no_number_is_dropped_and_counted(frames: list[bytes]) -> None:
    with connected(zmq.DEALER) as (server, socket):
        socket.send_multipart(frames)
        assert server.take(server.socket.recv_multipart()) is None
        assert server.malformed == 1
