"""What all commands are made of."""

from __future__ import annotations

import msgspec


class Command(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", gc=False
):
    """Base of all commands."""


class Conditional(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A command on an existing object that may carry a precondition."""

    expected_version: int | None = None
    """Refuse with `precondition_failed` unless the object's `version` is this."""
