"""Settings that hold secrets, and do not show them to logs and tracebacks."""

from __future__ import annotations

from typing import Any, Final

import msgspec

SECRET_FIELDS: Final = frozenset(
    {"kek", "token", "refresh_token", "previous_token", "bootstrap_tokens"}
)
"""Fields of this name hold a secret itself, not the name of a file."""
HIDDEN: Final = "<hidden>"


class Discreet(msgspec.Struct, frozen=True):
    """A record whose `repr` says of a secret only whether there is one."""

    def __repr__(self) -> str:
        """Show the fields, and of secrets only that they are there."""
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Give the fields to whoever prints records in colour."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return [
            (name, HIDDEN if name in SECRET_FIELDS and value else value)
            for name, value in values.items()
        ]
