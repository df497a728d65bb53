"""What happened, line by line: the same seed gives the same lines, byte for byte."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from felix.proto.raft import Entry, PeerMessage, SnapshotMeta
from tests.simulator.scheduler import Scheduler

LINES_KEPT = 60

_Line: TypeAlias = tuple[int, str, tuple[object, ...]]


class Trace:
    """Keeps the last lines, and writes all of them if wanted."""

    def __init__(self, scheduler: Scheduler, write: Callable[[str], object] | None = None) -> None:
        self._scheduler = scheduler
        self._write = write
        self._last: deque[_Line] = deque(maxlen=LINES_KEPT)

    def note(self, what: str, *details: object) -> None:
        """Put down one event; its words are made only if somebody reads them."""
        line = (self._scheduler.now_us, what, details)
        self._last.append(line)
        if self._write is not None:
            self._write(_in_words(line))

    def last(self) -> list[str]:
        """List the last lines."""
        return [_in_words(line) for line in self._last]


def _in_words(line: _Line) -> str:
    time_us, what, details = line
    return " ".join([f"{time_us / 1000:10.3f}", what, *map(_shown, details)])


def _shown(detail: object) -> str:
    if isinstance(detail, PeerMessage):
        fields = [
            f"{name}={_shown(getattr(detail, name))}"
            for name in detail.__struct_fields__[3:]  # after sender, to and term
            if name != "data"
        ]
        kind = type(detail).__name__
        return " ".join([f"{detail.sender}->{detail.to} t{detail.term}", kind, *fields])
    if isinstance(detail, SnapshotMeta):
        return f"{detail.index}@{detail.term}({detail.size_bytes}B)"
    if isinstance(detail, Entry):
        return f"{detail.index}@{detail.term}:{detail.data[:8].hex() or '-'}"
    if isinstance(detail, tuple) and detail and isinstance(detail[0], Entry):
        return (
            f"[{_shown(detail[0])}..{_shown(detail[-1])}]" if len(detail) > 1 else _shown(detail[0])
        )
    return str(detail)
