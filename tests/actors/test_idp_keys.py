"""The IdpKeys actor and a real provider: case 24 of the field notes, row by row."""

from __future__ import annotations

import itertools
import json
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pykka
import pytest

from felix.actors.fetchers import THREADS, Broken
from felix.actors.idp_keys import PROBES_MAX, IdpKeys, IdpStatistics
from felix.actors.messages import FindIssuerKeys, GetStatistics, LocalAnswer, ProbeProvider
from felix.core.auth.documents import COOL_DOWN_S, FRESH_S, STALE_S_MAX
from felix.core.auth.idp_cache import KeySource
from felix.proto.errors import FelixError, IdpUnavailable
from felix.proto.identity import IssuerProbe, Jwks
from felix.proto.queries import ProbeIssuer
from felix.transport.outbound import Outbound
from felix.transport.socket_actor import SocketActor, handles
from tests.support.idp_server import IdpServer, Mood, idp_server
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

TOTAL_S = 0.5
PATIENCE_S = 5.0


class Clock:
    """Real time, and what the test adds to it."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


class Mailbox(SocketActor):
    """Whoever asks: keeps the answers for the test."""

    def __init__(self, answers: queue.SimpleQueue[LocalAnswer]) -> None:
        super().__init__(lambda *_: None)
        self._answers = answers

    @handles(LocalAnswer)
    def _take(self, message: LocalAnswer) -> None:
        self._answers.put(message)


class Asking:
    """An IdpKeys actor, and somebody who asks it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.failures: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[LocalAnswer] = queue.SimpleQueue()
        self._tokens = itertools.count()
        self._mailbox = Mailbox.start(self._answers)
        self.actor: pykka.ActorRef[IdpKeys] = IdpKeys.start(
            lambda _, error: self.failures.put(error),
            Outbound(private_addresses=True, total_s=TOTAL_S),
            self.clock,
        )

    def tell(self, source: KeySource, kid: str = "", patience_s: float = PATIENCE_S) -> None:
        token = next(self._tokens)
        self.actor.tell(FindIssuerKeys(token, source, kid, patience_s, self._mailbox))

    def answer(self) -> Jwks | IssuerProbe | FelixError:
        return self._answers.get(timeout=10).result

    def keys(self, source: KeySource, kid: str = "") -> Jwks | FelixError:
        self.tell(source, kid)
        found = self.answer()
        assert not isinstance(found, IssuerProbe)
        return found

    def kids(self, source: KeySource, kid: str = "") -> list[str]:
        found = self.keys(source, kid)
        assert isinstance(found, Jwks), found
        return [one["kid"] for one in json.loads(found.document)["keys"]]

    def tell_probe(self, query: ProbeIssuer, patience_s: float = PATIENCE_S) -> None:
        self.actor.tell(ProbeProvider(next(self._tokens), query, patience_s, self._mailbox))

    def probe(self, query: ProbeIssuer) -> IssuerProbe:
        self.tell_probe(query)
        found = self.answer()
        assert isinstance(found, IssuerProbe), found
        return found

    def statistics(self) -> IdpStatistics:
        found = self.actor.ask(GetStatistics(), timeout=10)
        assert isinstance(found, IdpStatistics)
        return found

    def stop(self) -> None:
        for actor in (self.actor, self._mailbox):
            if actor.is_alive():
                actor.stop(timeout=10)


@contextmanager
def asking() -> Iterator[Asking]:
    one = Asking()
    try:
        yield one
    finally:
        one.stop()


def source_of(idp: IdpServer) -> KeySource:
    return KeySource(idp.issuer, jwks_url=idp.jwks_url)


def test_all_workers_share_what_one_fetch_has_brought() -> None:
    with idp_server() as idp, asking() as node:
        for _ in range(50):
            node.tell(KeySource(idp.issuer))
        assert {type(node.answer()) for _ in range(50)} == {Jwks}
        assert idp.requests == ["/.well-known/openid-configuration", "/keys"]
        assert node.statistics() == IdpStatistics(fetches={"ok": 2}, urls=2, waiting=0)


def test_an_idp_that_is_down_at_the_start_is_asked_again_when_it_may_be_back() -> None:
    with idp_server() as idp, asking() as node:
        idp.go_down()
        assert isinstance(node.keys(source_of(idp)), IdpUnavailable)
        idp.come_up()
        assert isinstance(node.keys(source_of(idp)), IdpUnavailable)
        assert idp.requests == []
        node.clock.ahead_s += 5
        assert node.kids(source_of(idp)) == [idp.kid()]


def test_an_idp_that_goes_down_later_is_not_missed_for_24_hours() -> None:
    with idp_server() as idp, asking() as node:
        assert node.kids(source_of(idp))
        idp.go_down()
        for ahead_s in (FRESH_S, 3600, 12 * 3600, STALE_S_MAX - 60):
            node.clock.ahead_s = ahead_s
            found = node.keys(source_of(idp))
            assert isinstance(found, Jwks)
            assert found.is_stale
            assert found.age_ms >= ahead_s * 1000
        node.clock.ahead_s = STALE_S_MAX + 60
        assert isinstance(node.keys(source_of(idp)), IdpUnavailable)


def test_a_rotated_key_is_found_by_the_first_token_that_names_it() -> None:
    with idp_server() as idp, asking() as node:
        old = idp.kid()
        assert node.kids(source_of(idp)) == [old]
        idp.rotate()
        assert node.kids(source_of(idp), idp.kid()) == [idp.kid()]
        assert idp.count("/keys") == 2


