"""What becomes of versions, keys and feeds when metadata is taken over into a new cluster."""

from __future__ import annotations

import random

import pytest

from felix.core.catalog.catalog import Catalog, CatalogLimits
from felix.core.catalog.dump import restore
from felix.core.catalog.feed import TOMBSTONES
from felix.core.catalog.feeds import KINDS
from felix.core.catalog.renewal import MARGIN_DEFAULT, VERSION_MAX, Renewal, TooOften
from felix.proto.commands import AnyCommand, CreateStream, DeleteStream, UpdateStream
from felix.proto.errors import Compacted, FutureVersion
from felix.proto.ids import Index
from felix.proto.queries import (
    Feed,
    FeedChanges,
    FeedSnapshot,
    GetFeedChanges,
    GetFeedSnapshot,
    WatchUpdates,
)
from felix.proto.resources import Durability, Stream
from tests.support.catalog_log import CatalogLog, cache, dumped, namespace, stream, tenant
from tests.support.feed_consumer import FeedConsumer

FEEDS: tuple[Feed, ...] = ("tenants", "namespaces", "streams", "caches")
NAMES = ("a", "b", "c", "d")


def world() -> CatalogLog:
    log = CatalogLog()
    log.make(tenant(), namespace(), stream("orders"), cache("rates"))
    return log


def copy_of(catalog: Catalog, limits: CatalogLimits | None = None) -> Catalog:
    return restore(dumped(catalog), limits or catalog.limits)


def renewed(catalog: Catalog, margin: int = MARGIN_DEFAULT) -> CatalogLog:
    again = copy_of(catalog)
    again.renew("c2", again.epoch + 1, again.applied_index, margin)
    return CatalogLog(copy_of(again))


def gone(name: str) -> DeleteStream:
    return DeleteStream(tenant_id="acme", namespace="prod", stream=name)


def durable(name: str) -> UpdateStream:
    return UpdateStream(tenant_id="acme", namespace="prod", stream=name, durability="durable")


def test_the_objects_stay_to_the_byte_and_the_versions_go_on_far_above() -> None:
    log = world()
    again = renewed(log.catalog, margin=1000).catalog
    assert again.digest == log.catalog.digest
    assert again.counts() == log.catalog.counts()
    assert (again.cluster_id, again.epoch) == ("c2", 2)
    assert again.version > log.catalog.version + 1000
    assert again.applied_index == log.catalog.applied_index


def test_a_watcher_of_before_is_told_to_take_a_snapshot_whatever_version_it_has() -> None:
    log = world()
    again = renewed(log.catalog, margin=1000).catalog
    for version in (0, log.catalog.version, log.catalog.version + 1000, again.version - 1):
        with pytest.raises(Compacted):
            again.answer(WatchUpdates(from_version=version))
    with pytest.raises(Compacted):
        again.answer(WatchUpdates(from_version=again.version, epoch=1))
    with pytest.raises(FutureVersion):
        again.answer(WatchUpdates(from_version=again.version + 1, epoch=2))


def test_a_stream_created_after_it_never_gets_the_id_of_one_that_is_lost() -> None:
    log = world()
    again = renewed(log.catalog, margin=1)
    ids: list[str] = []
    for number in range(20):
        for one in (log, again):
            (made,) = one.make(stream(f"new{number}"))
            assert isinstance(made, Stream)
            ids.append(made.stream_id)
    assert len(set(ids)) == len(ids)


def test_a_key_used_before_the_backup_has_no_second_effect_and_one_used_after_has_its_first() -> (
    None
):
    log = world()
    first = log.do(stream("once"), key="k1")
    saved = copy_of(log.catalog)
    log.do(stream("late"), key="k2")
    again = renewed(saved)
    version = again.catalog.version
    assert again.do(stream("once"), key="k1").result == first.result
    assert again.catalog.version == version
    again.do(stream("late"), key="k2")
    assert again.catalog.version == version + 1


