"""What a worker remembers, and that neither floods nor failures cost it more than they should."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from felix.identity.exchange import ExchangeRequest
from felix.identity.fresh import APART_MAX, BRIEF_S, PATIENT_MAX, Fresh
from felix.identity.jwks import BELIEVED_S, COOLDOWN_S, MISSING_S, read_key_set
from felix.identity.reasons import NotAllowed, NotProven
from felix.proto.control_plane import Call
from felix.proto.errors import IdpUnavailable, NoLeader, NotFound
from tests.support.identity_world import (
    ED_KEY,
    ES_KEY,
    ISSUER,
    KEY_SET,
    OTHER_ES_KEY,
    RSA_KEY,
    World,
    claims,
    jwk_of,
    key_set,
    number,
    signed,
)
from tests.support.waiting import eventually

USER = "a2f54b1e96143bdc067d50ba55334ac128a910c3390b271d98391a1c1b87a934"


class Ticks:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def remembering(
    load: Callable[[str, int | None, bool], int],
    ticks: Callable[[], float],
    entries_max: int = 2,
) -> Fresh[str, int]:
    return Fresh(load, believed_s=1.0, entries_max=entries_max, monotonic=ticks)


def exchange(world: World, kid: str = "es", tenant_id: str = "acme") -> str:
    token = signed(claims(), kid=kid, key=ES_KEY)
    return world.gate.exchange(tenant_id, token, ExchangeRequest(), Call()).felix_token


@pytest.fixture
def world() -> World:
    world = World()
    world.rules((USER, "stream:acme/pay/*", "stream.publish"))
    return world


def test_an_answer_is_believed_for_its_time_and_then_renewed_with_the_last_one() -> None:
    ticks, asked = Ticks(), list[tuple[int | None, bool]]()

    def load(_key: str, last: int | None, must_be_fresh: bool) -> int:
        asked.append((last, must_be_fresh))
        return len(asked)

    memory = remembering(load, ticks)
    assert [memory.get("a"), memory.get("a")] == [1, 1]
    ticks.now_s = 1.0
    assert memory.get("a") == 2
    assert memory.renew("a") == 3
    assert memory.get("a") == 3
    assert asked == [(None, False), (1, False), (2, True)]


def test_of_many_threads_one_asks_and_all_get_what_it_got() -> None:
    began, go_on, asked = threading.Event(), threading.Event(), list[str]()

    def load(key: str, _last: int | None, _must_be_fresh: bool) -> int:
        asked.append(key)
        began.set()
        assert go_on.wait(10)
        return 7

    memory = remembering(load, Ticks())
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(memory.get("a"))) for _ in range(8)]
    threads[0].start()
    assert began.wait(10)
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert got == [7] * 8
    assert asked == ["a"]


def test_whoever_waits_gets_the_same_error_and_the_next_one_asks_again() -> None:
    began, go_on, asked = threading.Event(), threading.Event(), list[str]()

    def load(key: str, _last: int | None, _must_be_fresh: bool) -> int:
        asked.append(key)
        began.set()
        assert go_on.wait(10)
        raise NoLeader("none")

    memory = remembering(load, Ticks())
    failed: list[str] = []

    def get() -> None:
        with pytest.raises(NoLeader):
            memory.get("a")
        failed.append("a")

    threads = [threading.Thread(target=get) for _ in range(4)]
    threads[0].start()
    assert began.wait(10)
    for thread in threads[1:]:
        thread.start()
    # Nothing tells that the others have come to wait but that they have not failed, nor asked.
    eventually(lambda: all(thread.is_alive() for thread in threads) and asked == ["a"])
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(failed) == 4
    before = len(asked)
    get()
    assert len(asked) == before + 1


def test_where_few_may_wait_long_the_others_are_refused_soon_and_all_get_what_comes_in_time() -> (
    None
):
    began, go_on = threading.Event(), threading.Event()

    def load(_key: str, _last: int | None, _must_be_fresh: bool) -> int:
        began.set()
        assert go_on.wait(10)
        return 7

    ticks = Ticks()
    memory: Fresh[str, int] = Fresh(
        load, believed_s=1.0, entries_max=2, monotonic=lambda: ticks.now_s,
        crowded=lambda: IdpUnavailable("crowded"),
    )  # fmt: skip
    with ThreadPoolExecutor(PATIENT_MAX + 1) as pool:
        patient = [pool.submit(memory.get, key) for key in "ab" * (PATIENT_MAX // 2)]
        assert began.wait(10)
        eventually(lambda: memory._patient == PATIENT_MAX)
        ticks.now_s = BRIEF_S  # they have been in the air for so long
        for key in "ab":
            with pytest.raises(IdpUnavailable):
                memory.get(key)
        ticks.now_s = BRIEF_S - 10.0
        late = pool.submit(memory.get, "a")
        go_on.set()
        assert [one.result(10) for one in (*patient, late)] == [7] * (PATIENT_MAX + 1)
    eventually(lambda: (memory._patient, memory._apart) == (0, 0))


def test_threads_that_ask_apart_from_requests_are_few() -> None:
    go_on = threading.Event()

    def load(_key: str, _last: int | None, _must_be_fresh: bool) -> int:
        assert go_on.wait(10)
        return 7

    memory: Fresh[str, int] = Fresh(
        load, believed_s=1.0, entries_max=2, monotonic=time.monotonic,
        crowded=lambda: IdpUnavailable("crowded"),
    )  # fmt: skip
    with ThreadPoolExecutor(APART_MAX) as pool:
        asked = [pool.submit(memory.get, str(number)) for number in range(APART_MAX)]
        eventually(lambda: memory._apart == APART_MAX)
        with pytest.raises(IdpUnavailable):
            memory.get("one more")
        with pytest.raises(IdpUnavailable):
            memory.ask("one more", lambda: 8)
        go_on.set()
        assert sum(one.exception(10) is None for one in asked) >= PATIENT_MAX
    eventually(lambda: memory._apart == 0)
    assert memory.ask("one more", lambda: 8) == memory.get("one more") == 8


def test_where_nothing_new_can_be_had_those_who_wait_for_it_together_fail_together() -> None:
    asked, go_on = list[int](), threading.Event()

    def load(_key: str, _last: int | None, _must_be_fresh: bool) -> int:
        asked.append(len(asked))
        assert go_on.wait(10)
        raise NoLeader("none")

    looks = list[float]()

    def monotonic() -> float:
        looks.append(time.monotonic())
        return looks[-1]

    memory = remembering(load, monotonic)

    def renew() -> None:
        with pytest.raises(NoLeader):
            memory.renew_together("a")

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(renew) for _ in range(8)]
        # Each looks at the clock when it comes, and who asks once or twice more.
        eventually(lambda: len(asked) == 1 and len(looks) >= 8 + 2)
        go_on.set()
        for one in waiting:
            one.result(10)
    assert len(asked) <= 2


def test_the_memory_is_bounded_and_what_is_not_there_drives_nothing_out() -> None:
    asked: list[str] = []

    def load(key: str, _last: int | None, _must_be_fresh: bool) -> int:
        asked.append(key)
        if key.startswith("no"):
            raise NotFound(key)
        return 1

    memory = remembering(load, Ticks())
    for key in ("a", "b"):
        memory.get(key)
    for number_ in range(20):
        with pytest.raises(NotFound):
            memory.get(f"no{number_}")
    memory.get("a")
    with pytest.raises(NotFound):
        memory.get("no19")
    assert len(asked) == 22
    memory.get("c")  # `b` was used longer ago than `a`
    memory.get("a")
    assert asked[22:] == ["c"]
    memory.get("b")
    assert asked[23:] == ["b"]
    assert (len(memory._held), len(memory._missing)) == (2, 2)


def test_what_is_gone_is_forgotten_and_what_has_come_is_found_at_once_by_whoever_made_it() -> None:
    there = False

    def load(key: str, _last: int | None, _must_be_fresh: bool) -> int:
        if not there:
            raise NotFound(key)
        return 1

    memory = remembering(load, Ticks())
    with pytest.raises(NotFound):
        memory.get("a")
    there = True
    with pytest.raises(NotFound):
        memory.get("a")
    assert memory.renew("a") == 1
    assert memory.get("a") == 1
    there = False
    with pytest.raises(NotFound):
        memory.renew("a")
    with pytest.raises(NotFound):
        memory.get("a")


def test_a_warm_exchange_asks_the_node_nothing(world: World) -> None:
    token = exchange(world)
    asked = dict(world.plane.asked)
    for _ in range(10):
        exchange(world)
        world.gate.caller_of_token(token)
    assert world.plane.asked == asked


def test_an_unchanged_tenant_is_not_compiled_anew_and_a_changed_one_is(world: World) -> None:
    view = world.gate.identity("acme")
    world.ticks_s += 1.0
    assert world.gate.identity("acme") is view
    assert world.plane.asked["GetTenantIdentity"] == 2
    world.rules()
    assert world.gate.identity("acme") is not view


def test_whoever_has_changed_a_tenant_sees_it_at_once(world: World) -> None:
    exchange(world)
    world.rules()
    world.ticks_s -= 60.0
    assert len(world.gate.identity("acme").policies) == 1
    assert world.gate.identity("acme", fresh=True).policies == ()
    with pytest.raises(NotAllowed):
        exchange(world)


def test_names_that_no_tenant_can_have_ask_nothing_and_unknown_ones_are_looked_for_again(
    world: World,
) -> None:
    for tenant_id in ("a/b", "", "*", "x" * 300):
        with pytest.raises(NotAllowed):
            exchange(world, tenant_id=tenant_id)
    assert world.plane.asked["GetTenantIdentity"] == 0
    for _ in range(2):
        with pytest.raises(NotAllowed):
            exchange(world, tenant_id="nobody")
    assert world.plane.asked["GetTenantIdentity"] == 3, "once, and again before each refusal"


def test_what_was_given_a_moment_ago_counts_before_anybody_is_refused(world: World) -> None:
    rules = world.gate.identity("acme").policies
    world.rules()
    with pytest.raises(NotAllowed):
        exchange(world)
    world.change(policies=rules)
    world.ticks_s -= 60.0
    exchange(world)


def test_s9_a_flood_of_unknown_kids_asks_once_a_second(world: World) -> None:
    exchange(world)
    for number_ in range(100):
        with pytest.raises(NotProven) as caught:
            exchange(world, kid=f"made-up-{number_}")
        assert caught.value.reason == "kid_unknown"
    assert world.plane.asked["GetIssuerKeys"] == 2
    world.ticks_s += COOLDOWN_S
    for _ in range(100):
        with pytest.raises(NotProven):
            exchange(world, kid="made-up-0")
    assert world.plane.asked["GetIssuerKeys"] == 2, "this one was asked for a moment ago"
    world.ticks_s += MISSING_S
    with pytest.raises(NotProven):
        exchange(world, kid="made-up-0")
    assert world.plane.asked["GetIssuerKeys"] == 4, "the set was old too"


def test_a_key_that_the_provider_has_just_published_is_found_at_once(world: World) -> None:
    exchange(world)
    world.plane.key_sets["acme", ISSUER] = key_set(jwk_of(ES_KEY, "new"))
    exchange(world, kid="new")
    assert world.plane.asked["GetIssuerKeys"] == 2


def test_a_key_that_the_provider_has_taken_back_is_believed_no_longer_than_a_moment(
    world: World,
) -> None:
    exchange(world)
    world.plane.key_sets["acme", ISSUER] = key_set(jwk_of(ES_KEY, "new"))
    world.ticks_s += BELIEVED_S
    with pytest.raises(NotProven):
        exchange(world)


def test_an_issuer_that_was_changed_is_asked_for_its_keys_at_once(world: World) -> None:
    exchange(world)
    world.plane.key_sets["acme", ISSUER] = key_set(jwk_of(OTHER_ES_KEY, "es"))
    world.issuer(updated_at_ms=1)
    world.ticks_s -= 55.0  # the tenant is old by now, its keys would not be
    with pytest.raises(NotProven) as caught:
        exchange(world)
    assert caught.value.reason == "signature"


def test_keys_are_read_by_kid_the_first_of_two_wins_and_there_is_a_limit() -> None:
    keys = read_key_set(KEY_SET).by_kid
    assert {kid: len(one.algorithms) for kid, one in keys.items()} == {"es": 1, "rsa": 6, "ed": 1}
    twice = read_key_set(key_set(jwk_of(ES_KEY, "k"), jwk_of(OTHER_ES_KEY, "k"))).by_kid
    assert twice["k"].key == ES_KEY.public_key()
    many = read_key_set(key_set(*(jwk_of(ED_KEY, str(n)) for n in range(200))))
    assert len(many.by_kid) == 100


NUMBERS = RSA_KEY.public_key().public_numbers()
POINT = ES_KEY.public_key().public_numbers()


@pytest.mark.parametrize(
    "jwk",
    [
        jwk_of(ES_KEY, "k", crv="P-384"),
        jwk_of(ES_KEY, "k", y=number(POINT.y ^ 1, 32)),
        jwk_of(ES_KEY, "k", x=number(POINT.x, 33)),
        jwk_of(ES_KEY, "k", x=""),
        jwk_of(ES_KEY, "k", kty="RSA"),
        jwk_of(ES_KEY, "k", key_ops=["sign"]),
        jwk_of(ED_KEY, "k", crv="X25519"),
        jwk_of(ED_KEY, "k", x="AAAA"),
        jwk_of(RSA_KEY, "k", n=number(NUMBERS.n >> 1)),
        jwk_of(RSA_KEY, "k", n=number((1 << 9_000) + 1)),
        jwk_of(RSA_KEY, "k", e=number(1)),
        jwk_of(RSA_KEY, "k", e=number((1 << 40) + 1)),
        jwk_of(RSA_KEY, "k", n="+/=="),
        jwk_of(RSA_KEY, "k", alg="HS256"),
        jwk_of(RSA_KEY, "k", alg="none"),
        jwk_of(RSA_KEY, "k", alg=["RS256"]),
        {"kty": "oct", "kid": "k", "k": "AAAA", "alg": "HS256"},
    ],
)
def test_a_key_that_cannot_be_used_is_left_out(jwk: dict[str, object]) -> None:
    assert set(read_key_set(key_set(jwk, jwk_of(ED_KEY, "good"))).by_kid) == {"good"}


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b'{"keys": {}}', b"<html>", b"\xff", b"[" * 100_000, b'{"keys": null}'],
)
def test_what_is_no_key_set_is_the_providers_fault(document: bytes) -> None:
    with pytest.raises(IdpUnavailable):
        read_key_set(document)
