"""The measuring clients of the native API, against sockets that say what a node would."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import zmq

from bench.errors import BenchError, RefusedError
from bench.felix_client import FelixPipe, FelixSubscription, FelixWriter
from bench.loads import sequential, windowed
from bench.systems import Work
from felix.proto.codec import Decoder, encode
from felix.proto.commands import CreateCache
from felix.proto.errors import Overloaded
from felix.proto.resources import Cache
from felix.proto.rpc import NO_RESULT, PROTOCOL, Reply, Request
from felix.proto.updates import WATCH_TOPIC, MetadataUpdate, WatchHeader

pytestmark = pytest.mark.slow

BASE = 40
DEADLINE_S = 10.0


@contextmanager
def answering_node(refuse_from: int = 1 << 60) -> Iterator[str]:
    """Answer creations with rising versions; give the address."""
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    stop = threading.Event()
    requests = Decoder[Request](Request)

    def serve() -> None:
        version = BASE
        while not stop.is_set():
            while router.poll(20):
                sender, frame = router.recv_multipart()
                request = requests.decode(frame)
                assert isinstance(request.message, CreateCache)
                assert len(request.message.display_name) == 256
                version += 1
                refused = Overloaded("full").to_reply() if version >= refuse_from else None
                reply = Reply(PROTOCOL, request.id, version, 0, refused, NO_RESULT)
                router.send_multipart([sender, encode(reply)])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        stop.set()
        thread.join()
        router.close(linger=0)
        context.term()


def test_a_pipe_counts_marks_from_the_base() -> None:
    with answering_node() as address:
        pipe = FelixPipe(address, Work("w", 300), BASE)
        try:
            assert sequential(pipe, range(100)).marks == list(range(100))
        finally:
            pipe.close()
        pipe = FelixPipe(address, Work("v", 300), BASE)
        try:
            load = windowed(pipe, count=300, window=64)
        finally:
            pipe.close()
    assert sorted(load.marks) == list(range(100, 400))


def test_a_refused_write_fails_the_load() -> None:
    with answering_node(refuse_from=BASE + 5) as address:
        pipe = FelixPipe(address, Work("w", 300), BASE)
        try:
            with pytest.raises(RefusedError, match="full"):
                windowed(pipe, count=300, window=64)
        finally:
            pipe.close()


def test_a_writer_says_whether_it_was_heard() -> None:
    with answering_node(refuse_from=BASE + 2) as address:
        writer = FelixWriter([address, "127.0.0.1:9"])
        try:
            assert writer.write(0, "first", DEADLINE_S)
            assert not writer.write(0, "second", DEADLINE_S)
            assert not writer.write(1, "third", 0.01)
        finally:
            writer.close()


def _frames(first: int, last: int) -> list[bytes]:
    header = WatchHeader(PROTOCOL, "c", 1, first, last, "n", 0, "")
    updates = [
        MetadataUpdate(version, "CREATE", Cache(tenant_id="t", namespace="n", cache="c"))
        for version in range(first, last + 1)
    ]
    return [WATCH_TOPIC, encode(header), encode(updates)]


@contextmanager
def subscribed(count: int) -> Iterator[tuple[zmq.Socket[bytes], FelixSubscription]]:
    """Give a publisher and a subscription that has heard its first bookmark."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    publisher = context.socket(zmq.PUB)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    subscription = FelixSubscription(f"127.0.0.1:{port}", BASE, count)
    try:
        deadline = time.monotonic() + DEADLINE_S
        while not subscription.ready:
            assert time.monotonic() < deadline
            publisher.send_multipart(_frames(BASE + 1, BASE))
            subscription.drain()
        yield publisher, subscription
    finally:
        subscription.close()
        publisher.close(linger=0)
        context.term()


def _drain_until(subscription: FelixSubscription, received: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while subscription.received < received:
        assert time.monotonic() < deadline
        subscription.drain()


def test_a_subscription_notes_when_each_version_came() -> None:
    with subscribed(5) as (publisher, subscription):
        publisher.send_multipart(_frames(BASE + 1, BASE + 2))
        publisher.send_multipart(_frames(BASE + 3, BASE + 5))
        _drain_until(subscription, 5)
        assert all(subscription.arrived_at)
        assert subscription.arrived_at == sorted(subscription.arrived_at)


def test_a_subscription_does_not_overlook_a_gap() -> None:
    with subscribed(5) as (publisher, subscription):
        publisher.send_multipart(_frames(BASE + 1, BASE + 2))
        publisher.send_multipart(_frames(BASE + 4, BASE + 5))
        with pytest.raises(BenchError, match="44 came when 43 was next"):
            _drain_until(subscription, 5)
