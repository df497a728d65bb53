"""The conformance checklist (contract, chapter 16), point by point, at a real node over real HTTP.

Point 10, bootstrap, is in `test_conformance_bootstrap`.

Two nodes: `felix` asks everybody for a credential and takes RS256 too; `lenient` is set as for the
brokers that exist, with open feeds, small pages, the default algorithm and no lead time for keys.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, Final

import jwt
import pytest

from felix.cli.dev_idp import DevIdp
from felix.proto.permissions import BROKER_ACTIONS, OPERATOR_TENANT
from tests.http.helpers import CACHE, FEEDS, NAMESPACE, STREAM
from tests.support.site import ADMIN, Answer, Site, claims_of, site

pytestmark = pytest.mark.slow

PAGE: Final = 3
SHORT: Final = {"created", "deleted"}
OPS: Final = dict(zip(FEEDS, (SHORT, SHORT, SHORT | {"updated"}, SHORT | {"updated"}), strict=True))
READER: Final = {
    "subject": "role:reader", "object": "stream:acme/billing/*", "action": "stream.subscribe",
}  # fmt: skip


@pytest.fixture(scope="module")
def idp() -> Iterator[DevIdp]:
    """The provider of `felix-controlplane dev`."""
    provider = DevIdp()
    provider.start()
    yield provider
    provider.stop()


@pytest.fixture(scope="module")
def felix(idp: DevIdp) -> Iterator[Site]:
    """A node as it should be run."""
    with site(idp.issuer, oidc_allowed_algorithms=("ES256", "RS256")) as found:
        yield found


@pytest.fixture(scope="module")
def lenient(idp: DevIdp) -> Iterator[Site]:
    """A node as the brokers that exist want it."""
    with site(idp.issuer, auth={"open_feeds": True}, changes_limit=PAGE) as found:
        yield found


@pytest.fixture
def tenant(felix: Site) -> str:
    """A tenant of its own for a test, with alice as its administrator."""
    return felix.new_tenant()


def token(at: Site, idp: DevIdp, tenant: str, subject: str = ADMIN) -> str:
    """Give somebody's Felix token."""
    return at.token(tenant, idp.mint(subject))


def fill(at: Site, idp: DevIdp, tenant: str) -> str:
    """Create one of each, change what can be changed, and delete it all; give the namespaces."""
    admin = token(at, idp, tenant)
    path = f"/v1/tenants/{tenant}/namespaces"
    streams, caches = f"{path}/billing/streams", f"{path}/billing/caches"
    for where, body in ((path, NAMESPACE), (streams, STREAM), (caches, CACHE)):
        assert at.ask("POST", where, body, token=admin).status == 201
    changed = {"consistency": "Quorum"}
    assert at.ask("PATCH", f"{streams}/invoices", changed, token=admin).status == 200
    assert at.ask("PATCH", f"{caches}/rates", {"display_name": "x"}, token=admin).status == 200
    return path


def follow(at: Site, feed: str) -> list[dict[str, Any]]:
    """Do what a broker does: go on at `next_seq` until nothing comes."""
    since, seen = 0, []
    while True:
        page = at.ask("GET", f"/v1/{feed}/changes?since={since}").ok()
        assert len(page["items"]) <= PAGE
        assert all(change["seq"] >= since for change in page["items"])
        seen += page["items"]
        since = page["next_seq"]
        if not page["items"]:
            return seen


# --- brokers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("feed", FEEDS)
def test_1_a_broker_reads_snapshot_and_changes_without_a_bearer_where_feeds_are_open(
    lenient: Site, feed: str
) -> None:
    snapshot = lenient.ask("GET", f"/v1/{feed}/snapshot").ok()
    changes = lenient.ask("GET", f"/v1/{feed}/changes").ok()
    assert set(snapshot) == set(changes) == {"items", "next_seq"}
    assert isinstance(snapshot["items"], list)


def test_1_a_broker_reads_the_eight_feeds_with_basic_where_they_are_closed(
    felix: Site, idp: DevIdp
) -> None:
    operator = token(felix, idp, OPERATOR_TENANT)
    given = felix.ask("PUT", "/v1/broker-credentials/b1", {"password": True}, token=operator).ok()
    pair = base64.b64encode(f"b1:{given['password']}".encode()).decode()
    wrong = base64.b64encode(b"b1:guess").decode()
    for path in [f"/v1/{feed}/{what}" for feed in FEEDS for what in ("snapshot", "changes")]:
        assert felix.ask("GET", path).refusal == (401, "unauthorized")
        refused = felix.ask("GET", path, headers={"Authorization": f"Basic {wrong}"})
        assert refused.refusal == (401, "unauthorized")
        answer = felix.ask("GET", path, headers={"Authorization": f"Basic {pair}"})
        assert set(answer.ok()) == {"items", "next_seq"}


