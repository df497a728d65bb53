"""The judge is judged: by histories made by hand, and against a search that tries everything."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec
import pytest

from tests.nemesis.brute_force import is_linearizable
from tests.nemesis.checker import OPEN, Call, check, shortest_violation
from tests.nemesis.model import Action, Answer, Kind, Register, calls_of
from tests.nemesis.random_history import Timed, mutated, random_history

RANDOM_HISTORIES = 1500


def read(begun: float, ended: float, value: str, version: int) -> Timed:
    return begun, ended, Action(kind="read", answer="ok", value=value, version=version)


def missing(begun: float, ended: float) -> Timed:
    return begun, ended, Action(kind="read", answer="not_found")


def create(begun: float, ended: float, value: str, version: int) -> Timed:
    return begun, ended, Action(kind="create", answer="ok", value=value, version=version)


def write(
    begun: float, ended: float, value: str, version: int, expected: int | None = None
) -> Timed:
    action = Action(kind="write", answer="ok", value=value, version=version, expected=expected)
    return begun, ended, action


def delete(begun: float, ended: float, version: int) -> Timed:
    return begun, ended, Action(kind="delete", answer="ok", version=version)


def maybe(begun: float, kind: Kind, value: str = "", expected: int | None = None) -> Timed:
    return begun, OPEN, Action(kind=kind, answer="open", value=value, expected=expected)


def refused(begun: float, ended: float, kind: Kind, answer: Answer, expected: int = 0) -> Timed:
    action = Action(kind=kind, answer=answer, value="r", expected=expected or None)
    return begun, ended, action


MADE = create(0, 1, "a", 1)

GOOD: dict[str, list[Timed]] = {
    "nothing at all": [],
    "one after the other": [MADE, read(2, 3, "a", 1), write(4, 5, "b", 2), read(6, 7, "b", 2)],
    "not there before it is made": [missing(0, 1), create(2, 3, "a", 1), read(4, 5, "a", 1)],
    "a read beside a write sees the old": [MADE, write(2, 9, "b", 2), read(3, 4, "a", 1)],
    "a read beside a write sees the new": [MADE, write(2, 9, "b", 2), read(3, 4, "b", 2)],
    "first the old, then the new": [
        MADE,
        write(2, 9, "b", 2),
        read(3, 4, "a", 1),
        read(5, 6, "b", 2),
    ],
    "writes beside each other, in the order of their versions": [
        MADE,
        write(2, 9, "b", 3),
        write(2, 9, "c", 2),
        read(10, 11, "b", 3),
    ],
    "what ends as another begins may have overlapped with it": [MADE, write(1, 2, "b", 2)],
    "an open write appears much later": [
        MADE,
        maybe(2, "write", "b"),
        read(3, 4, "a", 1),
        write(5, 6, "c", 2),
        read(7, 8, "b", 3),
    ],
    "an open write never appears": [MADE, maybe(2, "write", "b"), read(3, 4, "a", 1)],
    "an open write is covered at once": [MADE, maybe(2, "write", "b"), write(3, 4, "c", 3)],
    "an open write made a precondition fail": [
        MADE,
        maybe(2, "write", "b"),
        refused(3, 4, "write", "precondition_failed", 1),
    ],
    "an open delete happened": [MADE, maybe(2, "delete"), missing(3, 4)],
    "an open delete did not happen": [MADE, maybe(2, "delete"), read(3, 4, "a", 1)],
    "an open create happened": [maybe(0, "create", "a"), read(1, 2, "a", 1)],
    "compare and set, and one that lost": [
        MADE,
        write(2, 9, "b", 2, expected=1),
        refused(2, 9, "write", "precondition_failed", 1),
    ],
    "an open compare and set that lost": [
        MADE,
        maybe(2, "write", "b", expected=1),
        write(2, 9, "c", 2, expected=1),
        read(10, 11, "c", 2),
    ],
    "deleted and made again": [
        MADE,
        delete(2, 3, 2),
        missing(4, 5),
        create(6, 7, "b", 3),
        read(8, 9, "b", 3),
    ],
    "made while it is there": [MADE, refused(2, 3, "create", "conflict")],
    "many that are open and the same": [
        MADE,
        *[maybe(2, "write", f"m{number}") for number in range(40)],
        write(3, 4, "z", 30),
        read(5, 6, "z", 30),
    ],
}

BAD: dict[str, list[Timed]] = {
    "a value never written": [MADE, read(2, 3, "x", 1)],
    "a read before the write began": [read(0, 1, "a", 1), create(2, 3, "a", 1)],
    "a stale read": [MADE, write(2, 3, "b", 2), read(4, 5, "a", 1)],
    "an old version of the right value": [MADE, write(2, 3, "b", 2), read(4, 5, "b", 1)],
    "first the new, then the old": [
        MADE,
        write(2, 9, "b", 2),
        read(3, 4, "b", 2),
        read(5, 6, "a", 1),
    ],
    "a lost create": [MADE, missing(2, 3)],
    "a lost update": [MADE, write(2, 3, "b", 2), write(4, 5, "c", 2), read(6, 7, "b", 2)],
    "a lost delete": [MADE, delete(2, 3, 2), read(4, 5, "a", 1)],
    "a compare and set that succeeded twice": [
        MADE,
        write(2, 9, "b", 2, expected=1),
        write(2, 9, "c", 3, expected=1),
    ],
    "a precondition that failed though nothing had changed": [
        MADE,
        refused(2, 3, "write", "precondition_failed", 1),
    ],
    "a precondition that held though something had changed": [
        MADE,
        write(2, 3, "b", 2),
        write(4, 5, "c", 3, expected=1),
    ],
    "an open write that took effect twice": [
        MADE,
        maybe(2, "write", "b"),
        read(3, 4, "b", 2),
        write(5, 6, "c", 3),
        read(7, 8, "b", 4),
    ],
    "an open write that appears before it began": [
        MADE,
        read(2, 3, "b", 2),
        maybe(4, "write", "b"),
    ],
    "an open write that went away again": [
        MADE,
        maybe(2, "write", "b"),
        read(3, 4, "b", 2),
        read(5, 6, "a", 1),
    ],
    "an open write for which there was no room": [
        MADE,
        maybe(2, "write", "b"),
        refused(3, 4, "write", "precondition_failed", 1),
        write(5, 6, "c", 2),
    ],
    "writes that did not overlap, in another order": [
        MADE,
        write(2, 3, "b", 3),
        write(4, 5, "c", 2),
        read(6, 7, "b", 3),
    ],
    "a write after it had been refused": [
        refused(0, 1, "write", "not_found"),
        create(2, 3, "a", 1),
        read(4, 5, "r", 2),
    ],
    "made twice": [MADE, create(2, 3, "b", 2)],
    "a keyed write applied by both tries": [
        MADE,
        write(2, 5, "b", 2),
        write(6, 7, "c", 3),
        read(8, 9, "b", 4),
    ],
    "one delete of two that both say it was them": [MADE, delete(2, 9, 2), delete(2, 9, 3)],
    "a stale read among many that are open": [
        MADE,
        *[maybe(2, "write", f"m{number}") for number in range(40)],
        write(3, 4, "z", 30),
        read(5, 6, "a", 1),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_history_that_can_be_explained_passes(name: str) -> None:
    assert check(calls_of(GOOD[name]), Register()).verdict == "linearizable"


@pytest.mark.parametrize("name", BAD)
def test_a_history_that_cannot_be_explained_fails(name: str) -> None:
    assert check(calls_of(BAD[name]), Register()).verdict == "violation"


@pytest.mark.parametrize("name", [*GOOD, *BAD])
def test_the_search_that_tries_everything_says_the_same(name: str) -> None:
    history = {**GOOD, **BAD}[name]
    if len(history) < 12:
        assert is_linearizable(history) == (name in GOOD)


def test_the_order_that_is_found_explains_the_history() -> None:
    history = GOOD["writes beside each other, in the order of their versions"]
    assert check(calls_of(history), Register()).order == (0, 2, 1, 3)


def test_a_search_without_time_says_that_it_does_not_know() -> None:
    chaos = random.Random(1)
    history = random_history(chaos, clients=20, actions=4000, span=40)
    assert check(calls_of(history), Register(), may_go_on=lambda: False).verdict == "undecided"


def test_a_violation_is_cut_off_at_the_first_answer_that_cannot_be_explained() -> None:
    bad = BAD["a stale read"]
    later = [write(6 + 2 * number, 7 + 2 * number, f"l{number}", 3 + number) for number in range(9)]
    calls, judgement = shortest_violation(calls_of([*bad, *later]), Register())
    assert judgement.verdict == "violation"
    assert calls == calls_of(bad)


@pytest.mark.parametrize("seed", range(6))
def test_what_a_linearizable_object_says_passes_however_many_ask(seed: int) -> None:
    print("seed", seed)
    history = random_history(random.Random(seed), clients=8, actions=600, span=9)
    judgement = check(calls_of(history), Register())
    assert judgement.verdict == "linearizable"
    print(judgement.steps, "steps")
    assert judgement.steps < 3_000_000
    assert_explains(calls_of(history), judgement.order)


def test_small_histories_good_or_spoiled_are_judged_as_by_trying_everything() -> None:
    verdicts = {True: 0, False: 0}
    for seed in range(RANDOM_HISTORIES):
        chaos = random.Random(seed)
        history = random_history(chaos, clients=3, actions=chaos.randint(2, 7), span=4)
        assert is_linearizable(history), f"seed {seed}: the generator is wrong"
        for spoiled in (history, mutated(chaos, history), mutated(chaos, history)):
            expected = is_linearizable(spoiled)
            verdict = check(calls_of(spoiled), Register()).verdict
            assert (verdict == "linearizable") == expected, (seed, spoiled)
            verdicts[expected] += 1
    print(verdicts)
    assert min(verdicts.values()) > RANDOM_HISTORIES // 3


def assert_explains(calls: Sequence[Call[Action]], order: Sequence[int]) -> None:
    """Go through an order and hold it against the model and against the clock."""
    assert len(set(order)) == len(order)
    assert {n for n, call in enumerate(calls) if call.ended != OPEN} <= set(order)
    state, latest = Register.initial, 0.0
    for number in order:
        after = Register().step(state, calls[number].action)
        assert after is not None
        assert calls[number].ended >= latest
        state, latest = after, max(latest, calls[number].begun)


def test_a_call_that_is_put_in_another_place_is_noticed() -> None:
    history = random_history(random.Random(7), clients=3, actions=30, span=4)
    calls = calls_of(history)
    order = list(check(calls, Register()).order)
    first = msgspec.structs.replace(calls[order[0]], begun=1e9, ended=1e9)
    with pytest.raises(AssertionError):
        assert_explains([first if n == order[0] else c for n, c in enumerate(calls)], order)
