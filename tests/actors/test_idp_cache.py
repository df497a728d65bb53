"""The cache of identity providers' keys, with a clock of its own (case 24, S9, S10)."""

from __future__ import annotations

import itertools
import json
import random

import pytest

from felix.core.auth.documents import COOL_DOWN_S, FRESH_S, RETRY_S_MAX, STALE_S_MAX, Documents
from felix.core.auth.idp_cache import WAITING_MAX, DocumentFetch, IdpCache, KeySource
from felix.core.auth.idp_documents import probe, read_discovery
from felix.proto.errors import FelixError, IdpUnavailable, Overloaded
from felix.proto.identity import Jwks

ISSUER = "https://idp.example.test"
KEYS_URL = ISSUER + "/keys"
SOURCE = KeySource(ISSUER, jwks_url=KEYS_URL)
DISCOVERED = KeySource(ISSUER)
KEYS_FETCH = DocumentFetch(KEYS_URL, is_discovery=False)
DISCOVERY_FETCH = DocumentFetch(ISSUER + "/.well-known/openid-configuration", is_discovery=True)


def key_set(*kids: str) -> bytes:
    return json.dumps({"keys": [{"kty": "RSA", "kid": kid} for kid in kids]}).encode()


def discovery(issuer: str = ISSUER, jwks_uri: str = KEYS_URL) -> bytes:
    return json.dumps({"issuer": issuer, "jwks_uri": jwks_uri}).encode()


class Node:
    """A cache, a clock, and an identity provider that answers only when the test lets it."""

    def __init__(self) -> None:
        self.cache = IdpCache()
        self.now = 1000.0
        self.fetches = 0
        self._under_way: list[DocumentFetch] = []
        self._tickets = 0

    def ask(self, kid: str = "", source: KeySource = SOURCE, patience_s: float = 4.0) -> int:
        """Ask, and give the number of the request."""
        self._tickets += 1
        self.cache.ask(self._tickets, source, kid, self.now, self.now + patience_s)
        self._collect()
        return self._tickets

    def serve(self, body: bytes) -> None:
        """Let the oldest fetch bring this."""
        self.cache.arrived(self._under_way.pop(0), body, self.now)
        self._collect()

    def fail(self) -> None:
        """Let the oldest fetch bring nothing."""
        self.cache.failed(self._under_way.pop(0), "unreachable", self.now)
        self._collect()

    def answers(self) -> dict[int, Jwks | FelixError]:
        """Take what has been answered, by request."""
        return {one.ticket: one.result for one in self.cache.take_answers()}

    def answer(self) -> Jwks:
        """Take the only answer, which must be keys."""
        (result,) = self.answers().values()
        assert isinstance(result, Jwks), result
        return result

    @property
    def under_way(self) -> list[DocumentFetch]:
        return list(self._under_way)

    def _collect(self) -> None:
        started = self.cache.take_fetches()
        self.fetches += len(started)
        self._under_way += started


def loaded(*kids: str) -> Node:
    """A node that has just loaded the key set, as anybody would."""
    node = Node()
    node.ask()
    node.serve(key_set(*kids))
    node.answers()
    return node


def test_all_who_ask_at_once_wait_for_one_fetch() -> None:
    node = Node()
    asked = [node.ask() for _ in range(100)]
    assert node.under_way == [KEYS_FETCH]
    assert node.answers() == {}
    node.serve(key_set("a"))
    assert node.answers() == dict.fromkeys(asked, Jwks(document=key_set("a"), age_ms=0))
    assert node.cache.waiting == 0


def test_a_fresh_key_set_is_given_without_asking_anybody() -> None:
    node = loaded("a")
    node.now += FRESH_S / 2 - 1
    node.ask()
    assert node.answer().age_ms == (FRESH_S / 2 - 1) * 1000
    assert node.fetches == 1


def test_after_half_its_time_it_is_given_and_fetched_anew_in_the_background() -> None:
    node = loaded("a")
    node.now += FRESH_S / 2
    for _ in range(3):
        node.ask()
    assert len(node.answers()) == 3
    assert node.fetches == 2
    node.serve(key_set("b"))
    node.ask()
    assert node.answer() == Jwks(document=key_set("b"), age_ms=0)


