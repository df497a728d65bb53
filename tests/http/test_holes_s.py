"""Holes of the existing service in security (contract, chapter 15, S1 to S16), each shown closed.

One test at least is named after each; all over real HTTP, at a node and a tenant with real tokens.
"""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import urllib3

from felix.cli.config_checks import problems_of
from felix.http.routes import ROUTES
from felix.proto.identity import IdentityView
from felix.proto.permissions import OPERATOR_TENANT, TENANT_ADMIN
from felix.proto.queries import GetTenantIdentity
from felix.storage.sealed import Sealer
from tests.http.helpers import NAMESPACE, STREAM
from tests.support.certificates import make_pair
from tests.support.cluster import KEK
from tests.support.gunicorn_process import SETTINGS, running
from tests.support.idp_server import IdpServer, idp_server
from tests.support.site import ADMIN, Answer, Site, claims_of, site
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

OPEN: Final = {
    "/v1/system/info",
    "/v1/system/health",
    "/v1/system/node",  # who it is; where it listens only until a cluster has taken it in
    "/v1/regions",
    "/v1/regions/{region_id}",
    "/v1/tenants/{tenant_id}/.well-known/jwks.json",
    "/v1/tenants/{tenant_id}/token/exchange",
    "/v1/tenants/{tenant_id}/token/refresh",
}
"""What strangers may ask for."""


class Town(Site):
    """A site with the identity provider that its tenants trust."""

    idp: IdpServer

    def token_of(self, tenant: str, subject: str = ADMIN, **claims: Any) -> str:
        """Give somebody's Felix token."""
        return self.token(tenant, self.idp.token(subject, **claims))

    def rule(self, subject: str, action: str, target: str) -> dict[str, str]:
        """Write a rule for somebody."""
        return {"subject": self.principal(subject), "action": action, "object": target}

    def add(self, tenant: str, what: str, body: object, token: str) -> Answer:
        """Add a rule (`policies`) or an assignment (`groupings`)."""
        return self.ask("POST", f"/v1/tenants/{tenant}/rbac/{what}", body, token=token)

    def permissions(self, tenant: str, subject: str) -> set[str]:
        """Give what somebody may do by a new token."""
        return set(claims_of(self.token_of(tenant, subject))["perms"])


@pytest.fixture(scope="module")
def felix() -> Iterator[Town]:
    """A node."""
    with idp_server() as idp, site(idp.issuer) as found:
        town = Town(found.node, found.issuer)
        town.idp = idp
        yield town
        town.close()


def test_s1_nothing_but_the_front_door_is_open_to_strangers(felix: Town) -> None:
    tenant = felix.new_tenant()
    for route in ROUTES:
        if route.path in OPEN:
            continue
        path = route.path.replace("{tenant_id}", tenant).replace("{", "").replace("}", "")
        answer = felix.ask(route.method, path, {} if route.method == "POST" else None)
        assert answer.refusal == (401, "unauthorized"), (route.method, path)
    assert felix.ask("DELETE", f"/v1/tenants/{tenant}").status == 401
    assert felix.ask("GET", f"/v1/tenants/{tenant}/.well-known/jwks.json").status == 200


def test_s2_tenant_manage_on_a_stream_is_no_rule_and_grants_nothing(felix: Town) -> None:
    tenant = felix.new_name()
    stream = f"stream:{tenant}/billing/invoices"
    mine = felix.rule("bob", "rbac.policy.manage", f"namespace:{tenant}/billing")
    felix.bootstrap(tenant, policies=[mine])
    bob = felix.token_of(tenant, "bob")
    for action, target in (
        ("tenant.manage", stream), ("ns.manage", stream),
        ("tenant.manage", f"namespace:{tenant}/billing"),
    ):  # fmt: skip
        refused = felix.add(tenant, "policies", felix.rule("bob", action, target), bob)
        assert refused.refusal == (400, "validation_error")
    assert felix.add(
        tenant, "policies", felix.rule("bob", "stream.publish", stream), bob
    ).status == 204  # fmt: skip
    eventually(lambda: len(felix.permissions(tenant, "bob")) == 2)
    assert felix.permissions(tenant, "bob") == {
        f"rbac.policy.manage:namespace:{tenant}/billing", f"stream.publish:{stream}",
    }  # fmt: skip


