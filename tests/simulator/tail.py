"""A list that grows at the end and is forgotten at the beginning."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Tail(Generic[T]):
    """Items keep their numbers, whatever was forgotten before them."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = list(items)
        self._first = 0

    def __len__(self) -> int:
        """Say which number comes next."""
        return self._first + len(self._items)

    def __getitem__(self, number: int) -> T:
        """Look up an item that is not forgotten."""
        if number < self._first:
            raise LookupError(f"{number} is forgotten, the first is {self._first}")
        return self._items[number - self._first]

    def append(self, item: T) -> None:
        """Add one at the end."""
        self._items.append(item)

    def forget_before(self, number: int) -> None:
        """Forget the items with lower numbers."""
        count = max(0, number - self._first)
        del self._items[:count]
        self._first += count
