"""Which addresses of identity providers are taken at all (contract, chapter 15, S9 and S11)."""

from __future__ import annotations

import pytest

from felix.http.identity_bodies import ClaimMappings, IssuerBody
from felix.http.issuers import check_urls, new_issuer
from felix.proto.errors import ValidationFailed

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


def test_an_issuer_whose_keys_have_an_address_may_be_any_string() -> None:
    body = IssuerBody(issuer="accounts.example", audiences=["felix"], jwks_url=ISSUER + "/keys")
    check_urls(new_issuer(body), private_allowed=False)


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
