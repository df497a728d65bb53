"""One line of the table of routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from felix.http.access import Access
from felix.http.desk import Desk

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class Parameter(msgspec.Struct, frozen=True):
    """A query parameter or a header."""

    name: str
    summary: str
    place: Literal["query", "header"] = "query"
    kind: Literal["integer", "string"] = "string"


class Other(msgspec.Struct, frozen=True):
    """Another answer that is no refusal."""

    status: int
    response: type[msgspec.Struct] | None = None


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of one method on one path. HEAD works wherever GET does."""

    method: Method
    path: str
    operation: str
    """Unique name of the operation."""
    summary: str
    access: Access
    has_slashes: bool = False
    """The last field of the path may hold slashes, encoded or not: an issuer is a URL."""
    request: type[msgspec.Struct] | None = None
    body_is_optional: bool = False
    response: type[msgspec.Struct] | None = None
    is_list: bool = False
    """The answer is a bare array of `response`."""
    is_file: bool = False
    """The answer is bytes, not JSON."""
    status: int = 200
    others: tuple[Other, ...] = ()
    refusals: tuple[int, ...] = ()
    """Statuses of its own; those that its access or anything at all may bring come on top."""
    parameters: tuple[Parameter, ...] = ()

    @property
    def all_refusals(self) -> tuple[int, ...]:
        """List the statuses of every refusal that there can be."""
        of_access = () if self.access.is_open else CALLER_REFUSALS
        return tuple(sorted({*self.refusals, *of_access, *ANY_REFUSALS}))


class Route(Door, frozen=True, kw_only=True):
    """One line of the table."""

    resource: Callable[[Desk], object]
    """Makes the Falcon resource; the first route of a path makes it for all its methods."""


CALLER_REFUSALS: Final = (401, 403)
"""Whoever has to prove who it is may fail to, and may not be allowed what it asks for."""
ANY_REFUSALS: Final = (400, 408, 413, 429, 500, 503)

CONSISTENCY: Final = Parameter(
    "consistency", "`linearizable` (default), or `stale` to read what this node has"
)
PAGING: Final = (
    Parameter("filter", "keep the names that contain this; with `*` or `?` a whole-name pattern"),
    Parameter("page_size", "at most this many items; without it the whole list", kind="integer"),
    Parameter("page_token", "`next_page_token` of the page before"),
    CONSISTENCY,
)
KEY: Final = Parameter(
    "Idempotency-Key", "same key and same request: one effect, one answer", "header"
)
PRECONDITION: Final = (
    KEY,
    Parameter("If-Match", 'the version in quotes, as in `"42"`: else 412', "header"),
    Parameter("expected_version", "the same as `If-Match`, without quotes", kind="integer"),
)
AWAITING: Final = (
    Parameter("wait_brokers", "answer once so many brokers have it in force: a number, or `all`"),
    Parameter(
        "wait_timeout_ms", "but after this time at the latest: 10000, at most 60000", kind="integer"
    ),
)
