"""What a command's handler looks at and gives: steps, and for some an answer of their own."""

from __future__ import annotations

from typing import Any

import msgspec

from felix.core.catalog.identity_tables import RefreshIndex
from felix.core.catalog.placement_index import PlacementIndex
from felix.core.catalog.store import Store
from felix.proto.commands import Deleted, Stamp
from felix.proto.errors import ErrorReply
from felix.proto.identity import Done, RefreshGrant
from felix.proto.resources import Key, Resource


class Step(msgspec.Struct, frozen=True, gc=False):
    """One object's change: created (no before), updated, or deleted (no after)."""

    kind: str
    """The table: a `ResourceKind`, or one of `identity_tables.IDENTITY_ROWS` or of
    `placement_tables.PLACEMENT_ROWS`."""
    key: Key
    before: Any
    """A resource or a row of that table, or None."""
    after: Any


class Context(msgspec.Struct, frozen=True, gc=False):
    """What a command may look at."""

    store: Store
    stamp: Stamp
    epoch: int
    next_version: int
    index: int
    """Of the log entry."""
    now_ms: int
    """Time as the log sees it: it does not go back."""
    refresh: RefreshIndex
    placement: PlacementIndex
    """As before the command."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What came of a command about identity or placement."""

    steps: list[Step]
    result: Resource | Deleted | Done | RefreshGrant | ErrorReply
    """A refusal may have consequences too."""
