"""Documents of other people's servers, kept for a while, and when to ask for them anew.

Times are seconds of one monotonic clock, and passed in.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, Literal, TypeAlias, TypeVar

import msgspec

FRESH_S: Final = 300.0
"""Asked for after half of this, a document is fetched anew in the background."""
STALE_S_MAX: Final = 24 * 3600.0
"""For so long a document is good while its server cannot be reached."""
COOL_DOWN_S: Final = 10.0
"""Between two fetches of a document that is fresh, made because it lacks something."""
RETRY_S_MIN: Final = 5.0
RETRY_S_MAX: Final = 60.0
"""After a failure; doubled with each that follows."""
URLS_MAX: Final = 1000
BYTES_MAX: Final = 64 << 20
"""Of all documents together."""

T = TypeVar("T")


class Held(msgspec.Struct, Generic[T], frozen=True):
    """A document that can be used."""

    value: T
    age_s: float
    is_stale: bool
    """It should have been fetched anew, and that failed."""


class Unavailable(msgspec.Struct, frozen=True):
    """There is no document, and it makes no sense to ask for it before `retry_s` have passed."""

    problem: str
    retry_s: float


Look: TypeAlias = Held[T] | Unavailable | Literal["wait"]
"""`wait`: it is being fetched, or is to be."""


class _Entry(msgspec.Struct, Generic[T]):
    value: T | None = None
    size_bytes: int = 0
    fetched_at: float = 0.0
    """When the fetch began that brought it."""
    begun_at: float | None = None
    """Of the fetch that is under way."""
    forced_at: float | None = None
    failures: int = 0
    """Since the last success."""
    retry_at: float = 0.0
    problem: str = ""


class Documents(Generic[T]):
    """Documents by URL, each fetched by at most one at a time.

    `begun` collects what the caller must fetch; it says `arrived` or `failed` for each.
    """

    def __init__(self, urls_max: int = URLS_MAX, bytes_max: int = BYTES_MAX) -> None:
        self.begun: list[str] = []
        self._urls_max = urls_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()
        """The one that was asked for last comes last."""

    def __len__(self) -> int:
        """Count the URLs of which something is known."""
        return len(self._entries)

    def look(self, url: str, now: float) -> Look[T]:
        """Ask for a document; begin to fetch it if it is time."""
        entry = self._entry(url)
        if entry is None:
            return Unavailable("too many documents are being fetched", RETRY_S_MIN)
        held = self._held(entry, now)
        if held is None:
            if entry.begun_at is None and now < entry.retry_at:
                return Unavailable(entry.problem, entry.retry_at - now)
            self._begin(url, entry, now)
            return "wait"
        if held.age_s >= FRESH_S / 2:
            self._begin(url, entry, now)
        # Where its server failed the last time, nobody waits for it to fail once more.
        return "wait" if held.age_s >= FRESH_S and not entry.failures else held

    def renew(self, url: str, now: float) -> bool:
        """Fetch a document anew though it is fresh, because it lacks something.

        Says whether that is under way; not if it was done a moment ago, or the server is down.
        """
        entry = self._entry(url)
        if entry is None:
            return False
        if entry.begun_at is not None:
            return True
        if entry.forced_at is not None and now < entry.forced_at + COOL_DOWN_S:
            return False
        if not self._begin(url, entry, now):
            return False
        entry.forced_at = now
        return True

    def arrived(self, url: str, value: T, size_bytes: int, now: float) -> None:
        """Take in what a fetch has brought."""
        entry = self._entries[url]
        self._bytes += size_bytes - entry.size_bytes
        entry.value, entry.size_bytes = value, size_bytes
        entry.fetched_at = now if entry.begun_at is None else entry.begun_at
        entry.begun_at, entry.failures, entry.problem = None, 0, ""
        while self._bytes > self._bytes_max and self._forget_one(sparing=url):
            pass

    def failed(self, url: str, problem: str, now: float) -> None:
        """Hear that a fetch has brought nothing."""
        entry = self._entries[url]
        entry.begun_at = None
        pause_s = min(RETRY_S_MIN * 2.0 ** min(entry.failures, 10), RETRY_S_MAX)
        entry.retry_at, entry.problem = now + pause_s, problem
        entry.failures += 1

    def peek(self, url: str, now: float) -> Held[T] | None:
        """Give what is there, whatever is under way."""
        entry = self._entries.get(url)
        return None if entry is None else self._held(entry, now)

    def _held(self, entry: _Entry[T], now: float) -> Held[T] | None:
        age_s = now - entry.fetched_at
        if entry.value is None or age_s >= STALE_S_MAX:
            return None
        return Held(entry.value, age_s, is_stale=entry.failures > 0 and age_s >= FRESH_S)

    def _begin(self, url: str, entry: _Entry[T], now: float) -> bool:
        """Have it fetched, unless that is under way or has just failed."""
        if entry.begun_at is not None or now < entry.retry_at:
            return False
        entry.begun_at = now
        self.begun.append(url)
        return True

    def _entry(self, url: str) -> _Entry[T] | None:
        entry = self._entries.get(url)
        if entry is None:
            if len(self._entries) >= self._urls_max and not self._forget_one(sparing=url):
                return None
            entry = self._entries[url] = _Entry()
        self._entries.move_to_end(url)
        return entry

    def _forget_one(self, sparing: str) -> bool:
        """Forget the document that nobody has asked for the longest."""
        for url, entry in self._entries.items():
            if entry.begun_at is None and url != sparing:
                self._bytes -= entry.size_bytes
                del self._entries[url]
                return True
        return False
