"""Lookups, listings, filters and pages."""

from __future__ import annotations

import time

import pytest

from felix.core.catalog.glob import matcher
from felix.proto.errors import NotFound, ValidationFailed
from felix.proto.queries import (
    PAGE_SIZE_MAX,
    AnyQuery,
    GetCache,
    GetNamespace,
    GetStream,
    GetTenant,
    ListCaches,
    Listing,
    ListNamespaces,
    ListStreams,
    ListTenants,
)
from tests.support.catalog_log import CatalogLog, cache, namespace, stream, tenant

NAMES = ["alpha", "beta", "gamma", "invoices-eu", "invoices-us", "z.9"]


@pytest.fixture
def log() -> CatalogLog:
    log = CatalogLog()
    log.make(tenant(), tenant("zeta"), namespace(), namespace("prod-2"), namespace("a", "zeta"))
    log.make(*[stream(name) for name in reversed(NAMES)], stream("elsewhere", "prod-2"))
    log.make(cache("rates"), cache("fx"))
    return log


def names(log: CatalogLog, query: AnyQuery) -> list[str]:
    listing = log.catalog.answer(query)
    assert isinstance(listing, Listing)
    return [item.key[-1] for item in listing.items]


def streams(**paging: str | int) -> ListStreams:
    return ListStreams(tenant_id="acme", namespace="prod", **paging)  # type: ignore[arg-type]  # ditto


def test_lists_are_sorted_by_name_and_hold_only_what_is_in_the_parent(log: CatalogLog) -> None:
    assert names(log, ListTenants()) == ["acme", "zeta"]
    assert names(log, ListNamespaces(tenant_id="acme")) == ["prod", "prod-2"]
    assert names(log, streams()) == NAMES
    assert names(log, ListCaches(tenant_id="acme", namespace="prod")) == ["fx", "rates"]
    assert names(log, ListCaches(tenant_id="acme", namespace="prod-2")) == []


@pytest.mark.parametrize(
    ("query", "missing"),
    [
        (GetTenant(tenant_id="no"), "tenant 'no'"),
        (GetNamespace(tenant_id="no", namespace="prod"), "tenant 'no'"),
        (GetNamespace(tenant_id="acme", namespace="no"), "namespace 'acme/no'"),
        (ListNamespaces(tenant_id="no"), "tenant 'no'"),
        (GetStream(tenant_id="no", namespace="no", stream="no"), "tenant 'no'"),
        (GetStream(tenant_id="acme", namespace="no", stream="no"), "namespace 'acme/no'"),
        (GetStream(tenant_id="acme", namespace="prod", stream="no"), "stream 'acme/prod/no'"),
        (GetCache(tenant_id="acme", namespace="prod", cache="no"), "cache 'acme/prod/no'"),
        (ListStreams(tenant_id="acme", namespace="no"), "namespace 'acme/no'"),
        (ListCaches(tenant_id="no", namespace="no"), "tenant 'no'"),
    ],
)
def test_what_is_missing_is_named_from_the_outside_in(
    log: CatalogLog, query: AnyQuery, missing: str
) -> None:
    with pytest.raises(NotFound, match=missing):
        log.catalog.answer(query)


def test_pages_together_are_the_list(log: CatalogLog) -> None:
    found: list[str] = []
    token = ""
    while True:
        listing = log.catalog.answer(streams(page_size=4, page_token=token))
        assert isinstance(listing, Listing)
        found += [item.key[-1] for item in listing.items]
        token = listing.next_page_token
        if not token:
            break
        assert len(listing.items) == 4
    assert found == NAMES


def test_the_last_page_has_no_token_even_when_it_is_full(log: CatalogLog) -> None:
    listing = log.catalog.answer(streams(page_size=len(NAMES)))
    assert isinstance(listing, Listing)
    assert listing.next_page_token == ""


@pytest.mark.parametrize("size", [-1, PAGE_SIZE_MAX + 1])
def test_a_page_size_out_of_range_is_refused(log: CatalogLog, size: int) -> None:
    with pytest.raises(ValidationFailed) as refused:
        log.catalog.answer(streams(page_size=size))
    assert refused.value.details == {"pointer": "/page_size"}


@pytest.mark.parametrize("token", ["?", "AAAA", "MQ", "\u00fc", "=", "a" * 5000, "\ud800"])
def test_a_token_that_is_not_ours_is_refused(log: CatalogLog, token: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        log.catalog.answer(streams(page_token=token))
    assert refused.value.details == {"pointer": "/page_token"}


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("a", ["alpha", "beta", "gamma"]),
        ("invoices", ["invoices-eu", "invoices-us"]),
        ("*a", ["alpha", "beta", "gamma"]),
        ("invoices-?s", ["invoices-us"]),
        ("*", NAMES),
        ("?eta", ["beta"]),
        ("z.?", ["z.9"]),
        ("z??*9", []),
        ("*-*", ["invoices-eu", "invoices-us"]),
        ("[ab]*", []),
        (".", ["z.9"]),
    ],
)
def test_a_filter_is_a_part_of_the_name_or_a_pattern_for_all_of_it(
    log: CatalogLog, pattern: str, found: list[str]
) -> None:
    assert names(log, streams(filter=pattern)) == found


def test_a_filter_works_over_pages(log: CatalogLog) -> None:
    first = log.catalog.answer(streams(filter="*a", page_size=2))
    assert isinstance(first, Listing)
    rest = streams(filter="*a", page_size=2, page_token=first.next_page_token)
    assert names(log, rest) == ["gamma"]


def test_a_filter_that_is_too_long_is_refused(log: CatalogLog) -> None:
    with pytest.raises(ValidationFailed):
        log.catalog.answer(streams(filter="x" * 256))


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("*a" * 127, "a" * 254 + "b"), ("*" + "a" * 127 + "c", "a" * 255)],
)
def test_no_pattern_makes_matching_slow(pattern: str, name: str) -> None:
    """The first would keep a backtracking matcher busy for ever."""
    matches = matcher(pattern)
    started = time.process_time()
    for _ in range(1000):
        assert not matches(name)
    assert time.process_time() - started < 0.5
