"""No bytes make a decoder raise anything but an error of ours."""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from felix.proto.codec import (
    FOREIGN_BYTES_MAX,
    FOREIGN_DEPTH_MAX,
    FOREIGN_ITEMS_MAX,
    Decoder,
    ForeignDecoder,
    encode,
    take_apart,
)
from felix.proto.commands import CreateStream, Proposal
from felix.proto.errors import FelixError, Malformed, TooLarge, UnknownMessage, Unprocessable
from felix.proto.placement_commands import RegisterBroker
from felix.proto.raft import PeerFrame
from felix.proto.resources import Resource
from felix.proto.rpc import PROTOCOL, Reply, Request, RequestEnvelope
from felix.proto.updates import RawUpdate, WatchHeader
from tests.proto.vector_cases import FILES

SEED = int(os.environ.get("FELIX_FUZZ_SEED", "20260101"))
MUTATIONS = int(os.environ.get("FELIX_FUZZ_MUTATIONS", "800000"))

KINDS: list[Any] = [
    Request,
    RequestEnvelope,
    Reply,
    WatchHeader,
    list[RawUpdate],
    Proposal,
    PeerFrame,
    Resource,
]
DECODERS: list[Callable[[bytes], Any]] = [
    *(Decoder[Any](kind).decode for kind in KINDS),
    *(ForeignDecoder[Any](kind).decode for kind in KINDS),
]
FOREIGN = ForeignDecoder[Request](Request)
VALID = [encode(case.record) for make in FILES.values() for case in make()]


def feed(data: bytes) -> None:
    """Give bytes to every decoder; only `FelixError` may come out."""
    for decode in DECODERS:
        try:
            decode(data)
        except FelixError:
            continue


def mutated(data: bytes, random: Random) -> bytes:
    """Damage a frame in one of the ways in which frames are damaged."""
    changed = bytearray(data)
    where = random.randrange(len(changed) + 1)
    match random.randrange(7):
        case 0:
            return bytes(changed[:where])
        case 1:
            return bytes(changed) + random.randbytes(random.randrange(1, 9))
        case 2:
            changed[where:where] = random.randbytes(random.randrange(1, 5))
        case 3:
            del changed[where : where + random.randrange(1, 9)]
        case 4:
            other = random.choice(VALID)
            changed[where:] = other[random.randrange(len(other)) :]
        case 5:  # a header that promises a lot
            marker = random.choice(b"\xc4\xc5\xc6\xc7\xc9\xd9\xda\xdb\xdc\xdd\xde\xdf")
            changed[where:where] = bytes([marker]) + b"\xff" * random.randrange(5)
        case _:
            for _ in range(random.randrange(1, 4)):
                changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


def test_damaged_frames_raise_nothing_but_errors_of_ours() -> None:
    random = Random(SEED)
    print(f"FELIX_FUZZ_SEED={SEED}")
    for _ in range(MUTATIONS // len(DECODERS)):
        feed(mutated(random.choice(VALID), random))


def test_frames_cut_anywhere_or_followed_by_junk_are_refused() -> None:
    for data in VALID:
        for cut in range(len(data)):
            feed(data[:cut])
    for case in FILES["requests"]():
        data = encode(case.record)
        for broken in (*(data[:cut] for cut in range(len(data))), data + b"\x00", data + data):
            with pytest.raises(FelixError):
                FOREIGN.decode(broken)


@settings(max_examples=1500, deadline=None)
@given(st.binary(max_size=200))
@example(b"")
@example(b"\xc1")
@example(b"\xd6\xff\x00\x00\x00\x00")
def test_random_bytes_raise_nothing_but_errors_of_ours(data: bytes) -> None:
    feed(data)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=8), inner, max_size=5)
    ),
    max_leaves=20,
)


@settings(max_examples=800, deadline=None)
@given(ANYTHING)
def test_well_formed_values_of_wrong_types_raise_nothing_but_errors_of_ours(value: Any) -> None:
    feed(msgpack.packb(value))
    feed(msgpack.packb([PROTOCOL, 1, 5000, value]))
    feed(msgpack.packb([PROTOCOL, 1, 5000, {"type": "CreateStream", "spec": value}]))


@settings(max_examples=300, deadline=None)
@given(st.lists(ANYTHING, max_size=11))
def test_the_quick_way_and_the_thorough_way_agree(elements: list[Any]) -> None:
    data = msgpack.packb(elements)
    try:
        thorough: Any = FOREIGN.convert(take_apart(data))
    except FelixError as error:
        with pytest.raises(type(error)):
            FOREIGN.decode(data)
    else:
        assert FOREIGN.decode(data) == thorough


