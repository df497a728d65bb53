"""Snapshots for brokers: rendered once, shared, bounded."""

from __future__ import annotations

import msgspec
import pytest

from felix.actors.renderings import (
    RENDERINGS_MAX,
    SLICE_RECORDS,
    Rendered,
    Renderings,
    chunk_of,
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
) -> tuple[Rendered | None, Incoming]:
    query = GetSnapshot(version=version)
    asked = incoming(query, consistency=consistency)
    return renderings.find(log.catalog, asked, query), asked


def finish(renderings: Renderings) -> tuple[Rendered, list[Incoming]]:
    while (done := renderings.slice()) is None:
        pass
    return done


def test_a_snapshot_is_rendered_in_slices_while_the_catalog_goes_on() -> None:
    log, renderings = a_log(TENANTS), Renderings()
    digest = log.catalog.digest
    found, asked = ask(renderings, log)
    assert found is None
    assert renderings.slice() is None
    log.make(CreateTenant(tenant_id="later"))
    log.delete(DeleteTenant(tenant_id="t0"))
    rendered, waiting = finish(renderings)
    assert waiting == [asked]
    assert not renderings.is_busy
    assert (rendered.version, rendered.digest) == (TENANTS, digest)
    total = Digest()
    for number in range(len(rendered.chunks)):
        chunk = codec.Decoder[SnapshotChunk](SnapshotChunk).decode(
            codec.encode(chunk_of("c1", rendered, number))
        )
        assert (chunk.chunk, chunk.chunks, chunk.cluster_id) == (
            number,
            len(rendered.chunks),
            "c1",
        )
        for raw in chunk.objects:
            total.add(raw)
    assert total.hex() == digest


def test_all_who_ask_for_a_version_share_one_rendering() -> None:
    log, renderings = a_log(TENANTS), Renderings()
    _, first = ask(renderings, log)
    renderings.slice()
    _, second = ask(renderings, log)
    rendered, waiting = finish(renderings)
    assert waiting == [first, second]
    assert ask(renderings, log)[0] is rendered
    assert ask(renderings, log, version=TENANTS)[0] is rendered


def test_only_who_takes_stale_answers_gets_a_snapshot_of_a_moment_ago() -> None:
    log, renderings = a_log(), Renderings()
    ask(renderings, log)
    rendered, _ = finish(renderings)
    log.make(CreateTenant(tenant_id="news"))
    assert ask(renderings, log, consistency="stale")[0] is rendered
    assert ask(renderings, log)[0] is None
    fresh, _ = finish(renderings)
    assert fresh.version == rendered.version + 1


def test_a_finished_snapshot_stays_for_its_further_chunks_until_newer_ones_push_it_out() -> None:
    log, renderings = a_log(), Renderings()
    ask(renderings, log)
    oldest, _ = finish(renderings)
    for number in range(RENDERINGS_MAX):
        assert ask(renderings, log, version=oldest.version)[0] is oldest
        log.make(CreateTenant(tenant_id=f"more{number}"))
        ask(renderings, log)
        finish(renderings)
    log.make(CreateTenant(tenant_id="last"))
    assert ask(renderings, log, version=oldest.version)[0] is oldest, "it was used all along"


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
    _, asked = ask(renderings, log)
    assert renderings.clear() == [asked]
    assert not renderings.is_busy
    assert ask(renderings, log)[0] is None


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
    rendered = Rendered(1, 1, "", (msgspec.Raw(b"\x90"),))
    with pytest.raises(ValidationFailed):
        chunk_of("c1", rendered, 1)
