"""The state machine as bytes and back."""

from __future__ import annotations

import pytest

from felix.core.catalog.catalog import Catalog, CatalogLimits
from felix.core.catalog.dump import BadDump, Dump, restore
from felix.core.catalog.store import VIEWS_MAX
from felix.proto.codec import encode
from felix.proto.commands import DeleteNamespace, DeleteTenant, UpdateTenant
from felix.proto.queries import GetFeedChanges, GetFeedSnapshot
from tests.support.catalog_log import (
    NOON_MS,
    CatalogLog,
    apply_entry,
    cache,
    dumped,
    namespace,
    rendered,
    stream,
    tenant,
)


def eventful() -> CatalogLog:
    """Something in every table, and something that was deleted."""
    log = CatalogLog()
    log.make(tenant(), namespace(), stream("orders"), cache("rates"), namespace("old"))
    log.make(stream("gone", "old"))
    log.do(DeleteNamespace(tenant_id="acme", namespace="old"), key="delete-old")
    log.do(tenant("zeta"), key="make-zeta", at_ms=NOON_MS + 7)
    log.do(DeleteTenant(tenant_id="nobody"), key="refused")
    return log


def test_a_restored_catalog_is_the_same_in_every_answer_and_byte() -> None:
    log = eventful()
    chunks = dumped(log.catalog)
    again = restore(chunks, CatalogLimits())
    assert again.cluster_id == "c1"
    assert (again.epoch, again.version, again.digest, again.applied_index, again.log_time_ms) == (
        log.catalog.epoch,
        log.catalog.version,
        log.catalog.digest,
        log.catalog.applied_index,
        NOON_MS + 7,
    )
    assert again.counts() == log.catalog.counts()
    assert dumped(again) == chunks
    assert rendered(again.view()) == rendered(log.catalog.view())
    for feed in ("tenants", "namespaces", "streams", "caches"):
        query = GetFeedSnapshot(feed=feed)
        assert again.answer(query) == log.catalog.answer(query)


def test_a_restored_catalog_goes_on_like_the_others() -> None:
    log = eventful()
    again = restore(dumped(log.catalog), CatalogLimits())
    known = len(log.entries)
    log.make(tenant("new"), UpdateTenant(tenant_id="zeta", display_name="Z"), stream("s"))
    log.do(tenant("zeta"), key="make-zeta")
    log.delete(DeleteTenant(tenant_id="acme"))
    for entry in log.entries[known:]:
        apply_entry(again, entry)
    assert dumped(again) == dumped(log.catalog)


def test_a_dump_holds_the_moment_at_which_it_began() -> None:
    log = eventful()
    expected = dumped(log.catalog, records=2)
    dump = Dump(log.catalog)
    chunks: list[bytes] = []
    number = 0
    while (chunk := dump.step(2)) is not None:
        chunks.append(chunk)
        log.do(tenant(f"new-{number}"), key=f"new-{number}")
        log.do(DeleteTenant(tenant_id="zeta"))
        number += 1
    assert chunks == expected


def test_a_finished_dump_stays_finished_and_has_closed_its_view() -> None:
    log = eventful()
    for _ in range(VIEWS_MAX + 1):
        dump = Dump(log.catalog)
        while dump.step(50) is not None:
            pass
        assert dump.step(50) is None


def test_an_empty_catalog_can_be_dumped_too() -> None:
    again = restore(dumped(CatalogLog().catalog), CatalogLimits())
    assert (again.version, again.applied_index, again.digest) == (0, 0, "0" * 32)


def test_no_flipped_bit_goes_unnoticed() -> None:
    chunks = dumped(eventful().catalog)
    for number, chunk in enumerate(chunks):
        for position in range(len(chunk)):
            damaged = list(chunks)
            flipped = bytes([chunk[position] ^ (1 << position % 8)])
            damaged[number] = chunk[:position] + flipped + chunk[position + 1 :]
            with pytest.raises(BadDump):
                restore(damaged, CatalogLimits())


def test_a_dump_that_lost_a_chunk_is_refused() -> None:
    chunks = dumped(eventful().catalog, records=1)
    for number in range(len(chunks)):
        with pytest.raises(BadDump):
            restore(chunks[:number] + chunks[number + 1 :], CatalogLimits())
    with pytest.raises(BadDump):
        restore([*chunks, chunks[-1]], CatalogLimits())


def test_objects_that_do_not_add_up_to_the_digest_are_refused() -> None:
    """Even where every byte is as it was written: a fault of the writer."""
    log = eventful()
    log.catalog.store.remove("Cache", ("acme", "prod", "rates"))
    with pytest.raises(BadDump, match="digest"):
        restore(dumped(log.catalog), CatalogLimits())


@pytest.mark.parametrize("chunks", [[], [b""], [b"\xc1"], [encode({"format": 1})]])
def test_what_is_no_dump_is_refused(chunks: list[bytes]) -> None:
    with pytest.raises(BadDump):
        restore(chunks, CatalogLimits())


def test_the_cursor_of_a_feed_does_not_go_back_when_its_tombstones_are_forgotten() -> None:
    limits = CatalogLimits(tombstones_max=0)
    log = CatalogLog(limits=limits)
    log.make(tenant())
    log.delete(DeleteTenant(tenant_id="acme"))
    again = restore(dumped(log.catalog), limits)
    query = GetFeedChanges(feed="tenants")
    assert encode(again.answer(query)) == encode(
        {"type": "FeedChanges", "items": [], "next_seq": 3}
    )


def test_a_dump_that_is_given_up_keeps_no_rows() -> None:
    catalog = Catalog("c")
    for _ in range(2 * VIEWS_MAX):
        dump = Dump(catalog)
        dump.step(1)
        dump.close()
