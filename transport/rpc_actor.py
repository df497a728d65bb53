"""The thread of an `RpcClient`: one socket for each endpoint, and the requests on their way."""

from __future__ import annotations

import itertools
import random
import time
from collections import deque
from functools import partial
from types import TracebackType
from typing import Final, TypeAlias

import msgspec
import structlog
import zmq

from felix.proto.errors import (
    FelixError,
    NoLeader,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    ShuttingDown,
    Unknown,
)
from felix.transport.curve import ClientCurve
from felix.transport.rpc_link import Link
from felix.transport.rpc_requests import Outstanding, Requests
from felix.transport.rpc_wire import NOT_NOW, decode_reply, encode_request, read_reply
from felix.transport.socket_actor import SocketActor, handles

PAUSE_S_MIN: Final = 0.01
PAUSE_S_MAX: Final = 0.25
"""Between tries; doubled each time, jittered."""

Waiting: TypeAlias = Outstanding[Link]


class RpcStatistics(msgspec.Struct, frozen=True):
    """What a client has counted since it was opened."""

    in_flight: int
    retries: int
    replies_late: int
    """Replies that nobody waited for any more."""
    replies_malformed: int
    connections_lost: int


class Submit(msgspec.Struct, frozen=True):
    """Send this."""

    request: Waiting


class _Retry(msgspec.Struct, frozen=True):
    """The pause is over."""

    request: Waiting


class _Expire(msgspec.Struct, frozen=True):
    """A deadline has come."""


class GetStatistics(msgspec.Struct, frozen=True):
    """Answered with `RpcStatistics`."""


class RpcActor(SocketActor):
    """One socket for each endpoint, and the requests on their way."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoints: tuple[str, ...],
        ids: itertools.count[int],
        in_flight_max: int,
        curve: ClientCurve | None,
    ) -> None:
        super().__init__(_report)
        self._curve = curve
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
        for number, endpoint in enumerate(self._endpoints):
            link = Link(
                self._context,
                zmq.DEALER,
                endpoint,
                queue_max=2 * self._in_flight_max,
                curve=self._curve,
                node=number,
            )
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

    @handles(Submit)
    def _on_submit(self, message: Submit) -> None:
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

    @handles(GetStatistics)
    def _on_get_statistics(self, _message: GetStatistics) -> RpcStatistics:
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
