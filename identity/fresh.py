"""Answers that are believed for a moment: bounded, and asked for by one thread at a time."""

from __future__ import annotations

import contextlib
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
PATIENT_MAX: Final = 6
"""Requests that wait for answers until they come, where somebody else's tardiness is to be felt by
few; the others stay for `BRIEF_S` after an answer was asked for."""
BRIEF_S: Final = 0.5
APART_MAX: Final = 64
"""Threads that ask in place of requests."""


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

        `crowded` makes the error of those who do not wait because too many do: threads of its own
        ask then, so that answers that are slow to come do not take all threads from requests for
        others. Without it whoever wants an answer asks, and everybody waits.
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
        self._patient = 0
        self._apart = 0
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
            flight = self._flights.get(key)
            is_first = flight is None
            if flight is None:
                self._take_off()
                flight = self._flights[key] = _Flight(now_s)
        last = None if held is None else held.value
        if is_first and self._crowded is None:
            return self._fly(key, flight, last)
        if is_first:
            self._apart_from_requests(lambda: self._fly(key, flight, last))
        return self._wait(flight)

    def ask(self, key: K, load: Callable[[], V]) -> V:
        """Believe what another way of asking says. Raises: whatever that raises."""
        with self._lock:
            self._take_off()
            flight: _Flight[V] = _Flight(self._monotonic())

        def fly() -> V:
            try:
                value = load()
            except BaseException as error:
                flight.answer.set_exception(error)
                raise
            self.put(key, value)
            flight.answer.set_result(value)
            return value

        if self._crowded is None:
            return fly()
        self._apart_from_requests(fly)
        return self._wait(flight)

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

    def _take_off(self) -> None:
        """Make sure that there may be one more thread that asks; with the lock held."""
        if self._crowded is not None:
            if self._apart >= APART_MAX:
                raise self._crowded()
            self._apart += 1

    def _apart_from_requests(self, fly: Callable[[], V]) -> None:
        def run() -> None:
            try:
                with contextlib.suppress(BaseException):  # whoever waits for it is told
                    fly()
            finally:
                with self._lock:
                    self._apart -= 1

        threading.Thread(target=run, name="ask-apart", daemon=True).start()

    def _wait(self, flight: _Flight[V]) -> V:
        if self._crowded is None:
            return flight.answer.result()
        with self._lock:
            is_patient = self._patient < PATIENT_MAX
            self._patient += is_patient
        if is_patient:
            try:
                return flight.answer.result()
            finally:
                with self._lock:
                    self._patient -= 1
        stay_s = max(0.0, flight.began_s + BRIEF_S - self._monotonic())
        if not wait((flight.answer,), stay_s).done:
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
