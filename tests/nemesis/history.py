"""What the clients did and were told, and how it becomes something that can be judged."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

import msgspec

from felix.proto.rpc import Consistency
from tests.nemesis.checker import OPEN, Call
from tests.nemesis.model import Action, Answer, Kind, calls_of

Outcome: TypeAlias = Literal["ok", "not_applied", "unknown", "gone"]
DEFINITE: Final = frozenset({"ok", "not_found", "conflict", "precondition_failed"})
"""Answers that say what the object was like; all others are about the cluster."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One try of an operation at one node. Times are monotonic seconds of the test process."""

    node: str
    begun: float
    ended: float
    code: str = "ok"
    """Of the error, or `ok`."""
    outcome: Outcome = "ok"
    value: str = ""
    """Of the object in the answer."""
    version: int | None = None
    """Of the object in the answer."""
    catalog_version: int = 0
    age_ms: int = 0


class Operation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one client wanted; more than one attempt only under an idempotency key."""

    client: str
    key: str
    kind: Kind
    value: str = ""
    expected: int | None = None
    consistency: Consistency = "linearizable"
    idempotency_key: str | None = None
    attempts: tuple[Attempt, ...]

    @property
    def begun(self) -> float:
        """When the first attempt was sent."""
        return self.attempts[0].begun

    @property
    def told(self) -> Attempt | None:
        """The first answer that says what happened."""
        definite = [one for one in self.attempts if one.code in DEFINITE]
        return min(definite, key=lambda one: one.ended, default=None)

    @property
    def may_have_happened(self) -> bool:
        """Whether it had an effect or could have had one, as far as the client was told."""
        return self.told is not None or any(one.outcome == "unknown" for one in self.attempts)

    def timed(self) -> tuple[float, float, Action] | None:
        """Give what counts for linearizability; None for what says nothing."""
        told = self.told
        if told is not None:
            ok = told.code == "ok"
            action = Action(
                kind=self.kind,
                answer=cast(Answer, told.code),
                value=told.value if self.kind == "read" else self.value,
                version=told.version if ok else None,
                expected=self.expected,
            )
            return self.begun, told.ended, action
        if self.kind == "read" or not self.may_have_happened:
            return None
        action = Action(kind=self.kind, answer="open", value=self.value, expected=self.expected)
        return self.begun, OPEN, action


class History:
    """Everything that every client did; written by many threads."""

    def __init__(self, operations: Iterable[Operation] = ()) -> None:
        self._operations = list(operations)
        self._lock = threading.Lock()

    def add(self, operation: Operation) -> None:
        """Write one down, when it is over."""
        with self._lock:
            self._operations.append(operation)

    @property
    def operations(self) -> Sequence[Operation]:
        """All of them so far."""
        with self._lock:
            return tuple(self._operations)

    def save(self, path: Path) -> None:
        """Write it as JSON, one operation to a line."""
        path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in self.operations))

    @classmethod
    def load(cls, path: Path) -> History:
        """Read what `save` wrote."""
        lines = path.read_bytes().splitlines()
        return cls(msgspec.json.decode(line, type=Operation) for line in lines)


def calls_by_key(operations: Iterable[Operation]) -> dict[str, list[Call[Action]]]:
    """Sort out what is to be linearizable, object by object."""
    found: dict[str, list[tuple[float, float, Action]]] = defaultdict(list)
    for operation in operations:
        timed = operation.timed()
        if timed is not None and operation.consistency == "linearizable":
            found[operation.key].append(timed)
    return {key: calls_of(timed) for key, timed in sorted(found.items())}