def test_s3_nobody_becomes_administrator_through_what_a_role_inherits(felix: Town) -> None:
    tenant = felix.new_name()
    billing = f"namespace:{tenant}/billing"
    rules = [
        felix.rule("bob", "rbac.policy.manage", billing),
        felix.rule("bob", "rbac.assignment.manage", billing),
    ]
    above = {"user": "role:above", "role": TENANT_ADMIN}
    felix.bootstrap(tenant, policies=rules, groupings=[above])
    bob, me = felix.token_of(tenant, "bob"), felix.principal("bob")
    small = {"action": "stream.publish", "object": f"stream:{tenant}/billing/x"}
    for role in (felix.principal(ADMIN), "group:admins", "role:above", TENANT_ADMIN):
        felix.add(tenant, "policies", small | {"subject": role}, bob)
        refused = felix.add(tenant, "groupings", {"user": me, "role": role}, bob)
        assert refused.refusal == (403, "forbidden"), role
    assert felix.add(tenant, "policies", small | {"subject": "role:mine"}, bob).status == 204
    assert felix.add(tenant, "groupings", {"user": me, "role": "role:mine"}, bob).status == 204
    climb = {"user": "role:mine", "role": "role:above"}
    assert felix.add(tenant, "groupings", climb, bob).refusal == (403, "forbidden")
    eventually(lambda: len(felix.permissions(tenant, "bob")) == 3)


def test_s4_whether_a_tenant_exists_is_told_to_nobody_from_outside(felix: Town) -> None:
    tenant = felix.new_tenant()
    stranger = felix.token_of(felix.new_tenant())
    upstream = felix.idp.token("stranger")
    for token in (None, "x", stranger):
        for path in ("/rbac/policies", "/rbac/groupings", "/idp-issuers", "", "/namespaces"):
            answers = [
                felix.ask("GET", f"/v1/tenants/{one}{path}", token=token)
                for one in (tenant, "nobody")
            ]
            assert [one.refusal for one in answers] == [(401, "unauthorized")] * 2
            assert answers[0].json["message"] == answers[1].json["message"]
    answers = [felix.exchange(one, upstream) for one in (tenant, "nobody")]
    assert [one.refusal for one in answers] == [(403, "forbidden")] * 2
    assert answers[0].json["message"] == answers[1].json["message"]


@pytest.mark.parametrize(
    "name",
    ["", "a/b", "a:b", "*", "a*", "a%b", ".a", "-a", "a b", "ü", "a\n", "x" * 256,
     "snapshot", "changes"],
)  # fmt: skip
def test_s5_what_is_no_name_is_never_created(felix: Town, name: str) -> None:
    operator = felix.token_of(OPERATOR_TENANT)
    tenant = felix.new_tenant()
    admin = felix.token_of(tenant)
    path = f"/v1/tenants/{tenant}/namespaces"
    assert felix.ask("POST", path, NAMESPACE, token=admin).status == 201
    created = [
        felix.ask("POST", "/v1/tenants", {"tenant_id": name, "display_name": ""}, token=operator)
    ]
    if name not in {"snapshot", "changes"}:  # these are in the way of tenants only
        created += [
            felix.ask("POST", path, NAMESPACE | {"namespace": name}, token=admin),
            felix.ask("POST", f"{path}/billing/streams", STREAM | {"stream": name}, token=admin),
            felix.ask(
                "POST", f"{path}/billing/caches", {"cache": name, "display_name": ""}, token=admin
            ),
        ]
    for answer in created:
        assert answer.status in {400, 403}
    assert felix.ask("POST", "/v1/tenants", None, token=operator).status == 415
    none = felix.ask("POST", f"{path}/billing/streams", STREAM | {"shards": 0}, token=admin)
    assert none.refusal == (400, "validation_error")


