"""Tries every order of a small history: slow, and too simple to be wrong in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from tests.nemesis.checker import OPEN
from tests.nemesis.model import Action
from tests.nemesis.random_history import Timed

Effect: TypeAlias = tuple[str | None, int | None]


def is_linearizable(history: Sequence[Timed]) -> bool:
    """Tell whether any order of the history, with or without each open call, explains it."""
    return _try(history, [], [*range(len(history))])


def _try(history: Sequence[Timed], order: list[int], left: list[int]) -> bool:
    if not _explains([history[number][2] for number in order]):
        return False
    if all(history[number][1] == OPEN for number in left):
        return True
    earliest_end = min(history[number][1] for number in left)
    return any(
        _try(history, [*order, number], [other for other in left if other != number])
        for number in left
        if history[number][0] <= earliest_end
    )


def _explains(actions: Sequence[Action]) -> bool:
    """Replay: the effects are a list of (value, version), in which unseen versions are None."""
    effects: list[Effect] = [(None, 0)]
    for action in actions:
        if action.kind == "read" and action.answer == "ok":
            value, version = effects[-1]
            if value != action.value or version not in {None, action.version}:
                return False
            effects[-1] = (value, action.version)
            continue
        effects[-1] = _settled(effects[-1], action)
        refusal = _refusal(effects[-1], action)
        if action.answer == "open":
            if refusal:
                return False
        elif action.answer != (refusal or "ok"):
            return False
        if not refusal:
            new = None if action.kind == "delete" else action.value
            effects.append((new, action.version))
    return _versions_fit([version for _, version in effects])


def _settled(last: Effect, action: Action) -> Effect:
    """Whoever expects an unseen version has seen it; so it is settled by the first who does."""
    value, version = last
    takes_effect = action.answer in {"ok", "open"}
    if value is not None and version is None and action.expected is not None and takes_effect:
        return value, action.expected
    return last


def _refusal(last: Effect, action: Action) -> str:
    value, version = last
    if action.kind == "create":
        return "" if value is None else "conflict"
    if value is None:
        return "not_found"
    return "" if action.expected in {None, version} else "precondition_failed"


def _versions_fit(versions: Sequence[int | None]) -> bool:
    """Whether whole numbers can stand for the unseen ones so that all of them grow."""
    least = -1
    for version in versions:
        if version is None:
            least += 1
        elif version <= least:
            return False
        else:
            least = version
    return True
