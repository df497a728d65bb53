"""Histories of an object that is linearizable by construction, and the same with one thing spoiled.

Each client asks, waits, and asks again. Every action takes effect at one moment between question
and answer; of some the answer is lost, and some of those take effect much later, or never.
"""

from __future__ import annotations

import random
from typing import TypeAlias

import msgspec

from tests.nemesis.checker import OPEN
from tests.nemesis.model import Action, Kind

Timed: TypeAlias = tuple[float, float, Action]
"""When it began, when it ended, what it was."""

KINDS: tuple[Kind, ...] = ("read", "read", "write", "write", "write", "create", "delete")


class _Cache:
    """The real thing."""

    def __init__(self, chaos: random.Random) -> None:
        self._chaos = chaos
        self._value: str | None = None
        self._catalog = self._version = 0

    def do(self, action: Action) -> Action:
        """Carry an action out and give it with its answer."""
        there = self._value is not None
        if action.kind == "create":
            if there:
                return msgspec.structs.replace(action, answer="conflict")
        elif not there:
            return msgspec.structs.replace(action, answer="not_found")
        elif action.kind == "read":
            return Action(kind="read", answer="ok", value=self._value or "", version=self._version)
        elif action.expected not in {None, self._version}:
            return msgspec.structs.replace(action, answer="precondition_failed")
        self._catalog += self._chaos.choice((1, 1, 2))  # others change other objects meanwhile
        self._version = self._catalog
        self._value = None if action.kind == "delete" else action.value
        return msgspec.structs.replace(action, answer="ok", version=self._version)


def random_history(chaos: random.Random, *, clients: int, actions: int, span: float) -> list[Timed]:
    """Make one; `span` is how long an action takes at most, in units between two of a client."""
    cache = _Cache(chaos)
    free_at = [chaos.random() for _ in range(clients)]
    plan = []
    for number in range(actions):
        client = min(range(clients), key=free_at.__getitem__)
        begun = free_at[client]
        ended = begun + chaos.random() * span
        effect = begun + chaos.random() * (ended - begun)
        free_at[client] = ended + chaos.random()
        lost = chaos.random() < 0.1
        if lost and chaos.random() < 0.3:
            effect = ended + chaos.random() * 5 * span
        happens = not lost or chaos.random() < 0.6
        plan.append((effect, begun, ended, number, lost, happens))
    known = [0]
    history = []
    for _, begun, ended, number, lost, happens in sorted(plan):
        kind = chaos.choice(KINDS)
        expected = None
        if kind in {"write", "delete"} and chaos.random() < 0.6:
            expected = known[-chaos.randint(1, min(2, len(known)))]
        value = "" if kind in {"read", "delete"} else f"v{number}"
        asked = Action(kind=kind, answer="open", value=value, expected=expected)
        told = cache.do(asked) if happens else asked
        if lost:
            if kind != "read":
                history.append((begun, OPEN, asked))
            continue
        history.append((begun, ended, told))
        if told.answer == "ok" and told.version is not None and kind != "delete":
            known.append(told.version)
    return sorted(history, key=lambda one: one[0])


def mutated(chaos: random.Random, history: list[Timed]) -> list[Timed]:
    """Spoil one thing: perhaps it can still be explained, perhaps not."""
    spoiled = list(history)
    if not spoiled:
        return spoiled
    at = chaos.randrange(len(spoiled))
    begun, ended, action = spoiled[at]
    others = [one for _, _, one in history if one.answer == "ok" and one.kind != "delete"]
    way = chaos.choice(("answer", "time", "value", "forget", "version"))
    if way == "answer" and action.answer != "open" and action.kind != "read":
        answers = {"ok", "not_found", "precondition_failed", "conflict"} - {action.answer}
        answer = chaos.choice(sorted(answers))
        version = chaos.randint(1, 9) if answer == "ok" else None
        action = msgspec.structs.replace(action, answer=answer, version=version)
    elif way == "time":
        shift = chaos.uniform(-6, 6)
        begun, ended = begun + shift, ended + shift
    elif way == "value" and action.kind == "read" and others:
        other = chaos.choice(others)
        action = Action(kind="read", answer="ok", value=other.value, version=other.version)
    elif way == "version" and action.answer == "ok" and action.version is not None:
        version = max(1, action.version + chaos.choice((-1, 1)))
        action = msgspec.structs.replace(action, version=version)
    elif way == "forget" and action.kind != "read":
        ended, action = OPEN, msgspec.structs.replace(action, answer="open", version=None)
    spoiled[at] = (begun, ended, action)
    return spoiled