@pytest.mark.parametrize("tail", ["a/ord*", "p*/x", "*/x", "*/*", "a/**", "a/*x", "a"])
def test_s6_a_wildcard_is_a_whole_last_segment_or_no_rule(felix: Town, tail: str) -> None:
    tenant = felix.new_tenant()
    rule = {"subject": "role:x", "action": "stream.publish", "object": f"stream:{tenant}/{tail}"}
    refused = felix.add(tenant, "policies", rule, felix.token_of(tenant))
    assert refused.refusal == (400, "validation_error")
    assert felix.initialize("s6", felix.bootstrap_body(policies=[rule])).status == 400


def test_s7_bootstrap_takes_no_rule_that_the_api_would_not_take(felix: Town) -> None:
    name = felix.new_name()
    good = {"subject": "role:x", "object": f"stream:{name}/a/b", "action": "stream.publish"}
    changes: list[dict[str, Any]] = [
        {"policies": [good | {"object": "stream:acme/a/b"}]},
        {"policies": [good | {"object": "tenant:anything", "action": "tenant.manage"}]},
        {"policies": [good | {"action": "fly"}]},
        {"policies": [good | {"action": "tenant.manage"}]},
        {"policies": [good | {"action": "cluster.manage", "object": "cluster:*"}]},
        {"policies": [good | {"subject": ""}]},
        {"groupings": [{"user": "bob", "role": ""}]},
        {"groupings": [{"user": "", "role": "role:x"}]},
        {"groupings": [{"user": "bob", "role": "x"}]},
    ]
    for change in changes:
        refused = felix.initialize(name, felix.bootstrap_body(**change))
        assert refused.refusal == (400, "validation_error"), change
    assert felix.ask("GET", f"/v1/tenants/{name}/.well-known/jwks.json").status == 404


def test_s8_a_bootstrap_token_is_never_empty_and_is_not_guessed_for_long() -> None:
    def ask(port: int, secret: str) -> Answer:
        url = f"http://127.0.0.1:{port}/internal/bootstrap/tenants/acme/initialize"
        headers = {"X-Felix-Bootstrap-Token": secret, "Connection": "close"}
        return Answer(urllib3.request("POST", url, json={}, headers=headers, retries=False))

    settings = msgspec.structs.replace(SETTINGS, bootstrap_bind="127.0.0.1:0")
    with running(msgspec.structs.replace(settings, bootstrap_tokens=("",))) as gunicorn:
        assert ask(gunicorn.bootstrap_port, "").refusal == (404, "not_enabled")
    with running(msgspec.structs.replace(settings, bootstrap_tokens=("right" * 9,))) as gunicorn:
        statuses = [ask(gunicorn.bootstrap_port, "guess" * n).status for n in range(11)]
        assert statuses == [401] * 10 + [429]
        assert ask(gunicorn.bootstrap_port, "right" * 9).refusal == (429, "overloaded")


def test_s8_a_node_does_not_start_with_an_empty_bootstrap_token(felix: Town) -> None:
    config = felix.node.config
    empty = msgspec.structs.replace(config.bootstrap, token="")
    found = problems_of(msgspec.structs.replace(config, bootstrap=empty))
    assert [one for one in found if one.startswith("bootstrap.")]
    assert not [one for one in problems_of(config) if one.startswith("bootstrap.")]


def test_s9_a_hundred_unknown_kids_do_not_make_the_node_ask_a_hundred_times(felix: Town) -> None:
    tenant = felix.new_tenant()
    assert felix.exchange(tenant, felix.idp.token(ADMIN)).status == 200
    before, began_s = felix.idp.count("/keys"), time.monotonic()
    for number in range(100):
        upstream = felix.idp.token(ADMIN, headers={"kid": f"k{number}"})
        assert felix.exchange(tenant, upstream).status == 401
    assert felix.idp.count("/keys") - before <= 2 + (time.monotonic() - began_s)


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/keys", "https://[::ffff:169.254.169.254]/keys",
            "file:///etc/passwd", "https://user:secret@idp.example.test/keys"],
)  # fmt: skip
def test_s9_an_address_that_must_not_be_asked_is_no_issuer(felix: Town, url: str) -> None:
    tenant = felix.new_tenant()
    body = felix.issuer_body(issuer="https://b.test", jwks_url=url)
    path = f"/v1/tenants/{tenant}/idp-issuers"
    refused = felix.ask("POST", path, body, token=felix.token_of(tenant))
    assert refused.refusal == (400, "validation_error")


