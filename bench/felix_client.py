"""Clients of the native API for measuring: thin, and encoded before the clock starts.

`felix.transport.client` is what a broker uses; here every frame is looked at by itself, so that
what is timed is the control plane.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, TypeVar

import zmq

from bench.errors import BenchError, RefusedError
from bench.systems import REPLY_TIMEOUT_S, VALUE_CHARS, Acknowledged, Work
from felix.proto.codec import Decoder, encode
from felix.proto.commands import CreateCache, CreateStream, UpdateTenant
from felix.proto.queries import GetSnapshot
from felix.proto.resources import Resource, RetentionPolicy, Stream, StreamSpec
from felix.proto.rpc import PROTOCOL, AnyRequest, Reply, Request
from felix.proto.updates import WATCH_TOPIC, RawUpdate, SnapshotChunk, WatchHeader

T = TypeVar("T")

TENANT: Final = "bench"
NAMESPACE: Final = "load"
_VALUE: Final = "v" * VALUE_CHARS
_FULL: Final = StreamSpec(
    shards=16,
    retention=RetentionPolicy(max_age_seconds=7 * 24 * 3600, max_size_bytes=1 << 40),
    durability="durable",
    replication_factor=3,
    ack_policy="quorum",
    kind="Queue",
    delivery="AtMostOnce",
)
_NOBLOCK: Final = int(zmq.NOBLOCK)
_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)
_SOCKETS_MAX: Final = 4096
_ALIKE_MAX: Final = 4096
"""Bytes that came to one subscriber of a process are decoded once for all of them: each of these
would have a machine of its own."""

_replies: Decoder[Reply] = Decoder(Reply)
_headers: Decoder[WatchHeader] = Decoder(WatchHeader)
_batches: Decoder[list[RawUpdate]] = Decoder(list[RawUpdate])
_chunks: Decoder[SnapshotChunk] = Decoder(SnapshotChunk)
_objects: Decoder[Resource] = Decoder(Resource)


def creation(work: Work, number: int) -> AnyRequest:
    """Make the command of one write."""
    if work.kind == "stream":
        return CreateStream(tenant_id=TENANT, namespace=NAMESPACE, stream=work.name(number))
    if work.kind == "full_stream":
        name = work.name(number)
        return CreateStream(tenant_id=TENANT, namespace=NAMESPACE, stream=name, spec=_FULL)
    if work.kind == "replicated_stream":
        return replicated_stream(work.name(number), work.shards)
    if work.kind == "change":
        text = work.name(number).ljust(VALUE_CHARS, "v")
        return UpdateTenant(tenant_id=TENANT, display_name=text)
    return value_creation(work.name(number))


def replicated_stream(name: str, shards: int) -> CreateStream:
    """Make the command that creates a durable stream with three copies of each shard."""
    spec = StreamSpec(
        shards=shards, durability="durable", replication_factor=3, ack_policy="quorum"
    )
    return CreateStream(tenant_id=TENANT, namespace=NAMESPACE, stream=name, spec=spec)


def value_creation(name: str) -> AnyRequest:
    """Make the command that stores 256 characters under a name."""
    return CreateCache(tenant_id=TENANT, namespace=NAMESPACE, cache=name, display_name=_VALUE)


class Asker:
    """One DEALER connection that asks one thing at a time."""

    def __init__(self, rpc: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.connect(f"tcp://{rpc}")
        self._last_id = 0

    def ask(self, message: AnyRequest, timeout_s: float = REPLY_TIMEOUT_S) -> Reply:
        """Give the reply, which may say an error. Raises: RefusedError, when it does not come."""
        self.send(message, timeout_s)
        return self.reply_to(self._last_id, timeout_s)

    def send(self, message: AnyRequest, timeout_s: float = REPLY_TIMEOUT_S) -> int:
        """Send a request; give its id."""
        self._last_id += 1
        timeout_ms = round(timeout_s * 1e3)
        self._socket.send(encode(Request(PROTOCOL, self._last_id, timeout_ms, message)))
        return self._last_id

    def reply_to(self, request: int, timeout_s: float) -> Reply:
        """Wait for the reply to one request; replies to others are dropped."""
        deadline = time.monotonic() + timeout_s
        while self._socket.poll(max(0, round((deadline - time.monotonic()) * 1e3))):
            reply = _replies.decode(self._socket.recv())
            if reply.id == request:
                return reply
        raise RefusedError(f"no reply within {timeout_s} s")

    def close(self) -> None:
        """Release the connection."""
        self._socket.close()
        self._context.term()


def ask_once(rpc: str, message: AnyRequest, timeout_s: float = REPLY_TIMEOUT_S) -> Reply:
    """Ask over a fresh connection. Raises: RefusedError, when no reply comes."""
    asker = Asker(rpc)
    try:
        return asker.ask(message, timeout_s)
    finally:
        asker.close()


def result_of(reply: Reply, decoder: Decoder[T]) -> T:
    """Decode the result. Raises: RefusedError, when the reply is an error."""
    if reply.error is not None:
        raise RefusedError(f"felix answers with an error: {reply.error}")
    return decoder.decode(memoryview(reply.result))


class FelixPipe:
    """Writes over one DEALER."""

    def __init__(self, rpc: str, work: Work, base: int) -> None:
        timeout_ms = round(REPLY_TIMEOUT_S * 1e3)
        self._frames = [
            encode(Request(PROTOCOL, number, timeout_ms, creation(work, number)))
            for number in range(work.count)
        ]
        self._base = base
        self._outstanding = 0
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.rcvtimeo = timeout_ms
        self._socket.connect(f"tcp://{rpc}")

    def send(self, numbers: Sequence[int]) -> None:
        """Start these writes."""
        send, frames = self._socket.send, self._frames
        for number in numbers:
            send(frames[number])
        self._outstanding += len(numbers)

    def receive(self) -> list[Acknowledged]:
        """Wait for at least one answer and take what else is there. Raises: RefusedError."""
        done: list[Acknowledged] = []
        receive, outstanding = self._socket.recv, self._outstanding
        try:
            done.append(self._acknowledged(receive()))
            while len(done) < outstanding:
                done.append(self._acknowledged(receive(zmq.NOBLOCK)))
        except zmq.Again:
            if not done:
                raise RefusedError(f"felix: no reply within {REPLY_TIMEOUT_S} s") from None
        self._outstanding -= len(done)
        return done

    def _acknowledged(self, frame: bytes) -> Acknowledged:
        reply = _replies.decode(frame)
        if reply.error is not None:
            raise RefusedError(f"felix refused a write: {reply.error}")
        return Acknowledged(reply.id, reply.version - self._base - 1)

    def close(self) -> None:
        """Release the connection."""
        self._socket.close()
        self._context.term()


class FelixSubscription:
    """One SUB socket that checks that every version comes once and in order."""

    def __init__(self, watch: str, base: int, count: int) -> None:
        self.ready = False
        self.received = 0
        self.arrived_at = [0.0] * count
        self._base = base
        self._socket = shared_context().socket(zmq.SUB)
        self._socket.linger = 0
        self._socket.subscribe(WATCH_TOPIC)
        self._socket.connect(f"tcp://{watch}")

    def fileno(self) -> int:
        """Give ZeroMQ's descriptor: readable until the socket has been emptied."""
        return int(self._socket.FD)

    def drain(self) -> None:
        """Read all there is. Raises: BenchError, when a version is missing."""
        receive = self._socket.recv  # frame by frame: recv_multipart costs twice as much
        while int(self._socket.getsockopt(_EVENTS)) & _POLLIN:  # cheaper than an error in the end
            receive(_NOBLOCK)  # the topic; the other frames have come with it
            header, payload = receive(), receive()
            self._heard(_header_of(header), payload, time.monotonic())

    def _heard(self, header: WatchHeader, payload: bytes, now: float) -> None:
        self.ready = True  # the first bookmark shows that the subscription has arrived
        expected = self._base + self.received + 1
        if header.last < expected:
            return
        if header.first != expected:
            raise BenchError(f"version {header.first} came when {expected} was next")
        if header.is_bookmark:
            return
        versions = _versions_in(payload)
        if versions != range(header.first, header.last + 1):
            raise BenchError(f"{versions} came under the header {header}")
        for mark in range(self.received, self.received + len(versions)):
            self.arrived_at[mark] = now
        self.received += len(versions)

    def close(self) -> None:
        """Release the connection."""
        self._socket.close()


