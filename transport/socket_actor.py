"""The actor type of this project: an actor whose inbox is also its ZeroMQ sockets.

Pykka lets an actor type bring its own inbox. This one polls the actor's sockets together with its
queue of messages, so that a frame reaches its actor with no thread in between, and every socket is
used by one thread only.
"""

from __future__ import annotations

import heapq
import itertools
import os
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, ClassVar, Final, TypeVar

import pykka
import zmq
from pykka._envelope import Envelope  # the type that an inbox of an actor type of one's own holds

from felix.proto.errors import FelixError, Overloaded

INBOX_MESSAGES_MAX: Final = 200_000
"""A queue this long means that the actor is lost; whoever tells it more is told so."""
MESSAGES_PER_TURN: Final = 64
"""How many queued messages are handled before the sockets are looked at again."""
FRAMES_PER_TURN: Final = 64
"""How many messages of one socket are handled before anything else is."""
BYTES_PER_TURN: Final = 1 << 17
"""Fewer where they are large: a whole fleet may say at once which shards it has."""

# Plain numbers: on this path the arithmetic of zmq's enumerations costs more than the calls.
_NOBLOCK: Final = int(zmq.NOBLOCK)
_RCVMORE: Final = int(zmq.RCVMORE)
_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)

FrameHandler = Callable[[list[bytes]], None]
MessageHandler = Callable[[list[zmq.Frame]], None]
A = TypeVar("A", bound="SocketActor")


class _Readable:
    """Tell the actor that sockets can be read."""

    __slots__ = ("sockets",)

    def __init__(self, sockets: list[zmq.Socket[bytes]]) -> None:
        self.sockets = sockets


class SocketInbox:
    """Messages, timers and sockets of one actor, in one place to wait.

    `put` may be called from any thread, everything else from the actor's own.
    """

    def __init__(self) -> None:
        self._queue: deque[Envelope[Any]] = deque()
        self._waker_read, self._waker_write = _wake_pipe()
        self._poller = zmq.Poller()
        self._poller.register(self._waker_read, zmq.POLLIN)
        self._sleeping = False
        self._turns_left = MESSAGES_PER_TURN
        self._timers: list[tuple[float, int, Any]] = []
        self._timer_was_last = False
        self._timer_ids = itertools.count()

    def put(self, envelope: Envelope[Any]) -> None:
        """Queue a message. Raises: Overloaded when the queue is full."""
        if len(self._queue) >= INBOX_MESSAGES_MAX:
            raise Overloaded("the actor's inbox is full")
        self._queue.append(envelope)
        if self._sleeping:
            self._sleeping = False
            os.write(self._waker_write, _ONE)

    def empty(self) -> bool:
        """Whether no message is queued; sockets and timers do not count."""
        return not self._queue

    def get(self) -> Envelope[Any]:
        """Wait for the next message, due timer or readable socket."""
        queue = self._queue
        while True:
            if queue and self._turns_left:
                self._turns_left -= 1
                return queue.popleft()
            self._turns_left = MESSAGES_PER_TURN
            # After each timer the sockets are looked at, or timers that are always due starve them.
            self._timer_was_last = not self._timer_was_last and self._timer_is_due()
            if self._timer_was_last:
                return Envelope(heapq.heappop(self._timers)[2])
            readable = self._poll()
            if readable:
                return Envelope(_Readable(readable))

    def add_socket(self, socket: zmq.Socket[bytes]) -> None:
        """Wait for this socket too."""
        self._poller.register(socket, zmq.POLLIN)

    def remove_socket(self, socket: zmq.Socket[bytes]) -> None:
        """Wait for this socket no longer."""
        self._poller.unregister(socket)

    def add_timer(self, delay_s: float, message: object) -> None:
        """Deliver a message after a delay."""
        due = time.monotonic() + delay_s
        heapq.heappush(self._timers, (due, next(self._timer_ids), message))

    def __del__(self) -> None:
        # Not earlier: whoever holds a reference to a stopped actor may still put.
        os.close(self._waker_read)
        if self._waker_write != self._waker_read:
            os.close(self._waker_write)

    def _poll(self) -> list[zmq.Socket[bytes]]:
        self._sleeping = True
        if self._queue:
            self._sleeping = False
        wait_ms: int | None = 0
        if self._sleeping:
            wait_ms = self._until_next_timer_ms()
        events = self._poller.poll(wait_ms)
        self._sleeping = False
        readable = []
        for source, _ in events:
            if isinstance(source, int):
                os.read(self._waker_read, 8)
            else:
                readable.append(source)
        return readable

    def _timer_is_due(self) -> bool:
        return bool(self._timers) and self._timers[0][0] <= time.monotonic()

    def _until_next_timer_ms(self) -> int | None:
        if not self._timers:
            return None
        return max(0, int((self._timers[0][0] - time.monotonic()) * 1000 + 0.999))


_ONE: Final = (1).to_bytes(8, "little")


