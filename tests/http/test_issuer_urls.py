"""Which addresses of identity providers are taken at all (contract, chapter 15, S9 and S11)."""

from __future__ import annotations

import hashlib

import pytest

from felix.core.catalog.validation import check
from felix.http.identity_bodies import ClaimMappings, IssuerBody
from felix.http.issuers import check_urls, new_issuer
from felix.proto.commands import BootstrapTenant, PutIssuer
from felix.proto.errors import Unprocessable, ValidationFailed
from tests.http.helpers import refused
from tests.http.realm import AUDIENCE, ISSUERS, realm

ISSUER = "https://idp.example.test"


@pytest.mark.parametrize(
    "url",
    [
        "http://idp.example.test", "ftp://idp.example.test", "file:///etc/passwd",
        "idp.example.test", "https://", "https:///keys",
        "https://user:secret@idp.example.test", "https://idp/#keys",
        "https://10.0.0.1/keys", "https://127.0.0.1/keys", "https://[::1]/keys",
        "https://169.254.169.254/latest", "http://127.0.0.1/keys", "https://idp.example.test/a b",
        "https://idp.example.test:port/", "https://" + "a" * 2048, "",
    ],
)  # fmt: skip
def test_s9_an_address_that_must_not_be_fetched_is_refused_when_it_is_written(url: str) -> None:
    body = IssuerBody(issuer=url, audiences=["felix"])
    with pytest.raises(ValidationFailed, match=r"^/issuer: "):
        check_urls(new_issuer(body), private_allowed=False)
    if url:
        body = IssuerBody(issuer=ISSUER, audiences=["felix"], discovery_url=url)
        with pytest.raises(ValidationFailed, match=r"^/discovery_url: "):
            check_urls(new_issuer(body), private_allowed=False)
        body = IssuerBody(issuer=ISSUER, audiences=["felix"], jwks_url=url)
        with pytest.raises(ValidationFailed, match=r"^/jwks_url: "):
            check_urls(new_issuer(body), private_allowed=False)


def test_loopback_needs_no_tls_where_private_addresses_are_allowed() -> None:
    issuer = new_issuer(IssuerBody(issuer="http://127.0.0.1:9080", audiences=["felix"]))
    check_urls(issuer, private_allowed=True)
    with pytest.raises(ValidationFailed):
        check_urls(issuer, private_allowed=False)


@pytest.mark.parametrize(
    "name", ["accounts.google.com", "urn:example:idp", "https://idp.example.test/?a=b", "idp-1"]
)
def test_an_issuer_whose_keys_have_an_address_may_be_any_word_on_both_sides(name: str) -> None:
    for keys, about in ((ISSUER + "/keys", None), (None, ISSUER + "/about")):
        body = IssuerBody(issuer=name, audiences=["felix"], jwks_url=keys, discovery_url=about)
        issuer = new_issuer(body)
        check_urls(issuer, private_allowed=False)
        check(PutIssuer(tenant_id="acme", issuer=issuer))


@pytest.mark.parametrize(
    "name",
    [
        "", " ", "accounts google", "a|b", "https://idp.example.test|", "a#b", "a\n", "a\x00",
        "a" * 513, "https://user@idp.example.test", "HTTPS://idp.example.test", "https://",
    ],
)  # fmt: skip
def test_a_name_that_could_be_taken_for_another_is_refused_on_both_sides(name: str) -> None:
    keys = ISSUER + "/keys"
    issuer = new_issuer(IssuerBody(issuer=name, audiences=["felix"], jwks_url=keys))
    with pytest.raises(ValidationFailed, match=r"^/issuer: "):
        check_urls(issuer, private_allowed=False)
    with pytest.raises(ValidationFailed, match=r"^/issuer: "):
        check(PutIssuer(tenant_id="acme", issuer=issuer))


def test_without_an_address_of_its_keys_a_word_is_refused_and_told_what_it_needs() -> None:
    issuer = new_issuer(IssuerBody(issuer="accounts.google.com", audiences=["felix"]))
    with pytest.raises(ValidationFailed, match="needs jwks_url or discovery_url"):
        check_urls(issuer, private_allowed=False)
    with pytest.raises(ValidationFailed, match="needs jwks_url or discovery_url"):
        check(PutIssuer(tenant_id="acme", issuer=issuer))


def test_a_provider_whose_name_has_no_scheme_is_trusted_and_compared_exactly() -> None:
    with realm() as world:
        admin = world.token("alice")
        google = {"issuer": "accounts.google.com", "audiences": [AUDIENCE],
                  "jwks_url": world.idp.jwks_url, "claim_mappings": {}}  # fmt: skip
        assert world.as_(admin, "POST", ISSUERS, json=google).status_code == 204
        name = hashlib.sha256(b"accounts.google.com|alice").hexdigest()
        world.allow(name, ("rbac.view", "tenant:acme"))
        for iss, status in (
            ("accounts.google.com", 200),
            ("https://accounts.google.com", 403),
            ("accounts.google.com/", 403),
            ("Accounts.google.com", 403),
        ):
            found = world.exchange(world.idp.token("alice", iss=iss))
            assert found.status_code == status, iss


def test_s11_nobody_can_be_trusted_under_our_own_name() -> None:
    with realm() as world:
        own = {"issuer": "felix-auth", "audiences": [AUDIENCE],
               "jwks_url": world.idp.jwks_url, "claim_mappings": {}}  # fmt: skip
        admin = world.token("alice")
        for path in (ISSUERS, ISSUERS + "?dry_run=true"):
            result = world.as_(admin, "POST", path, json=own)
            assert refused(result) == (422, "unprocessable")
            assert result.json["details"] == {"pointer": "/issuer"}
            assert "own tokens" in result.json["message"]
        result = world.exchange(world.idp.token("alice", iss="felix-auth"))
        assert refused(result) == (403, "forbidden")
    issuer = new_issuer(IssuerBody(issuer="felix-auth", audiences=["f"], jwks_url=ISSUER))
    first = BootstrapTenant(tenant_id="a", display_name="A", admins=("x",), issuers=(issuer,))
    with pytest.raises(Unprocessable, match=r"^/idp_issuers/0/issuer: "):
        check(first)


def test_a_query_of_the_issuer_is_refused_where_discovery_is_below_it() -> None:
    body = IssuerBody(issuer=ISSUER + "?a=b", audiences=["felix"])
    with pytest.raises(ValidationFailed, match="no query"):
        check_urls(new_issuer(body), private_allowed=False)


def test_what_is_not_said_is_the_default() -> None:
    for mappings in (None, ClaimMappings(), ClaimMappings(subject_claim=None)):
        issuer = new_issuer(
            IssuerBody(issuer=ISSUER, audiences=["felix"], jwks_url="", claim_mappings=mappings)
        )
        assert (issuer.subject_claim, issuer.groups_claim) == ("sub", None)
        assert issuer.jwks_url is None
        assert not issuer.plain_groups
