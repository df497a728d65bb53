"""The one way JSON comes in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from felix.http.bodies import NewStream, NewTenant
from felix.http.strict_json import parse, to_record
from felix.proto.errors import Malformed, Unprocessable

DEPTH = 32

REFUSED = {
    "nothing": b"",
    "blanks": b"  \n",
    "half": b'{"a":',
    "single quotes": b"{'a':1}",
    "trailing data": b"{} {}",
    "trailing comma": b'{"a":1,}',
    "comment": b'{"a":1} // x',
    "not a number": b'{"a":NaN}',
    "infinity": b'{"a":Infinity}',
    "minus infinity": b'{"a":-Infinity}',
    "float overflow": b'{"a":1e999}',
    "5,000 digits": b'{"a":' + b"9" * 5000 + b"}",
    "same key twice": b'{"a":1,"a":1}',
    "same key twice, spelled differently": b'{"a":1,"\\u0061":2}',
    "same key twice, deep inside": b'{"a":[{"b":1,"b":2}]}',
    "lone surrogate": b'{"a":"\\ud800"}',
    "surrogates in the wrong order": b'{"a":"\\udc00\\ud800"}',
    "lone surrogate in a key": b'{"\\udfff":1}',
    "encoded surrogate": b'{"a":"\xed\xa0\x80"}',
    "not utf-8": b'{"a":"\xff"}',
    "utf-16": '{"a":1}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"a":1}',
    "control character": b'{"a":"\x00"}',
    "deep arrays": b"[" * 33 + b"]" * 33,
    "200,000 arrays": b"[" * 200_000 + b"]" * 200_000,
    "200,000 objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "200,000 brackets": b"[" * 200_000,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_readers_could_disagree_about_is_refused(name: str) -> None:
    with pytest.raises(Malformed):
        parse(REFUSED[name], depth_max=DEPTH)


def test_a_surrogate_pair_is_one_character() -> None:
    assert parse(b'{"a":"\\ud83d\\ude00"}', depth_max=DEPTH) == {"a": "\N{GRINNING FACE}"}


def test_the_deepest_allowed_nesting_is_taken() -> None:
    parse(b"[" * 32 + b"]" * 32, depth_max=DEPTH)


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_VALUES)
def test_whatever_json_can_say_comes_through_unchanged(value: object) -> None:
    assert parse(json.dumps(value).encode(), depth_max=100) == value


@given(st.binary() | st.text(alphabet='{}[]",:\\u0123456789deDE-+. tnrf').map(str.encode))
def test_no_bytes_make_the_parser_raise_anything_but_malformed(data: bytes) -> None:
    try:
        value = parse(data, depth_max=DEPTH)
    except Malformed:
        return
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ([], ""),
        ("x", ""),
        (None, ""),
        ({"display_name": ""}, "/tenant_id"),
        ({"tenant_id": 1, "display_name": ""}, "/tenant_id"),
        ({"tenant_id": "a", "display_name": "", "quotas": []}, "/quotas"),
        ({"tenant_id": "a", "display_name": "", "quotas": {"max_streams": -1}},
         "/quotas/max_streams"),
        ({"tenant_id": "a", "display_name": "", "quotas": {"max_streams": 2**63}},
         "/quotas/max_streams"),
        ({"tenant_id": "a", "display_name": "", "encryption": {}}, "/encryption/key_id"),
    ],
)  # fmt: skip
def test_a_wrong_member_is_named_by_its_pointer(value: object, pointer: str) -> None:
    with pytest.raises(Unprocessable) as caught:
        to_record(value, NewTenant)
    assert caught.value.details == {"pointer": pointer}


@given(
    _VALUES | st.fixed_dictionaries({"stream": _VALUES, "shards": _VALUES, "retention": _VALUES})
)
def test_no_value_makes_a_record_raise_anything_but_unprocessable(value: object) -> None:
    try:
        record = to_record(value, NewStream)
    except Unprocessable:
        return
    assert isinstance(record.stream, str)
