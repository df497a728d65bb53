"""Holes in the correctness of the existing service (contract, chapter 15, C7 to C17), shown closed.

One test at least is named after each; all over real HTTP, at a node with open feeds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from felix.proto.permissions import OPERATOR_TENANT, TENANT_ADMIN
from tests.http.helpers import CACHE, FEEDS, NAMESPACE, STREAM
from tests.support.identity_world import jwk_of
from tests.support.idp_server import IdpServer, idp_server
from tests.support.site import ADMIN, Answer, Site, claims_of, site
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

AT_ONCE: Final = 8
NOBODY_LISTENS: Final = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def idp() -> Iterator[IdpServer]:
    """Whom the tenants trust."""
    with idp_server() as found:
        yield found


@pytest.fixture(scope="module")
def felix(idp: IdpServer) -> Iterator[Site]:
    """A node."""
    with site(idp.issuer, auth={"open_feeds": True}) as found:
        yield found


@pytest.fixture
def tenant(felix: Site) -> str:
    """A tenant of its own for a test."""
    return felix.new_tenant()


@pytest.fixture
def admin(felix: Site, idp: IdpServer, tenant: str) -> str:
    """The Felix token of its administrator."""
    return felix.token(tenant, idp.token(ADMIN))


def fill(felix: Site, tenant: str, admin: str) -> str:
    """Create one of each; give the path of the namespace."""
    path = f"/v1/tenants/{tenant}/namespaces"
    for where, body in (
        (path, NAMESPACE), (f"{path}/billing/streams", STREAM), (f"{path}/billing/caches", CACHE),
    ):  # fmt: skip
        assert felix.ask("POST", where, body, token=admin).status == 201
    return f"{path}/billing"


def changes(felix: Site, feed: str, tenant: str) -> list[dict[str, Any]]:
    """Read what a feed says of a tenant."""
    items: list[dict[str, Any]] = felix.ask("GET", f"/v1/{feed}/changes").ok()["items"]
    return [one for one in items if one.get("key", one)["tenant_id"] == tenant]


def at_once(ask: Callable[[int], Answer]) -> list[Answer]:
    """Ask from several threads at the same moment; give the answers in the order of the threads."""
    begin = threading.Barrier(AT_ONCE)

    def one(number: int) -> Answer:
        begin.wait()
        return ask(number)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, range(AT_ONCE)))


def test_c7_a_change_of_durable_is_told_as_deleted_and_created(
    felix: Site, tenant: str, admin: str
) -> None:
    stream = f"{fill(felix, tenant, admin)}/streams/invoices"
    for durable in (True, False, True):
        felix.ask("PATCH", stream, {"durable": durable}, token=admin).ok()
    told = changes(felix, "streams", tenant)
    assert [one["op"] for one in told] == ["created", "deleted", "created", "deleted", "created"]
    assert [one["stream"]["durable"] for one in told[::2]] == [True, False, True]


def test_c8_a_parent_that_is_being_deleted_leaves_no_orphans(
    felix: Site, tenant: str, admin: str
) -> None:
    billing = fill(felix, tenant, admin)

    def race(number: int) -> Answer:
        if number == AT_ONCE // 2:
            return felix.ask("DELETE", billing, token=admin)
        body = STREAM | {"stream": f"s{number}"}
        return felix.ask("POST", f"{billing}/streams", body, token=admin)

    answers = at_once(race)
    assert answers.pop(AT_ONCE // 2).status == 204
    assert {one.status for one in answers} <= {201, 404}
    for feed in ("streams", "caches", "namespaces"):
        items = felix.ask("GET", f"/v1/{feed}/snapshot").ok()["items"]
        assert not [one for one in items if one["tenant_id"] == tenant]


def test_c9_a_tenant_is_never_there_without_a_key(felix: Site, idp: IdpServer) -> None:
    operator = felix.token(OPERATOR_TENANT, idp.token(ADMIN))
    names = [felix.new_name() for _ in range(AT_ONCE // 2)]

    def create_or_watch(number: int) -> Answer:
        name = names[number // 2]
        if number % 2:
            body = {"tenant_id": name, "display_name": ""}
            return felix.ask("POST", "/v1/tenants", body, token=operator)
        seen: list[Answer] = []

        def it_is_there() -> bool:
            seen.append(felix.ask("GET", f"/v1/tenants/{name}/.well-known/jwks.json"))
            return seen[-1].status != 404

        eventually(it_is_there)
        return seen[-1]

    answers = at_once(create_or_watch)
    assert [one.status for one in answers] == [200, 201] * len(names)
    assert all(one.json["keys"] for one in answers[::2])


def test_c10_of_bootstraps_at_the_same_moment_one_wins(felix: Site, idp: IdpServer) -> None:
    name, people = felix.new_name(), [f"admin-{number}" for number in range(AT_ONCE)]

    def initialize(number: int) -> Answer:
        admins = [felix.principal(people[number])]
        return felix.initialize(name, felix.bootstrap_body(initial_admin_principals=admins))

    answers = at_once(initialize)
    won = [number for number, one in enumerate(answers) if one.status == 200]
    assert len(won) == 1
    lost = [one.refusal for one in answers if one.status != 200]
    assert lost == [(409, "already_initialized")] * (AT_ONCE - 1)
    for number, person in enumerate(people):
        answer = felix.exchange(name, idp.token(person))
        assert answer.status == (200 if number in won else 403)


def test_c10_a_bootstrap_that_fails_leaves_nothing_behind(felix: Site) -> None:
    name = felix.new_name()
    rules = [
        {"subject": "role:a", "object": f"stream:{name}/a/b", "action": "stream.publish"},
        {"subject": "role:a", "object": "stream:other/a/b", "action": "stream.publish"},
    ]
    assert felix.initialize(name, felix.bootstrap_body(policies=rules)).status == 400
    assert felix.ask("GET", f"/v1/tenants/{name}/.well-known/jwks.json").status == 404
    assert changes(felix, "tenants", name) == []
    assert felix.bootstrap(name)["status"] == "initialized"


def test_c11_the_same_rule_and_assignment_twice_are_stored_once(
    felix: Site, tenant: str, admin: str
) -> None:
    rbac = f"/v1/tenants/{tenant}/rbac"
    rule = {"subject": "role:x", "object": f"stream:{tenant}/a/b", "action": "stream.publish"}
    given = {"user": "group:x", "role": "role:x"}
    for what, body in (("policies", rule), ("groupings", given)):
        for _ in range(3):
            assert felix.ask("POST", f"{rbac}/{what}", body, token=admin).status == 204
        assert felix.ask("GET", f"{rbac}/{what}", token=admin).ok().count(body) == 1


def test_c12_no_rule_that_is_given_takes_the_place_of_a_required_one(
    felix: Site, idp: IdpServer
) -> None:
    name = felix.new_name()
    looks_like = {"subject": TENANT_ADMIN, "object": f"namespace:{name}/one", "action": "ns.manage"}
    anything = {"subject": TENANT_ADMIN, "object": "tenant:anything", "action": "tenant.manage"}
    assert felix.initialize(name, felix.bootstrap_body(policies=[anything])).status == 400
    felix.bootstrap(name, policies=[looks_like])
    perms = claims_of(felix.token(name, idp.token(ADMIN)))["perms"]
    required = {"tenant.manage", "rbac.view", "rbac.policy.manage", "rbac.assignment.manage"}
    assert {f"{action}:tenant:{name}" for action in required} <= set(perms)
    assert f"ns.manage:namespace:{name}/*" in perms


def test_c13_a_provider_that_cannot_be_reached_is_no_bad_token(felix: Site, idp: IdpServer) -> None:
    away = felix.issuer_body(issuer=NOBODY_LISTENS, jwks_url=f"{NOBODY_LISTENS}/keys")
    name = felix.new_tenant(idp_issuers=[away])
    answer = felix.exchange(name, idp.token(ADMIN, iss=NOBODY_LISTENS))
    assert answer.refusal == (503, "idp_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1


def test_c14_a_key_without_alg_is_taken_and_keys_that_cannot_be_read_hurt_no_other(
    felix: Site,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with idp_server() as odd:
        odd.extra_keys = [
            {"kty": "EC", "kid": "p521", "crv": "P-521", "x": "AA", "y": "AA"},
            {"kty": "EC", "kid": "k", "crv": "secp256k1", "x": "AA", "y": "AA"},
            {"kty": "oct", "kid": "secret", "k": "AA"},
            {"kty": "new", "kid": 7},
            jwk_of(key, "bare"),
        ]
        assert "alg" not in odd.extra_keys[-1]
        trusting = felix.issuer_body(issuer=odd.issuer, jwks_url=odd.jwks_url)
        name = felix.new_tenant(idp_issuers=[trusting], initial_admin_principals=["group:admins"])
        claims = jwt.decode(
            odd.token(ADMIN, groups=["admins"]), options={"verify_signature": False}
        )
        bare = jwt.encode(claims, key, "ES256", headers={"kid": "bare"})
        for upstream in (bare, odd.token(ADMIN, groups=["admins"])):
            assert felix.exchange(name, upstream).status == 200


@pytest.mark.parametrize("since", [2**63 - 1, 2**63, 2**64, 2**64 - 1, 10**30])
def test_c15_a_since_beyond_any_number_is_beyond_the_head(felix: Site, since: int) -> None:
    for feed in FEEDS:
        head = felix.ask("GET", f"/v1/{feed}/snapshot").ok()["next_seq"]
        page = felix.ask("GET", f"/v1/{feed}/changes?since={since}").ok()
        assert page == {"items": [], "next_seq": head}


def test_c16_both_words_for_a_conflict_are_kept(felix: Site, tenant: str, admin: str) -> None:
    billing = fill(felix, tenant, admin)
    for where, body, code in (
        (billing.removesuffix("/billing"), NAMESPACE, "already_exists"),
        (f"{billing}/streams", STREAM, "conflict"),
        (f"{billing}/caches", CACHE, "conflict"),
    ):
        assert felix.ask("POST", where, body, token=admin).refusal == (409, code)


def test_c17_a_patch_that_changes_nothing_tells_nobody(
    felix: Site, tenant: str, admin: str
) -> None:
    billing = fill(felix, tenant, admin)
    same = {"retention": STREAM["retention"], "consistency": "Leader", "durable": True}
    for path, bodies in (
        (f"{billing}/streams/invoices", ({}, same, {"shards": 9})),
        (f"{billing}/caches/rates", ({}, {"display_name": CACHE["display_name"]})),
    ):
        before = felix.ask("GET", path, token=admin)
        for body in bodies:
            answer = felix.ask("PATCH", path, body, token=admin)
            assert (answer.status, answer.json) == (200, before.json)
            assert answer.headers["ETag"] == before.headers["ETag"]
    for feed in ("streams", "caches"):
        assert [one["op"] for one in changes(felix, feed, tenant)] == ["created"]
