"""The one grammar for names of tenants, namespaces, streams and caches.

Conservative on purpose: a name stands in URLs, permission strings and topics unescaped
(contract, chapter 15, S5).
"""

from __future__ import annotations

import re
from typing import Final

NAME_CHARS_MAX: Final = 255
RESERVED: Final = frozenset({"snapshot", "changes"})
"""Fixed words of the HTTP routes."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", re.ASCII)


def why_not_a_name(value: str) -> str | None:
    """Say what is wrong with a name, or None when it is fine."""
    if not value:
        return "must not be empty"
    if len(value) > NAME_CHARS_MAX:
        return f"must have at most {NAME_CHARS_MAX} characters"
    if value in RESERVED:
        return f"{value!r} is a reserved word"
    if not _NAME.fullmatch(value):
        return "must be letters, digits, '.', '_' or '-', and start with a letter or digit"
    return None
