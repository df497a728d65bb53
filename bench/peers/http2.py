"""The part of HTTP/2 (RFC 9113) that gRPC calls over one connection need, without I/O.

The peer is told to keep no dynamic header table (SETTINGS_HEADER_TABLE_SIZE 0), so a header block
means the same wherever it stands and can be compared as bytes.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER_BYTES: Final = 9
WINDOW_BYTES: Final = (1 << 31) - 1
"""The largest window there is: this client is never the one that slows a stream."""
WINDOW_DEFAULT_BYTES: Final = 65_535
STREAM_ID_MAX: Final = (1 << 31) - 1

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _INITIAL_WINDOW_SIZE = 1, 2, 4

_HEADER = struct.Struct(">HBBBI")
"""Length (two fields: 16 and 8 bits), type, flags, stream."""


class Frame(NamedTuple):
    """One frame as it came."""

    type: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Encode one frame."""
    assert len(payload) < 1 << 14, "larger frames are not allowed before they are agreed on"
    return _HEADER.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def window_update(stream: int, increment: int) -> bytes:
    """Encode the permission to send so many bytes more."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def greeting() -> bytes:
    """Encode what a client says first: preface, settings, and a wide open connection window."""
    settings = struct.pack(
        ">HIHIHI", _HEADER_TABLE_SIZE, 0, _ENABLE_PUSH, 0, _INITIAL_WINDOW_SIZE, WINDOW_BYTES
    )
    opened = window_update(0, WINDOW_BYTES - WINDOW_DEFAULT_BYTES)
    return PREFACE + frame(SETTINGS, 0, 0, settings) + opened


def split(buffer: bytes) -> tuple[list[Frame], bytes]:
    """Take the complete frames off the front of a buffer; give them and the rest."""
    frames: list[Frame] = []
    at, end, unpack = 0, len(buffer), _HEADER.unpack_from
    while end - at >= FRAME_HEADER_BYTES:
        high, low, kind, flags, stream = unpack(buffer, at)
        start = at + FRAME_HEADER_BYTES
        stop = start + (high << 8 | low)
        if stop > end:
            break
        frames.append(Frame(kind, flags, stream, buffer[start:stop]))
        at = stop
    return frames, buffer[at:]


def request_headers(path: str, authority: str) -> bytes:
    """Encode a gRPC call's header block: static table entries and plain literals (RFC 7541)."""
    return b"".join(
        (
            b"\x83\x86",  # :method POST, :scheme http
            b"\x04" + _text(path.encode()),
            b"\x01" + _text(authority.encode()),
            b"\x0f\x10" + _text(b"application/grpc"),  # content-type
            b"\x00" + _text(b"te") + _text(b"trailers"),
        )
    )


def _text(value: bytes) -> bytes:
    assert len(value) < 127, "longer strings need a longer length"
    return bytes((len(value),)) + value


GRPC_STATUS_NAME: Final = bytes.fromhex("889acac8b21234da8f")
"""`grpc-status` as a header block spells it: length with the Huffman bit, Huffman code."""


def grpc_status(block: bytes) -> int:
    """Find the status in a block of trailers; -1 when there is none."""
    found = block.find(GRPC_STATUS_NAME)
    if found < 0:
        return -1
    at = found + len(GRPC_STATUS_NAME)
    return int(block[at + 1 : at + 1 + block[at]])
