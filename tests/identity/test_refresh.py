"""Refresh tokens: used once, and never good for more than the exchange they came from."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from felix.identity.exchange import ExchangeRequest, Issued
from felix.identity.reasons import Refused
from felix.proto.control_plane import Call
from felix.proto.errors import NotEnabled, OutcomeUnknown, ValidationFailed
from tests.support.identity_world import NOW_S, World, claims, signed

USER = "a2f54b1e96143bdc067d50ba55334ac128a910c3390b271d98391a1c1b87a934"


@pytest.fixture
def world() -> World:
    world = World()
    world.rules(
        (USER, "stream:acme/pay/*", "stream.publish"),
        (USER, "cache:acme/pay/rates", "cache.read"),
    )
    return world


def begin(world: World, **asked: Any) -> Issued:
    request = ExchangeRequest(refresh=True, **asked)
    return world.gate.exchange("acme", signed(claims()), request, Call())


def refresh(world: World, issued: Issued, **asked: Any) -> Issued:
    assert issued.refresh_token is not None
    return world.gate.refresh("acme", issued.refresh_token, ExchangeRequest(**asked), Call())


def refusal(world: World, issued: Issued, **asked: Any) -> str:
    with pytest.raises(Refused) as caught:
        refresh(world, issued, **asked)
    return caught.value.reason


def perms(issued: Issued) -> list[str]:
    said = jwt.decode(issued.felix_token, options={"verify_signature": False})
    assert isinstance(said["perms"], list)
    return sorted(said["perms"])


def test_nobody_gets_a_refresh_token_who_has_not_asked(world: World) -> None:
    issued = world.gate.exchange("acme", signed(claims()), ExchangeRequest(), Call())
    assert issued.refresh_token is None
    assert world.plane.grants == {}


def test_a_refresh_token_gives_the_same_again_and_its_successor(world: World) -> None:
    first = begin(world)
    assert first.refresh_expires_in == 43_200
    assert first.refresh_token is not None
    (kept,) = world.plane.grants.values()
    assert kept.secret_hash not in first.refresh_token.encode()
    assert (kept.family, kept.expires_at_ms) == (kept.grant_id, (NOW_S + 43_200) * 1000)
    world.now_s += 5_000  # the upstream token has expired
    second = refresh(world, first)
    assert perms(second) == perms(first)
    assert (second.expires_in, second.refresh_expires_in) == (900, 38_200)
    assert world.gate.caller_of_token(second.felix_token).principal == USER
    assert perms(refresh(world, second)) == perms(first)


def test_using_one_twice_ends_the_whole_family(world: World) -> None:
    first = begin(world)
    second = refresh(world, first)
    assert refusal(world, first) == "refresh_token"
    assert refusal(world, second) == "refresh_token"


def test_a_request_that_is_repeated_with_its_key_has_the_same_successor(world: World) -> None:
    first = begin(world)
    assert first.refresh_token is not None
    call = Call(idempotency_key="k")

    def repeated() -> Issued:
        return world.gate.refresh("acme", first.refresh_token or "", ExchangeRequest(), call)

    second = repeated()
    assert repeated().refresh_token == second.refresh_token
    assert perms(refresh(world, second)) == perms(first)
    with pytest.raises(Refused):
        repeated()


def test_another_key_or_none_is_another_use_and_ends_the_family(world: World) -> None:
    for call in (Call(idempotency_key="other"), Call()):
        first = begin(world)
        assert first.refresh_token is not None
        key = Call(idempotency_key="k")
        second = world.gate.refresh("acme", first.refresh_token, ExchangeRequest(), key)
        with pytest.raises(Refused):
            world.gate.refresh("acme", first.refresh_token, ExchangeRequest(), call)
        assert refusal(world, second) == "refresh_token"


def test_two_callers_with_the_same_key_get_each_their_own(world: World) -> None:
    call = Call(idempotency_key="k")
    mine, other = begin(world), begin(world)
    got = [
        world.gate.refresh("acme", one.refresh_token or "", ExchangeRequest(), call).refresh_token
        for one in (mine, other)
    ]
    assert len({mine.refresh_token, other.refresh_token, *got}) == 4


def test_it_is_never_good_for_more_than_the_exchange_or_the_rules_now(world: World) -> None:
    issued = begin(world, requested=("stream.publish",))
    world.rules((USER, "tenant:acme", "tenant.manage"), (USER, "cache:acme/pay/*", "cache.read"))
    issued = refresh(world, issued)
    assert perms(issued) == ["stream.publish:stream:acme/pay/*"]
    world.rules((USER, "stream:acme/pay/orders", "stream.publish"))
    issued = refresh(world, issued)
    assert perms(issued) == ["stream.publish:stream:acme/pay/orders"]
    world.rules()
    assert refusal(world, issued) == "no_permissions"


def test_a_refresh_may_ask_for_less_but_not_for_another_audience(world: World) -> None:
    issued = refresh(world, begin(world), requested=("cache.read",))
    assert perms(issued) == ["cache.read:cache:acme/pay/rates"]
    # To ask for less was about that token, not about the grant.
    issued = refresh(world, issued)
    assert len(perms(issued)) == 2
    assert refusal(world, issued, audience="felix-controlplane") == "refresh_audience"


def test_a_token_lives_no_longer_than_its_grant(world: World) -> None:
    issued = begin(world)
    world.now_s += 43_100
    issued = refresh(world, issued)
    assert (issued.expires_in, issued.refresh_expires_in) == (100, 100)


def test_an_issuer_that_is_trusted_no_more_ends_it(world: World) -> None:
    issued = begin(world)
    world.change(issuers=())
    assert refusal(world, issued) == "issuer_not_trusted"


@pytest.mark.parametrize(
    "token",
    ["", "frt_", "frt_x_y", f"frt_{'0' * 32}_{'0' * 64}", f"frt_{'0' * 32}_{'0' * 64}\n", "é" * 99],
)
def test_what_is_no_refresh_token_is_refused(world: World, token: str) -> None:
    with pytest.raises(Refused) as caught:
        world.gate.refresh("acme", token, ExchangeRequest(), Call())
    assert caught.value.reason == "refresh_token"


def test_a_request_that_is_wrong_in_itself_does_not_use_it_up(world: World) -> None:
    issued = begin(world)
    for asked in ({"audience": "other"}, {"resources": ("stream:acme/a/b",) * 65}):
        with pytest.raises(ValidationFailed):
            refresh(world, issued, **asked)
    assert refresh(world, issued).refresh_token is not None


def test_what_the_cluster_cannot_do_is_said_as_it_is(world: World) -> None:
    issued = begin(world)
    world.plane.failure = OutcomeUnknown("leadership was lost")
    with pytest.raises(OutcomeUnknown):
        refresh(world, issued)
    with pytest.raises(OutcomeUnknown):
        begin(world)


def test_refresh_tokens_can_be_turned_off() -> None:
    world = World(refresh_lifetime_s=0)
    world.rules((USER, "stream:acme/pay/*", "stream.publish"))
    issued = begin(world)
    assert issued.refresh_token is None
    with pytest.raises(NotEnabled):
        world.gate.refresh("acme", f"frt_{'0' * 32}_{'0' * 64}", ExchangeRequest(), Call())
