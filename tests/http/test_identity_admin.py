"""Rules, assignments and trusted issuers over HTTP (contract, chapter 9; chapter 16, number 12)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from felix.proto.commands import ChangePolicies, CreateNamespace
from felix.proto.identity import IssuerProbe, Rule
from tests.http.helpers import refused
from tests.http.realm import ACME, GROUPINGS, ISSUERS, POLICIES, Realm, realm

READER = {"subject": "role:reader", "object": "stream:acme/billing/*", "action": "stream.subscribe"}
NEW_ISSUER: dict[str, Any] = {
    "issuer": "https://other.example.test",
    "audiences": ["felix"],
    "discovery_url": None,
    "jwks_url": None,
    "claim_mappings": {"subject_claim": "sub", "groups_claim": None},
}
ROUTES = [
    ("GET", POLICIES), ("POST", POLICIES), ("DELETE", POLICIES), ("GET", GROUPINGS),
    ("POST", GROUPINGS), ("DELETE", GROUPINGS), ("GET", ISSUERS), ("POST", ISSUERS),
    ("DELETE", ISSUERS), ("GET", f"{ISSUERS}/0123456789ab"), ("DELETE", f"{ISSUERS}/0123456789ab"),
    ("GET", f"{ACME}/signing-keys"), ("POST", f"{ACME}/signing-keys"),
    ("DELETE", f"{ACME}/signing-keys/x"), ("POST", f"{ACME}/signing-keys/x/activate"),
    ("POST", f"{ACME}/tokens/revoke"), ("POST", f"{ACME}/principals/x/revoke"),
    ("GET", f"{ACME}/rbac/can-i"), ("GET", f"{ACME}/rbac/explain"),
    ("GET", "/v1/broker-credentials"), ("PUT", "/v1/broker-credentials/b1"),
    ("DELETE", "/v1/broker-credentials/b1"), ("PUT", f"{ACME}/namespaces/billing/acls"),
    ("GET", f"{ACME}/namespaces/billing/acls"), ("DELETE", f"{ACME}/namespaces/billing/acls"),
]  # fmt: skip


@pytest.fixture
def world() -> Iterator[Realm]:
    """A realm of its own."""
    with realm() as made:
        yield made


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_a_token_it_is_401_in_open_mode_too(method: str, path: str) -> None:
    with realm(is_open=True) as world:
        bodies: list[object] = [{}, None, [1]]
        for body in bodies:
            assert refused(world.as_(None, method, path, json=body)) == (401, "unauthorized")


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_token_of_another_tenant_is_not_enough(method: str, path: str) -> None:
    with realm() as world:
        world.bootstrap("beta", "alice")
        stranger = world.token("alice", tenant="beta")
        status = 403 if path.startswith("/v1/broker") else 401
        assert world.as_(stranger, method, path, json={}).status_code == status


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_token_without_the_action_is_403_before_the_body_is_read(method: str, path: str) -> None:
    if "/rbac/can-i" in path or "/rbac/explain" in path:
        return
    with realm() as world:
        world.allow(world.principal("bob"), ("stream.publish", "stream:acme/billing/*"))
        result = world.as_(world.token("bob"), method, path, body=b"{")
        assert refused(result) == (403, "forbidden")


def test_rules_are_added_listed_and_removed(world: Realm) -> None:
    admin = world.token("alice")
    for _ in range(2):
        assert world.as_(admin, "POST", POLICIES, json=READER).status_code == 204
    found = world.as_(admin, "GET", POLICIES)
    assert (found.status_code, found.headers["Content-Type"]) == (200, "application/json")
    assert found.json.count(READER) == 1
    assert len(found.json) == 6
    for _ in range(2):
        assert world.as_(admin, "DELETE", POLICIES, params=READER).status_code == 204
    assert READER not in world.as_(admin, "GET", POLICIES).json
    assert world.as_(admin, "POST", POLICIES, json=READER).status_code == 204
    assert world.as_(admin, "DELETE", POLICIES, json=READER).status_code == 204
    assert READER not in world.as_(admin, "GET", POLICIES).json


@pytest.mark.parametrize(
    ("action", "target"),
    [
        ("fly", "tenant:acme"), ("tenant.manage", "tenant:*"), ("stream.publish", "stream:*"),
        ("stream.publish", "stream:acme/*/*"), ("stream.publish", "stream:beta/x/y"),
        ("stream.publish", "stream:acme/a/ord*"), ("tenant.manage", "stream:acme/a/b"),
        ("ns.manage", "namespace:acme"), ("cluster.manage", "cluster:*"),
        ("cache.read", "stream:acme/a/b"), ("stream.publish", ""),
    ],
)  # fmt: skip
def test_s2_s6_a_rule_outside_the_grammar_is_400(world: Realm, action: str, target: str) -> None:
    rule = {"subject": "role:x", "object": target, "action": action}
    result = world.as_(world.token("alice"), "POST", POLICIES, json=rule)
    assert refused(result) == (400, "validation_error")


def test_a_rule_outside_the_callers_scopes_is_403(world: Realm) -> None:
    world.allow(world.principal("bob"), ("rbac.policy.manage", "namespace:acme/billing"))
    bob = world.token("bob")
    assert world.as_(bob, "POST", POLICIES, json=READER).status_code == 204
    for target, action in (
        ("stream:acme/hr/*", "stream.publish"), ("tenant:acme", "tenant.manage"),
        ("namespace:acme/*", "ns.manage"),
    ):  # fmt: skip
        rule = {"subject": "role:x", "object": target, "action": action}
        assert refused(world.as_(bob, "POST", POLICIES, json=rule)) == (403, "forbidden")
    foreign = Rule("role:y", "stream:acme/hr/s", "stream.publish")
    world.apply(ChangePolicies(tenant_id="acme", add=(foreign,)))
    query = {"subject": foreign.subject, "object": foreign.object, "action": foreign.action}
    assert refused(world.as_(bob, "DELETE", POLICIES, params=query)) == (403, "forbidden")


def test_a_viewer_sees_the_rules_in_its_scopes_and_the_assignments_that_bring_them(
    world: Realm,
) -> None:
    world.allow("role:hr", ("stream.publish", "stream:acme/hr/*"))
    world.allow("role:reader", ("stream.subscribe", "stream:acme/billing/*"))
    world.assign("group:hr", "role:hr")
    world.assign("group:readers", "role:reader")
    world.allow(world.principal("bob"), ("rbac.view", "namespace:acme/billing"))
    bob = world.token("bob")
    rules = world.as_(bob, "GET", POLICIES).json
    assert READER in rules
    assert {rule["object"] for rule in rules} <= {
        "stream:acme/billing/*", "namespace:acme/billing",
    }  # fmt: skip
    assert world.as_(bob, "GET", GROUPINGS).json == [
        {"user": "group:readers", "role": "role:reader"}
    ]
    assert len(world.as_(world.token("alice"), "GET", GROUPINGS).json) == 3


def test_roles_are_given_and_taken(world: Realm) -> None:
    admin = world.token("alice")
    given = {"user": "group:readers", "role": "role:reader"}
    assert refused(world.as_(admin, "POST", GROUPINGS, json=given)) == (403, "forbidden")
    assert world.as_(admin, "POST", POLICIES, json=READER).status_code == 204
    for _ in range(2):
        assert world.as_(admin, "POST", GROUPINGS, json=given).status_code == 204
    assert world.as_(admin, "GET", GROUPINGS).json.count(given) == 1
    for _ in range(2):
        assert world.as_(admin, "DELETE", GROUPINGS, params=given).status_code == 204
    assert given not in world.as_(admin, "GET", GROUPINGS).json


@pytest.mark.parametrize(
    ("user", "role"),
    [
        ("", "role:reader"), (" ", "role:reader"), ("bob", ""), ("bob", "reader"),
        ("bob", "group:readers"), ("bob", "role:nobody-wrote-it"), ("role:", "role:reader"),
        ("bob\n", "role:reader"), ("bob", "role:" + "x" * 600),
    ],
)  # fmt: skip
def test_every_refusal_of_an_assignment_is_403(world: Realm, user: str, role: str) -> None:
    admin = world.token("alice")
    assert world.as_(admin, "POST", POLICIES, json=READER).status_code == 204
    result = world.as_(admin, "POST", GROUPINGS, json={"user": user, "role": role})
    assert refused(result) == (403, "forbidden")


def test_s3_a_role_that_reaches_further_through_other_roles_is_403(world: Realm) -> None:
    world.allow("role:inner", ("stream.publish", "stream:acme/hr/*"))
    world.allow("role:outer", ("stream.publish", "stream:acme/billing/*"))
    world.assign("role:outer", "role:inner")
    world.allow(world.principal("bob"), ("rbac.assignment.manage", "namespace:acme/billing"))
    bob = world.token("bob")
    result = world.as_(bob, "POST", GROUPINGS, json={"user": "x", "role": "role:outer"})
    assert refused(result) == (403, "forbidden")


def test_the_last_administrator_cannot_be_removed(world: Realm) -> None:
    admin = world.token("alice")
    last = {"user": world.principal("alice"), "role": "role:tenant-admin"}
    assert refused(world.as_(admin, "DELETE", GROUPINGS, params=last)) == (409, "last_admin")
    rule = {"subject": "role:tenant-admin", "object": "tenant:acme",
            "action": "rbac.policy.manage"}  # fmt: skip
    assert refused(world.as_(admin, "DELETE", POLICIES, params=rule)) == (409, "last_admin")


def test_an_operator_may_do_it_in_every_tenant(world: Realm) -> None:
    olga = world.token("olga", tenant="felix-operators")
    assert world.as_(olga, "POST", POLICIES, json=READER).status_code == 204
    assert READER in world.as_(olga, "GET", POLICIES).json
    assert world.as_(olga, "GET", ISSUERS).status_code == 200


def test_an_issuer_is_trusted_read_and_forgotten(world: Realm) -> None:
    admin = world.token("alice")
    world.plane.probe = IssuerProbe(found_issuer=NEW_ISSUER["issuer"], keys=1)
    for _ in range(2):
        assert world.as_(admin, "POST", ISSUERS, json=NEW_ISSUER).status_code == 204
    assert len(world.plane.probed) == 1
    items = world.as_(admin, "GET", ISSUERS).json["items"]
    (found,) = [one for one in items if one["issuer"] == NEW_ISSUER["issuer"]]
    assert found["id"] == hashlib.sha256(NEW_ISSUER["issuer"].encode()).hexdigest()[:12]
    assert found["claim_mappings"] == NEW_ISSUER["claim_mappings"]
    only = world.as_(admin, "GET", ISSUERS, params={"issuer": NEW_ISSUER["issuer"]})
    assert only.json["items"] == [found]
    assert world.as_(admin, "GET", f"{ISSUERS}/{found['id']}").json == found


@pytest.mark.parametrize(
    "spelling",
    [
        "https:%2F%2Fother.example.test", "https%3A%2F%2Fother.example.test",
        "https://other.example.test", "short",
    ],
)  # fmt: skip
def test_an_issuer_is_deleted_by_url_or_by_short_id(world: Realm, spelling: str) -> None:
    admin = world.token("alice")
    world.plane.probe = IssuerProbe(problem="unreachable")
    assert world.as_(admin, "POST", ISSUERS, json=NEW_ISSUER).status_code == 204
    if spelling == "short":
        spelling = hashlib.sha256(NEW_ISSUER["issuer"].encode()).hexdigest()[:12]
    for _ in range(2):
        assert world.as_(admin, "DELETE", f"{ISSUERS}/{spelling}").status_code == 204
    items = world.as_(admin, "GET", ISSUERS).json["items"]
    assert [one["issuer"] for one in items] == [world.idp.issuer]


def test_an_issuer_with_a_slash_at_the_end_is_another_one(world: Realm) -> None:
    admin = world.token("alice")
    slashed = NEW_ISSUER | {"issuer": NEW_ISSUER["issuer"] + "/"}
    world.plane.probe = IssuerProbe(found_issuer=slashed["issuer"])
    refusal = world.as_(admin, "POST", ISSUERS, json=NEW_ISSUER)
    assert refused(refusal) == (400, "validation_error")
    assert refusal.json["details"] == {
        "pointer": "/issuer",
        "issuer": NEW_ISSUER["issuer"],
        "found_issuer": slashed["issuer"],
    }
    assert world.as_(admin, "POST", ISSUERS, json=slashed).status_code == 204
    plain = quote(NEW_ISSUER["issuer"], safe="")
    assert world.as_(admin, "DELETE", f"{ISSUERS}/{plain}").status_code == 204
    assert len(world.as_(admin, "GET", ISSUERS).json["items"]) == 2
    assert world.as_(admin, "GET", f"{ISSUERS}/{plain}%2F").json["issuer"] == slashed["issuer"]


def test_an_issuer_in_the_query_is_deleted_where_a_proxy_merges_slashes(world: Realm) -> None:
    admin = world.token("alice")
    world.plane.probe = IssuerProbe(problem="unreachable")
    assert world.as_(admin, "POST", ISSUERS, json=NEW_ISSUER).status_code == 204
    query = {"issuer": NEW_ISSUER["issuer"]}
    assert world.as_(admin, "DELETE", ISSUERS, params=query).status_code == 204
    assert len(world.as_(admin, "GET", ISSUERS).json["items"]) == 1
    assert world.as_(admin, "DELETE", ISSUERS).status_code == 400


@pytest.mark.parametrize(
    "issuer", ["https%253A%252F%252Fidp.test", "https:%2Fidp.test", "idp.test"]
)
def test_an_issuer_that_arrives_changed_is_refused_and_not_just_not_found(
    world: Realm, issuer: str
) -> None:
    result = world.as_(world.token("alice"), "DELETE", f"{ISSUERS}/{issuer}")
    assert refused(result) == (400, "validation_error")


def test_an_encoded_slash_is_taken_nowhere_else(world: Realm) -> None:
    admin = world.token("alice")
    for path in (
        "/v1/tenants/acme%2Fidp-issuers/x", "/v1/tenants/idp-issuers/signing-keys%2Fx",
        f"{ACME}/signing-keys/x%2Factivate",
    ):  # fmt: skip
        for method in ("GET", "POST", "DELETE"):
            assert refused(world.as_(admin, method, path)) == (404, "not_found")


def test_a_dry_run_reports_both_spellings_and_changes_nothing(world: Realm) -> None:
    admin = world.token("alice")
    world.plane.probe = IssuerProbe(
        found_issuer=NEW_ISSUER["issuer"] + "/", jwks_url="https://k", algorithms=("ES256",), keys=2
    )
    result = world.as_(admin, "POST", ISSUERS, json=NEW_ISSUER, params={"dry_run": "true"})
    assert result.status_code == 200
    assert result.json == {
        "issuer": NEW_ISSUER["issuer"],
        "found_issuer": NEW_ISSUER["issuer"] + "/",
        "matches": False,
        "jwks_url": "https://k",
        "algorithms": ["ES256"],
        "keys": 2,
        "problem": "",
    }
    assert len(world.as_(admin, "GET", ISSUERS).json["items"]) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": ""}, {"issuer": " "}, {"issuer": "https://a|b"}, {"issuer": "http://idp.test"},
        {"jwks_url": "https://10.0.0.1/keys"}, {"discovery_url": "file:///etc/passwd"},
        {"audiences": [""]},
    ],
)  # fmt: skip
def test_s9_s11_an_issuer_that_cannot_be_trusted_is_400(change: dict[str, Any]) -> None:
    with realm(idp_private_addresses=False) as world:
        body = NEW_ISSUER | change
        result = world.as_(world.token("alice"), "POST", ISSUERS, json=body)
        assert refused(result) == (400, "validation_error")


def test_where_operators_alone_change_issuers_a_tenant_may_only_add_one() -> None:
    with realm(issuer_changes_need_cluster=True) as world:
        admin = world.token("alice")
        olga = world.token("olga", tenant="felix-operators")
        world.plane.probe = IssuerProbe(problem="unreachable")
        assert world.as_(admin, "POST", ISSUERS, json=NEW_ISSUER).status_code == 204
        changed = NEW_ISSUER | {"audiences": ["other"]}
        assert refused(world.as_(admin, "POST", ISSUERS, json=changed)) == (403, "forbidden")
        query = {"issuer": NEW_ISSUER["issuer"]}
        assert refused(world.as_(admin, "DELETE", ISSUERS, params=query)) == (403, "forbidden")
        assert world.as_(olga, "POST", ISSUERS, json=changed).status_code == 204
        assert world.as_(olga, "DELETE", ISSUERS, params=query).status_code == 204


def test_s14_a_token_is_void_once_its_issuer_is_trusted_no_longer(world: Realm) -> None:
    admin = world.token("alice")
    query = {"issuer": world.idp.issuer}
    assert world.as_(admin, "DELETE", ISSUERS, params=query).status_code == 204
    assert refused(world.as_(admin, "GET", POLICIES)) == (401, "unauthorized")


def test_access_lists_are_another_way_to_say_rules(world: Realm) -> None:
    world.apply(CreateNamespace(tenant_id="acme", namespace="billing", display_name="Billing"))
    admin = world.token("alice")
    acls = f"{ACME}/namespaces/billing/acls"
    acl = {
        "principal": "group:ops",
        "resource": "invoices",
        "permissions": ["SUBSCRIBE", "PUBLISH"],
    }
    put = world.as_(admin, "PUT", acls, json=acl)
    assert put.status_code == 200
    shown = {"tenant_id": "acme", "namespace": "billing", "resource": "invoices",
             "principal": "group:ops", "permissions": ["PUBLISH", "SUBSCRIBE"]}  # fmt: skip
    assert world.as_(admin, "GET", acls).json == {"items": [shown]}
    less = acl | {"permissions": ["PUBLISH"]}
    assert world.as_(admin, "PUT", acls, json=less).status_code == 200
    rules = [one for one in world.as_(admin, "GET", POLICIES).json if one["subject"] == "group:ops"]
    assert rules == [{"subject": "group:ops", "object": "stream:acme/billing/invoices",
                      "action": "stream.publish"}]  # fmt: skip
    query = {"principal": "group:ops", "resource": "invoices"}
    for _ in range(2):
        assert world.as_(admin, "DELETE", acls, params=query).status_code == 204
    assert world.as_(admin, "GET", acls).json == {"items": []}
    assert world.as_(admin, "PUT", f"{ACME}/namespaces/no/acls", json=acl).status_code == 404


def test_an_access_list_outside_the_callers_scopes_changes_nothing(world: Realm) -> None:
    world.apply(CreateNamespace(tenant_id="acme", namespace="billing", display_name="Billing"))
    world.allow(world.principal("bob"), ("rbac.policy.manage", "stream:acme/billing/invoices"))
    bob = world.token("bob")
    acls = f"{ACME}/namespaces/billing/acls"
    fine = {"principal": "x", "resource": "invoices", "permissions": ["PUBLISH"]}
    assert world.as_(bob, "PUT", acls, json=fine).status_code == 200
    for wider in ({"resource": "*"}, {"permissions": ["PUBLISH", "ADMIN"]}, {"resource": "other"}):
        assert refused(world.as_(bob, "PUT", acls, json=fine | wider)) == (403, "forbidden")


def test_can_i_says_what_enforcement_says(world: Realm) -> None:
    world.allow("role:writer", ("stream.publish", "stream:acme/billing/*"))
    world.assign("group:writers", "role:writer")
    admin, bob = world.token("alice"), world.token("bob", groups=["writers"])
    path = f"{ACME}/rbac/can-i"
    query = {"action": "stream.publish", "object": "stream:acme/billing/invoices"}
    assert world.as_(bob, "GET", path, params=query).json["allowed"] is True
    other = query | {"object": "stream:acme/hr/x"}
    assert world.as_(bob, "GET", path, params=other).json["allowed"] is False
    about = query | {"group": "group:writers"}
    assert world.as_(admin, "GET", path, params=about).json["allowed"] is True
    assert refused(world.as_(bob, "GET", path, params=about)) == (403, "forbidden")
    about = query | {"principal": world.principal("bob")}
    assert world.as_(admin, "GET", path, params=about).json["allowed"] is False
    for wrong in ({"action": "fly"}, {"object": "stream:beta/a/b"}, {"object": "x"}):
        assert world.as_(bob, "GET", path, params=query | wrong).status_code == 400


def test_explain_names_the_rule_and_the_roles(world: Realm) -> None:
    world.allow("role:writer", ("ns.manage", "namespace:acme/billing"))
    world.assign("group:writers", "role:writer")
    bob = world.token("bob", groups=["writers"])
    query = {"action": "stream.publish", "object": "stream:acme/billing/invoices"}
    found = world.as_(bob, "GET", f"{ACME}/rbac/explain", params=query).json
    assert found["allowed"] is True
    assert found["permission"] == "stream.publish:stream:acme/billing/*"
    assert found["implied_by"] == "ns.manage:namespace:acme/billing"
    assert found["chain"] == ["group:writers", "role:writer"]
    far = query | {"object": "stream:acme/hr/x"}
    assert world.as_(bob, "GET", f"{ACME}/rbac/explain", params=far).json["allowed"] is False
    about = query | {"principal": "somebody"}
    refusal = world.as_(bob, "GET", f"{ACME}/rbac/explain", params=about)
    assert refused(refusal) == (403, "forbidden")


def test_an_issuer_is_any_string_where_its_keys_have_an_address_but_never_our_own(
    world: Realm,
) -> None:
    admin = world.token("alice")
    body = {"audiences": ["felix"], "jwks_url": world.idp.jwks_url}
    for issuer in ("accounts.example", "https://accounts.example/"):
        put = world.as_(admin, "POST", ISSUERS, json=body | {"issuer": issuer})
        assert put.status_code in {200, 201, 204}, put.text
    own = world.as_(admin, "POST", ISSUERS, json=body | {"issuer": "felix-auth"})
    assert refused(own) == (422, "unprocessable")


def test_tokens_of_a_group_are_not_revoked_and_it_is_said_what_to_do(world: Realm) -> None:
    admin = world.token("alice")
    path = f"{ACME}/principals/group:ops/revoke"
    answer = world.as_(admin, "POST", path)
    assert refused(answer) == (422, "unprocessable")
    assert "rules" in answer.json["message"]
