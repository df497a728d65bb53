"""The few messages of etcd's gRPC API that the load needs, encoded by hand.

Field numbers are those of etcd's `rpc.proto` and `kv.proto` (release 3.4).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

PUT: Final = "/etcdserverpb.KV/Put"
RANGE: Final = "/etcdserverpb.KV/Range"
WATCH: Final = "/etcdserverpb.Watch/Watch"
STATUS: Final = "/etcdserverpb.Maintenance/Status"

_VARINT, _BYTES = 0, 2
_KVS, _COUNT = 2 << 3 | _BYTES, 4 << 3 | _VARINT
"""Tags in a `RangeResponse`."""


def varint(value: int) -> bytes:
    """Encode an unsigned number."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def blob(number: int, value: bytes) -> bytes:
    """Encode a field of bytes, a string or a message."""
    return varint(number << 3 | _BYTES) + varint(len(value)) + value


def number(field: int, value: int) -> bytes:
    """Encode a field with a number or a flag."""
    return varint(field << 3 | _VARINT) + varint(value)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Decode the number at a position; give it and the position behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Walk through a message: field number and value. Raises: ValueError."""
    at, end = 0, len(data)
    while at < end:
        tag, at = read_varint(data, at)
        value, at = read_varint(data, at)
        if tag & 7 == _VARINT:
            yield tag >> 3, value
        elif tag & 7 == _BYTES:
            yield tag >> 3, data[at : at + value]
            at += value
        else:
            raise ValueError(f"wire type {tag & 7} is not used by etcd")


def enveloped(message: bytes) -> bytes:
    """Put the gRPC prefix before a message: not compressed, length."""
    return b"\x00" + len(message).to_bytes(4) + message


def put_request(key: bytes, value: bytes) -> bytes:
    """Encode a `PutRequest`."""
    return blob(1, key) + blob(2, value)


def prefix_end(prefix: bytes) -> bytes:
    """Give the first key behind all that start with a prefix."""
    assert prefix[-1] < 0xFF, "the prefixes used here are ASCII"
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def range_request(prefix: bytes, *, keys_only: bool = False) -> bytes:
    """Encode a linearizable `RangeRequest` for all keys with a prefix."""
    wanted = blob(1, prefix) + blob(2, prefix_end(prefix))
    return wanted + number(8, 1) if keys_only else wanted


def watch_request(prefix: bytes) -> bytes:
    """Encode a `WatchRequest` that creates a watch on all keys with a prefix, from now on."""
    return blob(1, blob(1, prefix) + blob(2, prefix_end(prefix)))


class Status(msgspec.Struct, frozen=True):
    """What a member says of itself."""

    member_id: int
    leader_id: int
    """0 when it knows none."""
    raft_index: int
    applied_index: int


def read_status(message: bytes) -> Status:
    """Decode a `StatusResponse`."""
    found = dict(fields(message))
    header = found[1]
    assert isinstance(header, bytes)
    numbers = {field: value for field, value in found.items() if isinstance(value, int)}
    member = dict(fields(header))[2]
    assert isinstance(member, int)
    return Status(member, numbers.get(4, 0), numbers.get(5, 0), numbers.get(7, 0))


def read_keys(range_response: bytes) -> list[bytes]:
    """Decode a `RangeResponse` as far as the keys. Raises: ValueError, when it is incomplete."""
    keys: list[bytes] = []
    total, at, end, data = 0, 0, len(range_response), range_response
    while at < end:
        tag = data[at]
        value, at = read_varint(data, at + 1)
        if tag == _COUNT:
            total = value
        elif tag & 7 == _BYTES:
            if tag == _KVS:  # a KeyValue starts with its key
                length, start = read_varint(data, at + 1)
                keys.append(data[start : start + length])
            at += value
    if len(keys) != total:
        raise ValueError(f"{len(keys)} keys of {total}")
    return keys


def read_event_values(watch_response: bytes) -> tuple[bool, list[bytes]]:
    """Decode a `WatchResponse`: whether it confirms the watch, and the values put.

    Raises: ValueError, when the watch was cancelled.
    """
    created, values = False, []
    for field, value in fields(watch_response):
        if field == 4 and value:
            raise ValueError("etcd has cancelled the watch")
        if field == 3:
            created = bool(value)
        elif field == 11 and isinstance(value, bytes):
            key_value = dict(fields(value))[2]
            assert isinstance(key_value, bytes)
            put = dict(fields(key_value))[5]
            assert isinstance(put, bytes)
            values.append(put)
    return created, values
