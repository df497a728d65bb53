"""One line of the table of routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from felix.http.access import Access
from felix.http.desk import Desk

Method = Literal["GET", "POST", "PATCH", "DELETE"]


class Parameter(msgspec.Struct, frozen=True):
    """A query parameter or a header."""

    name: str
    summary: str
    place: Literal["query", "header"] = "query"
    kind: Literal["integer", "string"] = "string"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One method on one path. HEAD works wherever GET does."""

    method: Method
    path: str
    resource: Callable[[Desk], object]
    """Makes the Falcon resource; the first route of a path makes it for all its methods."""
    operation: str
    """Unique name of the operation."""
    summary: str
    access: Access
    request: type[msgspec.Struct] | None = None
    response: type[msgspec.Struct] | None = None
    is_file: bool = False
    """The answer is bytes, not JSON."""
    status: int = 200
    refusals: tuple[int, ...] = ()
    """Statuses of its own; those that any request may get are in `ANY_REFUSALS`."""
    parameters: tuple[Parameter, ...] = ()
