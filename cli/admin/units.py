"""Durations and sizes in words: `7d`, `1TB`; read as the HTTP API reads them, and written back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from felix.cli.admin.errors import Usage
from felix.http.spelling import BYTES, SECONDS

NO_LIMIT: Final = "none"
_QUANTITY: Final = re.compile(r"([0-9]{1,20}) ?([A-Za-z]*)", re.ASCII)
_WRITTEN_SECONDS: Final = ("d", "h", "m", "s")
_WRITTEN_BYTES: Final = ("PiB", "TiB", "GiB", "MiB", "KiB", "PB", "TB", "GB", "MB", "KB", "B")


def read_duration(text: str, flag: str) -> int | None:
    """Read `7d` or a number of seconds; `none` is no limit. Raises: Usage."""
    return _read(text, flag, SECONDS, "7d")


def read_size(text: str, flag: str) -> int | None:
    """Read `1TB` or a number of bytes; `none` is no limit. Raises: Usage."""
    return _read(text, flag, BYTES, "1TB")


def _read(text: str, flag: str, units: Mapping[str, int], example: str) -> int | None:
    if text == NO_LIMIT:
        return None
    match = _QUANTITY.fullmatch(text)
    if match is None or (match[2] and match[2] not in units):
        raise Usage(
            f"{flag}: {text!r} is not a whole number and one of {', '.join(units)}",
            f"write it like {flag} {example}, or {flag} {NO_LIMIT} for no limit",
        )
    return int(match[1]) * units.get(match[2], 1)


def write_duration(seconds: int) -> str:
    """Write seconds in the greatest unit that leaves no rest; weeks stay days."""
    return _write(seconds, SECONDS, _WRITTEN_SECONDS)


def write_size(size_bytes: int) -> str:
    """Write bytes in the unit, decimal or binary, that leaves no rest and the smallest number."""
    return _write(size_bytes, BYTES, _WRITTEN_BYTES)


def _write(number: int, units: Mapping[str, int], names: tuple[str, ...]) -> str:
    whole = [name for name in names if number % units[name] == 0]
    name = max(whole, key=lambda one: units[one]) if number else names[-1]
    return f"{number // units[name]}{name}"
