"""Answers that are believed for a moment: bounded, and asked for by one thread at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from typing import Final, Generic, TypeVar

import msgspec

from felix.proto.errors import FelixError, NotFound

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

RENEWALS_MAX: Final = 16
"""How many may be under way at once of those that are shared."""
PATIENT_MAX: Final = 4
"""Threads that wait for one answer until it comes, where somebody else's tardiness is to be felt by
few; the others stay for `BRIEF_S` after it was asked for."""
BRIEF_S: Final = 0.5


class _Held(msgspec.Struct, Generic[V], frozen=True, gc=False):
    value: V
    until_s: float


class _Failed(msgspec.Struct, Generic[K], frozen=True):
    """A renewal that brought nothing."""

    key: K
    began_s: float
    error: FelixError


class _Flight(Generic[V]):
    """An answer that is awaited."""

    def __init__(self, began_s: float) -> None:
        self.answer: Future[V] = Future()
        self.began_s = began_s
        self.patient = 0
        """Threads that wait for it, whoever asked not counted."""


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
        crowded: Callable[[], FelixError] | None = None,
    ) -> None:
        """Take `load`, which gets the key, the last answer, and whether it must be up to date.

        `crowded` makes the error of those who do not wait because too many do. Without it everybody
        waits.
        """
        self._load = load
        self._believed_s = believed_s
        self._entries_max = entries_max
        self._monotonic = monotonic
        self._crowded = crowded
        self._lock = threading.Lock()
        self._held: OrderedDict[K, _Held[V]] = OrderedDict()
        self._missing: OrderedDict[K, float] = OrderedDict()
        self._flights: dict[K, _Flight[V]] = {}
        self._renewing = tuple(threading.Lock() for _ in range(RENEWALS_MAX))
        self._failed: list[_Failed[K] | None] = [None] * RENEWALS_MAX
        """The last failure behind each of these locks."""

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
                flight = self._flights[key] = _Flight(now_s)
        if awaited is not None:
            return self._wait(awaited)
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

        Where there is none to be had they fail together, too: nobody waits for each of the others.

        Raises: see `get`.
        """
        wanted_s = self._monotonic()
        place = hash(key) % RENEWALS_MAX
        with self._renewing[place]:
            with self._lock:
                held = self._held.get(key)
            if held is not None and held.until_s - self._believed_s > wanted_s:
                return held.value
            failed = self._failed[place]
            if failed is not None and failed.key == key and failed.began_s > wanted_s:
                raise failed.error
            began_s = self._monotonic()
            try:
                return self.renew(key)
            except FelixError as error:
                self._failed[place] = _Failed(key, began_s, error)
                raise

    def put(self, key: K, value: V, began_s: float | None = None) -> None:
        """Believe an answer from now, or from when it was asked for."""
        since_s = self._monotonic() if began_s is None else began_s
        with self._lock:
            self._missing.pop(key, None)
            _remember(self._held, key, _Held(value, since_s + self._believed_s), self._entries_max)

    def _wait(self, flight: _Flight[V]) -> V:
        with self._lock:
            is_patient = self._crowded is None or flight.patient < PATIENT_MAX
            flight.patient += is_patient
        if is_patient:
            return flight.answer.result()
        stay_s = max(0.0, flight.began_s + BRIEF_S - self._monotonic())
        if flight.answer not in wait((flight.answer,), stay_s).done:
            assert self._crowded is not None
            raise self._crowded()
        return flight.answer.result()

    def _fly(self, key: K, flight: _Flight[V], last: V | None) -> V:
        began_s = self._monotonic()
        try:
            value = self._load(key, last, False)
        except BaseException as error:
            if isinstance(error, NotFound):
                self._forget(key, began_s)
            self._land(key)
            flight.answer.set_exception(error)
            raise
        self.put(key, value, began_s)
        self._land(key)
        flight.answer.set_result(value)
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
