"""What a watcher gets, and how far back."""

from __future__ import annotations

from random import Random, SystemRandom
from typing import TypeAlias

import pytest

from felix.core.catalog.catalog import BATCH_BYTES_MAX, BATCH_UPDATES_MAX, CatalogLimits
from felix.core.catalog.dump import restore
from felix.proto import codec
from felix.proto.commands import DeleteTenant, UpdateTenant
from felix.proto.errors import Compacted, FutureVersion, ValidationFailed
from felix.proto.queries import WatchUpdates
from felix.proto.resources import Tenant
from felix.proto.updates import UpdateBatch
from tests.support.catalog_log import CatalogLog, dumped, namespace, stream, tenant


def watch(log: CatalogLog, from_version: int, **options: int) -> UpdateBatch:
    batch = log.catalog.answer(WatchUpdates(from_version=from_version, **options))
    assert isinstance(batch, UpdateBatch)
    assert [one.version for one in batch.updates] == list(range(batch.first, batch.last + 1))
    assert batch.first == from_version + 1
    return batch


def some_log(limits: CatalogLimits | None = None, tenants: int = 6) -> CatalogLog:
    log = CatalogLog(limits=limits)
    log.make(*[tenant(f"t{number}") for number in range(tenants)])
    return log


def test_a_watcher_gets_what_came_after_the_version_it_has() -> None:
    log = some_log()
    batch = watch(log, 4)
    assert (batch.last, batch.current, batch.digest) == (6, 6, log.catalog.digest)
    assert (batch.cluster_id, batch.epoch) == ("c1", 1)


def test_a_watcher_that_has_everything_gets_nothing_and_the_digest() -> None:
    log = some_log()
    batch = watch(log, 6)
    assert (batch.first, batch.last, batch.updates) == (7, 6, [])
    assert batch.digest == log.catalog.digest


def test_a_cut_batch_says_how_far_it_goes_and_has_no_digest() -> None:
    batch = watch(some_log(), 1, limit=2)
    assert (batch.last, batch.current, batch.digest) == (3, 6, "")


def test_the_server_has_the_last_word_on_the_size_of_a_batch() -> None:
    log = some_log(tenants=BATCH_UPDATES_MAX + 1)
    assert len(watch(log, 0, limit=1 << 40).updates) == BATCH_UPDATES_MAX
    text = "x" * 4000
    for number in range(400):
        log.make(UpdateTenant(tenant_id="t0", description=f"{text}{number}"))
    batch = watch(log, BATCH_UPDATES_MAX + 1)
    size = sum(len(memoryview(one.payload)) for one in batch.updates)
    assert BATCH_BYTES_MAX * 0.9 < size <= BATCH_BYTES_MAX


def test_a_version_that_has_not_happened_is_refused() -> None:
    with pytest.raises(FutureVersion) as refused:
        watch(some_log(), 7)
    assert refused.value.details == {"current": 6, "epoch": 1}


def test_a_version_of_another_epoch_means_nothing_here() -> None:
    log = some_log()
    with pytest.raises(Compacted) as refused:
        watch(log, 3, epoch=2)
    assert refused.value.details == {"oldest": 0, "current": 6, "epoch": 1}
    assert watch(log, 3, epoch=1).last == 6


@pytest.mark.parametrize("members", [{"from_version": -1}, {"limit": -1}, {"wait_ms": -1}])
def test_negative_numbers_are_refused(members: dict[str, int]) -> None:
    query = WatchUpdates(**{"from_version": 0, **members})
    with pytest.raises(ValidationFailed):
        some_log().catalog.answer(query)


@pytest.mark.parametrize(
    "limits",
    [CatalogLimits(history_updates_max=20), CatalogLimits(history_bytes_max=6000)],
    ids=["count", "bytes"],
)
def test_history_is_bounded_and_tells_where_it_begins(limits: CatalogLimits) -> None:
    log = some_log(limits, tenants=100)
    with pytest.raises(Compacted) as refused:
        watch(log, 0)
    oldest = refused.value.details["oldest"]
    assert isinstance(oldest, int)
    assert 80 <= oldest < 100
    assert watch(log, oldest).last == 100
    with pytest.raises(Compacted):
        watch(log, oldest - 1)


State: TypeAlias = dict[str, bytes]
TENANTS = codec.Decoder[Tenant](Tenant)


def brought_up_to_date(state: State, batch: UpdateBatch) -> State:
    """Do what a broker does with updates."""
    after = dict(state)
    for update in batch.updates:
        place = TENANTS.decode(bytes(update.payload)).tenant_id
        if update.type == "DELETE":
            del after[place]
        else:
            after[place] = bytes(update.payload)
    return after


def oldest_of(log: CatalogLog) -> int:
    """Ask how far back a watch can begin, as a broker is told it."""
    try:
        watch(log, 0)
    except Compacted as refused:
        oldest = refused.details["oldest"]
        assert isinstance(oldest, int)
        return oldest
    return 0


def test_at_whatever_version_a_watch_begins_every_delete_comes_or_a_resync_is_demanded() -> None:
    """Case 15: exactly where history ends, before and behind, over deletions and re-creations."""
    seed = SystemRandom().randrange(1 << 32)
    print("seed", seed)
    chance = Random(seed)
    log = CatalogLog(limits=CatalogLimits(history_updates_max=10))
    states: dict[int, State] = {0: {}}
    known: State = {}
    resyncs = 0
    for _ in range(200):
        version = log.catalog.version
        name = f"t{chance.randrange(4)}"
        is_there = name in known
        command = DeleteTenant(tenant_id=name) if is_there else tenant(name)
        log.do(command)
        known = brought_up_to_date(known, watch(log, version))
        states[log.catalog.version] = known
        oldest = oldest_of(log)
        for before in range(log.catalog.version + 1):
            if before < oldest:
                with pytest.raises(Compacted):
                    watch(log, before)
            else:
                assert brought_up_to_date(states[before], watch(log, before)) == known
        resyncs += oldest > 0
    assert resyncs > 100


def test_after_a_restart_history_begins_anew_at_the_same_version() -> None:
    log = some_log()
    again = CatalogLog(restore(dumped(log.catalog), CatalogLimits()))
    assert watch(again, 6).updates == []
    with pytest.raises(Compacted):
        watch(again, 5)
    again.make(tenant("new"))
    assert watch(again, 6).last == 7


def test_a_cascade_longer_than_the_history_leaves_the_catalog_whole() -> None:
    log = CatalogLog(limits=CatalogLimits(history_updates_max=10))
    log.make(tenant(), namespace(), *[stream(f"s{number}") for number in range(50)])
    log.delete(DeleteTenant(tenant_id="acme"))
    assert log.catalog.version == 104
    assert watch(log, 104).digest == "0" * 32
