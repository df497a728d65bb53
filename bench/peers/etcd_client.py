"""A gRPC client for etcd that costs less per call than the one written in Go.

Requests are whole bytes before the clock starts; answers are taken apart only as far as is needed
to know that they are answers.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from bench.errors import RefusedError
from bench.peers import etcd_wire, http2
from bench.systems import REPLY_TIMEOUT_S, VALUE_CHARS, Acknowledged, Work

Address = tuple[str, int]

_RECEIVE_BYTES: Final = 1 << 18
_WINDOW_STEP_BYTES: Final = 1 << 28
"""The connection's window is topped up each time so much has been read."""
SEQUENCE_CHARS: Final = 8
"""The last characters of a value say which write it was."""


def value_of(number: int) -> bytes:
    """Make the 256 bytes of a write."""
    return b"v" * (VALUE_CHARS - SEQUENCE_CHARS) + b"%08d" % number


class Call(NamedTuple):
    """An encoded call."""

    frames: bytes
    data_bytes: int
    """What counts against the server's window."""


class Connection:
    """One TCP connection that speaks HTTP/2; answers control frames by itself."""

    def __init__(self, address: Address, timeout_s: float = REPLY_TIMEOUT_S) -> None:
        """Raises: OSError."""
        self._socket = socket.create_connection(address, timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(http2.greeting())
        self._authority = "%s:%d" % address  # noqa: UP031 - a pair fits the old way best
        self._rest = b""
        self._stream = 1
        self._read_bytes = 0
        self._window_bytes = http2.WINDOW_DEFAULT_BYTES
        self._late: deque[Call] = deque()

    def fileno(self) -> int:
        """Give the socket's descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; etcd cancels what is under way."""
        self._socket.close()

    def set_timeout(self, timeout_s: float) -> None:
        """Bound every wait from now on; 0 means do not wait."""
        self._socket.settimeout(timeout_s)

    def next_stream(self, count: int = 1) -> int:
        """Reserve the ids of `count` streams, which are the odd numbers from the one given."""
        first = self._stream
        self._stream += 2 * count
        assert self._stream <= http2.STREAM_ID_MAX, "one connection has no more streams than this"
        return first

    def encode_call(self, stream: int, path: str, message: bytes, *, more: bool = False) -> Call:
        """Encode a call whose only, or first, message this is."""
        block = http2.request_headers(path, self._authority)
        data = etcd_wire.enveloped(message)
        end = 0 if more else http2.END_STREAM
        head = http2.frame(http2.HEADERS, http2.END_HEADERS, stream, block)
        return Call(head + http2.frame(http2.DATA, end, stream, data), len(data))

    def send(self, calls: Iterable[Call]) -> None:
        """Send encoded calls, as many as the server's window allows; the rest follow later."""
        self._late.extend(calls)
        self._send_late()

    def _send_late(self) -> None:
        late, ready = self._late, []
        while late and late[0].data_bytes <= self._window_bytes:
            call = late.popleft()
            self._window_bytes -= call.data_bytes
            ready.append(call.frames)
        if ready:
            self._socket.sendall(b"".join(ready))

    def receive(self) -> list[http2.Frame]:
        """Read once and give the DATA and HEADERS frames that are complete, possibly none.

        Raises: TimeoutError, BlockingIOError, OSError, RefusedError.
        """
        chunk = self._socket.recv(_RECEIVE_BYTES)
        if not chunk:
            raise RefusedError("etcd has closed the connection")
        self._count(len(chunk))
        frames, self._rest = http2.split(self._rest + chunk if self._rest else chunk)
        if all(frame.type <= http2.HEADERS for frame in frames):
            return frames
        for frame in frames:
            if frame.type > http2.HEADERS:
                self._control(frame)
        return [frame for frame in frames if frame.type <= http2.HEADERS]

    def _count(self, read_bytes: int) -> None:
        self._read_bytes += read_bytes
        if self._read_bytes >= _WINDOW_STEP_BYTES:
            self._socket.sendall(http2.window_update(0, self._read_bytes))
            self._read_bytes = 0

    def _control(self, frame: http2.Frame) -> None:
        if frame.type in (http2.SETTINGS, http2.PING):
            if not frame.flags & http2.ACK:
                echo = frame.payload if frame.type == http2.PING else b""
                self._socket.sendall(http2.frame(frame.type, http2.ACK, 0, echo))
        elif frame.type == http2.WINDOW_UPDATE:
            if frame.stream == 0:
                self._window_bytes += int.from_bytes(frame.payload)
                self._send_late()
        elif frame.type in (http2.GOAWAY, http2.RST_STREAM):
            raise RefusedError(f"etcd has ended a stream or the connection: {frame}")


def call(address: Address, path: str, message: bytes, timeout_s: float = REPLY_TIMEOUT_S) -> bytes:
    """Call once over a fresh connection. Raises: OSError, RefusedError."""
    connection = Connection(address, timeout_s)
    try:
        return call_over(connection, path, message)
    finally:
        connection.close()


def call_over(connection: Connection, path: str, message: bytes) -> bytes:
    """Call once and wait for the answer. Raises: OSError, RefusedError."""
    stream = connection.next_stream()
    connection.send([connection.encode_call(stream, path, message)])
    parts: list[bytes] = []
    while True:
        for frame in connection.receive():
            if frame.stream != stream:
                continue
            if frame.type == http2.DATA:
                parts.append(frame.payload)
            elif frame.flags & http2.END_STREAM:
                _check(frame)
                return b"".join(parts)[5:]


def _check(trailers: http2.Frame) -> None:
    status = http2.grpc_status(trailers.payload)
    if status != 0:
        raise RefusedError(f"etcd answers with gRPC status {status}: {trailers.payload!r}")


class EtcdPipe:
    """Puts over one connection, each on a stream of its own."""

    def __init__(self, address: Address, work: Work) -> None:
        self._connection = Connection(address)
        first = self._connection.next_stream(work.count)
        self._first = first
        self._calls = [
            self._connection.encode_call(
                first + 2 * number,
                etcd_wire.PUT,
                etcd_wire.put_request(work.name(number).encode(), value_of(number)),
            )
            for number in range(work.count)
        ]
        self._with_message: set[int] = set()

    def send(self, numbers: Sequence[int]) -> None:
        """Start these writes."""
        self._connection.send(map(self._calls.__getitem__, numbers))

    def receive(self) -> list[Acknowledged]:
        """Wait for at least one answer. Raises: OSError, RefusedError."""
        done: list[Acknowledged] = []
        answered = self._with_message
        while not done:
            for kind, flags, stream, payload in self._connection.receive():
                if kind == http2.DATA:
                    # Prefix, then a PutResponse: its header, which has the revision.
                    if len(payload) > 5 and payload[5] == 0x0A:
                        answered.add(stream)
                elif flags & http2.END_STREAM:
                    if http2.grpc_status(payload) != 0 or stream not in answered:
                        raise RefusedError(f"etcd refused a put: {payload!r}")
                    answered.discard(stream)
                    number = (stream - self._first) >> 1
                    done.append(Acknowledged(number, number))
        return done

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class EtcdSubscription:
    """A watch on a connection of its own."""

    def __init__(self, address: Address, prefix: str, count: int) -> None:
        self.ready = False
        self.received = 0
        self.arrived_at = [0.0] * count
        self._connection = Connection(address)
        stream = self._connection.next_stream()
        request = etcd_wire.watch_request(prefix.encode())
        opening = self._connection.encode_call(stream, etcd_wire.WATCH, request, more=True)
        self._connection.send([opening])
        self._connection.set_timeout(0)
        self._rest = b""

    def fileno(self) -> int:
        """Give the connection's descriptor."""
        return self._connection.fileno()

    def drain(self) -> None:
        """Read once what is there, which is all of it unless it is a great deal.

        Raises: OSError, RefusedError.
        """
        try:
            frames = self._connection.receive()
        except BlockingIOError:
            return
        now = time.monotonic()
        for kind, _flags, _stream, payload in frames:
            if kind != http2.DATA:
                continue
            # One whole message that has room for one value only ends with that value. A message
            # that is not a put (a confirmation) is shorter than a value.
            size = len(payload)
            whole = not self._rest and int.from_bytes(payload[1:5]) == size - 5
            if whole and VALUE_CHARS < size < 2 * VALUE_CHARS:
                self._arrived(payload[-SEQUENCE_CHARS:], now)
            else:
                self._reassemble(payload, now)

    def _reassemble(self, payload: bytes, now: float) -> None:
        data = self._rest + payload
        at = 0
        while len(data) - at >= 5:
            stop = at + 5 + int.from_bytes(data[at + 1 : at + 5])
            if stop > len(data):
                break
            created, values = etcd_wire.read_event_values(data[at + 5 : stop])
            self.ready = self.ready or created
            for value in values:
                self._arrived(value[-SEQUENCE_CHARS:], now)
            at = stop
        self._rest = data[at:]

    def _arrived(self, sequence: bytes, now: float) -> None:
        mark = int(sequence)
        if self.arrived_at[mark]:
            raise RefusedError(f"etcd delivered write {mark} twice")
        self.arrived_at[mark] = now
        self.received += 1

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class EtcdWriter:
    """Puts one key at a time to the node it is told; a connection that fails is given up."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses
        self._connections: dict[int, Connection] = {}

    def write(self, node: int, name: str, timeout_s: float) -> bool:
        """Say whether the put was acknowledged in time."""
        try:
            connection = self._connections.get(node)
            if connection is None:
                connection = self._connections[node] = Connection(self._addresses[node], timeout_s)
            connection.set_timeout(timeout_s)
            request = etcd_wire.put_request(name.encode(), value_of(0))
            return bool(call_over(connection, etcd_wire.PUT, request))
        except (OSError, RefusedError):
            lost = self._connections.pop(node, None)
            if lost is not None:
                lost.close()
            return False

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections.values():
            connection.close()
