"""Judges a whole run: every object's history, every other promise, and what cannot be decided."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import msgspec

from tests.nemesis.checker import OPEN, Call, Judgement, check, shortest_violation
from tests.nemesis.history import Operation, calls_by_key
from tests.nemesis.model import Action, Register
from tests.nemesis.promises import broken_promises

JUDGE_S: Final = 60.0
"""For all objects together; what is not decided by then is undecided."""
SHRINK_S: Final = 20.0
SHOWN_CALLS: Final = 12


class Finding(msgspec.Struct, frozen=True):
    """An object whose history cannot be explained."""

    key: str
    calls: list[Call[Action]]
    """Up to the first answer that cannot be explained."""
    judgement: Judgement

    def text(self, shown: int = SHOWN_CALLS) -> str:
        """Show the last calls before the contradiction, and those that are open."""
        ordered = sorted(self.calls, key=lambda call: (call.ended, call.begun))
        ended = [call for call in ordered if call.ended != OPEN]
        still_open = [call for call in ordered if call.ended == OPEN]
        lines = [f"{self.key}: {len(self.calls)} calls, the last answer cannot be explained:"]
        lines += [f"  {_text(call)}" for call in ended[-shown:]]
        lines += [f"  {_text(call)}" for call in still_open[-shown:]]
        return "\n".join(lines)


class Report(msgspec.Struct, frozen=True):
    """What came of it."""

    findings: list[Finding]
    broken: list[str]
    """Other promises."""
    undecided: list[str]
    """Objects for which there was not enough time."""
    objects: int
    steps: int
    seconds: float

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong, as far as could be decided."""
        return not self.findings and not self.broken


def judge(operations: Sequence[Operation], within_s: float = JUDGE_S) -> Report:
    """Judge a history."""
    begun = time.monotonic()
    findings, undecided, steps = [], [], 0
    by_key = calls_by_key(operations)
    for key, calls in by_key.items():
        judgement = check(calls, Register(), lambda: time.monotonic() < begun + within_s)
        steps += judgement.steps
        if judgement.verdict == "undecided":
            undecided.append(key)
        elif judgement.verdict == "violation":
            end = time.monotonic() + SHRINK_S
            shortest = shortest_violation(
                calls,
                Register(),
                lambda end=end: time.monotonic() < end,  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            )
            findings.append(Finding(key, *shortest))
    return Report(
        findings,
        broken_promises(operations),
        undecided,
        len(by_key),
        steps,
        time.monotonic() - begun,
    )


def _text(call: Call[Action]) -> str:
    action = call.action
    times = f"{call.begun:12.4f} to {'(open)' if call.ended == OPEN else f'{call.ended:.4f}':>12}"
    members = [action.kind, action.value]
    if action.expected is not None:
        members.append(f"if {action.expected}")
    if action.answer != "open":
        members.append(f"-> {action.answer}")
    if action.version is not None:
        members.append(f"at {action.version}")
    return f"{times}  {' '.join(one for one in members if one)}"
