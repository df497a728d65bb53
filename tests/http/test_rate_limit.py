"""Rate limits per client: a clock that stands still until it is moved, random orders."""

from __future__ import annotations

import random
import time
from typing import Any

import falcon
import pytest
from falcon.testing import TestClient
from structlog.testing import capture_logs

from felix.core.refusals import ALONE_PER_S
from felix.http import errors, rate_limit
from felix.http.app import create_app
from felix.http.rate_limit import BURST_S, CLIENTS_MAX, REFUSAL_COST, RateLimit, client_of
from felix.http.settings import HttpSettings
from felix.identity.refusal_log import RefusalLog
from tests.http.realm import ACME, POLICIES, realm
from tests.support.local_control_plane import LocalControlPlane
from tests.support.refusal_trail import RefusalTrail

RATE = 5


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Site:
    """An app with nothing but a rate limit."""

    def __init__(self, rate: int = RATE) -> None:
        self.clock = Clock()
        self.limit = RateLimit(rate, self.clock)
        app: falcon.App[falcon.Request, falcon.Response] = falcon.App(middleware=[self.limit])
        errors.install(app)
        app.add_route("/", self)
        self._client = TestClient(app)

    def on_get(self, _req: falcon.Request, _resp: falcon.Response) -> None:
        """Answer with nothing."""

    def ask(self, address: str = "192.0.2.1") -> falcon.testing.Result:
        return self._client.simulate_get("/", remote_addr=address)

    def passes(self, address: str = "192.0.2.1") -> bool:
        return self.ask(address).status_code == 200


def passed(site: Site, count: int, address: str = "192.0.2.1") -> int:
    return sum(site.passes(address) for _ in range(count))


def test_s16_a_client_may_send_two_seconds_worth_at_once_and_then_so_much_a_second() -> None:
    site = Site()
    assert passed(site, 100) == BURST_S * RATE
    site.clock.now_s += 1
    assert passed(site, 100) == RATE
    site.clock.now_s += 3600
    assert passed(site, 100) == BURST_S * RATE


def test_one_more_is_told_when_to_come_back() -> None:
    site = Site(1)
    passed(site, BURST_S)
    refused = site.ask()
    assert (refused.status_code, refused.json["code"]) == (429, "overloaded")
    assert refused.headers["Retry-After"] == "2"  # one second and a millisecond, rounded up
    site.clock.now_s += 1
    assert site.passes()


def test_being_refused_costs_nothing() -> None:
    site = Site()
    passed(site, 1000)
    site.clock.now_s += 1 / RATE
    assert passed(site, 10) == 1


def test_one_client_does_not_slow_another_down() -> None:
    site = Site()
    passed(site, 1000, "192.0.2.1")
    assert site.passes("192.0.2.2")


def test_refused_authentications_are_dear_and_the_debt_has_a_bound() -> None:
    site = Site()
    site.limit.note_refused("192.0.2.1")
    assert not site.passes(), "the whole burst is gone"
    for _ in range(1000):
        site.limit.note_refused("192.0.2.1")
    site.clock.now_s += (REFUSAL_COST + 1) / RATE
    assert site.passes()
    assert site.passes("192.0.2.2")


@pytest.mark.parametrize(
    ("one", "other", "are_the_same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("no address", "no address", True),
    ],
)
def test_an_ipv6_client_is_its_network(one: str, other: str, are_the_same: bool) -> None:
    assert (client_of(one) == client_of(other)) == are_the_same


def test_clients_beyond_the_bound_forget_whoever_has_been_away_longest() -> None:
    site = Site()
    passed(site, 100, "10.0.0.0")
    passed(site, 100, "10.0.0.1")
    for number in range(2, CLIENTS_MAX):
        site.limit.note_refused(f"10.0.{number // 256}.{number % 256}")
    assert not site.passes("10.0.0.0"), "remembered, and used just now"
    site.limit.note_refused("10.1.0.0")
    assert not site.passes("10.0.0.0")
    assert site.passes("10.0.0.1"), "forgotten"


def flood(address: str, count: int, settings: HttpSettings) -> tuple[RefusalTrail, list[Any]]:
    """Send so many requests from an address to the whole app; give the trail and the log."""
    trail = RefusalTrail()
    log = RefusalLog(trail, pause_s=0.001)
    client = TestClient(create_app(LocalControlPlane(), settings, refusals=log))
    with capture_logs() as said:
        for _ in range(count):
            client.simulate_get("/v1/regions", remote_addr=address)
        log.close()
    return trail, [one for one in said if one["event"] == "request_refused"]


def test_what_the_limit_refused_is_in_the_trail_counted_and_costs_a_few_records() -> None:
    begun_s = time.time()
    limited = HttpSettings(is_open=True, client_requests_per_s=1)
    trail, lines = flood("2001:db8::7", 1_000, limited)
    seconds = int(time.time()) - int(begun_s) + 1
    found = [one for batch in trail.batches for one in batch.refusals]
    passed_max = BURST_S + seconds
    assert 1_000 - passed_max <= sum(one.count for one in found) <= 1_000 - BURST_S
    assert {(one.operation, one.code, one.source) for one in found} == {
        ("AnyRequest", "overloaded", "2001:db8::/64")
    }
    assert all("1 requests a second" in one.reason for one in found)
    assert all(one.request_id for one in found)
    assert len(lines) <= ALONE_PER_S * seconds


def test_without_a_refusal_the_trail_has_nothing() -> None:
    trail, lines = flood("192.0.2.1", 50, HttpSettings(is_open=True))
    assert trail.batches == []
    assert lines == []


def test_zero_is_no_bound() -> None:
    site = Site(0)
    site.limit.note_refused("192.0.2.1")
    assert passed(site, 500) == 500


def test_no_client_gets_more_than_its_burst_and_what_flows_in() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    bucket = rate_limit.TokenBucket(RATE, BURST_S * RATE, 0.0)
    now_s, taken = 0.0, 0
    for _ in range(5000):
        now_s += chance.choice([0.0, 0.0, 0.01, 0.1, 1.0])
        wait_s = bucket.take(now_s)
        taken += not wait_s
        assert taken <= BURST_S * RATE + RATE * now_s + 1e-6
        if wait_s and chance.random() < 0.1:
            now_s += wait_s + 1e-9
            assert not bucket.take(now_s), "the wait was said rightly"
            taken += 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", POLICIES, None),
        ("POST", f"{ACME}/token/exchange", None),
        ("POST", f"{ACME}/token/refresh", {"refresh_token": "frt_guess"}),
    ],
)
def test_s16_guessing_is_dear_at_every_door(method: str, path: str, body: object) -> None:
    with realm(client_requests_per_s=20) as world:
        answers = [world.as_("x", method, path, json=body) for _ in range(10)]
        statuses = [one.status_code for one in answers]
        assert statuses[0] == 401
        assert answers[0].headers["WWW-Authenticate"] == "Bearer"
        assert 429 in statuses, "ten of a burst of forty, and each counts as eleven"
