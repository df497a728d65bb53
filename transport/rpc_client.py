"""A `ControlPlane` over ZeroMQ: ask any node, from any thread."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

import pykka
import zmq

from felix.proto.control_plane import Answered, Call
from felix.proto.errors import DeadlineExceeded, FelixError, ShuttingDown
from felix.proto.rpc import AnyRequest
from felix.transport.curve import ClientCurve
from felix.transport.rpc_actor import GetStatistics, RpcActor, RpcStatistics, Submit, Waiting
from felix.transport.rpc_wire import encode_request

IN_FLIGHT_MAX: Final = 8192
"""Requests without an answer; one more is refused with `overloaded`."""
PATIENCE_S: Final = 1.0
"""How long after the deadline a caller waits for its own client's thread."""

_DEFAULT_CALL: Final = Call()


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
        curve: ClientCurve | None = None,
    ) -> None:
        """`endpoint` is a ZeroMQ one (`tcp://host:port`, `ipc:///path`).

        A `context` that is given must belong to the process that asks, and is left open. `curve`
        is for nodes that take only encrypted requests; its server keys are those of the endpoints.
        Raises: ValueError.
        """
        self._endpoints = (endpoint,) if isinstance(endpoint, str) else tuple(endpoint)
        if not self._endpoints or not all("://" in one for one in self._endpoints):
            raise ValueError(f"not ZeroMQ endpoints: {self._endpoints}")
        if curve is not None:
            curve.check(len(self._endpoints))
        self._curve = curve
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
            self._open().ref.tell(Submit(request))
        except pykka.ActorDeadError as error:
            raise ShuttingDown("this RPC client is closed") from error
        return future

    def statistics(self) -> RpcStatistics:
        """Count what has happened; opens the client."""
        answer = self._open().ref.ask(GetStatistics(), timeout=PATIENCE_S)
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
                ref = RpcActor.start(
                    context, self._endpoints, self._ids, self._in_flight_max, self._curve
                )
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
