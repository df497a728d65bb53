"""A subscriber that is thin enough for a thousand of them, and still proves what it has.

It does what `felix.transport.sync` does: subscribe first, then fetch the snapshot chunk by chunk,
apply what was published meanwhile, fill gaps by asking, and believe to be current only where a
digest agrees. It keeps a digest and a version instead of the objects, and what came to one
subscriber of a process is taken apart once for all of them: compared byte by byte, not trusted.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
import zmq

from bench.errors import BenchError
from bench.felix_client import shared_context
from felix.proto.codec import Decoder, encode
from felix.proto.digest import Digest
from felix.proto.queries import GetSnapshot, WatchUpdates
from felix.proto.rpc import PROTOCOL, Reply, Request
from felix.proto.updates import WATCH_TOPIC, RawUpdate, UpdateBatch, WatchHeader
from felix.transport.client import Node
from felix.transport.client_actor import WATCH_QUEUE_MAX
from felix.transport.sync_records import SyncLimits

MODULUS: Final = 1 << 128
"""Digests are sums modulo this."""
RETRY_S: Final = SyncLimits().retry_s
TIMEOUT_S: Final = SyncLimits().fetch_timeout_s
_REPLY_HEAD: Final = bytes([0x90 + len(Reply.__struct_fields__)]) + encode(PROTOCOL)
"""Of every reply, before its id: read like this, a chunk need not be walked through."""
_NOBLOCK: Final = int(zmq.NOBLOCK)
_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)


class Chunk(msgspec.Struct, frozen=True, tag_field="type", tag="SnapshotChunk"):
    """A `SnapshotChunk` whose objects are left as they came."""

    cluster_id: str
    epoch: int
    version: int
    chunks: int
    digest: str
    objects: msgspec.Raw
    chunk: int = 0


_replies: Decoder[Reply] = Decoder(Reply)
_headers: Decoder[WatchHeader] = Decoder(WatchHeader)
_updates: Decoder[list[RawUpdate]] = Decoder(list[RawUpdate])
_batches: Decoder[UpdateBatch] = Decoder(UpdateBatch)
_chunks: Decoder[Chunk] = Decoder(Chunk)
_objects: Decoder[list[msgspec.Raw]] = Decoder(list[msgspec.Raw])


class Book:
    """What the subscribers of this process have taken apart so far."""

    def __init__(self) -> None:
        self._headers: dict[bytes, WatchHeader] = {}
        self._payloads: dict[bytes, Sequence[tuple[int, int]]] = {}
        self._answers: deque[tuple[bytes, Chunk, int]] = deque()
        self._places: set[tuple[int, int, int]] = set()

    def header(self, frame: bytes) -> WatchHeader:
        """Decode a header."""
        found = self._headers.get(frame)
        if found is None:
            found = self._headers[frame] = _headers.decode(frame)
        return found

    def payload(self, frame: bytes) -> Sequence[tuple[int, int]]:
        """Give each version of a batch, and what it adds to the digest."""
        found = self._payloads.get(frame)
        if found is None:
            found = self._payloads[frame] = [added(one) for one in _updates.decode(frame)]
        return found

    def chunk(self, frame: bytes, number: int) -> tuple[Chunk, int] | None:
        """Give a chunk and what it adds to the digest; None if the reply is something else.

        Raises: BenchError, if that chunk of that version was another for somebody else.
        """
        for answer, chunk, value in self._answers:
            if chunk.chunk == number and frame.endswith(answer):
                return chunk, value
        reply = _replies.decode(frame)
        if reply.error is not None:
            return None
        answer = bytes(reply.result)
        chunk = _chunks.decode(answer)
        digest = Digest()
        for one in _objects.decode(memoryview(chunk.objects)):
            digest.add(one)
        place = (chunk.epoch, chunk.version, chunk.chunk)
        if place in self._places:
            raise BenchError(f"chunk {place} is not the same for everybody")
        self._places.add(place)
        self._answers.appendleft((answer, chunk, digest.value))
        return chunk, digest.value


def added(update: RawUpdate) -> tuple[int, int]:
    """Give the version of an update and what it adds to the digest. Raises: BenchError."""
    if update.type != "CREATE":
        raise BenchError(f"a herd hears of creations alone, not of {update.type}")
    digest = Digest()
    digest.add(update.payload)
    return update.version, digest.value


class HerdSubscriber:
    """One broker of the herd: a SUB and a DEALER socket at one node."""

    def __init__(self, node: Node, book: Book) -> None:
        self._node = node
        self._book = book
        self._sockets: list[zmq.Socket[bytes]] = []
        self.reconnect()

    def reconnect(self) -> None:
        """Drop both connections and all knowledge; connect anew."""
        self.close()
        self.gaps = self.refusals = self.version = 0
        self.current_at: float | None = None
        """Monotonic: when a digest first proved that this is all there is."""
        self.retry_at: float | None = None
        """Monotonic: the last question was refused, or will be given up, and is asked anew then."""
        self._sum = Digest()
        self._first: Chunk | None = None
        """Of the snapshot that is being fetched, or was."""
        self._has_chunks = 0
        self._asked: GetSnapshot | WatchUpdates | None = None
        self._asked_id = 0
        self._heard: WatchHeader | None = None
        self._pending: list[tuple[WatchHeader, bytes]] = []
        rpc, watch = self._node
        self._watch = _connected(zmq.SUB, watch)
        self._rpc = _connected(zmq.DEALER, rpc)
        self._sockets = [self._watch, self._rpc]

    @property
    def digest(self) -> str:
        """Of all it has, as the wire spells it."""
        return self._sum.hex()

    def filenos(self) -> list[int]:
        """Give the descriptors that become readable when there is something to drain."""
        return [int(one.FD) for one in self._sockets]

    def close(self) -> None:
        """Release the connections."""
        for one in self._sockets:
            one.close()

    def drain(self) -> None:
        """Read all there is, and do what follows. Raises: BenchError."""
        watch, rpc = self._watch, self._rpc
        while True:
            if int(watch.getsockopt(_EVENTS)) & _POLLIN:
                watch.recv(_NOBLOCK)  # the topic; the other frames have come with it
                self._hear(self._book.header(watch.recv()), watch.recv())
            elif int(rpc.getsockopt(_EVENTS)) & _POLLIN:
                self._take_reply(rpc.recv(_NOBLOCK))
            else:
                return

    def retry(self) -> None:
        """Ask again what was refused, or has had no answer: a connection may have been lost."""
        if self._asked is not None:
            self._asked = None
            self._refused()
        self.retry_at = None
        self._go_on()
        self.drain()

    @property
    def _has_snapshot(self) -> bool:
        return self._first is not None and self._has_chunks == self._first.chunks

    def _hear(self, header: WatchHeader, payload: bytes) -> None:
        self._heard = header
        if not header.is_bookmark:
            self._pending.append((header, payload))
        self._go_on()

    def _take_reply(self, frame: bytes) -> None:
        if not frame.startswith(_REPLY_HEAD + encode(self._asked_id)):
            return  # it had been given up
        asked, self._asked, self.retry_at = self._asked, None, None
        if isinstance(asked, GetSnapshot):
            self._take_chunk(self._book.chunk(frame, asked.chunk))
        else:
            reply = _replies.decode(frame)
            if reply.error is None:
                batch = _batches.decode(memoryview(reply.result))
                self._apply([added(one) for one in batch.updates])
            else:
                self._refused()
        self._go_on()

    def _refused(self) -> None:
        self.refusals += 1
        self.retry_at = time.monotonic() + RETRY_S
        if not self._has_snapshot:
            self._first, self._has_chunks = None, 0

    def _take_chunk(self, found: tuple[Chunk, int] | None) -> None:
        if found is None:
            self._refused()
            return
        chunk, value = found
        if self._first is None:
            self._first, self._sum = chunk, Digest()
        if (chunk.version, chunk.chunk) != (self._first.version, self._has_chunks):
            raise BenchError("a chunk that was not asked for")
        self._sum.value = (self._sum.value + value) % MODULUS
        self._has_chunks += 1
        if self._has_snapshot:
            if self.digest != chunk.digest:
                raise BenchError("a snapshot is not what its digest says")
            self.version = chunk.version

    def _apply(self, updates: Sequence[tuple[int, int]]) -> None:
        for version, hashed in updates:
            if version == self.version + 1:
                self.version = version
                self._sum.value = (self._sum.value + hashed) % MODULUS

    def _go_on(self) -> None:
        """Apply what fits; ask for what is missing, one thing at a time."""
        heard = self._heard
        if heard is None or self.retry_at is not None:
            return  # subscribed first: the first header shows that nothing is missed from now on
        if not self._has_snapshot:
            version = 0 if self._first is None else self._first.version
            self._ask(GetSnapshot(version=version, chunk=self._has_chunks))
            return
        while self._pending and self._pending[0][0].first <= self.version + 1:
            _, payload = self._pending.pop(0)
            self._apply(self._book.payload(payload))
        if heard.last > self.version:
            self.gaps += 1
            self._ask(WatchUpdates(from_version=self.version, epoch=heard.epoch))
        elif heard.last == self.version and heard.digest:
            self._prove(heard)

    def _prove(self, heard: WatchHeader) -> None:
        if heard.digest != self.digest:
            raise BenchError(f"at version {self.version} the digest is not that of the node")
        if self.current_at is None:
            self.current_at = time.monotonic()

    def _ask(self, message: GetSnapshot | WatchUpdates) -> None:
        self._asked = message
        self._asked_id += 1
        self.retry_at = time.monotonic() + TIMEOUT_S
        request = Request(
            PROTOCOL, self._asked_id, round(TIMEOUT_S * 1e3), message, consistency="stale"
        )
        self._rpc.send(encode(request), _NOBLOCK)


def _connected(kind: int, endpoint: str) -> zmq.Socket[bytes]:
    socket = shared_context().socket(kind)
    socket.linger = 0
    socket.rcvhwm = WATCH_QUEUE_MAX
    if kind == zmq.SUB:
        socket.setsockopt(zmq.SUBSCRIBE, WATCH_TOPIC)
    socket.connect(endpoint)
    return socket
