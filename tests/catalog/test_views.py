"""Views of one moment, and what is made from them."""

from __future__ import annotations

import time

import pytest

from felix.core.catalog.catalog import CatalogLimits
from felix.core.catalog.rendering import CHUNK_BYTES_MAX, SnapshotRendering
from felix.core.catalog.store import VIEWS_MAX
from felix.proto.codec import Decoder, encode
from felix.proto.commands import DeleteNamespace, DeleteStream, UpdateStream, UpdateTenant
from felix.proto.digest import Digest
from felix.proto.errors import Compacted, FutureVersion, Overloaded
from felix.proto.resources import Key, Resource
from tests.support.catalog_log import CatalogLog, namespace, rendered, rows_of, stream, tenant

objects = Decoder[list[Resource]](list[Resource])


def streams_world(count: int = 30) -> CatalogLog:
    log = CatalogLog()
    log.make(tenant(), namespace(), *[stream(f"s{number:04}") for number in range(count)])
    return log


def gone(name: str) -> DeleteStream:
    return DeleteStream(tenant_id="acme", namespace="prod", stream=name)


def flip(name: str) -> UpdateStream:
    return UpdateStream(tenant_id="acme", namespace="prod", stream=name, ack_policy="quorum")


def test_a_view_does_not_move_while_commands_go_on_between_its_slices() -> None:
    log = streams_world()
    before = rows_of(log.catalog.view())
    view = log.catalog.view()
    found, after = view.slice("Stream", None, 10)
    log.make(stream("s0005a"), stream("s0015a"), flip("s0003"), flip("s0013"))
    log.delete(gone("s0001"))
    log.delete(gone("s0014"))
    log.delete(gone("s0029"))
    log.make(stream("s0014"))
    while after is not None:
        rows, after = view.slice("Stream", after, 10)
        found += rows
    assert [row.key for row in found] == sorted(row.key for row in found)
    assert {("Stream", row.key): row for row in found} == {
        place: row for place, row in before.items() if place[0] == "Stream"
    }
    assert rows_of(view) == before
    view.close()


def test_a_slice_stays_small_when_everything_was_deleted_meanwhile() -> None:
    log = streams_world(200)
    view = log.catalog.view()
    before = rows_of(log.catalog.view())
    log.delete(DeleteNamespace(tenant_id="acme", namespace="prod"))
    assert rows_of(view, count=10) == before  # which also counts each slice


def test_views_of_different_moments_do_not_disturb_each_other() -> None:
    log = streams_world(3)
    views = [log.catalog.view()]
    expected = [rows_of(views[0])]
    for command in (flip("s0001"), stream("extra")):
        log.make(command)
        views.append(log.catalog.view())
        expected.append(rows_of(views[-1]))
    log.delete(DeleteNamespace(tenant_id="acme", namespace="prod"))
    assert [rows_of(view) for view in views] == expected
    views[1].close()
    log.make(tenant("late"))
    assert [rows_of(views[0]), rows_of(views[2])] == [expected[0], expected[2]]


def test_a_view_of_an_earlier_version_is_that_version_to_the_digest() -> None:
    log = streams_world(3)
    moments = {}
    for command in (flip("s0001"), stream("a"), flip("a"), flip("s0002")):
        moments[log.catalog.version] = (rows_of(log.catalog.view()), log.catalog.digest)
        log.make(command)
    log.delete(DeleteNamespace(tenant_id="acme", namespace="prod"))
    log.make(tenant("late"))
    for version, (rows, digest) in moments.items():
        view = log.catalog.view_at(version)
        assert (view.version, view.digest, rows_of(view)) == (version, digest, rows)
        view.close()


def test_a_view_of_an_earlier_version_does_not_move_either() -> None:
    log = streams_world(3)
    log.make(flip("s0001"))
    view = log.catalog.view_at(log.catalog.version - 1)
    before = rows_of(view)
    log.delete(gone("s0001"))
    log.make(flip("s0002"), stream("a"))
    assert rows_of(view) == before


def test_versions_outside_the_history_have_no_view() -> None:
    log = CatalogLog(limits=CatalogLimits(history_updates_max=2))
    log.make(*[tenant(f"t{number}") for number in range(9)])
    with pytest.raises(FutureVersion):
        log.catalog.view_at(10)
    with pytest.raises(Compacted):
        log.catalog.view_at(0)
    with pytest.raises(Compacted):
        log.catalog.view_at(-1)


def test_too_many_open_views_are_refused_until_one_is_closed() -> None:
    log = streams_world(1)
    views = [log.catalog.view() for _ in range(VIEWS_MAX)]
    with pytest.raises(Overloaded):
        log.catalog.view()
    views[3].close()
    log.catalog.view()


def test_opening_a_view_costs_the_same_in_a_large_catalog() -> None:
    log = streams_world(20_000)
    started = time.process_time()
    for _ in range(100):
        log.catalog.view().close()
    assert time.process_time() - started < 0.1


# --- rendering ----------------------------------------------------------------------------------


def test_a_snapshot_is_every_object_parents_first_and_its_digest() -> None:
    log = streams_world()
    (chunk,) = rendered(log.catalog.view())
    found = objects.decode(chunk)
    assert [type(one).__name__ for one in found] == ["Tenant", "Namespace", *["Stream"] * 30]
    digest = Digest()
    for one in found:
        digest.add(encode(one))
    assert digest.hex() == log.catalog.digest


def test_a_snapshot_of_nothing_is_one_empty_chunk() -> None:
    (chunk,) = rendered(CatalogLog().catalog.view())
    assert objects.decode(chunk) == []


def test_chunks_depend_on_the_version_alone_not_on_how_they_were_rendered() -> None:
    log = streams_world(3000)
    log.make(UpdateTenant(tenant_id="acme", description="d" * 4000))
    view = log.catalog.view()
    plain = rendered(log.catalog.view())
    assert len(plain) > 1
    rendering = SnapshotRendering(view)
    rendering.step(7)
    for number in range(0, 3000, 3):
        log.delete(gone(f"s{number:04}"))
        log.make(stream(f"s{number:04}a"))
    while not rendering.step(113):
        pass
    assert rendering.chunks == plain
    assert rendered(log.catalog.view_at(view.version), slices=[1, 500, 3]) == plain


def test_chunks_are_no_larger_than_promised_however_large_the_objects() -> None:
    log = CatalogLog()
    for number in range(200):
        log.make(tenant(f"t{number}"))
        log.make(UpdateTenant(tenant_id=f"t{number}", description="d" * 4096))
    chunks = rendered(log.catalog.view(), slices=[200])
    assert len(chunks) == 4
    assert max(map(len, chunks)) <= CHUNK_BYTES_MAX + 8


def test_a_finished_rendering_has_closed_its_view() -> None:
    log = streams_world(3)
    for _ in range(VIEWS_MAX + 1):
        rendered(log.catalog.view())


def test_keys_are_read_in_order() -> None:
    log = streams_world(25)
    view = log.catalog.view()
    keys: list[Key] = []
    after: Key | None = None
    while True:
        rows, after = view.slice("Stream", after, 5)
        keys += [row.key for row in rows]
        if after is None:
            break
    assert keys == sorted(keys)
    assert len(keys) == 25
