"""A cache of the catalog as a register: read, write, create, delete, each under a precondition.

Every value is written once, so it names its write. The versions are the catalog's: each effect has
a greater one than the effect before it, and they are whole numbers, so that nothing fits between
two that follow each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from tests.nemesis.checker import OPEN, Call

Kind: TypeAlias = Literal["read", "write", "create", "delete"]
Answer: TypeAlias = Literal["ok", "not_found", "conflict", "precondition_failed", "open"]
"""`open`: none came, or none that says what happened."""

UNSEEN = "?"
"""Stands for all values that nobody ever saw."""


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of a register, and what was answered."""

    kind: Kind
    answer: Answer
    value: str = ""
    """Written, or read."""
    version: int | None = None
    """Of the object after a change, or of the one that was read; None if nobody ever saw it."""
    expected: int | None = None
    """The precondition: the version that the object must have."""


class State(NamedTuple):
    """What is in the register."""

    value: str | None
    """None: there is no such object."""
    version: int | None
    """None: it has one, but nobody ever saw it."""
    floor: int
    """The version, or the least that it can be."""


class Register:
    """One object of the catalog."""

    initial = State(None, None, 0)

    def step(self, state: State, action: Action) -> State | None:
        """Give the state after an action; None if it could not have been answered like that."""
        if action.kind == "read":
            return state if _is_seen(state, action) else None
        state = _told(state, action)
        refusal = _refusal(state, action)
        if action.answer == "open":
            # One that is refused has no effect, as if it had never come.
            return None if refusal else _changed(state, action)
        if action.answer != (refusal or "ok"):
            return None
        return state if refusal else _changed(state, action)


def calls_of(operations: Iterable[tuple[float, float, Action]]) -> list[Call[Action]]:
    """Make calls of (begun, ended, action) on one object, ready for the checker.

    A write whose outcome is unknown gets the version that its value was seen with. Those that
    nobody saw are alike: it is not to be told which of them came.
    """
    operations = list(operations)
    seen: dict[str, int] = {}
    for _, _, action in operations:
        if action.answer == "ok" and action.version is not None and action.kind != "delete":
            seen.setdefault(action.value, action.version)
    calls = []
    for begun, ended, action in operations:
        if action.answer != "open":
            calls.append(Call(begun, ended, action))
        elif action.kind == "delete":
            calls.append(Call(begun, OPEN, action, ("delete", action.expected)))
        elif action.kind != "read":
            version = seen.get(action.value)
            twin = (action.kind, action.expected) if version is None else None
            value = UNSEEN if version is None else action.value
            resolved = msgspec.structs.replace(action, value=value, version=version)
            calls.append(Call(begun, OPEN, resolved, twin))
    return calls


def _is_seen(state: State, action: Action) -> bool:
    if action.answer == "not_found":
        return state.value is None
    assert action.answer == "ok", "a read that was not answered says nothing"
    return (state.value, state.version) == (action.value, action.version)


def _told(state: State, action: Action) -> State:
    """Learn the version that nobody saw from a precondition: let it be the one that holds."""
    unseen = state.value is not None and state.version is None
    if not unseen or action.expected is None or action.expected < state.floor:
        return state
    if action.answer not in {"ok", "open"}:
        return state
    return State(state.value, action.expected, action.expected)


def _refusal(state: State, action: Action) -> Answer | None:
    if action.kind == "create":
        return None if state.value is None else "conflict"
    if state.value is None:
        return "not_found"
    return None if action.expected in {None, state.version} else "precondition_failed"


def _changed(state: State, action: Action) -> State | None:
    if action.version is not None and action.version <= state.floor:
        return None
    floor = state.floor + 1 if action.version is None else action.version
    if action.kind == "delete":
        return State(None, None, floor)
    return State(action.value, action.version, floor)