@lru_cache(maxsize=_ALIKE_MAX)
def _header_of(frame: bytes) -> WatchHeader:
    return _headers.decode(frame)


@lru_cache(maxsize=_ALIKE_MAX)
def _versions_in(payload: bytes) -> range:
    """Give the versions of a batch, all of them decoded. Raises: BenchError, if one is missing."""
    versions = [update.version for update in _batches.decode(payload)]
    if versions != list(range(versions[0], versions[0] + len(versions))):
        raise BenchError(f"these versions came in one batch: {versions}")
    return range(versions[0], versions[-1] + 1)


def shared_context() -> zmq.Context[zmq.Socket[bytes]]:
    """Give the process's context: one I/O thread serves all subscribers of a process."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    context.set(zmq.MAX_SOCKETS, _SOCKETS_MAX)
    return context


class FelixWriter:
    """Creates one cache at a time at the node it is told."""

    def __init__(self, rpcs: Sequence[str]) -> None:
        self._askers = [Asker(rpc) for rpc in rpcs]

    def write(self, node: int, name: str, timeout_s: float) -> bool:
        """Say whether the write was acknowledged in time."""
        try:
            return self._askers[node].ask(value_creation(name), timeout_s).error is None
        except RefusedError:
            return False

    def close(self) -> None:
        """Release the connections."""
        for asker in self._askers:
            asker.close()


def fetch_snapshot(rpc: str) -> int:
    """Fetch all chunks over a fresh connection and decode every object; count the streams."""
    asker = Asker(rpc)
    try:
        first = result_of(asker.ask(GetSnapshot()), _chunks)
        requests = [
            asker.send(GetSnapshot(version=first.version, chunk=number))
            for number in range(1, first.chunks)
        ]
        total = _decoded(first)
        for request in requests:
            total += _decoded(result_of(asker.reply_to(request, REPLY_TIMEOUT_S), _chunks))
        return total
    finally:
        asker.close()


def _decoded(chunk: SnapshotChunk) -> int:
    decoded = [_objects.decode(memoryview(raw)) for raw in chunk.objects]
    return sum(isinstance(one, Stream) for one in decoded)