def test_2_ops_are_the_words_of_the_contract_and_objects_are_whole(
    lenient: Site, idp: DevIdp
) -> None:
    tenant = lenient.new_tenant()
    fill(lenient, idp, tenant)
    admin = token(lenient, idp, tenant)
    assert lenient.ask("DELETE", f"/v1/tenants/{tenant}", token=admin).status == 204
    for feed, words in OPS.items():
        changes = follow(lenient, feed)
        assert {change["op"] for change in changes} == words
        for change in changes:
            key = "tenant_id" if feed == "tenants" else "key"
            assert list(change) == ["seq", "op", key, feed[:-1]]
            if change["op"] != "deleted":
                assert change[feed[:-1]]["tenant_id"]
            if feed == "streams" and change["stream"] is not None:
                assert isinstance(change["stream"]["shards"], int)
                assert isinstance(change["stream"]["durable"], bool)


def test_3_since_is_inclusive_and_following_next_seq_skips_nothing(
    lenient: Site, idp: DevIdp
) -> None:
    before = len(follow(lenient, "tenants"))
    names = [lenient.new_tenant() for _ in range(2 * PAGE + 1)]
    changes = follow(lenient, "tenants")
    assert [change["tenant_id"] for change in changes[before:]] == names
    seqs = [change["seq"] for change in changes]
    assert seqs == sorted(set(seqs))
    again = lenient.ask("GET", f"/v1/tenants/changes?since={seqs[-1]}").ok()
    assert [change["tenant_id"] for change in again["items"]] == names[-1:]
    head = lenient.ask("GET", "/v1/tenants/snapshot").ok()["next_seq"]
    assert head == again["next_seq"] == seqs[-1] + 1
    for since in ("", "-1", "x"):
        assert lenient.ask("GET", f"/v1/tenants/changes?since={since}").ok()["items"] == changes[:3]
    beyond = lenient.ask("GET", "/v1/tenants/changes?since=99999").ok()
    assert beyond == {"items": [], "next_seq": head}


def test_4_the_key_set_of_every_tenant_has_ed25519_keys_and_is_never_empty(
    felix: Site, idp: DevIdp, tenant: str
) -> None:
    operator = token(felix, idp, OPERATOR_TENANT)
    created = {"tenant_id": "bare4", "display_name": ""}
    assert felix.ask("POST", "/v1/tenants", created, token=operator).status == 201
    for name in (tenant, "bare4", "felix-operators"):
        keys = felix.ask("GET", f"/v1/tenants/{name}/.well-known/jwks.json").ok()["keys"]
        assert keys
        for key in keys:
            assert key.keys() == {"kty", "kid", "alg", "use", "crv", "x"}
            said = (key["kty"], key["alg"], key["use"], key["crv"])
            assert said == ("OKP", "EdDSA", "sig", "Ed25519")
            assert len(base64.urlsafe_b64decode(key["x"] + "=")) == 32
            assert "=" not in key["x"]
            assert len(key["kid"]) == 32
    missing = felix.ask("GET", "/v1/tenants/nobody/.well-known/jwks.json")
    assert missing.refusal == (404, "not_found")


def test_5_a_token_is_what_an_unmodified_broker_verifies(
    felix: Site, idp: DevIdp, tenant: str
) -> None:
    text = token(felix, idp, tenant)
    (key,) = felix.ask("GET", f"/v1/tenants/{tenant}/.well-known/jwks.json").ok()["keys"]
    assert jwt.get_unverified_header(text) == {"typ": "JWT", "alg": "EdDSA", "kid": key["kid"]}
    claims = jwt.decode(
        text, jwt.PyJWK(key), ["EdDSA"], audience="felix-broker", issuer="felix-auth"
    )
    assert claims["aud"] == "felix-broker"
    assert (claims["tid"], claims["sub"]) == (tenant, felix.principal(ADMIN))
    assert type(claims["iat"]) is type(claims["exp"]) is int
    assert claims["exp"] == claims["iat"] + 900
    assert len(claims["perms"]) == 11
    assert {one.partition(":")[0] for one in claims["perms"]} <= BROKER_ACTIONS