def test_the_quick_way_and_the_thorough_way_agree_on_damaged_requests() -> None:
    random = Random(SEED + 1)
    print(f"FELIX_FUZZ_SEED={SEED}")
    requests = [encode(case.record) for case in FILES["requests"]()]
    for _ in range(5000):
        data = mutated(random.choice(requests), random)
        try:
            thorough: Request | str = FOREIGN.convert(take_apart(data))
        except FelixError as error:
            thorough = error.code
        try:
            quick: Request | str = FOREIGN.decode(data)
        except FelixError as error:
            quick = error.code
        assert quick == thorough, data.hex()


def request_with(content: bytes) -> bytes:
    return b"\x94\x01\x07\xcd\x13\x88" + content


def message(kind: bytes, *more: bytes) -> bytes:
    """A map with its type, and then keys as text and values as they come."""
    items = [packed(b"type"), packed(kind)]
    for key, value in zip(more[::2], more[1::2], strict=True):
        items += [packed(key), value]
    return bytes([0x80 + len(items) // 2]) + b"".join(items)


def packed(text: bytes) -> bytes:
    return bytes([0xA0 + len(text)]) + text


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(b"", Malformed, id="nothing"),
        pytest.param(b"\x00" * (FOREIGN_BYTES_MAX + 1), TooLarge, id="too-long"),
        pytest.param(b"\x91" * 100_000, Malformed, id="nested-100000-deep"),
        pytest.param(b"\x91" * 500 + b"\xc0", Malformed, id="nested-500-deep"),
        pytest.param(b"\x81\xa1a" * 300 + b"\xc0", Malformed, id="maps-300-deep"),
        pytest.param(b"\xdd\xff\xff\xff\xff", Malformed, id="array-of-4-billion"),
        pytest.param(b"\xdf\xff\xff\xff\xff", Malformed, id="map-of-4-billion"),
        pytest.param(b"\xdb\xff\xff\xff\xff", Malformed, id="text-of-4-billion"),
        pytest.param(b"\xc6\xff\xff\xff\xff", Malformed, id="bytes-of-4-billion"),
        pytest.param(
            b"\xdc" + (FOREIGN_ITEMS_MAX + 1).to_bytes(2, "big") + b"\xc0" * 10_001,
            Malformed,
            id="too-many-items",
        ),
        pytest.param(
            request_with(message(b"Nonsense")),
            UnknownMessage,
            id="unknown-type",
        ),
        pytest.param(
            request_with(message(b"GetCluster", b"type", packed(b"GetCluster"))),
            Malformed,
            id="a-key-twice",
        ),
        pytest.param(
            request_with(message(b"GetTenant", b"tenant_id", b"\xa3\xed\xa0\x80")),
            Malformed,
            id="lone-surrogate",
        ),
        pytest.param(
            request_with(message(b"GetTenant", b"tenant_id", b"\xc3")),
            Unprocessable,
            id="true-for-a-name",
        ),
        pytest.param(
            request_with(message(b"GetSnapshot", b"version", b"\xcb\x7f\xf8" + b"\x00" * 6)),
            Unprocessable,
            id="nan-for-a-version",
        ),
        pytest.param(request_with(b"\x81\x01\x02"), Malformed, id="a-number-as-key"),
        pytest.param(request_with(b"\x81\xd4\x01\x00\x02"), Malformed, id="an-extension-as-key"),
        pytest.param(request_with(b"\xd6\xff\x00\x00\x00\x00"), Malformed, id="a-timestamp"),
        pytest.param(b"\x91\x01", Unprocessable, id="an-envelope-cut-short"),
    ],
)
def test_hostile_requests_get_the_right_error(data: bytes, error: type[FelixError]) -> None:
    with pytest.raises(FelixError) as caught:
        FOREIGN.decode(data)
    assert type(caught.value) is error


def test_a_request_of_ours_with_too_many_items_is_refused_however_short_they_are() -> None:
    crowd = {str(number): "" for number in range(FOREIGN_ITEMS_MAX + 1)}
    command = RegisterBroker(broker_id="b", address="b:1", boot_id="b", metadata=crowd)
    data = encode(Request(PROTOCOL, 1, 1000, command))
    assert len(data) < FOREIGN_BYTES_MAX
    with pytest.raises(Malformed):
        ForeignDecoder(Request).decode(data)


def test_nesting_is_allowed_to_the_limit_and_not_beyond() -> None:
    assert take_apart(b"\x91" * FOREIGN_DEPTH_MAX + b"\xc0")
    with pytest.raises(Malformed, match="nested"):
        take_apart(b"\x91" * (FOREIGN_DEPTH_MAX + 1) + b"\xc0")


def test_what_a_newer_peer_adds_is_ignored() -> None:
    known = Request(PROTOCOL, 7, 5000, CreateStream(tenant_id="a", namespace="b", stream="c"))
    parts = msgpack.unpackb(encode(known))
    parts[3]["colour"] = {"of": ["the", "future"]}
    assert FOREIGN.decode(msgpack.packb([*parts, "one more element"])) == known
    assert FOREIGN.decode(msgpack.packb(parts[:4])) == known