def test_after_its_time_whoever_asks_waits_for_the_new_one() -> None:
    node = loaded("a")
    node.now += FRESH_S
    node.ask()
    assert node.answers() == {}
    node.serve(key_set("b"))
    assert node.answer().document == key_set("b")


def test_its_age_counts_from_when_it_was_asked_for() -> None:
    node = Node()
    node.ask()
    node.now += 3
    node.serve(key_set("a"))
    assert node.answer().age_ms == 3000


# --- down ---------------------------------------------------------------------------------------


def test_an_idp_that_is_down_at_the_start_is_unavailable_and_not_asked_by_everyone() -> None:
    node = Node()
    node.ask()
    node.fail()
    for _ in range(1000):
        node.ask()
    answers = node.answers().values()
    assert len(answers) == 1001
    assert all(isinstance(one, IdpUnavailable) and one.retry_after_ms for one in answers)
    assert node.fetches == 1


def test_the_pause_after_failures_grows_to_a_bound() -> None:
    node = Node()
    asked_at = []
    while node.now < 2000:
        node.ask()
        if node.under_way:
            asked_at.append(node.now)
            node.fail()
        node.now += 1
    pauses = [late - early for early, late in itertools.pairwise(asked_at)]
    assert pauses[:5] == [5, 10, 20, 40, 60]
    assert set(pauses[4:]) == {RETRY_S_MAX}


def test_known_keys_keep_working_for_24_hours_while_the_idp_is_down_and_no_longer() -> None:
    node = loaded("a")
    loaded_at = node.now
    while node.now - loaded_at < STALE_S_MAX - 30:
        node.now += 30
        node.ask()
        while node.under_way:
            node.fail()
        answer = node.answer()
        assert answer.document == key_set("a")
        assert answer.is_stale == (node.now - loaded_at >= FRESH_S)
    assert node.fetches < 1 + STALE_S_MAX / RETRY_S_MAX + 10
    node.now = loaded_at + STALE_S_MAX
    node.ask()
    while node.under_way:
        node.fail()
    assert [type(one) for one in node.answers().values()] == [IdpUnavailable]


def test_nobody_waits_for_a_provider_that_failed_the_last_time() -> None:
    node = loaded("a")
    node.now += FRESH_S
    node.ask()
    node.fail()
    assert node.answer().is_stale
    node.now += RETRY_S_MAX
    node.ask()
    assert node.answer().is_stale
    assert len(node.under_way) == 1


def test_a_provider_that_comes_back_is_fresh_again() -> None:
    node = loaded("a")
    node.now += FRESH_S
    node.ask()
    node.fail()
    node.now += 10
    node.ask()
    node.serve(key_set("b"))
    node.answers()
    node.ask()
    assert node.answer() == Jwks(document=key_set("b"), age_ms=0)


def test_a_request_is_answered_by_its_deadline_with_what_is_known() -> None:
    cold, warm = Node(), loaded("a")
    warm.now += FRESH_S
    for node in (cold, warm):
        node.ask(patience_s=4)
        node.now += 3.9
        node.cache.sweep(node.now)
        assert node.answers() == {}
        node.now += 0.2
        node.cache.sweep(node.now)
        assert node.cache.waiting == 0
    (error,) = cold.answers().values()
    assert isinstance(error, IdpUnavailable)
    assert warm.answer().is_stale


def test_a_request_with_discovery_is_answered_by_its_deadline_with_what_is_known() -> None:
    node = Node()
    node.ask(source=DISCOVERED)
    node.serve(discovery())
    node.serve(key_set("a"))
    node.answers()
    node.now += FRESH_S
    node.ask(source=DISCOVERED)
    node.now += 4
    node.cache.sweep(node.now)
    assert node.answer().document == key_set("a")


# --- unknown keys -------------------------------------------------------------------------------


