"""Snapshots for brokers: rendered once, shared, bounded."""

from __future__ import annotations

import pytest

from felix.actors.renderings import (
    RENDERINGS_MAX,
    SLICE_ANSWERS,
    SLICE_RECORDS,
    Rendered,
    Renderings,
)
from felix.core.catalog.catalog import CatalogLimits
from felix.proto import codec
from felix.proto.commands import CreateTenant, DeleteTenant
from felix.proto.digest import Digest
from felix.proto.errors import Compacted, FutureVersion, Overloaded, ValidationFailed
from felix.proto.queries import GetSnapshot
from felix.proto.rpc import Consistency
from felix.proto.updates import SnapshotChunk
from felix.transport.rpc_server import Incoming
from tests.actors.requests import incoming
from tests.support.catalog_log import CatalogLog

TENANTS = 3 * SLICE_RECORDS


def a_log(tenants: int = 3, limits: CatalogLimits | None = None) -> CatalogLog:
    log = CatalogLog(limits=limits)
    log.make(*(CreateTenant(tenant_id=f"t{number}") for number in range(tenants)))
    return log


def ask(
    renderings: Renderings,
    log: CatalogLog,
    version: int = 0,
    consistency: Consistency = "linearizable",
) -> Incoming:
    query = GetSnapshot(version=version)
    asked = incoming(query, consistency=consistency)
    renderings.ask(log.catalog, asked, query)
    return asked


def finish(renderings: Renderings) -> tuple[Rendered, list[Incoming]]:
    """Go on until nobody waits; give who was answered, all out of one snapshot."""
    done = []
    while renderings.is_busy:
        done += renderings.slice()
    assert len({id(one.rendered) for one in done}) == 1
    return done[0].rendered, [one.incoming for one in done]


def found(
    renderings: Renderings,
    log: CatalogLog,
    version: int = 0,
    consistency: Consistency = "linearizable",
) -> Rendered:
    """Ask for a snapshot and wait for it."""
    ask(renderings, log, version, consistency)
    return finish(renderings)[0]


def test_a_snapshot_is_rendered_in_slices_while_the_catalog_goes_on() -> None:
    log, renderings = a_log(TENANTS), Renderings()
    digest = log.catalog.digest
    asked = ask(renderings, log)
    assert not renderings.slice()
    log.make(CreateTenant(tenant_id="later"))
    log.delete(DeleteTenant(tenant_id="t0"))
    rendered, waiting = finish(renderings)
    assert waiting == [asked]
    assert not renderings.is_busy
    assert (rendered.version, rendered.digest) == (TENANTS, digest)
    total = Digest()
    for number in range(len(rendered.chunks)):
        chunk = codec.Decoder[SnapshotChunk](SnapshotChunk).decode(rendered.answer(number))
        assert (chunk.chunk, chunk.chunks, chunk.cluster_id) == (
            number,
            len(rendered.chunks),
            log.catalog.cluster_id,
        )
        for raw in chunk.objects:
            total.add(raw)
    assert total.hex() == digest


def test_all_who_ask_for_a_version_share_one_rendering() -> None:
    log, renderings = a_log(TENANTS), Renderings()
    first = ask(renderings, log)
    renderings.slice()
    second = ask(renderings, log)
    rendered, waiting = finish(renderings)
    assert waiting == [first, second]
    assert found(renderings, log) is rendered
    assert found(renderings, log, version=TENANTS) is rendered
    assert renderings.count == 1


def test_a_herd_is_answered_in_slices_and_in_the_order_in_which_it_came() -> None:
    log, renderings = a_log(), Renderings()
    herd = [ask(renderings, log) for _ in range(2 * SLICE_ANSWERS + 1)]
    sizes, answered = [], []
    while renderings.is_busy:
        done = renderings.slice()
        sizes.append(len(done))
        answered += [one.incoming for one in done]
    assert answered == herd
    assert [one for one in sizes if one] == [SLICE_ANSWERS, SLICE_ANSWERS, 1]


def test_only_who_takes_stale_answers_gets_a_snapshot_of_a_moment_ago() -> None:
    log, renderings = a_log(), Renderings()
    rendered = found(renderings, log)
    log.make(CreateTenant(tenant_id="news"))
    assert found(renderings, log, consistency="stale") is rendered
    fresh = found(renderings, log)
    assert fresh.version == rendered.version + 1


def test_a_finished_snapshot_stays_for_its_further_chunks_until_newer_ones_push_it_out() -> None:
    log, renderings = a_log(), Renderings()
    oldest = found(renderings, log)
    for number in range(RENDERINGS_MAX):
        assert found(renderings, log, version=oldest.version) is oldest
        log.make(CreateTenant(tenant_id=f"more{number}"))
        found(renderings, log)
    log.make(CreateTenant(tenant_id="last"))
    assert found(renderings, log, version=oldest.version) is oldest, "it was used all along"


def test_too_many_renderings_at_once_are_refused() -> None:
    log, renderings = a_log(), Renderings()
    for version in range(1, RENDERINGS_MAX + 1):
        log.make(CreateTenant(tenant_id=f"v{version}"))
        ask(renderings, log)
    log.make(CreateTenant(tenant_id="one-more"))
    with pytest.raises(Overloaded):
        ask(renderings, log)


def test_when_the_catalog_is_replaced_those_who_wait_are_given_back() -> None:
    log, renderings = a_log(), Renderings()
    found(renderings, log)
    of_a_finished_one = ask(renderings, log)
    log.make(CreateTenant(tenant_id="news"))
    of_a_new_one = ask(renderings, log)
    assert renderings.clear() == [of_a_finished_one, of_a_new_one]
    assert not renderings.is_busy
    assert found(renderings, log).version == log.catalog.version
    assert renderings.count == 2, "nothing of before was shared"


def test_a_version_that_is_not_there_is_refused_and_nothing_is_begun() -> None:
    log, renderings = a_log(10, CatalogLimits(history_updates_max=2)), Renderings()
    with pytest.raises(FutureVersion):
        ask(renderings, log, version=11)
    with pytest.raises(Compacted):
        ask(renderings, log, version=3)
    with pytest.raises(ValidationFailed):
        ask(renderings, log, version=-1)
    assert not renderings.is_busy


def test_a_chunk_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValidationFailed):
        Rendered(1, "", (b"",)).answer(1)
