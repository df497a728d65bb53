"""The thin subscriber of the herd, against a node made of two sockets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest
import zmq

from bench.errors import BenchError
from bench.herd_client import Book, HerdSubscriber
from felix.proto.codec import Decoder, encode
from felix.proto.digest import Digest
from felix.proto.errors import Overloaded
from felix.proto.queries import GetSnapshot, WatchUpdates
from felix.proto.resources import Cache
from felix.proto.rpc import NO_RESULT, PROTOCOL, Reply, Request
from felix.proto.updates import WATCH_TOPIC, RawUpdate, SnapshotChunk, UpdateBatch, WatchHeader

pytestmark = pytest.mark.slow

DEADLINE_S = 10.0


def made(version: int) -> msgspec.Raw:
    return msgspec.Raw(encode(Cache(tenant_id="t", namespace="n", cache=f"c{version}")))


def digest_at(version: int) -> str:
    """Of a metadata in which every version has made one cache."""
    digest = Digest()
    for number in range(1, version + 1):
        digest.add(made(number))
    return digest.hex()


def created(first: int, last: int) -> list[RawUpdate]:
    return [RawUpdate(version, "CREATE", made(version)) for version in range(first, last + 1)]


class PaperNode:
    """Says what a node would, when it is told to."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._rpc = self.context.socket(zmq.ROUTER)
        self._watch = self.context.socket(zmq.XPUB)
        host = "tcp://127.0.0.1"
        self.endpoints = (
            f"{host}:{self._rpc.bind_to_random_port(host)}",
            f"{host}:{self._watch.bind_to_random_port(host)}",
        )
        self._requests = Decoder[Request](Request)

    def publish(self, first: int, last: int, digest: str | None = None) -> None:
        header = WatchHeader(PROTOCOL, "c", 1, first, last, "n", 0, digest or digest_at(last))
        self._watch.send_multipart([WATCH_TOPIC, encode(header), encode(created(first, last))])

    def wait_subscribed(self) -> None:
        assert self._watch.poll(round(DEADLINE_S * 1e3))
        self._watch.recv()

    def asked(self, one: HerdSubscriber) -> tuple[bytes, Request]:
        deadline = time.monotonic() + DEADLINE_S
        while not self._rpc.poll(10):
            assert time.monotonic() < deadline
            one.drain()
        sender, frame = self._rpc.recv_multipart()
        return sender, self._requests.decode(frame)

    def answer(
        self, asked: tuple[bytes, Request], answer: SnapshotChunk | UpdateBatch | Overloaded
    ) -> None:
        sender, request = asked
        if isinstance(answer, Overloaded):
            reply = Reply(PROTOCOL, request.id, 0, 0, answer.to_reply(), NO_RESULT)
        else:
            reply = Reply(PROTOCOL, request.id, 0, 0, None, msgspec.Raw(encode(answer)))
        self._rpc.send_multipart([sender, encode(reply)])

    def close(self) -> None:
        self.context.destroy(linger=0)


@pytest.fixture
def node() -> Iterator[PaperNode]:
    paper = PaperNode()
    yield paper
    paper.close()


@pytest.fixture
def one(node: PaperNode) -> Iterator[HerdSubscriber]:
    subscriber = HerdSubscriber(node.endpoints, Book())
    node.wait_subscribed()
    yield subscriber
    subscriber.close()


def until(one: HerdSubscriber, enough: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not enough():
        assert time.monotonic() < deadline
        one.drain()


def chunks(version: int, parts: Sequence[int]) -> list[SnapshotChunk]:
    """A snapshot in chunks of that many objects each."""
    found, start = [], 1
    for number, size in enumerate(parts):
        objects = [made(one) for one in range(start, start + size)]
        digest = digest_at(version)
        found.append(SnapshotChunk("c", 1, version, number, len(parts), digest, objects))
        start += size
    return found


def test_what_was_published_while_the_snapshot_was_fetched_is_applied_after_it(
    node: PaperNode, one: HerdSubscriber
) -> None:
    first, second = chunks(5, [2, 3])
    node.publish(7, 6)
    asked = node.asked(one)
    assert asked[1].message == GetSnapshot()
    assert asked[1].consistency == "stale"
    node.answer(asked, first)
    asked = node.asked(one)
    assert asked[1].message == GetSnapshot(version=5, chunk=1)
    node.publish(7, 8)
    node.answer(asked, second)
    asked = node.asked(one)
    assert asked[1].message == WatchUpdates(from_version=5, epoch=1), "6 was before it listened"
    assert one.current_at is None
    node.answer(asked, UpdateBatch("c", 1, 6, 6, 8, created(6, 6)))
    until(one, lambda: one.current_at is not None)
    assert (one.version, one.digest, one.gaps) == (8, digest_at(8), 1)


def test_who_is_refused_begins_anew(node: PaperNode, one: HerdSubscriber) -> None:
    node.publish(4, 3)
    node.answer(node.asked(one), Overloaded("too many"))
    until(one, lambda: one.refusals == 1)
    one.retry()
    node.answer(node.asked(one), chunks(3, [3])[0])
    until(one, lambda: one.current_at is not None)
    assert (one.version, one.refusals) == (3, 1)


def test_an_answer_that_comes_after_it_was_given_up_is_ignored(
    node: PaperNode, one: HerdSubscriber
) -> None:
    first, second = chunks(5, [2, 3])
    node.publish(6, 5)
    late = node.asked(one)
    one.retry()
    node.answer(late, first)
    node.answer(node.asked(one), first)
    asked = node.asked(one)
    assert asked[1].message == GetSnapshot(version=5, chunk=1), "the first was counted once"
    node.answer(asked, second)
    until(one, lambda: one.current_at is not None)
    assert (one.version, one.digest) == (5, digest_at(5))


def test_a_digest_that_does_not_agree_fails_the_bench(node: PaperNode, one: HerdSubscriber) -> None:
    node.publish(4, 3, digest=digest_at(2))
    node.answer(node.asked(one), chunks(3, [3])[0])
    with pytest.raises(BenchError, match="at version 3 the digest is not that of the node"):
        until(one, lambda: one.current_at is not None)


def test_a_snapshot_that_is_not_what_its_digest_says_fails_the_bench(
    node: PaperNode, one: HerdSubscriber
) -> None:
    node.publish(4, 3)
    node.answer(node.asked(one), chunks(3, [2])[0])
    with pytest.raises(BenchError, match="not what its digest says"):
        until(one, lambda: one.current_at is not None)


def test_a_chunk_that_is_another_for_somebody_else_fails_the_bench() -> None:
    book = Book()

    def frame(objects: int) -> bytes:
        answer = msgspec.Raw(encode(chunks(3, [objects])[0]))
        return encode(Reply(PROTOCOL, 1, 0, 0, None, answer))

    assert book.chunk(frame(3), 0) == book.chunk(frame(3), 0)
    with pytest.raises(BenchError, match="not the same for everybody"):
        book.chunk(frame(2), 0)
