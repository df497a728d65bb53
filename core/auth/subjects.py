"""The grammar of subjects: principals, groups and roles."""

from __future__ import annotations

from typing import Final

from felix.proto.permissions import GROUP, ROLE

PRINCIPAL_CHARS_MAX: Final = 512
"""Also of a role."""
GROUP_CHARS_MAX: Final = 1_024
"""A group may carry its issuer's URL."""


def why_not_a_subject(text: str) -> str | None:
    """Say what is wrong with a subject, or None when it is fine.

    It is a principal id, a `group:` or a `role:`. Names of groups are the identity provider's and
    may have blanks inside; nothing else may.
    """
    if text.startswith(ROLE):
        return why_not_a_role(text)
    if text.startswith(GROUP):
        name = text.removeprefix(GROUP)
        return _why_not(name, text, GROUP_CHARS_MAX) or (
            "must not begin or end with a blank" if name != name.strip() else None
        )
    return _why_not(text, text, PRINCIPAL_CHARS_MAX) or _why_blank(text)


def why_not_a_role(text: str) -> str | None:
    """Say what is wrong with a role, or None when it is fine (contract, chapter 15, S3 and S7)."""
    if not text.startswith(ROLE):
        return f"must begin with {ROLE!r}"
    return _why_not(text.removeprefix(ROLE), text, PRINCIPAL_CHARS_MAX) or _why_blank(text)


def _why_not(name: str, whole: str, chars_max: int) -> str | None:
    if not name.strip():
        return "must not be empty"
    if len(whole) > chars_max:
        return f"must have at most {chars_max} characters"
    return None if whole.isprintable() else "must be printable"


def _why_blank(text: str) -> str | None:
    return "must not have blanks" if " " in text else None
