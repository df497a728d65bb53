"""Tokens from strangers: whatever the bytes, they are read or refused, and nothing else happens."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from felix.identity.exchange import ExchangeRequest
from felix.identity.jose import ALGORITHMS, decode_text, read_compact, read_object
from felix.identity.jwks import read_key_set
from felix.identity.principals import (
    group_subjects,
    groups_still_meant,
    principal_id,
    short_id,
)
from felix.identity.reasons import NotProven, Refused
from felix.identity.tokens import read_token
from felix.proto.control_plane import Call
from felix.proto.errors import IdpUnavailable
from felix.proto.identity import IdpIssuer
from tests.support.identity_world import ISSUER, World, claims, octets, pieces, signed

WORLD = World()
GOOD = signed(claims())
FELIX_LIKE = pieces({"typ": "JWT", "alg": "EdDSA", "kid": "k"}, {"tid": "acme"}, b"x" * 64)

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "alg": st.sampled_from([*sorted(ALGORITHMS), "none", "HS256"]) | ANY_JSON,
        "kid": st.sampled_from(["es", "rsa", "ed"]) | ANY_JSON,
        "typ": ANY_JSON,
        "crit": ANY_JSON,
        "x5c": ANY_JSON,
        "other": ANY_JSON,
    },
)
CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        name: st.just(value) | ANY_JSON
        for name, value in (claims() | {"nbf": 0, "groups": ["a"], "_claim_names": {}}).items()
    },
)


def offer(token: str) -> None:
    """Show a token at both doors: it must be refused, or else not matter (there are no rules)."""
    with pytest.raises(Refused):
        WORLD.gate.exchange("acme", token, ExchangeRequest(), Call())
    with pytest.raises(NotProven):
        WORLD.gate.caller_of_token(token)


@settings(max_examples=300, deadline=None, print_blob=True)
@given(st.text() | st.text(string.ascii_letters + "._-="))
def test_any_text_is_refused(text: str) -> None:
    offer(text)


@settings(max_examples=300, deadline=None, print_blob=True)
@given(HEADERS | ANY_JSON, CLAIMS | ANY_JSON, st.binary(max_size=80))
def test_any_header_and_claims_without_a_signature_are_refused(
    header: object, payload: object, signature: bytes
) -> None:
    offer(pieces(header, payload, signature))


@settings(max_examples=200, deadline=None, print_blob=True)
@given(CLAIMS)
def test_any_claims_that_a_provider_signs_are_judged(payload: dict[str, object]) -> None:
    offer(signed(payload))


@settings(max_examples=200, deadline=None, print_blob=True)
@given(st.sampled_from([GOOD, FELIX_LIKE]), st.data())
def test_a_token_with_one_letter_changed_is_refused(token: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from(string.ascii_letters + string.digits + "-_.=+ \x00é"))
    changed = token[:place] + letter + token[place + 1 :]
    if changed != GOOD:
        with pytest.raises(Refused) as caught:
            WORLD.gate.exchange("acme", changed, ExchangeRequest(), Call())
        assert caught.value.reason not in {"no_permissions", "expired", "audience", "subject"}
    with pytest.raises(NotProven):
        WORLD.gate.caller_of_token(changed)


@settings(max_examples=200, deadline=None, print_blob=True)
@given(st.binary())
def test_bytes_have_one_spelling(data: bytes) -> None:
    text = octets(data)
    assert decode_text(text) == data
    spellings = [text[:-1] + letter for letter in string.ascii_letters + string.digits + "-_"]
    read = [one for one in spellings if text and decode_text(one) == data]
    assert read == ([text] if text else [])


@settings(max_examples=200, deadline=None, print_blob=True)
@given(st.binary() | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_what_is_read_as_an_object_is_one_and_can_be_written_again(data: bytes) -> None:
    try:
        found = read_object(data)
    except NotProven:
        return
    assert json.loads(data) == found
    json.dumps(found, ensure_ascii=False).encode()


@settings(max_examples=200, deadline=None, print_blob=True)
@given(st.binary() | ANY_JSON.map(lambda value: json.dumps({"keys": value}).encode()))
def test_any_document_is_a_key_set_or_the_providers_fault(document: bytes) -> None:
    try:
        read_key_set(document)
    except IdpUnavailable:
        return


def test_depth_is_counted_by_nesting_and_not_by_brackets() -> None:
    deep = '{"a":' * 32 + "1" + "}" * 32
    assert read_object(deep.encode())
    with pytest.raises(NotProven):
        read_object(('{"a":' + deep + "}").encode())
    assert read_object(json.dumps({"a": "[{" * 100}).encode())


def test_the_good_ones_are_read() -> None:
    compact = read_compact(GOOD, ALGORITHMS)
    assert (compact.algorithm, compact.kid) == ("ES256", "es")
    assert json.loads(compact.payload) == claims()
    with pytest.raises(NotProven):
        read_token(FELIX_LIKE)


def test_principals_are_named_as_the_contract_says() -> None:
    expected = "a2f54b1e96143bdc067d50ba55334ac128a910c3390b271d98391a1c1b87a934"
    assert principal_id("https://idp.example.test", "user-42") == expected
    assert short_id("https://idp.example.test") == "d2cee98e88da"


def issuer(url: str = ISSUER, *, plain_groups: bool = False) -> IdpIssuer:
    return IdpIssuer(tenant_id="acme", issuer=url, audiences=(), plain_groups=plain_groups)


def test_groups_always_name_their_issuer_and_stand_alone_while_that_is_clear() -> None:
    names = ["devs", "group:ops", "group:group:x", "", "group:", "devs", "a b"]
    both = group_subjects(issuer(), names, is_only_issuer=True)
    assert both == (
        f"group:{ISSUER}#devs",
        "group:devs",
        f"group:{ISSUER}#ops",
        "group:ops",
        f"group:{ISSUER}#group:x",
        "group:group:x",
        f"group:{ISSUER}#a b",
        "group:a b",
    )
    own = tuple(one for one in both if "#" in one)
    assert group_subjects(issuer(), names, is_only_issuer=False) == own
    assert group_subjects(issuer(plain_groups=True), names, is_only_issuer=False) == both
    assert groups_still_meant(issuer(), both, is_only_issuer=True) == both
    assert groups_still_meant(issuer(), both, is_only_issuer=False) == own
    assert groups_still_meant(issuer("https://b.test"), both, is_only_issuer=False) == ()


def test_a_group_never_speaks_for_another_issuer() -> None:
    forged = ["https://b.test#admins", "group:https://b.test#admins"]
    found = group_subjects(issuer(), forged, is_only_issuer=True)
    assert found == (f"group:{ISSUER}#https://b.test#admins",)
    assert group_subjects(issuer("https://a.test#b"), ["x"], is_only_issuer=True) == ()