def test_6_a_new_key_signs_only_after_more_than_an_hour_in_the_key_set(
    felix: Site, idp: DevIdp, tenant: str
) -> None:
    admin = token(felix, idp, tenant)
    keys = f"/v1/tenants/{tenant}/signing-keys"
    kid = felix.ask("POST", keys, token=admin).ok()["kid"]
    early = felix.ask("POST", f"{keys}/{kid}/activate", token=admin)
    assert early.refusal == (409, "key_state")
    assert felix.node.config.keys.publish_lead_s > 3600
    assert jwt.get_unverified_header(token(felix, idp, tenant))["kid"] != kid


@pytest.mark.parametrize("change", [{"durable": False}, {"durability": "ephemeral"}])
def test_7_no_updated_change_turns_durable_over(
    lenient: Site, idp: DevIdp, change: dict[str, object]
) -> None:
    tenant = lenient.new_tenant()
    stream = f"{fill(lenient, idp, tenant)}/billing/streams/invoices"
    admin = token(lenient, idp, tenant)
    assert lenient.ask("PATCH", stream, change, token=admin).ok()["durable"] is False
    known: dict[str, bool] = {}
    for told in follow(lenient, "streams"):
        name = str(told["key"])
        if told["op"] == "deleted":
            known.pop(name, None)
        else:
            assert known.setdefault(name, told["stream"]["durable"]) is told["stream"]["durable"]


# --- callers --------------------------------------------------------------------------------------


def test_8_statuses_of_success_are_those_of_the_contract(
    felix: Site, idp: DevIdp, tenant: str
) -> None:
    path = fill(felix, idp, tenant)
    admin = token(felix, idp, tenant)
    for where in (path, f"{path}/billing/streams", f"{path}/billing/caches"):
        assert felix.ask("GET", where, token=admin).ok()["items"]
    for where, sure in (
        (f"{path}/billing/streams/invoices", "?confirm=invoices"),  # ours: durable data wants it
        (f"{path}/billing/caches/rates", ""),
    ):
        assert felix.ask("GET", where, token=admin).status == 200
        assert felix.ask("DELETE", where + sure, token=admin).status == 204
        assert felix.ask("GET", where, token=admin).refusal == (404, "not_found")
    assert felix.ask("DELETE", f"{path}/billing", token=admin).status == 204
    assert felix.ask("DELETE", f"{path}/billing", token=admin).refusal == (404, "not_found")
    for where in ("/v1/system/info", "/v1/system/health", "/v1/regions", "/v1/regions/local"):
        assert felix.ask("GET", where).status == 200
    assert felix.ask("GET", "/v1/regions/mars").refusal == (404, "not_found")


def test_9_what_exists_is_already_there_or_in_conflict_depending_on_its_kind(
    felix: Site, idp: DevIdp, tenant: str
) -> None:
    path = fill(felix, idp, tenant)
    admin, operator = token(felix, idp, tenant), token(felix, idp, OPERATOR_TENANT)
    again = {"tenant_id": tenant, "display_name": ""}
    refused = felix.ask("POST", "/v1/tenants", again, token=operator)
    assert refused.refusal == (409, "already_exists")
    for where, body, code in (
        (path, NAMESPACE, "already_exists"),
        (f"{path}/billing/streams", STREAM, "conflict"),
        (f"{path}/billing/caches", CACHE, "conflict"),
    ):
        assert felix.ask("POST", where, body, token=admin).refusal == (409, code)


def test_11_exchange_answers_401_without_a_bearer_and_403_for_all_that_is_not_granted(
    felix: Site, idp: DevIdp, tenant: str
) -> None:
    alice = idp.mint(ADMIN)
    assert felix.exchange(tenant, None).refusal == (401, "unauthorized")
    bare = felix.new_tenant(idp_issuers=[])
    elsewhere = felix.issuer_body(issuer=felix.issuer + "/")
    other = felix.new_tenant(idp_issuers=[elsewhere])
    for where, upstream in (
        ("nobody", alice), (bare, alice), (other, alice), (tenant, idp.mint("stranger")),
    ):  # fmt: skip
        assert felix.exchange(where, upstream).refusal == (403, "forbidden")