def test_s9_the_first_unknown_kid_after_an_ordinary_load_reloads_at_once() -> None:
    node = loaded("a")
    node.ask("b")
    assert node.answers() == {}
    node.serve(key_set("b"))
    assert node.answer().document == key_set("b")


def test_s9_a_thousand_unknown_kids_cost_one_fetch_for_each_cool_down() -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    node = loaded("a")
    for _ in range(1000):
        node.now += COOL_DOWN_S * 3 / 1000
        node.ask(f"{chance.getrandbits(64):x}")
        while node.under_way:
            node.serve(key_set("a"))
    assert len(node.answers()) == 1000
    assert node.fetches - 1 in {3, 4}


def test_s9_at_one_moment_a_thousand_unknown_kids_share_one_fetch() -> None:
    node = loaded("a")
    for n in range(1000):
        node.ask(str(n))
    assert node.fetches == 2
    node.serve(key_set("a"))
    assert len(node.answers()) == 1000


def test_a_kid_that_another_request_has_brought_in_costs_nothing() -> None:
    node = loaded("a")
    node.ask("b")
    node.serve(key_set("a", "b"))
    node.answers()
    node.now += COOL_DOWN_S
    node.ask("b")
    assert node.answer().document == key_set("a", "b")
    assert node.fetches == 2


def test_an_unknown_kid_is_not_asked_for_where_the_provider_is_down() -> None:
    node = loaded("a")
    node.now += FRESH_S / 2
    node.ask()
    node.fail()
    node.answers()
    for n in range(100):
        node.ask(str(n))
    assert len(node.answers()) == 100
    assert node.fetches == 2


def test_two_keys_with_one_kid_come_as_they_are() -> None:
    node = loaded("a", "a")
    node.ask("a")
    assert node.answer().document == key_set("a", "a")
    assert probe(ISSUER, None, KEYS_URL, usable("a", "a")).problem.endswith("the same kid: a")


# --- discovery ----------------------------------------------------------------------------------


def test_keys_are_found_by_discovery_and_both_documents_are_kept() -> None:
    node = Node()
    node.ask(source=DISCOVERED)
    assert node.under_way == [DISCOVERY_FETCH]
    node.serve(discovery())
    assert node.under_way == [KEYS_FETCH]
    node.serve(key_set("a"))
    assert node.answer().document == key_set("a")
    node.ask(source=DISCOVERED)
    assert node.answer().document == key_set("a")
    assert node.fetches == 2


@pytest.mark.parametrize(
    "said", [ISSUER + "/", ISSUER.upper(), "http://idp.example.test", "https://other.example.test"]
)
def test_s10_a_discovery_document_of_another_issuer_is_not_followed(said: str) -> None:
    node = Node()
    node.ask(source=DISCOVERED)
    node.serve(discovery(said))
    (error,) = node.answers().values()
    assert isinstance(error, IdpUnavailable)
    assert said in error.message
    assert node.fetches == 1


@pytest.mark.parametrize("bad", [b"{}", b'{"issuer":1}', b"[]", b"", b"\xff", b"[" * 100_000])
def test_a_document_that_cannot_be_used_does_not_replace_one_that_can(bad: bytes) -> None:
    node = Node()
    node.ask(source=DISCOVERED)
    node.serve(discovery())
    node.serve(key_set("a"))
    node.answers()
    node.now += FRESH_S
    node.ask(source=DISCOVERED)
    while node.under_way:
        node.serve(bad)
    answer = node.answer()
    assert (answer.document, answer.is_stale) == (key_set("a"), True)


# --- bounds -------------------------------------------------------------------------------------


def test_too_many_who_wait_are_refused() -> None:
    node = Node()
    for _ in range(WAITING_MAX + 1):
        node.ask()
    assert [type(one) for one in node.answers().values()] == [Overloaded]
    node.serve(key_set("a"))
    assert len(node.answers()) == WAITING_MAX


