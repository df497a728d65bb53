"""Bytes that are no messages, on every ZeroMQ port of a running cluster."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import msgspec
import pytest
import zmq

from felix.proto import codec
from felix.proto.commands import CreateTenant
from felix.proto.queries import ClusterStatus
from felix.proto.raft import Heartbeat, PeerFrame
from felix.proto.rpc import PROTOCOL, Reply, Request
from felix.proto.updates import WATCH_TOPIC
from tests.support.cluster import Cluster, RunningNode, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

FRAMES = 300
ZMTP_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(48)
WRITE = codec.encode(Request(PROTOCOL, 1, 1000, CreateTenant(tenant_id="ghost")))

_replies = codec.Decoder[Reply](Reply)


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    with cluster() as running:
        running.make_namespace()
        yield running


@pytest.fixture
def chance() -> random.Random:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    return random.Random(seed)


def standing(three: Cluster) -> ClusterStatus:
    """Give what all nodes agree on, without the numbers that grow as time passes."""
    return msgspec.structs.replace(three.wait_converged(), commit_windows=[])


@contextmanager
def nothing_happens(three: Cluster) -> Iterator[None]:
    """Check that the block changes neither the log nor who leads, and that all nodes live on."""
    before = standing(three)
    pids = [node.pid for node in three.nodes]
    yield
    assert standing(three) == before
    assert [node.pid for node in three.nodes if node.is_running] == pids
    for node in three.nodes:
        assert node.metrics()["felix_up"] == 1


@contextmanager
def connected(kind: int, endpoint: str) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, closing(context.socket(kind)) as opened:
        opened.setsockopt(zmq.LINGER, 5000)
        opened.setsockopt(zmq.SNDTIMEO, 10_000)
        opened.setsockopt(zmq.RCVTIMEO, 10_000)
        opened.connect(endpoint)
        yield opened


def junk(chance: random.Random, whole: bytes) -> bytes:
    """Make bytes that are random, or a message with something wrong in it."""
    match chance.randrange(5):
        case 0:
            return chance.randbytes(chance.randrange(200))
        case 1:
            return whole[: chance.randrange(len(whole) - 1)]
        case 2:
            return b"\x91" * chance.randrange(1, 50_000)
        case 3:
            return b"\xdd\xff\xff\xff\xff" + whole
        case _:
            return b"\xc1" + chance.randbytes(50)


def test_junk_on_the_rpc_port_is_counted_or_answered_and_nothing_else(
    three: Cluster, chance: random.Random
) -> None:
    for node in three.nodes:
        before = node.metrics()["felix_rpc_malformed_total"]
        with nothing_happens(three), connected(zmq.DEALER, node.rpc) as dealer:
            for _ in range(FRAMES):
                dealer.send(junk(chance, WRITE))
                dealer.send_multipart([junk(chance, WRITE), junk(chance, WRITE), WRITE])
                dealer.send_multipart([b""] * chance.randrange(3, 100))
            dealer.send_multipart([WRITE] * 1000)
            # Of these the number can be read, so they are answered.
            refused = {
                "unsupported_version": msgspec.msgpack.encode([PROTOCOL + 1, 7, "a", "b"]),
                "unknown_message": msgspec.msgpack.encode([PROTOCOL, 8, 9, {"type": "Explode"}]),
                "unprocessable": msgspec.msgpack.encode([PROTOCOL, 9, 9, {"type": "GetTenant"}]),
            }
            for frame in refused.values():
                dealer.send(frame)
            codes: set[str] = set()
            while not codes >= refused.keys():
                reply = _replies.decode(dealer.recv())
                assert reply.error is not None, "junk had an effect"
                codes.add(reply.error.code)
            assert node.metrics()["felix_rpc_malformed_total"] > before + FRAMES


def test_junk_on_the_peer_port_is_counted_and_nothing_else(
    three: Cluster, chance: random.Random
) -> None:
    leader = three.leader()
    status = three.wait_converged()
    beat = Heartbeat(leader.id, leader.id, status.term + 1_000_000, 1 << 40, 0)  # type: ignore[arg-type]  # any number will do
    foreign = codec.encode(PeerFrame(PROTOCOL, "another-cluster", beat))
    newer = codec.encode(PeerFrame(PROTOCOL + 1, status.cluster_id, beat))
    for node in three.nodes:
        before = node.metrics()["felix_peer_messages_refused_total"]
        with (
            nothing_happens(three),
            connected(zmq.PUSH, f"tcp://{node.config.listen.peers}") as push,
        ):
            for _ in range(FRAMES):
                push.send(junk(chance, foreign))
                push.send(foreign)
                push.send(newer)
                push.send_multipart([foreign, foreign])
            wanted = before + 4 * FRAMES
            eventually(
                lambda node=node, wanted=wanted: (  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                    node.metrics()["felix_peer_messages_refused_total"] == wanted
                )
            )


def test_junk_on_the_watch_port_does_not_disturb_subscribers(
    three: Cluster, chance: random.Random
) -> None:
    for node in three.nodes:
        endpoint = node.endpoints[1]
        with nothing_happens(three), connected(zmq.SUB, endpoint) as subscriber:
            subscriber.setsockopt(zmq.SUBSCRIBE, WATCH_TOPIC)
            assert len(subscriber.recv_multipart()) == 3
            with connected(zmq.XSUB, endpoint) as xsub:
                for _ in range(FRAMES):
                    xsub.send(junk(chance, b"\x01" + WATCH_TOPIC))
                    xsub.send(b"\x01" + chance.randbytes(20))
                    xsub.send_multipart([b"\x00" + WATCH_TOPIC, b"", chance.randbytes(9)])
            for _ in range(3):
                assert subscriber.recv_multipart()[0] == WATCH_TOPIC


@pytest.mark.parametrize("listener", ["rpc", "peers", "watch"])
def test_a_frame_above_the_limit_ends_the_connection_it_came_on(
    three: Cluster, listener: str
) -> None:
    limits = {"rpc": 1 << 20, "peers": 64 << 20, "watch": 1 << 16}
    with nothing_happens(three):
        for node in three.nodes:
            with tcp(node, listener) as connection:
                length = (limits[listener] + 1).to_bytes(8, "big")
                connection.sendall(ZMTP_GREETING + ready_command(listener) + b"\x02" + length)
                while connection.recv(4096):
                    pass


@pytest.mark.parametrize("listener", ["rpc", "peers", "watch"])
def test_junk_that_is_not_even_zeromq_does_no_harm(
    three: Cluster, chance: random.Random, listener: str
) -> None:
    with nothing_happens(three):
        for node in three.nodes:
            for head in (b"", b"GET / HTTP/1.1\r\n\r\n", ZMTP_GREETING, b"\xff" + bytes(8)):
                with tcp(node, listener) as connection:
                    connection.sendall(head + chance.randbytes(10_000))


@contextmanager
def tcp(node: RunningNode, listener: str) -> Iterator[socket.socket]:
    host, _, port = getattr(node.config.listen, listener).rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        yield connection


def ready_command(listener: str) -> bytes:
    """Say in ZMTP what kind of socket this is; the NULL mechanism asks no more."""
    kind = {"rpc": b"DEALER", "peers": b"PUSH", "watch": b"SUB"}[listener]
    body = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
    return b"\x04" + bytes([len(body)]) + body
