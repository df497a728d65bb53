"""The requests of an RPC client that have no answer yet: by id, by deadline, by connection."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

from felix.proto.control_plane import Answered, Call
from felix.proto.errors import DeadlineExceeded, FelixError, NoLeader
from felix.proto.rpc import AnyRequest
from felix.transport.rpc_wire import may_repeat

L = TypeVar("L")


class Outstanding(Generic[L]):
    """One request from the first try to the answer."""

    __slots__ = (
        "call",
        "deadline",
        "done",
        "frame",
        "id",
        "last_error",
        "link",
        "message",
        "tries",
    )

    def __init__(
        self,
        request_id: int,
        message: AnyRequest,
        call: Call,
        *,
        deadline: float,
        frame: bytes,
        done: Callable[[Answered | FelixError], None],
    ) -> None:
        self.id = request_id
        """Of the try under way; every try has a new one."""
        self.message = message
        self.call = call
        self.deadline = deadline
        """Monotonic seconds."""
        self.frame = frame
        """Of the next try; empty once it is sent."""
        self.done: Callable[[Answered | FelixError], None] | None = done
        """None once it is answered."""
        self.link: L | None = None
        """Where the try under way was sent; None while it waits to be sent."""
        self.last_error: FelixError | None = None
        """Why the tries before did not count; once one may have had an effect, that."""
        self.tries = 0

    @property
    def may_repeat(self) -> bool:
        """Whether a second try cannot have a second effect."""
        return may_repeat(self.message, self.call)


class Requests(Generic[L]):
    """All requests without an answer; used by one thread only."""

    def __init__(self) -> None:
        self._by_id: dict[int, Outstanding[L]] = {}
        self._deadlines: list[tuple[float, int, Outstanding[L]]] = []

    def __len__(self) -> int:
        """Count those without an answer."""
        return len(self._by_id)

    def add(self, request: Outstanding[L]) -> None:
        """Keep a new one."""
        self._by_id[request.id] = request
        heapq.heappush(self._deadlines, (request.deadline, request.id, request))

    def get(self, request_id: int) -> Outstanding[L] | None:
        """Find the one whose present try has this id."""
        return self._by_id.get(request_id)

    def renumber(self, request: Outstanding[L], request_id: int) -> None:
        """Give it the id of its next try; replies to the one before no longer find it."""
        del self._by_id[request.id]
        request.id = request_id
        self._by_id[request_id] = request

    def finish(self, request: Outstanding[L], outcome: Answered | FelixError) -> None:
        """Answer it, once."""
        done = request.done
        if done is None:
            return
        request.done = None
        del self._by_id[request.id]
        self._forget_finished()
        done(outcome)

    def next_deadline(self) -> float | None:
        """When `expire` has something to do next."""
        return self._deadlines[0][0] if self._deadlines else None

    def expire(self, now: float) -> None:
        """Answer those whose time is over with what is known of them."""
        while self._deadlines and self._deadlines[0][0] <= now:
            request = heapq.heappop(self._deadlines)[2]
            self.finish(request, _expired(request))

    def sent_on(self, link: L) -> list[Outstanding[L]]:
        """List those whose present try was sent there."""
        return [request for request in self._by_id.values() if request.link is link]

    def all(self) -> list[Outstanding[L]]:
        """List all of them."""
        return list(self._by_id.values())

    def _forget_finished(self) -> None:
        deadlines = self._deadlines
        while deadlines and deadlines[0][2].done is None:
            heapq.heappop(deadlines)
        if len(deadlines) > 4 * len(self._by_id) + 1024:
            self._deadlines = [item for item in deadlines if item[2].done is not None]
            heapq.heapify(self._deadlines)


def _expired(request: Outstanding[L]) -> FelixError:
    """Say why there is no answer: only a try that was sent leaves the outcome open."""
    if request.link is not None:
        return DeadlineExceeded(
            f"no answer within {request.call.timeout_s:g} s", retry_after_ms=1000
        )
    return request.last_error or NoLeader("no node can be reached", retry_after_ms=1000)
