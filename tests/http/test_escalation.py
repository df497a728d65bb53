"""Random people with random rights try random calls: nobody gains what whoever gave it had not.

Over HTTP, with real tokens, narrowed ones, old ones and refresh tokens. What may happen is said by
`tests.support.escalation`, which shares no code with what decides; `tests/auth/test_escalation.py`
does the same one level below.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from felix.core.auth import delegation
from felix.core.auth.narrowing import narrow
from felix.core.auth.rbac import RuleSource
from felix.core.catalog import identity_changes
from felix.http import acls, issuers, rbac, rights_questions
from felix.http.desk import Desk
from felix.http.rights import scopes_for
from felix.identity import exchange, tokens, upstream
from felix.identity.caller import Caller
from felix.identity.principals import group_subjects
from felix.identity.tenants import Rights
from felix.proto.commands import ChangeGroupings, CreateNamespace, CreateTenant
from felix.proto.identity import Assignment, IdpIssuer, Policy
from felix.proto.permissions import Permission, read_permission
from felix.proto.queries import Listing
from tests.http.helpers import refused
from tests.http.realm import ACME, ISSUERS, Realm
from tests.support.escalation_search import search
from tests.support.idp_server import IdpServer, idp_server

LIVES = 100
LIVES_BROKEN = 400
FIRST_BROKEN = 7_000_000
"""Always the same lives: by chance one is not found in any number of others."""
"""In which what is broken on purpose must be found; most of it is in a dozen."""
OPERATORS = "/v1/tenants/felix-operators"


@pytest.fixture(scope="module")
def idp() -> Iterator[IdpServer]:
    """The provider of all."""
    with idp_server() as made:
        yield made


def first_seed() -> int:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seeds from {seed}")
    return seed


def test_s2_s3_nobody_gains_over_http_what_whoever_gave_it_could_not_give(idp: IdpServer) -> None:
    begun = time.perf_counter()
    found, done = search(idp, first_seed(), LIVES)
    print(f"{dict(done)} in {time.perf_counter() - begun:.1f} s")
    assert found == []
    enough = Counter(rules=80, assignments=15, simple=30, issuer=3, refresh=40, look=200, knock=40)
    assert not enough - done, "too much was refused to have looked at anything"
    assert not done["never"]


def without_scopes(patch: pytest.MonkeyPatch) -> None:
    for module in (rbac, acls):
        patch.setattr(module, "scopes_for", lambda *_: None)


def without_containment(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(delegation, "_is_within", lambda *_: True)


def without_closure(patch: pytest.MonkeyPatch) -> None:
    def only_itself(source: RuleSource, subjects: Iterable[str]) -> tuple[str, ...]:
        return tuple(subjects)

    patch.setattr(delegation, "closure", only_itself)


def without_a_look_at_what_is_taken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(identity_changes, "check_unassignment", lambda *_: None)


def with_one_right_for_the_other(patch: pytest.MonkeyPatch) -> None:
    def any_of_them(req: Any, action: str, tenant_id: str) -> tuple[str, ...] | None:
        return scopes_for(req, action.replace("assignment", "policy"), tenant_id)

    patch.setattr(rbac, "scopes_for", any_of_them)


def with_tokens_as_they_were_signed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tokens, "still_held", _as_signed)


def with_refresh_tokens_as_they_were_given(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(exchange, "still_held", _as_signed)


def _as_signed(texts: tuple[str, ...], _: Rights) -> tuple[Permission, ...]:
    return tuple(one for one in map(read_permission, texts) if one is not None)


def without_revocation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tokens, "_check_revocations", lambda *_: None)


def without_resources(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(exchange, "narrow", lambda held, wish, _: narrow(held, wish, None))


def with_groups_of_whoever_says_so(patch: pytest.MonkeyPatch) -> None:
    def plain(issuer: IdpIssuer, names: Iterable[str], *, is_only_issuer: bool) -> tuple[str, ...]:
        return group_subjects(issuer, names, is_only_issuer=True)

    patch.setattr(upstream, "group_subjects", plain)


def with_issuers_changed_by_anybody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(issuers, "_may_change", lambda *_: True)


def with_all_rules_visible(patch: pytest.MonkeyPatch) -> None:
    def all_of_them(_: Caller, policies: tuple[Policy, ...]) -> list[Policy]:
        return list(policies)

    for module in (rbac, acls):
        patch.setattr(module, "visible", all_of_them)


def with_questions_about_anybody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rights_questions, "require", lambda *_: None)


def with_lists_of_everything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Caller, "names_seen", lambda *_: None)


def with_pages_that_end_at_hidden_names(patch: pytest.MonkeyPatch) -> None:
    def as_before(desk: Desk, req: Any, resp: Any, message: Any, seen: frozenset[str]) -> Listing:
        page = desk.ask(req, resp, message, Listing)
        items = [item for item in page.items if item.key[-1] in seen]
        return Listing(items, page.next_page_token)

    patch.setattr(Desk, "_list_seen", as_before)


@pytest.mark.parametrize(
    "breaking",
    [without_scopes, without_containment, without_closure, without_a_look_at_what_is_taken,
     with_one_right_for_the_other, with_tokens_as_they_were_signed,
     with_refresh_tokens_as_they_were_given, without_revocation, without_resources,
     with_groups_of_whoever_says_so, with_issuers_changed_by_anybody,
     with_all_rules_visible, with_questions_about_anybody, with_lists_of_everything,
     with_pages_that_end_at_hidden_names],
)  # fmt: skip
def test_the_search_finds_what_is_broken_on_purpose(
    breaking: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch, idp: IdpServer
) -> None:
    breaking(monkeypatch)
    found, done = search(idp, FIRST_BROKEN, LIVES_BROKEN)
    assert found, done
    print("\n".join((found[0], *found[-3:])))


# --- what the search has no words for, or found -------------------------------------------------


@pytest.fixture
def world(idp: IdpServer) -> Realm:
    """A realm of its own."""
    return Realm(idp)


def issuer(url: str) -> dict[str, Any]:
    return {"issuer": url, "audiences": ["x"], "jwks_url": f"{url}/keys"}


def test_who_manages_the_operators_tenant_cannot_make_anybody_an_operator(world: Realm) -> None:
    """Whoever says who vouches for operators could be one of them."""
    otto = world.principal("otto")
    admin = Assignment(otto, "role:tenant-admin")
    world.apply(ChangeGroupings(tenant_id="felix-operators", add=(admin,)))
    token = world.token("otto", tenant="felix-operators")
    mine = issuer("https://otto.example.test")
    theirs = {**mine, "issuer": world.idp.issuer}
    rule = {"subject": otto, "object": "cluster:*", "action": "cluster.manage"}
    before = (world.plane.catalog.digest, world.plane.catalog.identity_digest)
    for method, path, request in (
        ("POST", "idp-issuers", {"json": mine}),
        ("POST", "idp-issuers", {"json": {**mine, "plain_groups": True}}),
        ("POST", "idp-issuers", {"json": theirs}),
        ("DELETE", "idp-issuers", {"params": {"issuer": world.idp.issuer}}),
        ("POST", "rbac/policies", {"json": rule}),
        ("POST", "rbac/groupings", {"json": {"user": otto, "role": "role:cluster-admin"}}),
    ):
        result = world.as_(token, method, f"{OPERATORS}/{path}", **request)
        assert refused(result) == (403, "forbidden"), path
    assert (world.plane.catalog.digest, world.plane.catalog.identity_digest) == before
    olga = world.token("olga", tenant="felix-operators")
    assert world.as_(olga, "POST", f"{OPERATORS}/idp-issuers", json=mine).status_code == 204


def test_where_operators_change_trust_a_new_issuer_cannot_claim_the_groups_of_the_others(
    idp: IdpServer,
) -> None:
    world = Realm(idp, issuer_changes_need_cluster=True)
    alice = world.token("alice")
    mine = issuer("https://mine.example.test")
    claiming = world.as_(alice, "POST", ISSUERS, json={**mine, "plain_groups": True})
    assert refused(claiming) == (403, "forbidden")
    assert world.as_(alice, "POST", ISSUERS, json=mine).status_code == 204


def test_s4_pages_of_a_list_say_nothing_of_what_the_caller_does_not_see(world: Realm) -> None:
    for name in ("aaa", "beta", "gamma"):
        world.apply(CreateTenant(tenant_id=name))
    for name in ("a", "b", "c", "d"):
        world.apply(CreateNamespace(tenant_id="acme", namespace=name))
    world.allow(world.principal("bob"), ("ns.manage", "namespace:acme/b"))
    world.allow(world.principal("bob"), ("ns.manage", "namespace:acme/d"))
    bob = world.token("bob")
    tenants = world.as_(bob, "GET", "/v1/tenants", params={"page_size": "1"}).json
    assert [one["tenant_id"] for one in tenants["items"]] == ["acme"]
    assert tenants["next_page_token"] == ""
    path = f"{ACME}/namespaces"
    first = world.as_(bob, "GET", path, params={"page_size": "1"}).json
    assert [one["namespace"] for one in first["items"]] == ["b"]
    query = {"page_size": "1", "page_token": first["next_page_token"]}
    second = world.as_(bob, "GET", path, params=query).json
    assert [one["namespace"] for one in second["items"]] == ["d"]
    assert second["next_page_token"] == ""
    whole = world.as_(bob, "GET", path).json
    assert [one["namespace"] for one in whole["items"]] == ["b", "d"]
