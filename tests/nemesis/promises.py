"""What is promised besides linearizability of each object, and can be read from a history."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from tests.nemesis.history import DEFINITE, Operation

CLUSTER_CODES: Final = frozenset(
    {
        "not_leader",
        "no_leader",
        "overloaded",
        "disk_full",
        "shutting_down",
        "deadline_exceeded",
        "outcome_unknown",
    }
)
"""Refusals that a cluster in trouble may give; any other is a fault."""
AGE_SLACK_S: Final = 0.05
"""Rounding, and the moment between a client's answer and its note of it."""


def broken_promises(operations: Sequence[Operation]) -> list[str]:
    """List every broken promise, in words."""
    return [
        *strange_answers(operations),
        *keys_with_two_answers(operations),
        *versions_that_went_back(operations),
        *stale_reads_that_are_wrong(operations),
    ]


def strange_answers(operations: Iterable[Operation]) -> list[str]:
    """Find errors that no fault of the nemesis explains."""
    return [
        f"{operation.client} was told {attempt.code} by {attempt.node}: {operation}"
        for operation in operations
        for attempt in operation.attempts
        if attempt.code not in DEFINITE | CLUSTER_CODES
    ]


def keys_with_two_answers(operations: Iterable[Operation]) -> list[str]:
    """Find idempotency keys under which two attempts were told different things."""
    found = []
    for operation in operations:
        told = {
            (one.code, one.value, one.version) for one in operation.attempts if one.code in DEFINITE
        }
        if operation.idempotency_key is not None and len(told) > 1:
            found.append(f"one idempotency key, two answers: {operation}")
    return found


def versions_that_went_back(operations: Iterable[Operation]) -> list[str]:
    """Find answers that are older than what any client had been told before they were asked for.

    The version is the whole catalog's, so this holds across objects: strict serializability.
    """
    told = [
        (operation, answer)
        for operation in operations
        if operation.consistency == "linearizable"
        and (answer := operation.told) is not None
        and answer.code == "ok"
    ]
    by_end = _Known((answer.ended, answer.catalog_version) for _, answer in told)
    return [
        f"version {floor} had been told before version {answer.catalog_version}: {operation}"
        for operation, answer in told
        if answer.catalog_version < (floor := by_end.before(operation.begun))
    ]


def stale_reads_that_are_wrong(operations: Sequence[Operation]) -> list[str]:
    """Find stale reads that are older than they say, or of a state that never was."""
    told = [(one, answer) for one in operations if (answer := one.told) is not None]
    known = _Known(
        (answer.ended, answer.catalog_version)
        for one, answer in told
        if one.consistency == "linearizable" and answer.code == "ok"
    )
    effects: dict[str, list[tuple[int, str | None]]] = defaultdict(list)
    for one, answer in told:
        if one.kind != "read" and answer.code == "ok" and answer.version is not None:
            effects[one.key].append((answer.version, None if one.kind == "delete" else one.value))
    for changes in effects.values():
        changes.sort(key=lambda change: change[0])
    attempted = {one.value for one in operations if one.kind != "read"}
    found = []
    for one, answer in told:
        if one.consistency != "stale" or answer.code != "ok":
            continue
        age_s = answer.age_ms / 1000 + AGE_SLACK_S
        floor = known.before(one.begun - age_s)
        if answer.catalog_version < floor:
            found.append(f"version {floor} is older than its age and was not seen: {one}")
        if answer.value not in attempted:
            found.append(f"nobody ever wrote that: {one}")
        assert answer.version is not None
        last = _last_effect(effects[one.key], answer.catalog_version)
        if last is not None and answer.version < last[0]:
            found.append(f"at its version the object was {last}: {one}")
        if last is not None and answer.version == last[0] and answer.value != last[1]:
            found.append(f"that version of the object was {last}: {one}")
        if answer.version > answer.catalog_version:
            found.append(f"an object of a version that is to come: {one}")
    return found


def _last_effect(
    changes: Sequence[tuple[int, str | None]], version: int
) -> tuple[int, str | None] | None:
    """Give the last acknowledged change of an object up to a version of the catalog."""
    place = bisect_right(changes, version, key=lambda change: change[0])
    return changes[place - 1] if place else None


class _Known:
    """The highest version that had been told to anybody by a time."""

    def __init__(self, told: Iterable[tuple[float, int]]) -> None:
        self._times: list[float] = []
        self._highest: list[int] = []
        highest = 0
        for at, version in sorted(told):
            highest = max(highest, version)
            self._times.append(at)
            self._highest.append(highest)

    def before(self, at: float) -> int:
        """Give it; 0 if nothing was told before this time."""
        place = bisect_right(self._times, at)
        return self._highest[place - 1] if place else 0
