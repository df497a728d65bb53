"""A `ControlPlane` over ZeroMQ: ask any node, from any thread."""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final

import msgspec
import pykka
import structlog
import zmq

from felix.proto.control_plane import Answered, Call
from felix.proto.errors import (
    DeadlineExceeded,
    FelixError,
    NoLeader,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    ShuttingDown,
    Unknown,
)
from felix.proto.rpc import AnyRequest
from felix.transport.rpc_link import Link
from felix.transport.rpc_requests import Outstanding, Requests
from felix.transport.rpc_wire import NOT_NOW, decode_reply, encode_request, read_reply
from felix.transport.socket_actor import SocketActor, handles

IN_FLIGHT_MAX: Final = 8192
"""Requests without an answer; one more is refused with `overloaded`."""
PAUSE_S_MIN: Final = 0.01
PAUSE_S_MAX: Final = 0.25
"""Between tries; doubled each time, jittered."""
PATIENCE_S: Final = 1.0
"""How long after the deadline a caller waits for its own client's thread."""

_DEFAULT_CALL: Final = Call()
Waiting = Outstanding[Link]


class RpcStatistics(msgspec.Struct, frozen=True):
    """What a client has counted since it was opened."""

    in_flight: int
    retries: int
    replies_late: int
    """Replies that nobody waited for any more."""
    replies_malformed: int
    connections_lost: int


class RpcClient:
    """Asks nodes over ZeroMQ; thread-safe, opened by the first request, safe after a fork.

    Several endpoints are several nodes of one cluster: the first that can be reached is asked. A
    refusal that means "not now" is tried again until the deadline. What may have taken effect is
    tried again only if it is a query or has an idempotency key.
    """

    def __init__(
        self,
        endpoint: str | Sequence[str],
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        *,
        in_flight_max: int = IN_FLIGHT_MAX,
    ) -> None:
        """`endpoint` is a ZeroMQ one (`tcp://host:port`, `ipc:///path`).

        A `context` that is given must belong to the process that asks, and is left open.
        """
        self._endpoints = (endpoint,) if isinstance(endpoint, str) else tuple(endpoint)
        if not self._endpoints or not all("://" in one for one in self._endpoints):
            raise ValueError(f"not ZeroMQ endpoints: {self._endpoints}")
        self._given_context = context
        self._in_flight_max = in_flight_max
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._opened: _Opened | None = None
        self._inherited: list[_Opened] = []
        self._closed = False

    def ask(self, message: AnyRequest, call: Call = _DEFAULT_CALL) -> Answered:
        """Ask and wait for the answer, at most `call.timeout_s`. Raises: any `FelixError`."""
        future = self.submit(message, call)
        try:
            answered = future.get(timeout=call.timeout_s + PATIENCE_S)
        except pykka.Timeout as error:
            raise DeadlineExceeded(f"no answer within {call.timeout_s:g} s") from error
        assert isinstance(answered, Answered)
        return answered

    def submit(
        self, message: AnyRequest, call: Call = _DEFAULT_CALL
    ) -> pykka.ThreadingFuture[Answered]:
        """Ask and return at once: the future gives what `ask` would return or raise.

        Raises: TooLarge, Unprocessable, ShuttingDown when the client is closed.
        """
        request_id = next(self._ids)
        frame = encode_request(request_id, message, call, call.timeout_s)
        future: pykka.ThreadingFuture[Answered] = pykka.ThreadingFuture()

        def done(outcome: Answered | FelixError) -> None:
            if isinstance(outcome, FelixError):
                future.set_exception((type(outcome), outcome, None))
            else:
                future.set(outcome)

        deadline = time.monotonic() + call.timeout_s
        request = Waiting(request_id, message, call, deadline=deadline, frame=frame, done=done)
        try:
            self._open().ref.tell(_Submit(request))
        except pykka.ActorDeadError as error:
            raise ShuttingDown("this RPC client is closed") from error
        return future

    def statistics(self) -> RpcStatistics:
        """Count what has happened; opens the client."""
        answer = self._open().ref.ask(_GetStatistics(), timeout=PATIENCE_S)
        assert isinstance(answer, RpcStatistics)
        return answer

    def close(self) -> None:
        """Answer what is under way with an error and release sockets and thread."""
        with self._lock:
            self._closed = True
            opened, self._opened = self._opened, None
        if opened is not None and opened.pid == os.getpid():
            opened.close(own_context=self._given_context is None)

    def _open(self) -> _Opened:
        opened = self._opened
        if opened is not None and opened.pid == os.getpid() and opened.ref.is_alive():
            return opened
        with self._lock:
            if self._closed:
                raise ShuttingDown("this RPC client is closed")
            opened = self._opened
            if opened is None or opened.pid != os.getpid() or not opened.ref.is_alive():
                if opened is not None:
                    # Sockets of the process we were forked from: neither used nor closed here.
                    self._inherited.append(opened)
                context = self._given_context or zmq.Context()
                ref = _RpcActor.start(context, self._endpoints, self._ids, self._in_flight_max)
                opened = self._opened = _Opened(os.getpid(), context, ref)
            return opened


class _Opened:
    """The thread and sockets of one process."""

    def __init__(
        self, pid: int, context: zmq.Context[zmq.Socket[bytes]], ref: pykka.ActorRef[Any]
    ) -> None:
        self.pid = pid
        self.context = context
        self.ref = ref

    def close(self, *, own_context: bool) -> None:
        self.ref.stop()
        if own_context:
            self.context.destroy(linger=0)


class _Submit(msgspec.Struct, frozen=True):
    """Send this."""

    request: Waiting


class _Retry(msgspec.Struct, frozen=True):
    """The pause is over."""

    request: Waiting


