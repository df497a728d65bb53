"""Answers that are believed for a moment: bounded, and asked for by one thread at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Final, Generic, TypeVar

import msgspec

from felix.proto.errors import NotFound

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

RENEWALS_MAX: Final = 16
"""How many may be under way at once of those that are shared."""


class _Held(msgspec.Struct, Generic[V], frozen=True, gc=False):
    value: V
    until_s: float


class Fresh(Generic[K, V]):
    """A memory of answers. Any thread may use it.

    Of one key only one answer is awaited at a time: whoever wants it meanwhile waits for the same
    one, and gets the same error. That something is not there is remembered as well, in a place of
    its own, so that names made up by strangers drive out nothing that is.
    """

    def __init__(
        self,
        load: Callable[[K, V | None, bool], V],
        *,
        believed_s: float,
        entries_max: int,
        monotonic: Callable[[], float],
    ) -> None:
        """Take `load`, which gets the key, the last answer, and whether it must be up to date."""
        self._load = load
        self._believed_s = believed_s
        self._entries_max = entries_max
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._held: OrderedDict[K, _Held[V]] = OrderedDict()
        self._missing: OrderedDict[K, float] = OrderedDict()
        self._flights: dict[K, Future[V]] = {}
        self._renewing = tuple(threading.Lock() for _ in range(RENEWALS_MAX))

    def get(self, key: K) -> V:
        """Give the answer that is believed, or ask for one.

        Raises: NotFound, and whatever asking raises.
        """
        with self._lock:
            now_s = self._monotonic()
            held = self._held.get(key)
            if held is not None and now_s < held.until_s:
                self._held.move_to_end(key)
                return held.value
            if now_s < self._missing.get(key, now_s):
                raise NotFound("it was not there a moment ago")
            awaited = self._flights.get(key)
            if awaited is None:
                flight = self._flights[key] = Future()
        if awaited is not None:
            return awaited.result()
        return self._fly(key, flight, None if held is None else held.value)

    def renew(self, key: K) -> V:
        """Ask now, for an answer that is up to date, whatever is believed.

        Raises: see `get`.
        """
        began_s = self._monotonic()
        with self._lock:
            held = self._held.get(key)
        try:
            value = self._load(key, None if held is None else held.value, True)
        except NotFound:
            self._forget(key, began_s)
            raise
        self.put(key, value, began_s)
        return value

    def renew_together(self, key: K) -> V:
        """Give an answer that was asked for after this began; of those who want one, one asks.

        Raises: see `get`.
        """
        wanted_s = self._monotonic()
        with self._renewing[hash(key) % RENEWALS_MAX]:
            with self._lock:
                held = self._held.get(key)
            if held is not None and held.until_s - self._believed_s > wanted_s:
                return held.value
            return self.renew(key)

    def put(self, key: K, value: V, began_s: float | None = None) -> None:
        """Believe an answer from now, or from when it was asked for."""
        since_s = self._monotonic() if began_s is None else began_s
        with self._lock:
            self._missing.pop(key, None)
            _remember(self._held, key, _Held(value, since_s + self._believed_s), self._entries_max)

    def _fly(self, key: K, flight: Future[V], last: V | None) -> V:
        began_s = self._monotonic()
        try:
            value = self._load(key, last, False)
        except BaseException as error:
            if isinstance(error, NotFound):
                self._forget(key, began_s)
            self._land(key)
            flight.set_exception(error)
            raise
        self.put(key, value, began_s)
        self._land(key)
        flight.set_result(value)
        return value

    def _land(self, key: K) -> None:
        with self._lock:
            del self._flights[key]

    def _forget(self, key: K, began_s: float) -> None:
        with self._lock:
            self._held.pop(key, None)
            _remember(self._missing, key, began_s + self._believed_s, self._entries_max)


W = TypeVar("W")


def _remember(memory: OrderedDict[K, W], key: K, value: W, entries_max: int) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > entries_max:
        memory.popitem(last=False)
