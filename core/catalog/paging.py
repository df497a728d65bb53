"""What all listings share: how large a page may be, and where the next one goes on."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from felix.proto.errors import ValidationFailed
from felix.proto.queries import PAGE_SIZE_MAX, Paged
from felix.proto.resources import Key

PAGE_BYTES_MAX: Final = 8 << 20
FILTER_CHARS_MAX: Final = 255
_SEPARATOR: Final = "/"


def size_of(query: Paged) -> int:
    """Give the most items that a page may have. Raises: ValidationFailed."""
    if not 0 <= query.page_size <= PAGE_SIZE_MAX:
        raise invalid("page_size", f"must be 0 to {PAGE_SIZE_MAX}")
    if len(query.filter) > FILTER_CHARS_MAX:
        raise invalid("filter", f"must have at most {FILTER_CHARS_MAX} characters")
    return query.page_size or PAGE_SIZE_MAX


def token_of(key: Key) -> str:
    """Write down the key of a page's last item."""
    return base64.urlsafe_b64encode(_SEPARATOR.join(key).encode()).decode().rstrip("=")


def key_of(token: str, parts: int) -> Key | None:
    """Read the key, of so many names, behind which a page begins; None: at the beginning.

    Raises: ValidationFailed.
    """
    if not token:
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        key = tuple(raw.decode("ascii").split(_SEPARATOR))
    except (binascii.Error, ValueError) as error:
        raise invalid("page_token", "is not one of ours") from error
    if len(key) != parts:
        raise invalid("page_token", "is not one of ours")
    return key


def invalid(member: str, why: str) -> ValidationFailed:
    """Make the refusal of a query's member."""
    return ValidationFailed(f"/{member}: {why}", details={"pointer": f"/{member}"})
