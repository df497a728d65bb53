"""The recent past: every update with the object before and after, as far back as memory goes."""

from __future__ import annotations

import msgspec

from felix.proto.resources import Key, Resource, ResourceKind
from felix.proto.updates import RawUpdate


class Change(msgspec.Struct, frozen=True, gc=False):
    """One update, and what it replaced."""

    kind: ResourceKind
    key: Key
    before: Resource | None
    after: Resource | None
    update: RawUpdate
    size_bytes: int
    """Roughly what it costs to keep."""

    @property
    def version(self) -> int:
        """The update's version."""
        return self.update.version


class History:
    """Consecutive changes up to the current version, bounded in number and bytes."""

    def __init__(self, version: int, updates_max: int, bytes_max: int) -> None:
        """Begin after `version`; nothing before it is known."""
        self._changes: list[Change] = []
        self._first = version + 1
        self._updates_max = updates_max
        self._bytes_max = bytes_max
        self._bytes = 0

    @property
    def oldest(self) -> int:
        """The lowest version from which a watcher can still go on."""
        return self._first - 1

    def add(self, change: Change) -> None:
        """Append a change; forget the oldest tenth when there are too many."""
        self._changes.append(change)
        self._bytes += change.size_bytes
        if len(self._changes) > self._updates_max or self._bytes > self._bytes_max:
            count = max(1, len(self._changes) // 10)
            self._bytes -= sum(one.size_bytes for one in self._changes[:count])
            del self._changes[:count]
            self._first += count

    def since(self, version: int, count: int) -> list[Change]:
        """List up to `count` changes after a version that is covered."""
        start = version + 1 - self._first
        return self._changes[start : start + count]

    def back_to(self, version: int) -> list[Change]:
        """List the changes after a version that is covered, newest first."""
        return self._changes[version + 1 - self._first :][::-1]