def test_a_key_that_the_provider_has_removed_is_gone_when_the_set_is_no_longer_fresh() -> None:
    with idp_server() as idp, asking() as node:
        old = idp.kid()
        assert node.kids(source_of(idp)) == [old]
        idp.rotate()
        node.clock.ahead_s = FRESH_S
        assert node.kids(source_of(idp)) == [idp.kid()] != [old]


def test_a_thousand_unknown_kids_cost_one_fetch_for_each_cool_down() -> None:
    with idp_server() as idp, asking() as node:
        node.keys(source_of(idp))
        for round_ in (1, 2):
            for n in range(1000):
                node.tell(source_of(idp), f"unknown-{n}")
            assert {type(node.answer()) for _ in range(1000)} == {Jwks}
            assert idp.count("/keys") == 1 + round_
            node.clock.ahead_s += COOL_DOWN_S


@pytest.mark.parametrize(
    "mood", ["redirecting", "huge", "huge_unannounced", "silent", "dripping", "a_list"]
)
def test_a_provider_that_turns_hostile_takes_nothing_away_and_holds_nobody_up(mood: Mood) -> None:
    with idp_server() as idp, asking() as node:
        known = node.kids(source_of(idp))
        idp.mood = mood
        node.clock.ahead_s = FRESH_S
        began = time.monotonic()
        assert node.kids(source_of(idp)) == known
        assert time.monotonic() - began < TOTAL_S + 2
        assert node.kids(source_of(idp), "unknown") == known
        assert idp.count("/keys") == 2
        assert sum(node.statistics().fetches.values()) == 2


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "bad_url"),
        ("http://169.254.169.254/latest/meta-data/", "forbidden_address"),
        ("https://user:secret@idp.example.test/", "bad_url"),
    ],
)
def test_a_discovery_document_cannot_send_the_node_elsewhere(url: str, reason: str) -> None:
    with idp_server() as idp, asking() as node:
        idp.discovery["jwks_uri"] = url
        assert isinstance(node.keys(KeySource(idp.issuer)), IdpUnavailable)
        assert node.statistics().fetches == {"ok": 1, reason: 1}


def test_two_keys_with_the_same_kid_come_as_they_are() -> None:
    with idp_server() as idp, asking() as node:
        idp.extra_keys = [dict(idp.jwks()["keys"][0])]
        assert node.kids(source_of(idp)) == [idp.kid(), idp.kid()]


def test_silent_providers_do_not_hold_up_those_who_ask_another_for_long() -> None:
    with idp_server() as silent, idp_server() as well, asking() as node:
        silent.mood = "silent"
        for n in range(THREADS):
            node.tell(KeySource(silent.issuer, jwks_url=f"{silent.issuer}/{n}"))
        node.tell(source_of(well))
        answers = [node.answer() for _ in range(THREADS + 1)]
        assert [type(one) for one in answers].count(Jwks) == 1
        assert [type(one) for one in answers].count(IdpUnavailable) == THREADS


def test_nobody_waits_longer_than_they_may() -> None:
    with idp_server() as idp, asking() as node:
        idp.mood = "silent"
        node.tell(source_of(idp), patience_s=0.1)
        assert isinstance(node.answer(), IdpUnavailable)
        assert node.statistics().waiting == 0


def test_a_probe_finds_the_provider_and_remembers_nothing() -> None:
    with idp_server() as idp, asking() as node:
        idp.kid("RS256")
        said = node.probe(ProbeIssuer(issuer=idp.issuer))
        assert said == IssuerProbe(
            found_issuer=idp.issuer, jwks_url=idp.jwks_url, algorithms=("ES256", "RS256"), keys=2
        )
        assert node.statistics().urls == 0


def test_a_probe_says_both_issuers_when_they_differ_by_a_slash() -> None:
    with idp_server() as idp, asking() as node:
        idp.discovery["issuer"] = idp.issuer + "/"
        said = node.probe(ProbeIssuer(issuer=idp.issuer))
        assert said.found_issuer == idp.issuer + "/"
        assert "slash at the end" in said.problem


def test_a_probe_of_a_key_set_alone_does_not_need_discovery() -> None:
    with idp_server() as idp, asking() as node:
        said = node.probe(ProbeIssuer(issuer="https://elsewhere.test", jwks_url=idp.jwks_url))
        assert (said.found_issuer, said.keys, said.problem) == (None, 1, "")
        assert idp.requests == ["/keys"]


@pytest.mark.parametrize("mood", ["failing", "redirecting", "not_json", "silent"])
def test_a_probe_says_what_went_wrong(mood: Mood) -> None:
    with idp_server() as idp, asking() as node:
        idp.mood = mood
        assert node.probe(ProbeIssuer(issuer=idp.issuer)).problem
        assert node.probe(ProbeIssuer(issuer="file:///etc/passwd")).problem


def test_too_many_probes_at_once_are_refused() -> None:
    with idp_server() as idp, asking() as node:
        idp.mood = "silent"
        for _ in range(PROBES_MAX + 1):
            node.tell_probe(ProbeIssuer(issuer=idp.issuer))
        assert isinstance(node.answer(), FelixError)
        assert {type(node.answer()) for _ in range(PROBES_MAX)} == {IssuerProbe}
        eventually(lambda: node.statistics().fetches == {"timeout": PROBES_MAX})


def test_an_error_of_ours_in_a_thread_ends_the_actor_loudly() -> None:
    with asking() as node:
        node.actor.tell(Broken(ValueError("ours")))
        assert isinstance(node.failures.get(timeout=10), ValueError)
        eventually(lambda: not node.actor.is_alive())