def test_s10_nbf_crit_and_the_issuer_of_a_discovery_document_are_looked_at(felix: Town) -> None:
    tenant = felix.new_tenant()
    now_s = int(time.time())
    for bad in (
        felix.idp.token(ADMIN, nbf=now_s + 600),
        felix.idp.token(ADMIN, headers={"crit": ["x"], "x": "1"}),
    ):
        assert felix.exchange(tenant, bad).refusal == (401, "unauthorized")
    claims = claims_of(felix.token_of(tenant, lifetime_s=60))
    assert claims["exp"] - now_s <= 61
    with idp_server() as other:
        other.discovery = {"issuer": "https://somebody-else.test"}
        trusting = felix.issuer_body(issuer=other.issuer, jwks_url=None)
        body = felix.bootstrap_body(idp_issuers=[trusting])
        name = felix.new_name()
        assert felix.initialize(name, body).status == 200
        refused = felix.exchange(name, other.token(ADMIN))
        assert refused.refusal == (503, "idp_unavailable")
        assert other.count("/keys") == 0


def test_s11_an_issuer_with_a_bar_cannot_stand_for_another_subject(felix: Town) -> None:
    tenant = felix.new_tenant()
    issuer = felix.issuer_body(issuer="https://a.test|b", jwks_url="https://a.test/keys")
    path = f"/v1/tenants/{tenant}/idp-issuers"
    refused = felix.ask("POST", path, issuer, token=felix.token_of(tenant))
    assert refused.refusal == (400, "validation_error")
    body = felix.bootstrap_body(idp_issuers=[issuer])
    assert felix.initialize(felix.new_name(), body).refusal == (400, "validation_error")


@pytest.mark.parametrize("odd", ["[", "(", "a{2", "(?P<", "\\", "a.b", "+", "(a+)+$"])
def test_s12_what_would_be_a_pattern_is_text_and_breaks_nothing(felix: Town, odd: str) -> None:
    tenant = felix.new_tenant()
    upstream = felix.idp.token(ADMIN)
    for hint in (f"stream:{tenant}/a/{odd}", f"stream:{tenant}/{odd}/*", odd):
        answer = felix.exchange(tenant, upstream, {"resources": [hint]})
        assert answer.status in {200, 403}
        if answer.status == 200:
            assert odd == "a.b"
    rule = {"subject": "role:x", "action": "stream.publish", "object": f"stream:{tenant}/a/{odd}"}
    answer = felix.add(tenant, "policies", rule, felix.token_of(tenant))
    assert answer.status == (204 if odd == "a.b" else 400)


def test_s13_no_private_key_stands_in_any_file_of_the_node(felix: Town) -> None:
    tenant = felix.new_tenant()
    view = felix.node.ask(GetTenantIdentity(tenant_id=tenant)).result
    assert isinstance(view, IdentityView)
    (sealed,) = view.sealed_keys
    seed = Sealer((base64.b64decode(KEK),)).open(sealed).private_bytes_raw()
    spellings = (seed, seed.hex().encode(), base64.b64encode(seed).rstrip(b"="),
                 base64.urlsafe_b64encode(seed).rstrip(b"="))  # fmt: skip
    files = [path for path in felix.node.data_dir.rglob("*") if path.is_file()]
    contents = [path.read_bytes() for path in files] + [felix.node.log.read_bytes()]
    assert any(sealed.sealed in content for content in contents), "it is stored, encrypted"
    assert not any(text in content for text in spellings for content in contents)


