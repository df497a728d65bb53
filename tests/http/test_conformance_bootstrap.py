"""Point 10 of the conformance checklist (contract, chapters 6 and 16), over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
import urllib3

from felix.cli.dev_idp import DevIdp
from felix.proto.permissions import OPERATOR_TENANT
from tests.support.gunicorn_process import SETTINGS, running
from tests.support.site import ADMIN, Answer, Site, site

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def idp() -> Iterator[DevIdp]:
    """The provider of `felix-controlplane dev`."""
    provider = DevIdp()
    provider.start()
    yield provider
    provider.stop()


@pytest.fixture(scope="module")
def felix(idp: DevIdp) -> Iterator[Site]:
    """A node with a bootstrap listener."""
    with site(idp.issuer) as found:
        yield found


def test_10_bootstrap_without_a_configured_token_is_not_enabled() -> None:
    with running(msgspec.structs.replace(SETTINGS, bootstrap_bind="127.0.0.1:0")) as gunicorn:
        url = f"http://127.0.0.1:{gunicorn.bootstrap_port}"
        for secret in ("", "guess"):
            response = urllib3.request(
                "POST",
                f"{url}/internal/bootstrap/tenants/acme/initialize",
                json={},
                headers={"X-Felix-Bootstrap-Token": secret, "Connection": "close"},
                retries=False,
            )
            assert Answer(response).refusal == (404, "not_enabled")


def test_10_neither_listener_serves_what_the_other_does(felix: Site) -> None:
    path = "/internal/bootstrap/tenants/t10/initialize"
    assert felix.ask("POST", path, felix.bootstrap_body()).refusal == (404, "not_found")


def test_10_bootstrap_asks_for_its_token_and_for_a_body_that_makes_sense(felix: Site) -> None:
    body = felix.bootstrap_body()
    for secret in (None, "wrong"):
        assert felix.initialize("t10", body, secret).refusal == (401, "unauthorized")
    blank = felix.issuer_body(issuer=" ")
    changes: tuple[dict[str, object], ...] = (
        {"display_name": " "}, {"initial_admin_principals": []}, {"idp_issuers": [blank]},
    )  # fmt: skip
    for change in changes:
        assert felix.initialize("t10", body | change).refusal == (400, "validation_error")


def test_10_bootstrap_makes_a_tenant_exactly_once(felix: Site) -> None:
    said = felix.initialize("once", felix.bootstrap_body()).ok()
    (key,) = felix.ask("GET", said["jwks_url"]).ok()["keys"]
    assert said == {
        "tenant_id": "once",
        "kid": key["kid"],
        "jwks_url": "/v1/tenants/once/.well-known/jwks.json",
        "status": "initialized",
    }
    again = felix.initialize("once", felix.bootstrap_body())
    assert again.refusal == (409, "already_initialized")


def test_10_bootstrap_takes_a_tenant_that_exists_and_stores_no_rule_twice(
    felix: Site, idp: DevIdp
) -> None:
    created = {"tenant_id": "before", "display_name": "Before"}
    operator = felix.token(OPERATOR_TENANT, idp.mint(ADMIN))
    assert felix.ask("POST", "/v1/tenants", created, token=operator).status == 201
    (key,) = felix.ask("GET", "/v1/tenants/before/.well-known/jwks.json").ok()["keys"]
    rule = {"subject": "role:tenant-admin", "object": "tenant:before", "action": "rbac.view"}
    assert felix.bootstrap("before", policies=[rule, rule])["kid"] == key["kid"]
    admin = felix.token("before", idp.mint(ADMIN))
    rules = felix.ask("GET", "/v1/tenants/before/rbac/policies", token=admin).ok()
    assert (rules.count(rule), len(rules)) == (1, 5)
    assert felix.ask("GET", "/v1/tenants/before", token=admin).ok()["display_name"] == "Before"
