"""The one codec: MessagePack, versioned envelopes, unknown fields ignored, limits on everything.

Two ways in. `Decoder` reads what this cluster wrote (peers, journal, snapshots): typed, one pass.
`ForeignDecoder` reads what anyone may have sent: it first takes the bytes apart under explicit
limits and refuses duplicate keys, then checks types. Both raise nothing but
`felix.proto.errors.FelixError`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import msgpack
import msgspec

from felix.proto.errors import Malformed, TooLarge, UnknownMessage, Unprocessable

T = TypeVar("T")

FOREIGN_BYTES_MAX: Final = 1 << 20
FOREIGN_ITEMS_MAX: Final = 10_000
FOREIGN_DEPTH_MAX: Final = 16

_NOT_WITHIN_LIMITS: Final = (ValueError, msgpack.UnpackException, OverflowError)

_encoder = msgspec.msgpack.Encoder()

encode = _encoder.encode
"""Encode a record of `felix.proto`; the same record always gives the same bytes."""


class Decoder(Generic[T]):
    """Read one type from bytes that a member of this cluster wrote."""

    def __init__(self, kind: Any, bytes_max: int = 1 << 30) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)
        self._bytes_max = bytes_max

    def decode(self, data: bytes | memoryview) -> T:
        """Raises: Malformed, TooLarge, UnknownMessage, Unprocessable."""
        if len(data) > self._bytes_max:
            raise TooLarge(f"{len(data)} bytes, at most {self._bytes_max} are taken")
        try:
            return self._decoder.decode(data)
        except msgspec.ValidationError as error:
            raise _wrong_type(error) from error
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise Malformed(f"not MessagePack of this protocol: {error}") from error


class ForeignDecoder(Generic[T]):
    """Read one type from bytes that anyone may have sent."""

    def __init__(self, kind: Any, bytes_max: int = FOREIGN_BYTES_MAX) -> None:
        self._kind = kind
        self._bytes_max = bytes_max
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)

    def decode(self, data: bytes) -> T:
        """Raises: Malformed, TooLarge, UnknownMessage, Unprocessable."""
        if len(data) > self._bytes_max:
            raise TooLarge(f"{len(data)} bytes, at most {self._bytes_max} are taken")
        found = self._decode_canonical(data)
        return self.convert(take_apart(data)) if found is None else found

    def _decode_canonical(self, data: bytes) -> T | None:
        """Read bytes that are just what our own encoder makes of their content, else None.

        Such bytes have no key twice, nothing unknown and no depth but that of their type; a few
        of them cannot hold too many items, and of more it is looked. All that `take_apart` looks
        for is then not there.
        """
        try:
            if len(data) > FOREIGN_ITEMS_MAX:
                _unpack(data)
            found = self._decoder.decode(data)
        except (msgspec.MsgspecError, RecursionError, *_NOT_WITHIN_LIMITS):
            return None
        return found if encode(found) == data else None

    def convert(self, parts: object) -> T:
        """Check the types of what `take_apart` gave. Raises: UnknownMessage, Unprocessable."""
        try:
            return msgspec.convert(parts, self._kind)  # type: ignore[no-any-return]  # kind is T
        except msgspec.ValidationError as error:
            raise _wrong_type(error) from error
        except RecursionError as error:
            raise Malformed("nested too deeply") from error


def take_apart(data: bytes) -> object:
    """Read MessagePack into plain values under the foreign limits. Raises: Malformed."""
    try:
        parts = _unpack(data, object_pairs_hook=_no_duplicates)
    except Malformed:
        raise
    except (RecursionError, *_NOT_WITHIN_LIMITS) as error:
        raise Malformed(f"not MessagePack within the limits: {error}") from error
    if _deeper_than(parts, FOREIGN_DEPTH_MAX):
        raise Malformed(f"nested deeper than {FOREIGN_DEPTH_MAX} levels")
    return parts


def _unpack(
    data: bytes, object_pairs_hook: Callable[[list[tuple[str, Any]]], dict[str, Any]] | None = None
) -> object:
    """Raises: those of `_NOT_WITHIN_LIMITS`, RecursionError."""
    return msgpack.unpackb(
        data,
        strict_map_key=True,
        object_pairs_hook=object_pairs_hook,
        max_str_len=FOREIGN_BYTES_MAX,
        max_bin_len=FOREIGN_BYTES_MAX,
        max_array_len=FOREIGN_ITEMS_MAX,
        max_map_len=FOREIGN_ITEMS_MAX,
        max_ext_len=0,
    )


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("a map has the same key twice")
    return found


def _deeper_than(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        return levels == 0 or any(_deeper_than(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return levels == 0 or any(_deeper_than(item, levels - 1) for item in value)
    return False


def _wrong_type(error: msgspec.ValidationError) -> Unprocessable | UnknownMessage:
    text = str(error)
    if text.startswith("Invalid value '") and ("`$[3].type`" in text or "`$.type`" in text):
        return UnknownMessage(text)
    return Unprocessable(text)
