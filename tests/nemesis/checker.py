"""Judges whether a history is linearizable: Wing & Gong's search with Lowe's memory.

A history is a set of calls. Each began at one time and ended at another, or it never ended as far
as is known: such a call may take effect at any time after it began, or never. The history is
linearizable if there is one point inside each call at which it could have taken effect, so that an
object that does one thing at a time would have given the same answers. G. Lowe, "Testing for
linearizability", 2017; the list of calls and returns is that of Porcupine.

Pure: how long the search may take is decided by whoever hands in `may_go_on`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, Literal, Protocol, TypeVar

import msgspec

OPEN = math.inf
"""The end of a call whose outcome is not known."""
STEPS_PER_LOOK = 1024
"""The search asks so rarely whether it may go on."""

S = TypeVar("S", bound=Hashable)
A = TypeVar("A")
A_contra = TypeVar("A_contra", contravariant=True)

Verdict = Literal["linearizable", "violation", "undecided"]


class Model(Protocol[S, A_contra]):
    """The object as it should be, one action at a time."""

    @property
    def initial(self) -> S:
        """The state before everything."""
        ...

    def step(self, state: S, action: A_contra) -> S | None:
        """Give the state after an action, or None if it could not have ended as it did."""
        ...


class Call(msgspec.Struct, Generic[A], frozen=True):
    """One action of one client: what it asked and what it was told."""

    begun: float
    ended: float
    """`OPEN` if the outcome is not known."""
    action: A
    twin: Hashable = None
    """Open calls of the same twin do the same; None is the twin of nothing."""


class Judgement(msgspec.Struct, frozen=True):
    """What came of a search."""

    verdict: Verdict
    steps: int
    order: tuple[int, ...]
    """The calls in an order that explains the answers; of a violation the longest found."""


def always() -> bool:
    """Let the search take as long as it needs."""
    return True


def check(
    calls: Sequence[Call[A]], model: Model[S, A], may_go_on: Callable[[], bool] = always
) -> Judgement:
    """Search for an order of the calls that explains every answer."""
    timeline = _Timeline(calls)
    state, placed, steps = model.initial, 0, 0
    taken: list[tuple[int, S]] = []
    best: tuple[int, ...] = ()
    seen: set[tuple[int, S]] = set()
    place = timeline.first
    while timeline.waiting:
        steps += 1
        if steps % STEPS_PER_LOOK == 0 and not may_go_on():
            return Judgement("undecided", steps, best)
        if not timeline.is_return(place):
            number = timeline.call_at(place)
            after = None
            if not timeline.must_wait(number, placed):
                after = model.step(state, calls[number].action)
            grown = placed | 1 << number
            if after is None or (grown, after) in seen:
                place = timeline.following[place]
                continue
            seen.add((grown, after))
            taken.append((number, state))
            timeline.take_out(number)
            state, placed, place = after, grown, timeline.first
            continue
        if len(taken) > len(best):
            best = tuple(number for number, _ in taken)
        # Somebody had been answered by now who has no place yet: one of the choices was wrong. A
        # call that changed nothing was none: wherever it fits, it can be placed at once.
        while taken:
            number, before = taken.pop()
            changed = before != state
            timeline.put_back(number)
            state, placed = before, placed & ~(1 << number)
            place = timeline.following[timeline.call_place(number)]
            if changed:
                break
        else:
            return Judgement("violation", steps, best)
    return Judgement("linearizable", steps, tuple(number for number, _ in taken))


def shortest_violation(
    calls: Sequence[Call[A]], model: Model[S, A], may_go_on: Callable[[], bool] = always
) -> tuple[list[Call[A]], Judgement]:
    """Cut a violation off after the first answer that cannot be explained.

    What is not linearizable does not become so by going on, so the place is found by halving.
    Calls that were under way at the cut are open. A search that is undecided counts as passed.
    """
    ends = sorted({call.ended for call in calls if call.ended != OPEN})
    low, high = 0, len(ends) - 1
    found = list(calls), check(calls, model, may_go_on)
    while low < high:
        middle = (low + high) // 2
        cut = cut_off(calls, ends[middle])
        judgement = check(cut, model, may_go_on)
        if judgement.verdict == "violation":
            found, high = (cut, judgement), middle
        else:
            low = middle + 1
    return found


def cut_off(calls: Sequence[Call[A]], at: float) -> list[Call[A]]:
    """Give the history as it was known at a time."""
    return [
        call if call.ended <= at else msgspec.structs.replace(call, ended=OPEN)
        for call in calls
        if call.begun <= at
    ]


class _Timeline:
    """Calls and returns in the order of time, as a list from which calls are taken and put back.

    Place 0 is before everything. What began at the very moment at which another ended is taken to
    have overlapped with it.
    """

    def __init__(self, calls: Sequence[Call[A]]) -> None:
        events = [(call.begun, 0, number) for number, call in enumerate(calls)]
        events += [(call.ended, 1, n) for n, call in enumerate(calls) if call.ended != OPEN]
        events.sort()
        count = len(events)
        self.following: list[int] = [*range(1, count + 1), 0]
        self._preceding = [count, *range(count)]
        self._events: list[tuple[int, int]] = [
            (0, -1),
            *((kind, number) for _, kind, number in events),
        ]
        self._places: dict[tuple[int, int], int] = {
            event: place for place, event in enumerate(self._events)
        }
        self.waiting = sum(kind for kind, _ in self._events)
        """Ended calls that have no place yet."""
        self._elder: dict[int, int] = {}
        """Of an open call the twin that began just before it."""
        last: dict[Hashable, int] = {}
        for _, kind, number in events:
            call = calls[number]
            if kind == 0 and call.ended == OPEN and call.twin is not None:
                if call.twin in last:
                    self._elder[number] = last[call.twin]
                last[call.twin] = number

    @property
    def first(self) -> int:
        """The first place that is left; only asked for while a call waits."""
        return self.following[0]

    def is_return(self, place: int) -> bool:
        """Whether an answer was given here."""
        return self._events[place][0] == 1

    def call_at(self, place: int) -> int:
        """Number the call that began or ended here."""
        return self._events[place][1]

    def call_place(self, number: int) -> int:
        """Where this call began."""
        return self._places[0, number]

    def must_wait(self, number: int, placed: int) -> bool:
        """Whether a twin should be tried first: of those that do the same, any will do."""
        elder = self._elder.get(number)
        return elder is not None and not placed >> elder & 1

    def take_out(self, number: int) -> None:
        """Take a call and its return from the list."""
        self._unlink(self._places[0, number])
        if (1, number) in self._places:
            self._unlink(self._places[1, number])
            self.waiting -= 1

    def put_back(self, number: int) -> None:
        """Undo the last `take_out`."""
        if (1, number) in self._places:
            self._relink(self._places[1, number])
            self.waiting += 1
        self._relink(self._places[0, number])

    def _unlink(self, place: int) -> None:
        before, after = self._preceding[place], self.following[place]
        self.following[before], self._preceding[after] = after, before

    def _relink(self, place: int) -> None:
        before, after = self._preceding[place], self.following[place]
        self.following[before] = self._preceding[after] = place