def _wake_pipe() -> tuple[int, int]:
    """Make the descriptor that wakes a poll: an eventfd, or a pipe where there is none."""
    if hasattr(os, "eventfd"):
        event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        return event, event
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    return read, write


def handles(kind: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a method as the handler of one type of message."""

    def mark(method: Callable[..., Any]) -> Callable[..., Any]:
        method.__dict__["handled_type"] = kind
        return method

    return mark


class SocketActor(pykka.ThreadingActor):
    """Base of every actor: typed dispatch, sockets, timers, and failures that are heard.

    A subclass stores its collaborators in the constructor, opens sockets in `acquire`, marks its
    handlers with `@handles(Type)` and closes what it opened in `release`.
    """

    use_daemon_thread: ClassVar[bool] = True
    """The node's main thread decides when the process ends."""

    _handlers: ClassVar[dict[type, Callable[..., Any]]] = {}
    actor_inbox: SocketInbox

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        found = dict(cls._handlers)
        for method in vars(cls).values():
            kind = getattr(method, "handled_type", None)
            if kind is not None:
                found[kind] = method
        cls._handlers = found

    def __init__(self, failed: Callable[[SocketActor, BaseException], None]) -> None:
        """`failed` hears of every error that no handler expected; it runs in the actor's thread."""
        super().__init__()
        self._failed = failed
        self._frame_handlers: dict[zmq.Socket[bytes], FrameHandler] = {}
        self._message_handlers: dict[zmq.Socket[bytes], MessageHandler] = {}

    @staticmethod
    def _create_actor_inbox() -> SocketInbox:
        return SocketInbox()

    def acquire(self) -> None:
        """Open sockets and files, in the actor's own thread."""

    def release(self) -> None:
        """Close what `acquire` opened, in the actor's own thread."""

    def end_turn(self) -> None:
        """Do what follows from everything that came in together; called after each turn.

        A turn is one message, or all frames that were there to be read, up to a bound.
        """

    def listen(self, socket: zmq.Socket[bytes], handler: FrameHandler) -> None:
        """Hand every message that arrives on a socket to a handler."""
        self._frame_handlers[socket] = handler
        self.actor_inbox.add_socket(socket)

    def listen_whole(self, socket: zmq.Socket[bytes], handler: MessageHandler) -> None:
        """Like `listen`, with what libzmq knows of each frame's sender; it costs more."""
        self._message_handlers[socket] = handler
        self.actor_inbox.add_socket(socket)

    def unlisten(self, socket: zmq.Socket[bytes]) -> None:
        """Undo `listen` or `listen_whole`."""
        if self._message_handlers.pop(socket, None) is None:
            del self._frame_handlers[socket]
        self.actor_inbox.remove_socket(socket)

    def after(self, delay_s: float, message: object) -> None:
        """Tell this actor a message after a delay: timers are messages."""
        self.actor_inbox.add_timer(delay_s, message)

    def on_start(self) -> None:
        """See `acquire`."""
        try:
            self.acquire()
        except BaseException as error:
            self._failed(self, error)
            raise

    def on_stop(self) -> None:
        """See `release`."""
        for socket in [*self._frame_handlers, *self._message_handlers]:
            self.unlisten(socket)
        self.release()

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Hear of an error that nobody asked for: Pykka has stopped the actor."""
        if isinstance(exception_value, FelixError):
            self._failed(self, exception_value)

    def on_receive(self, message: object) -> Any:
        """Dispatch by the message's type.

        A `FelixError` answers the one who asked; anything else is a bug and goes to `failed`.
        """
        answer = None
        try:
            if type(message) is _Readable:
                self._read(message.sockets)
            else:
                answer = self._handlers[type(message)](self, message)
            self.end_turn()
        except FelixError:
            raise
        except BaseException as error:
            self._failed(self, error)
            raise
        return answer

    def _read(self, sockets: list[zmq.Socket[bytes]]) -> None:
        for socket in sockets:
            handler = self._frame_handlers.get(socket)
            if handler is None:
                self._read_whole(socket)
                continue
            size = 0
            try:
                for _ in range(FRAMES_PER_TURN):
                    frames = [socket.recv(_NOBLOCK)]
                    while socket.getsockopt(_RCVMORE):
                        frames.append(socket.recv(_NOBLOCK))
                    handler(frames)
                    size += len(frames[-1])
                    if size > BYTES_PER_TURN:
                        break
                    if not int(socket.getsockopt(_EVENTS)) & _POLLIN:  # cheaper than an error
                        break
            except zmq.Again:
                pass  # what could be read was a message that libzmq then dropped

    def _read_whole(self, socket: zmq.Socket[bytes]) -> None:
        handler = self._message_handlers.get(socket)
        if handler is None:  # not listened to any more
            return
        size = 0
        try:
            for _ in range(FRAMES_PER_TURN):
                frames = [socket.recv(_NOBLOCK, copy=False)]
                while frames[-1].more:
                    frames.append(socket.recv(_NOBLOCK, copy=False))
                handler(frames)
                size += len(frames[-1])
                if size > BYTES_PER_TURN:
                    break
        except zmq.Again:
            pass
