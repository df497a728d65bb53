"""The hand-made protobuf and HTTP/2 of the etcd client."""

from __future__ import annotations

import pytest

from bench.peers import etcd_wire, http2
from bench.peers.etcd_wire import blob, number


def test_numbers_survive_the_trip() -> None:
    for value in (0, 1, 127, 128, 300, 1 << 32, (1 << 63) - 1):
        encoded = etcd_wire.varint(value)
        assert etcd_wire.read_varint(b"\xff" + encoded, 1) == (value, 1 + len(encoded))


def test_a_put_is_spelled_as_protobuf_says() -> None:
    assert etcd_wire.put_request(b"k", b"v" * 128) == b"\x0a\x01k\x12\x80\x01" + b"v" * 128


def test_a_range_ends_behind_its_prefix() -> None:
    assert etcd_wire.prefix_end(b"trial") == b"triam"
    assert etcd_wire.range_request(b"ab", keys_only=True) == b"\x0a\x02ab\x12\x02ac\x40\x01"


def test_keys_are_read_and_counted() -> None:
    def stored(key: bytes) -> bytes:
        return blob(2, blob(1, key) + number(3, 9) + blob(5, b"v" * 300))

    header = blob(1, number(1, 2**63) + number(3, 77))
    answer = header + stored(b"one") + stored(b"two")
    assert etcd_wire.read_keys(answer + number(4, 2)) == [b"one", b"two"]
    with pytest.raises(ValueError, match="2 keys of 3"):
        etcd_wire.read_keys(answer + number(4, 3))


def test_a_watch_says_created_then_values_then_cancelled() -> None:
    assert etcd_wire.read_event_values(number(3, 1)) == (True, [])
    event = blob(11, blob(2, blob(1, b"key") + number(4, 1) + blob(5, b"value")))
    assert etcd_wire.read_event_values(blob(1, b"") + event + event) == (
        False,
        [b"value", b"value"],
    )
    with pytest.raises(ValueError, match="cancelled"):
        etcd_wire.read_event_values(number(4, 1))


def test_a_member_without_a_leader_says_zero() -> None:
    header = blob(1, number(1, 5) + number(2, 42))
    message = header + blob(2, b"3.4") + number(5, 7) + number(7, 6)
    assert etcd_wire.read_status(message) == etcd_wire.Status(42, 0, 7, 6)


def test_frames_are_found_however_the_bytes_are_torn() -> None:
    sent = [
        http2.Frame(http2.DATA, http2.END_STREAM, 5, b"payload"),
        http2.Frame(http2.PING, 0, 0, b"12345678"),
        http2.Frame(http2.HEADERS, http2.END_HEADERS, 7, b"x" * 300),
    ]
    whole = b"".join(http2.frame(*one) for one in sent)
    assert http2.split(whole) == (sent, b"")
    for cut in range(len(whole)):
        first, rest = http2.split(whole[:cut])
        second, rest = http2.split(rest + whole[cut:])
        assert (first + second, rest) == (sent, b"")


def test_the_status_is_found_among_the_trailers() -> None:
    other = b"\x00\x88\x9a\xca\xc8\xb5\x25\x42\x07\x31\x00"
    assert http2.grpc_status(b"\x00" + http2.GRPC_STATUS_NAME + b"\x010" + other) == 0
    assert http2.grpc_status(b"\x00" + http2.GRPC_STATUS_NAME + b"\x0214" + other) == 14
    assert http2.grpc_status(other) == -1
