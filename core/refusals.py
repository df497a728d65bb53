"""Refused requests on their way into the audit trail: floods folded, bounded in number."""

from __future__ import annotations

from itertools import islice
from typing import Final, TypeAlias

import msgspec

from felix.proto.commands import RecordRefusals
from felix.proto.errors import FelixError, TooLarge, Unprocessable, ValidationFailed
from felix.proto.identity import Refusal

WAITING_MAX: Final = 1000
BATCH_MAX: Final = 100
BATCH_CHARS_MAX: Final = 150_000
"""Below the size of a message, whatever the characters are."""
ALONE_PER_S: Final = 5
"""So many that are alike are kept within a second, each with its request id; the rest are counted
with the last of them."""
TEXT_CHARS_MAX: Final = 512

_TEXTS: Final = (
    "operation", "code", "reason", "principal", "source", "request_id", "tenant_id", "namespace",
    "object",
)  # fmt: skip
_HOPELESS: Final = (ValidationFailed, Unprocessable, TooLarge)
"""Errors of a batch that would be the same the next time."""

_Kind: TypeAlias = tuple[str, ...]


class RefusalQueue:
    """What waits to be written, oldest first; used under its owner's lock or by one thread."""

    def __init__(self, node: str) -> None:
        """`node` says in the trail who had no room for more."""
        self._node = "".join(one if one.isprintable() else "?" for one in node)[:TEXT_CHARS_MAX]
        self._waiting: dict[tuple[int, int, _Kind], Refusal] = {}
        self._under_way: dict[tuple[int, int, _Kind], Refusal] = {}
        self._second = 0
        self._alike: dict[_Kind, int] = {}
        """How many there were of each kind in this second."""
        self._dropped = self._dropped_under_way = 0
        self.dropped_total = 0
        """How many requests were not recorded for want of room, ever."""

    def __len__(self) -> int:
        """Count what is not written yet."""
        return len(self._waiting) + len(self._under_way)

    @property
    def unwritten(self) -> int:
        """How many requests the trail does not know of yet, dropped ones included."""
        waiting = sum(one.count for one in self._waiting.values())
        under_way = sum(one.count for one in self._under_way.values())
        return waiting + under_way + self._dropped + self._dropped_under_way

    def add(self, refusal: Refusal) -> bool:
        """Take one in, or count it with others, or count it as dropped.

        Tell whether it is one of the first that are alike within a second: others are not worth a
        line of a log, which somebody who sends many could fill.
        """
        second = refusal.time_ms // 1000
        if second != self._second:
            self._second = second
            self._alike.clear()
        kind = _kind_of(refusal)
        before = self._alike.get(kind, 0)
        number = min(before, ALONE_PER_S - 1)
        key = (second, number, kind)
        first = self._waiting.get(key)
        if first is not None:
            count = first.count + refusal.count
            self._waiting[key] = msgspec.structs.replace(first, count=count)
        elif len(self) < WAITING_MAX:
            self._waiting[key] = _plain(refusal)
        else:
            self._drop(refusal.count)
        is_counted = before > 0 or len(self._alike) < WAITING_MAX
        if is_counted:
            self._alike[kind] = number + 1
        return is_counted and before < ALONE_PER_S

    def take(self) -> RecordRefusals | None:
        """Give the next batch, if any; then call `done` or `failed`."""
        assert not self._under_way
        size = 0
        for key, one in islice(self._waiting.items(), BATCH_MAX):
            size += sum(len(getattr(one, name)) for name in _TEXTS)
            if size > BATCH_CHARS_MAX:
                break
            self._under_way[key] = one
        for key in self._under_way:
            del self._waiting[key]
        self._dropped_under_way, self._dropped = self._dropped, 0
        if not self._under_way and not self._dropped_under_way:
            return None
        return RecordRefusals(
            node=self._node,
            refusals=tuple(self._under_way.values()),
            dropped=self._dropped_under_way,
        )

    def done(self) -> None:
        """Hear that the batch is in the trail."""
        self._under_way = {}
        self._dropped_under_way = 0

    def failed(self, error: FelixError) -> None:
        """Hear that it is not, as far as is known: it comes again. Twice is better than never."""
        if isinstance(error, _HOPELESS):
            self._drop(sum(one.count for one in self._under_way.values()))
            self._under_way = {}
        self.put_back()

    def put_back(self) -> None:
        """Let what was taken, if anything, wait again."""
        batch, self._under_way = self._under_way, {}
        for key, one in batch.items():
            again = self._waiting.pop(key, None)
            if again is not None:
                batch[key] = msgspec.structs.replace(one, count=one.count + again.count)
        self._waiting = {**batch, **self._waiting}
        self._dropped += self._dropped_under_way
        self._dropped_under_way = 0

    def _drop(self, count: int) -> None:
        self._dropped += count
        self.dropped_total += count


def _kind_of(refusal: Refusal) -> _Kind:
    where = (refusal.source, refusal.tenant_id, refusal.principal)
    return (refusal.operation, refusal.code, *where)


def _plain(refusal: Refusal) -> Refusal:
    """Cut what anybody may have chosen, and replace what cannot be encoded."""
    texts = {}
    for name in _TEXTS:
        text: str = getattr(refusal, name)
        if len(text) > TEXT_CHARS_MAX or not text.isascii():
            texts[name] = text[:TEXT_CHARS_MAX].encode("utf-8", "replace").decode()
    return msgspec.structs.replace(refusal, **texts) if texts else refusal


def folded(batch: RecordRefusals) -> list[Refusal]:
    """List what stands for several requests; of all but the first there was no line in a log."""
    return [one for one in batch.refusals if one.count > 1]


def line_of(refusal: Refusal) -> dict[str, str | int]:
    """List the members of the log line that every refusal is."""
    refusal = _plain(refusal)
    members = {name: getattr(refusal, name) for name in refusal.__struct_fields__}
    return {name: value for name, value in members.items() if name != "time_ms" and value != ""}