def test_a_consumer_that_was_ahead_is_told_everything_again() -> None:
    log = world()
    log.make(stream("old"))
    log.delete(gone("old"))
    saved = copy_of(log.catalog)
    ahead = {feed: FeedConsumer(feed) for feed in FEEDS}
    for _ in range(3):  # what is lost: a stream that came back, one that changed, one that went
        log.make(stream("old"), durable("orders"))
        log.delete(gone("old"))
        log.delete(gone("orders"))
        log.make(stream("orders"))
    log.make(durable("orders"), stream("old"))
    for consumer in ahead.values():
        consumer.seed(log.catalog)
    again = renewed(saved)
    for consumer in ahead.values():
        consumer.catch_up(again.catalog, limit=2)
        consumer.check(again.catalog)
        assert consumer.cursor == again.catalog.version + 1


def test_a_consumer_that_starts_after_it_is_told_only_of_what_comes() -> None:
    again = renewed(world().catalog)
    snapshot = again.catalog.answer(GetFeedSnapshot(feed="streams"))
    assert isinstance(snapshot, FeedSnapshot)
    again.make(stream("new"))
    query = GetFeedChanges(feed="streams", since=snapshot.next_seq)
    changes = again.catalog.answer(query)
    assert isinstance(changes, FeedChanges)
    assert [one.key[-1] for one in changes.items] == ["new"]


def test_versions_that_json_could_not_carry_are_refused() -> None:
    Renewal(0, VERSION_MAX)
    with pytest.raises(TooOften):
        Renewal(1, VERSION_MAX)
    catalog = world().catalog
    for number in range(10):
        catalog.renew("c", number + 2, Index(catalog.applied_index), MARGIN_DEFAULT)
    assert catalog.version < VERSION_MAX


def wander(log: CatalogLog, rng: random.Random, count: int) -> None:
    """Do something or other."""
    for _ in range(count):
        name = rng.choice(NAMES)
        durability: Durability = rng.choice(("durable", "ephemeral"))
        commands: list[AnyCommand] = [
            stream(name),
            cache(name),
            gone(name),
            durable(name),
            UpdateStream(tenant_id="acme", namespace="prod", stream=name, durability=durability),
            CreateStream(tenant_id="acme", namespace="prod", stream=f"{name}{rng.randrange(3)}"),
        ]
        log.do(rng.choice(commands))


@pytest.mark.parametrize("seed", range(40))
def test_every_consumer_ends_with_the_truth_but_for_what_the_backup_never_knew(seed: int) -> None:
    rng = random.Random(seed)
    print(f"seed {seed}")
    log = CatalogLog(limits=CatalogLimits(feed_rows_max=5))
    log.make(tenant(), namespace())
    consumers = [FeedConsumer(feed) for feed in FEEDS for _ in range(4)]
    for _ in range(rng.randrange(1, 4)):
        wander(log, rng, rng.randrange(30))
        saved = copy_of(log.catalog)
        for consumer in consumers:
            wander(log, rng, rng.randrange(8))
            match rng.randrange(3):
                case 0:
                    consumer.seed(log.catalog)
                case 1:
                    consumer.catch_up(log.catalog, limit=rng.randrange(1, 9))
        for consumer in consumers:  # what only a restarted broker can get rid of
            for key in list(consumer.known):
                if not known_to(saved, KINDS[consumer.feed], key):
                    del consumer.known[key]
        log = renewed(saved, margin=10_000)
        wander(log, rng, rng.randrange(5))
        if rng.random() < 0.5:
            log = CatalogLog(copy_of(log.catalog))
        for consumer in consumers:
            consumer.catch_up(log.catalog, limit=rng.randrange(1, 9))
            consumer.check(log.catalog)


def known_to(catalog: Catalog, kind: str, key: tuple[str, ...]) -> bool:
    """Whether a catalog has, or had and remembers, an object."""
    tables = catalog.store.tables
    return key in tables[kind].rows or (kind, *key) in tables[TOMBSTONES].rows
