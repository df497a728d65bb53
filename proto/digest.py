"""The digest that proves two copies of the metadata equal.

The sum modulo 2^128 of the BLAKE2b-128 hashes of all live objects, each hashed in the encoded form
in which it travels: independent of order, and kept up to date at the cost of the change alone.
"""

from __future__ import annotations

import hashlib
from typing import Final, TypeAlias

import msgspec

_HASH_BYTES: Final = 16
_MODULUS: Final = 1 << (8 * _HASH_BYTES)

Encoded: TypeAlias = bytes | memoryview | msgspec.Raw


def hash_of(raw: Encoded) -> int:
    """Hash one encoded object to a number below 2^128, most significant byte first."""
    return int.from_bytes(hashlib.blake2b(raw, digest_size=_HASH_BYTES).digest(), "big")


class Digest:
    """A running digest; the digest of no objects is 0."""

    __slots__ = ("value",)

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def add(self, raw: Encoded) -> None:
        """Count an object that is now live."""
        self.value = (self.value + hash_of(raw)) % _MODULUS

    def remove(self, raw: Encoded) -> None:
        """Count an object, encoded as it was, as live no longer."""
        self.value = (self.value - hash_of(raw)) % _MODULUS

    def hex(self) -> str:
        """Render as 32 lower-case hex digits."""
        return f"{self.value:032x}"