@pytest.mark.parametrize("name", ["readers", "group:readers"])
def test_11_a_group_counts_with_and_without_its_prefix(felix: Site, idp: DevIdp, name: str) -> None:
    group = felix.new_tenant(initial_admin_principals=["group:readers"])
    claims = claims_of(felix.token(group, idp.mint("bob", groups=[name])))
    assert len(claims["perms"]) == 11


def test_11_groups_are_ignored_without_a_groups_claim(felix: Site, idp: DevIdp) -> None:
    deaf = felix.issuer_body(claim_mappings={"subject_claim": "sub", "groups_claim": None})
    group = felix.new_tenant(initial_admin_principals=["group:readers"], idp_issuers=[deaf])
    refused = felix.exchange(group, idp.mint("bob", groups=["readers"]))
    assert refused.refusal == (403, "forbidden")


def admin_routes(tenant: str) -> list[tuple[str, str, object]]:
    """The six of chapter 9, with bodies that are fine."""
    base = f"/v1/tenants/{tenant}"
    rule = READER | {"object": f"stream:{tenant}/billing/*"}
    issuer = {"issuer": "https://b.test", "audiences": ["x"], "claim_mappings": {}}
    return [
        ("GET", f"{base}/rbac/policies", None),
        ("POST", f"{base}/rbac/policies", rule),
        ("GET", f"{base}/rbac/groupings", None),
        ("POST", f"{base}/rbac/groupings", {"user": "group:x", "role": "role:reader"}),
        ("POST", f"{base}/idp-issuers", issuer),
        ("DELETE", f"{base}/idp-issuers/https:%2F%2Fb.test", None),
    ]


def test_12_administration_needs_a_token_of_this_tenant_with_the_action(
    felix: Site, idp: DevIdp
) -> None:
    bob = felix.principal("bob")
    name = felix.new_name()
    rule = {"subject": bob, "object": f"stream:{name}/billing/*", "action": "stream.publish"}
    felix.bootstrap(name, policies=[rule])
    stranger, weak = token(felix, idp, felix.new_tenant()), token(felix, idp, name, "bob")
    for method, path, body in admin_routes(name):
        assert felix.ask(method, path, body).refusal == (401, "unauthorized")
        refused = felix.ask(method, path, body, token=stranger)
        assert refused.refusal == (401, "unauthorized")
        assert felix.ask(method, path, body, token=weak).refusal == (403, "forbidden")


def test_12_administration_with_the_action_succeeds_and_says_what_is_wrong(
    felix: Site, idp: DevIdp, tenant: str
) -> None:
    admin = token(felix, idp, tenant)

    def add(what: str, body: object) -> Answer:
        return felix.ask("POST", f"/v1/tenants/{tenant}/rbac/{what}", body, token=admin)

    rule = READER | {"object": f"stream:{tenant}/billing/*"}
    given = {"user": "group:x", "role": "role:reader"}
    assert add("groupings", given).refusal == (403, "forbidden")
    for change in ({"action": "fly"}, {"object": "tenant:*", "action": "tenant.manage"}):
        assert add("policies", rule | change).refusal == (400, "validation_error")
    for _ in range(2):
        assert add("policies", rule).status == 204
        assert add("groupings", given).status == 204
    for method, path, body in admin_routes(tenant):
        assert felix.ask(method, path, body, token=admin).status in {200, 204}


def test_12_a_rule_outside_the_callers_scope_is_403(felix: Site, idp: DevIdp) -> None:
    name = felix.new_name()
    scoped = {
        "subject": felix.principal("bob"), "object": f"namespace:{name}/billing",
        "action": "rbac.policy.manage",
    }  # fmt: skip
    felix.bootstrap(name, policies=[scoped])
    bob, path = token(felix, idp, name, "bob"), f"/v1/tenants/{name}/rbac/policies"
    for target, expected in (("billing", 204), ("hr", 403)):
        rule = READER | {"object": f"stream:{name}/{target}/*"}
        assert felix.ask("POST", path, rule, token=bob).status == expected


def test_13_es256_is_taken_by_default_and_rs256_only_where_it_is_configured(
    felix: Site, lenient: Site, idp: DevIdp
) -> None:
    for at, expected in ((felix, (200, 200)), (lenient, (200, 401))):
        name = at.new_tenant()
        upstream = (idp.mint(ADMIN, alg=alg) for alg in ("ES256", "RS256"))
        assert tuple(at.exchange(name, one).status for one in upstream) == expected