def forgets_issuer(felix: Town, tenant: str, admin: str) -> Answer:
    listed = felix.ask("GET", f"/v1/tenants/{tenant}/idp-issuers", token=admin).ok()
    (issuer,) = listed["items"]
    return felix.ask("DELETE", f"/v1/tenants/{tenant}/idp-issuers/{issuer['id']}", token=admin)


def removes_rule(felix: Town, tenant: str, admin: str) -> Answer:
    rule = felix.rule("bob", "rbac.view", f"tenant:{tenant}")
    return felix.ask("DELETE", f"/v1/tenants/{tenant}/rbac/policies", rule, token=admin)


def deletes_tenant(felix: Town, tenant: str, admin: str) -> Answer:
    return felix.ask("DELETE", f"/v1/tenants/{tenant}", token=admin)


def revokes_principal(felix: Town, tenant: str, admin: str) -> Answer:
    path = f"/v1/tenants/{tenant}/principals/{felix.principal('bob')}/revoke"
    return felix.ask("POST", path, token=admin)


@pytest.mark.parametrize(
    ("end", "status"),
    [(forgets_issuer, 401), (removes_rule, 403), (deletes_tenant, 401), (revokes_principal, 401)],
)
def test_s14_a_token_ends_with_what_it_stood_on(
    felix: Town, end: Callable[[Town, str, str], Answer], status: int
) -> None:
    tenant = felix.new_name()
    felix.bootstrap(tenant, policies=[felix.rule("bob", "rbac.view", f"tenant:{tenant}")])
    bob, path = felix.token_of(tenant, "bob"), f"/v1/tenants/{tenant}/rbac/policies"
    assert felix.ask("GET", path, token=bob).status == 200
    assert end(felix, tenant, felix.token_of(tenant)).status == 204
    eventually(lambda: felix.ask("GET", path, token=bob).status == status, timeout_s=3)


def test_s15_a_stranger_is_refused_before_the_body_has_even_come(felix: Town) -> None:
    host, _, port = felix.node.config.listen.http.rpartition(":")
    for path in ("/v1/tenants", "/v1/tenants/acme/rbac/policies", "/v1/tenants/acme/namespaces"):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(f"{head}Content-Length: 2000000\r\n\r\n".encode())
            assert connection.recv(65_536).split()[1] == b"401"
    for body in (b"{", b"[]", b'{"subject": 1}'):
        answer = felix.ask("POST", "/v1/tenants/acme/rbac/policies", body)
        assert answer.refusal == (401, "unauthorized")


def test_s16_every_answer_has_a_request_id_and_the_audit_trail_knows_it(felix: Town) -> None:
    tenant = felix.new_tenant()
    admin = felix.token_of(tenant)
    path = f"/v1/tenants/{tenant}/namespaces"
    done = felix.ask("POST", path, NAMESPACE, token=admin)
    refused = felix.ask("POST", f"{path}/billing/streams", STREAM, token="x")
    assert done.headers["X-Request-Id"] != refused.headers["X-Request-Id"]
    assert felix.ask("GET", "/v1/regions").headers["X-Request-Id"]
    operator = felix.token_of(OPERATOR_TENANT)
    wanted = {one.headers["X-Request-Id"] for one in (done, refused)}

    def audited() -> set[str]:
        page = felix.ask("GET", "/v1/audit?page_size=1000", token=operator).text
        return {one for one in wanted if one in page}

    eventually(lambda: audited() == wanted)


def test_s16_there_is_tls_and_a_bound_to_how_often_somebody_asks(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    settings = msgspec.structs.replace(
        SETTINGS, cert_file=pair.cert_file, key_file=pair.key_file, client_requests_per_s=5
    )
    with running(settings) as gunicorn:
        pool = urllib3.PoolManager(retries=False, ca_certs=pair.cert_file)
        url = f"https://127.0.0.1:{gunicorn.port}/v1/regions"
        answers = [pool.request("GET", url) for _ in range(20)]
        pool.clear()
    assert {one.status for one in answers} == {200, 429}
    late = next(one for one in answers if one.status == 429)
    assert json.loads(late.data)["code"] == "overloaded"
    assert int(late.headers["Retry-After"]) >= 1