class _Expire(msgspec.Struct, frozen=True):
    """A deadline has come."""


class _GetStatistics(msgspec.Struct, frozen=True):
    """Answered with `RpcStatistics`."""


class _RpcActor(SocketActor):
    """One socket for each endpoint, and the requests on their way."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoints: tuple[str, ...],
        ids: itertools.count[int],
        in_flight_max: int,
    ) -> None:
        super().__init__(_report)
        self._context = context
        self._endpoints = endpoints
        self._ids = ids
        self._in_flight_max = in_flight_max
        self._requests: Requests[Link] = Requests()
        self._unsent: deque[Waiting] = deque()
        self._links: list[Link] = []
        self._preferred = 0
        self._wakes_at: float | None = None
        self._random = random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._counts = {"retries": 0, "late": 0, "malformed": 0, "lost": 0}

    def acquire(self) -> None:
        for endpoint in self._endpoints:
            link = Link(self._context, zmq.DEALER, endpoint, queue_max=2 * self._in_flight_max)
            self._links.append(link)
            self.listen(link.socket, self._on_reply)
            self.listen(link.monitor, partial(self._on_event, link))

    def release(self) -> None:
        for request in self._requests.all():
            closed = "the RPC client was closed"
            self._requests.finish(
                request, ShuttingDown(closed) if request.link is None else OutcomeUnknown(closed)
            )
        for link in self._links:
            link.close()

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().on_failure(exception_type, exception_value, traceback)
        self.release()

    @handles(_Submit)
    def _on_submit(self, message: _Submit) -> None:
        request = message.request
        if len(self._requests) >= self._in_flight_max:
            assert request.done is not None
            request.done(Overloaded("too many requests are in flight", retry_after_ms=50))
            return
        self._requests.add(request)
        self._wake_at(request.deadline)
        self._send(request)

    @handles(_Retry)
    def _on_retry(self, message: _Retry) -> None:
        request = message.request
        if request.done is None:
            return
        self._counts["retries"] += 1
        self._requests.renumber(request, next(self._ids))
        remaining_s = request.deadline - time.monotonic()
        request.frame = encode_request(request.id, request.message, request.call, remaining_s)
        self._send(request)

    @handles(_Expire)
    def _on_expire(self, _message: _Expire) -> None:
        self._wakes_at = None
        self._requests.expire(time.monotonic())
        self._unsent = deque(request for request in self._unsent if request.done is not None)
        upcoming = self._requests.next_deadline()
        if upcoming is not None:
            self._wake_at(upcoming)

    @handles(_GetStatistics)
    def _on_get_statistics(self, _message: _GetStatistics) -> RpcStatistics:
        counts = self._counts
        return RpcStatistics(
            len(self._requests),
            counts["retries"],
            counts["late"],
            counts["malformed"],
            counts["lost"],
        )

    def _wake_at(self, deadline: float) -> None:
        if self._wakes_at is None or deadline < self._wakes_at:
            self._wakes_at = deadline
            self.after(max(0.0, deadline - time.monotonic()), _Expire())

    def _send(self, request: Waiting) -> None:
        for step in range(len(self._links)):
            index = (self._preferred + step) % len(self._links)
            link = self._links[index]
            if link.up and link.send(request.frame):
                self._preferred = index
                request.link, request.frame = link, b""
                request.tries += 1
                return
        request.link = None
        self._unsent.append(request)

    def _on_reply(self, frames: list[bytes]) -> None:
        try:
            reply = decode_reply(frames[-1])
        except FelixError:
            self._counts["malformed"] += 1
            return
        request = self._requests.get(reply.id)
        if request is None:
            self._counts["late"] += 1
            return
        outcome = read_reply(request.message, reply)
        if isinstance(outcome, NOT_NOW) or (
            isinstance(outcome, OutcomeUnknown) and request.may_repeat
        ):
            if isinstance(outcome, NoLeader | NotLeader | ShuttingDown):
                self._turn_away_from(request.link)
            self._try_again(request, outcome)
        else:
            self._requests.finish(request, outcome)

    def _on_event(self, link: Link, frames: list[bytes]) -> None:
        change = link.take_event(frames)
        if change:
            unsent, self._unsent = self._unsent, deque()
            for request in unsent:
                if request.done is not None:
                    self._send(request)
        elif change is False:
            self._on_lost(link)

    def _on_lost(self, link: Link) -> None:
        while (frames := link.receive()) is not None:  # what still arrived before the end
            self._on_reply(frames)
        self._turn_away_from(link)
        lost = self._requests.sent_on(link)
        self._counts["lost"] += bool(lost)
        for request in lost:
            error = OutcomeUnknown(f"the connection to {link.endpoint} was lost")
            if request.may_repeat:
                self._try_again(request, error)
            else:
                self._requests.finish(request, error)

    def _turn_away_from(self, link: Link | None) -> None:
        if self._links[self._preferred] is link:
            self._preferred = (self._preferred + 1) % len(self._links)

    def _try_again(self, request: Waiting, error: FelixError) -> None:
        request.link = None
        if not isinstance(request.last_error, Unknown):  # a doubt stays until there is an answer
            request.last_error = error
        pause_s = min(PAUSE_S_MAX, PAUSE_S_MIN * 2**request.tries) * self._random.uniform(0.5, 1.0)
        if time.monotonic() + pause_s >= request.deadline:
            self._requests.finish(request, request.last_error)
        else:
            self.after(pause_s, _Retry(request))


def _report(actor: SocketActor, error: BaseException) -> None:
    structlog.get_logger(__name__).critical("rpc_client_failed", actor=str(actor), exc_info=error)
