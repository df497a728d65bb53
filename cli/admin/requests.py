"""From the values that a command was given to the request that says them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from felix.cli.admin.client import IDEMPOTENCY_KEY, Request
from felix.cli.admin.command import Command, Reads
from felix.cli.admin.errors import Usage
from felix.cli.admin.members import DOORS, Member
from felix.cli.admin.units import read_duration, read_size

PAGE_SIZE: Final = 500
WAIT_MS_DEFAULT: Final = 10_000


def request_of(command: Command, members: list[Member], values: dict[str, Any]) -> Request:
    """Put a request together; `values` by the names of members. Raises: Usage."""
    door = DOORS[command.operation]
    read = {one.name: _read(one, values[one.name]) for one in members if one.name in values}
    places = {one.name: one.place for one in members}
    body: dict[str, Any] = {}
    for name, value in read.items():
        if places[name] == "body":
            _put(body, name, value)
    for name, value in command.fixed.items():
        body.setdefault(name, value)
    if command.shape is not None:
        body = command.shape(body)
    query = {name: _text(value) for name, value in read.items() if places[name] == "query"}
    headers = {name: str(value) for name, value in read.items() if places[name] == "header"}
    if any(one.name == IDEMPOTENCY_KEY for one in members):
        headers.setdefault(IDEMPOTENCY_KEY, secrets.token_hex(16))
    names = {name: quote(str(read[name]), safe="") for name in read if places[name] == "path"}
    return Request(
        method=door.method,
        path=door.path.format(**names),
        query=query,
        headers=headers,
        body=body if door.request is not None and (body or door.method != "DELETE") else None,
        patience_s=command.patience_s + _patience_s(read),
    )


def _patience_s(read: dict[str, Any]) -> float:
    if "wait_brokers" not in read:
        return 0.0
    return int(read.get("wait_timeout_ms", WAIT_MS_DEFAULT)) / 1000


def _read(member: Member, value: Any) -> Any:
    """Read one value as it was typed. Raises: Usage."""
    reader = _READERS.get(member.reads)
    return value if reader is None else reader(value, member.flag)


def _value(text: str) -> bool | int | str:
    if text in {"true", "false"}:
        return text == "true"
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else text


def _pairs(given: tuple[str, ...], flag: str) -> dict[str, str]:
    return dict(_pair(one, flag) for one in given)


def _pair(text: str, flag: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise Usage(f"{text!r} is no name and value", f"write it like {flag} rack=r12")
    return name, value


def _streams(given: tuple[str, ...], flag: str) -> list[dict[str, str]]:
    return [_stream(one, flag) for one in given]


def _stream(text: str, flag: str) -> dict[str, str]:
    names = text.split("/")
    if len(names) != 3 or not all(names):
        raise Usage(f"{text!r} is no stream", f"write it like {flag} acme/billing/orders")
    return dict(zip(("tenant_id", "namespace", "stream"), names, strict=True))


_READERS: Final[dict[Reads, Callable[[Any, str], Any]]] = {
    "duration": read_duration,
    "size": read_size,
    "stale": lambda _value, _flag: "stale",
    "seconds": lambda value, _flag: round(value * 1000),
    "pairs": _pairs,
    "streams": _streams,
    "texts": lambda value, _flag: list(value),
    "value": lambda value, _flag: _value(value),
}
"""Those that are not taken as `click` has read them."""


def _put(body: dict[str, Any], name: str, value: Any) -> None:
    *outer, last = name.split(".")
    for one in outer:
        body = body.setdefault(one, {})
    body[last] = value


def _text(value: Any) -> str | list[str]:
    if isinstance(value, bool):
        return "true" if value else "false"
    return [str(one) for one in value] if isinstance(value, list) else str(value)
