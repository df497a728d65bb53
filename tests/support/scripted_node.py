"""A node that is nothing but its sockets: real ROUTER and XPUB, faults on demand."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType

import msgspec
import zmq

from felix.proto import codec
from felix.proto.errors import FelixError
from felix.proto.queries import GetSnapshot, WatchUpdates
from felix.proto.rpc import NO_RESULT, PROTOCOL, Answer, Reply, Request
from felix.proto.updates import WATCH_TOPIC
from tests.support.metadata_model import MetadataModel

Handler = Callable[[Request], "Answer | FelixError | None"]
"""Answers a request, refuses it, or (None) never answers."""

_requests = codec.ForeignDecoder[Request](Request)


class ScriptedNode:
    """A thread with a ROUTER and an XPUB socket on loopback.

    Everything a test tells it runs in that thread, so that sockets stay in one.
    """

    def __init__(self, handler: Handler, rpc: str = "", watch: str = "") -> None:
        self.handler = handler
        self.requests: list[Request] = []
        self.routes: dict[int, list[bytes]] = {}
        """By request id: the frames that lead back to the one who asked."""
        self.subscriptions = 0
        self.on_subscribe: Callable[[], None] = lambda: None
        self.rpc = rpc or "tcp://127.0.0.1:*"
        self.watch = watch or "tcp://127.0.0.1:*"
        self._jobs: queue.Queue[Callable[[], None]] = queue.Queue()
        self._context = zmq.Context()
        self._ready = threading.Event()
        self._stopping = False
        self._wake = self._context.socket(zmq.PAIR)
        self._wake.bind(f"inproc://wake-{id(self)}")
        self._thread = threading.Thread(target=self._run, name="scripted-node")

    def __enter__(self) -> ScriptedNode:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def endpoints(self) -> tuple[str, str]:
        """RPC and watch, as a client wants them."""
        return self.rpc, self.watch

    def stop(self) -> None:
        """Close the sockets and end the thread; stopping twice is stopping once."""
        if self._thread.is_alive():
            self.do(self._stop)
            self._thread.join(10)
        self._wake.close(0)
        self._context.destroy(linger=0)

    def do(self, job: Callable[[], None]) -> None:
        """Run something in the node's thread, and wait for it."""
        done = threading.Event()

        def run() -> None:
            job()
            done.set()

        self._jobs.put(run)
        self._wake.send(b"")
        assert done.wait(10)

    def publish(self, frame: tuple[bytes, bytes]) -> None:
        """Send header and payload to every subscriber."""
        self.do(lambda: self.send(frame))

    def send(self, frame: tuple[bytes, bytes]) -> None:
        """As `publish`, for those in the node's thread."""
        self._xpub.send_multipart([WATCH_TOPIC, *frame])

    def reply(self, route: list[bytes], request_id: int, outcome: Answer | FelixError) -> None:
        """Answer a request, from the node's thread."""
        if isinstance(outcome, FelixError):
            reply = Reply(PROTOCOL, request_id, 0, 0, outcome.to_reply(), NO_RESULT)
        else:
            reply = Reply(PROTOCOL, request_id, 7, 0, None, msgspec.Raw(codec.encode(outcome)))
        self._router.send_multipart([*route, codec.encode(reply)])

    def send_raw(self, request: Request, data: bytes) -> None:
        """Send any bytes to the one who asked, from the node's thread."""
        self._router.send_multipart([*self.routes[request.id], data])

    def _stop(self) -> None:
        self._stopping = True

    def _run(self) -> None:
        self._router = self._context.socket(zmq.ROUTER)
        self._xpub = self._context.socket(zmq.XPUB)
        self._xpub.setsockopt(zmq.XPUB_VERBOSER, 1)
        wake = self._context.socket(zmq.PAIR)
        wake.connect(f"inproc://wake-{id(self)}")
        self._router.bind(self.rpc)
        self._xpub.bind(self.watch)
        self.rpc = self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        self.watch = self._xpub.getsockopt_string(zmq.LAST_ENDPOINT)
        poller = zmq.Poller()
        for socket in (self._router, self._xpub, wake):
            poller.register(socket, zmq.POLLIN)
        self._ready.set()
        while not self._stopping:
            for socket, _ in poller.poll():
                if socket is self._router:
                    self._take_request(self._router.recv_multipart())
                elif socket is self._xpub:
                    if self._xpub.recv()[:1] == b"\x01":
                        self.subscriptions += 1
                        self.on_subscribe()
                else:
                    wake.recv()
                    self._jobs.get()()
        for socket in (self._router, self._xpub, wake):
            socket.close(0)

    def _take_request(self, frames: list[bytes]) -> None:
        request = _requests.decode(frames[-1])
        self.routes[request.id] = frames[:-1]
        self.requests.append(request)
        outcome = self.handler(request)
        if outcome is not None:
            self.reply(frames[:-1], request.id, outcome)


def metadata_handler(model: MetadataModel) -> Handler:
    """Answer the two questions of a broker from a model."""

    def handle(request: Request) -> Answer | FelixError | None:
        message = request.message
        try:
            if isinstance(message, GetSnapshot):
                return model.get_snapshot(message, model.version)
            assert isinstance(message, WatchUpdates)
            return model.watch_updates(message, model.version)
        except FelixError as error:
            return error

    return handle
