"""What identities are called: principals, issuers in short, groups."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from felix.proto.identity import IdpIssuer
from felix.proto.permissions import GROUP

SHORT_ID_CHARS: Final = 12


def principal_id(issuer: str, subject: str) -> str:
    """Name whoever an issuer calls `subject` (contract, section 8.1).

    No issuer has a `|`, so two different pairs never have the same name (chapter 15, S11).
    """
    return hashlib.sha256(f"{issuer}|{subject}".encode()).hexdigest()


def short_id(issuer: str) -> str:
    """Name an issuer where its URL cannot stand."""
    return hashlib.sha256(issuer.encode()).hexdigest()[:SHORT_ID_CHARS]


def group_subjects(
    issuer: IdpIssuer, names: Iterable[str], *, is_only_issuer: bool
) -> tuple[str, ...]:
    """Write the groups of a token as subjects of rules (contract, section 8.2).

    `group:{issuer}#{name}` always; `group:{name}` too while nobody else could mean another group
    by it: the tenant has one issuer, or has said so of this one. A name with a `#` never stands
    alone: it could be another issuer's group.
    """
    is_plain = is_only_issuer or issuer.plain_groups
    found: list[str] = []
    for text in names:
        name = text.removeprefix(GROUP)
        # An issuer with a `#` could claim groups of the one whose name goes up to there.
        if not name or "#" in issuer.issuer:
            continue
        found.append(f"{GROUP}{issuer.issuer}#{name}")
        if is_plain and "#" not in name:
            found.append(GROUP + name)
    return tuple(dict.fromkeys(found))


def groups_still_meant(
    issuer: IdpIssuer, subjects: Iterable[str], *, is_only_issuer: bool
) -> tuple[str, ...]:
    """Keep of group subjects, written earlier, those that `group_subjects` would write today."""
    own = f"{GROUP}{issuer.issuer}#"
    is_plain = is_only_issuer or issuer.plain_groups
    return tuple(one for one in subjects if one.startswith(own) or (is_plain and "#" not in one))