def test_the_url_that_nobody_has_asked_for_the_longest_is_forgotten() -> None:
    kept = Documents[int](urls_max=2)
    for n, url in enumerate("aba"):
        if kept.look(url, 0.0) == "wait":
            kept.arrived(url, n, 10, 0.0)
    kept.look("c", 0.0)
    assert kept.peek("b", 0.0) is None
    assert kept.peek("a", 0.0)
    assert len(kept) == 2


def test_what_is_being_fetched_is_not_forgotten() -> None:
    busy = Documents[int](urls_max=1)
    busy.look("a", 0.0)
    assert busy.look("b", 0.0) != "wait"
    busy.arrived("a", 1, 10, 0.0)
    assert busy.look("b", 0.0) == "wait"


def test_documents_take_no_more_than_so_many_bytes() -> None:
    kept = Documents[int](bytes_max=100)
    for url in "abcdef":
        kept.look(url, 0.0)
        kept.arrived(url, 1, 30, 0.0)
    assert [url for url in "abcdef" if kept.peek(url, 0.0)] == ["d", "e", "f"]


@pytest.mark.parametrize("_", range(20))
def test_whatever_happens_every_request_is_answered_once_and_no_url_is_fetched_twice_at_once(
    _: int,
) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    node, answered = Node(), 0
    sources = [KeySource(f"https://{n}.test", jwks_url=f"https://{n}.test/k") for n in range(3)]
    sources += [DISCOVERED, KeySource("https://0.test", discovery_url="https://0.test/d")]
    asked = 0
    for _step in range(500):
        node.now += chance.expovariate(1 / 20)
        match chance.randrange(4):
            case 0 | 1:
                node.ask(chance.choice(["", "a", "b"]), chance.choice(sources))
                asked += 1
            case 2 if node.under_way:
                is_discovery = node.under_way[0].is_discovery
                node.serve(discovery() if is_discovery else key_set(chance.choice("ab")))
            case 3 if node.under_way:
                node.fail()
        if chance.random() < 0.2:
            node.cache.sweep(node.now)
        assert len(set(node.under_way)) == len(node.under_way)
        answered += len(node.answers())
        assert asked == answered + node.cache.waiting
    while node.under_way:
        node.fail()
    answered += len(node.answers())
    assert (asked, node.cache.waiting) == (answered, 0)


# --- what an administrator is told --------------------------------------------------------------


def usable(*kids: str) -> bytes:
    key = {"kty": "EC", "crv": "P-256", "x": "x", "y": "y"}
    return json.dumps({"keys": [key | {"kid": kid} for kid in kids]}).encode()


def test_a_probe_says_both_spellings_of_an_issuer() -> None:
    said = probe(ISSUER, read_discovery(discovery(ISSUER + "/")), KEYS_URL, usable("a"))
    assert said.found_issuer == ISSUER + "/"
    assert "slash at the end" in said.problem
    assert (said.keys, said.algorithms, said.jwks_url) == (1, ("ES256",), KEYS_URL)


def test_a_probe_counts_only_keys_that_can_be_used() -> None:
    keys: list[object] = [
        {"kty": "RSA", "kid": "r", "n": "n", "e": "e"},
        {"kty": "RSA", "kid": "enc", "n": "n", "e": "e", "use": "enc"},
        {"kty": "RSA", "kid": "none", "n": "", "e": "e"},
        {"kty": "RSA", "kid": "hs", "n": "n", "e": "e", "alg": "HS256"},
        {"kty": "EC", "kid": "p384", "crv": "P-384", "x": "x", "y": "y"},
        {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": "x", "alg": "EdDSA"},
        {"kty": "oct", "kid": "oct", "k": "secret"},
        "not a key",
    ]
    said = probe(ISSUER, None, KEYS_URL, json.dumps({"keys": keys}).encode())
    assert said.keys == 2
    assert said.algorithms == (
        "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512",
    )  # fmt: skip
    assert said.problem == ""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"keys":[]}', "no key"),
        (b'{"keys":1}', "cannot be used"),
        (usable(""), "no kid"),
    ],
)
def test_a_probe_says_what_is_wrong_with_a_key_set(body: bytes, words: str) -> None:
    assert words in probe(ISSUER, None, KEYS_URL, body).problem
