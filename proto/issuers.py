"""The one grammar for issuers: strings that stand in `iss`, compared byte for byte."""

from __future__ import annotations

import re
from typing import Final

from felix.proto.errors import Unprocessable, ValidationFailed

OWN_ISSUER: Final = "felix-auth"
"""Of Felix tokens (contract, section 10.1)."""
ISSUER_CHARS_MAX: Final = 512

_URL: Final = re.compile(
    r"https?://(?:\[[0-9A-Fa-f:.]+\]|[^/?#@:\[\]\\]+)(?::[0-9]{1,5})?(?:[/?][^#]*)?"
)
_WEB: Final = ("http://", "https://")


def is_absolute_url(text: str) -> bool:
    """Tell whether it is an http or https URL, without user name and fragment."""
    return _URL.fullmatch(text) is not None


def check_issuer(pointer: str, text: str, *, has_address: bool) -> None:
    """Check the name of an identity provider; it is kept as it is.

    Discovery is below it, so it is a URL, unless its keys or its discovery document have an address
    of their own (`has_address`). Then it may be any word: `accounts.google.com` is one.

    Raises: ValidationFailed; Unprocessable for our own name.
    """
    why = _why_not(text, has_address=has_address)
    if why is not None:
        raise ValidationFailed(f"{pointer}: {why}", details={"pointer": pointer})
    if text == OWN_ISSUER:
        raise Unprocessable(
            f"{pointer}: {OWN_ISSUER} is what this cluster's own tokens say: no identity provider "
            "can be called that; give the `iss` of the provider's tokens",
            details={"pointer": pointer},
        )


def _why_not(text: str, *, has_address: bool) -> str | None:
    wrong = {
        "must not be blank": not text.strip(),
        f"must have at most {ISSUER_CHARS_MAX} characters": len(text) > ISSUER_CHARS_MAX,
        "must have no blanks": any(character.isspace() for character in text),
        "must be printable": not text.isprintable(),
        # Principals are named by a hash over `issuer|subject` (contract, chapter 15, S11).
        "must have no | in it": "|" in text,
        # Groups are named `issuer#group`.
        "must have no # in it": "#" in text,
    }
    for why, is_so in wrong.items():
        if is_so:
            return why
    if text.lower().startswith(_WEB) or not has_address:
        if is_absolute_url(text):
            return None
        return (
            "must be an absolute http or https URL, without user name and fragment; "
            "any other name needs jwks_url or discovery_url"
        )
    return None
