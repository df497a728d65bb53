"""The feeds of the HTTP contract, chapter 5, without its bugs C1 to C7."""

from __future__ import annotations

import random
import time

import pytest

from felix.core.catalog.catalog import Catalog, CatalogLimits
from felix.core.catalog.dump import restore
from felix.proto.commands import (
    AnyCommand,
    CreateStream,
    DeleteNamespace,
    DeleteStream,
    DeleteTenant,
    UpdateNamespace,
    UpdateStream,
    UpdateTenant,
)
from felix.proto.errors import ValidationFailed
from felix.proto.queries import (
    Feed,
    FeedChanges,
    FeedSnapshot,
    GetFeedChanges,
    GetFeedSnapshot,
)
from felix.proto.resources import Durability, StreamSpec
from tests.support.catalog_log import CatalogLog, cache, dumped, namespace, stream, tenant
from tests.support.feed_consumer import FeedConsumer

FEEDS: tuple[Feed, ...] = ("tenants", "namespaces", "streams", "caches")


def changes(log: CatalogLog, feed: Feed, since: int = 0, limit: int = 1000) -> FeedChanges:
    answer = log.catalog.answer(GetFeedChanges(feed=feed, since=since, limit=limit))
    assert isinstance(answer, FeedChanges)
    return answer


def told(answer: FeedChanges) -> list[tuple[int, str, str]]:
    return [(one.seq, one.op, "/".join(one.key)) for one in answer.items]


def snapshot(log: CatalogLog, feed: Feed) -> FeedSnapshot:
    answer = log.catalog.answer(GetFeedSnapshot(feed=feed))
    assert isinstance(answer, FeedSnapshot)
    return answer


def gone(name: str) -> DeleteStream:
    return DeleteStream(tenant_id="acme", namespace="prod", stream=name)


def durable(name: str, durability: Durability = "durable") -> CreateStream:
    return CreateStream(
        tenant_id="acme", namespace="prod", stream=name, spec=StreamSpec(durability=durability)
    )


def quorum(name: str) -> UpdateStream:
    return UpdateStream(tenant_id="acme", namespace="prod", stream=name, ack_policy="quorum")


def world(limits: CatalogLimits | None = None) -> CatalogLog:
    log = CatalogLog(limits=limits)
    log.make(tenant(), namespace())
    return log


def restarted(log: CatalogLog) -> CatalogLog:
    return CatalogLog(restore(dumped(log.catalog), log.catalog.limits))


def test_a_feed_that_never_had_a_change_starts_at_nought() -> None:
    log = CatalogLog()
    for feed in FEEDS:
        assert (snapshot(log, feed).items, snapshot(log, feed).next_seq) == ([], 0)
        assert (changes(log, feed).items, changes(log, feed).next_seq) == ([], 0)


def test_the_worked_example_of_the_contract_holds() -> None:
    log = CatalogLog()
    log.make(tenant("a"), tenant("b"))
    head = snapshot(log, "tenants").next_seq
    assert [item.key for item in snapshot(log, "tenants").items] == [("a",), ("b",)]
    assert told(changes(log, "tenants")) == [(1, "created", "a"), (2, "created", "b")]
    assert told(changes(log, "tenants", 2)) == [(2, "created", "b")]
    for since in (head, 99, 1 << 63):
        answer = changes(log, "tenants", since)
        assert (answer.items, answer.next_seq) == ([], head)
    assert head == 3


def test_a_since_below_nought_is_nought() -> None:
    log = world()
    assert changes(log, "tenants", -5) == changes(log, "tenants")


@pytest.mark.parametrize("limit", [0, -1, 10_001])
def test_a_limit_out_of_range_is_refused(limit: int) -> None:
    with pytest.raises(ValidationFailed):
        changes(world(), "tenants", limit=limit)


def test_feeds_count_their_own_changes_alone() -> None:
    log = world()
    log.make(stream("s"), cache("c"))
    assert [snapshot(log, feed).next_seq for feed in FEEDS] == [2, 3, 4, 5]


def test_a_cut_page_leads_to_the_next_one() -> None:
    log = world()
    log.make(stream("a"), cache("x"), stream("b"), cache("y"), stream("c"))
    first = changes(log, "streams", limit=2)
    assert (told(first)[-1], first.next_seq) == ((5, "created", "acme/prod/b"), 6)
    rest = changes(log, "streams", first.next_seq, limit=2)
    assert (told(rest), rest.next_seq) == ([(7, "created", "acme/prod/c")], 8)


def test_a_page_that_just_holds_everything_is_not_cut() -> None:
    log = world()
    log.make(stream("a"), stream("b"), cache("x"))
    answer = changes(log, "streams", limit=2)
    assert answer.next_seq == snapshot(log, "streams").next_seq == 5


def test_a_patched_tenant_or_namespace_is_not_in_its_feed() -> None:
    log = world()
    before = [changes(log, feed).next_seq for feed in FEEDS]
    log.make(
        UpdateTenant(tenant_id="acme", display_name="new"),
        UpdateNamespace(tenant_id="acme", namespace="prod", display_name="new"),
    )
    assert [changes(log, feed).next_seq for feed in FEEDS] == before
    assert told(changes(log, "tenants")) == [(1, "created", "acme")]
    assert snapshot(log, "tenants").items[0].version == 3


def test_a_changed_durability_is_a_deletion_and_a_creation() -> None:
    log = world()
    log.make(stream("s"))
    log.make(UpdateStream(tenant_id="acme", namespace="prod", stream="s", durability="durable"))
    assert told(changes(log, "streams", 4)) == [
        (4, "deleted", "acme/prod/s"),
        (5, "created", "acme/prod/s"),
    ]


def test_a_patch_without_effect_is_no_change() -> None:
    log = world()
    log.make(stream("s"))
    log.do(UpdateStream(tenant_id="acme", namespace="prod", stream="s"))
    assert told(changes(log, "streams")) == [(3, "created", "acme/prod/s")]


def test_what_a_cascade_deletes_is_told_with_the_last_object() -> None:
    log = world()
    (last,) = log.make(stream("s"))
    log.make(cache("c"))
    log.delete(DeleteTenant(tenant_id="acme"))
    (_, deleted) = changes(log, "streams").items
    assert (deleted.op, deleted.object) == ("deleted", last)
    assert [told(changes(log, feed))[-1][:2] for feed in FEEDS] == [
        (8, "deleted"),
        (7, "deleted"),
        (6, "deleted"),
        (5, "deleted"),
    ]


# --- what is older than the recent changes ------------------------------------------------------


def test_after_a_restart_every_cursor_still_converges() -> None:
    log = world()
    log.make(stream("kept"), stream("gone"), quorum("kept"), stream("again"))
    log.delete(gone("gone"))
    log.delete(gone("again"))
    log.make(durable("again"))
    again = restarted(log)
    assert told(changes(again, "streams")) == [
        (3, "created", "acme/prod/kept"),
        (5, "updated", "acme/prod/kept"),
        (7, "deleted", "acme/prod/gone"),
        (8, "deleted", "acme/prod/again"),
        (9, "created", "acme/prod/again"),
    ]
    assert told(changes(again, "streams", 8))[0] == (8, "deleted", "acme/prod/again")
    assert changes(again, "streams").next_seq == changes(log, "streams").next_seq == 10


def test_compacted_pages_lead_on_into_the_recent_changes() -> None:
    log = world()
    log.make(*[stream(f"s{number}") for number in range(7)])
    again = restarted(log)
    again.make(stream("new"), quorum("s1"))
    consumer = FeedConsumer("streams")
    pages = 0
    while consumer.poll(again.catalog, limit=2):
        pages += 1
    consumer.check(again.catalog)
    assert pages == 5


def test_an_object_deleted_and_made_twice_since_is_not_mixed_up_with_the_one_known() -> None:
    """Its first deletion is no longer recent and no longer the last, but it still matters."""
    log = world(CatalogLimits(feed_rows_max=4))
    log.make(stream("s"))
    consumer = FeedConsumer("streams")
    consumer.seed(log.catalog)
    log.delete(gone("s"))
    log.make(durable("s"), stream("a"), stream("b"), quorum("s"))
    log.delete(gone("s"))
    log.make(stream("c"))
    assert told(changes(log, "streams"))[0][1:] == ("deleted", "acme/prod/s")
    consumer.catch_up(log.catalog)
    consumer.check(log.catalog)


def test_forgotten_tombstones_are_the_oldest() -> None:
    log = world(CatalogLimits(feed_rows_max=0, tombstones_max=2))
    log.make(stream("a"), stream("b"), stream("c"))
    for name in ("a", "b", "c"):
        log.delete(gone(name))
    assert told(changes(log, "streams")) == [
        (7, "deleted", "acme/prod/b"),
        (8, "deleted", "acme/prod/c"),
    ]
    assert told(changes(restarted(log), "streams")) == told(changes(log, "streams"))


def test_a_key_deleted_again_and_again_has_one_tombstone() -> None:
    log = world(CatalogLimits(feed_rows_max=0, tombstones_max=2))
    log.make(stream("other"))
    log.delete(gone("other"))
    for _ in range(3):
        log.make(stream("s"))
        log.delete(gone("s"))
    assert told(changes(log, "streams")) == [
        (4, "deleted", "acme/prod/other"),
        (10, "deleted", "acme/prod/s"),
    ]


def test_a_feed_may_keep_no_recent_changes_at_all() -> None:
    log = world(CatalogLimits(feed_rows_max=0))
    log.make(stream("a"))
    assert told(changes(log, "streams")) == [(3, "created", "acme/prod/a")]
    assert changes(log, "streams").next_seq == 4


def _wander(log: CatalogLog, rng: random.Random) -> None:
    name = rng.choice("abcd")
    space = rng.choice(["prod", "dev"])
    durability: Durability = rng.choice(["durable", "ephemeral"])
    options: list[AnyCommand] = [
        tenant(),
        namespace(space),
        namespace(space),
        CreateStream(
            tenant_id="acme",
            namespace=space,
            stream=name,
            spec=StreamSpec(durability=durability),
        ),
        CreateStream(tenant_id="acme", namespace=space, stream=name),
        UpdateStream(tenant_id="acme", namespace=space, stream=name, durability=durability),
        UpdateStream(
            tenant_id="acme",
            namespace=space,
            stream=name,
            ack_policy=rng.choice(["quorum", "leader_only"]),
        ),
        DeleteStream(tenant_id="acme", namespace=space, stream=name),
        cache(name, space),
        UpdateTenant(tenant_id="acme", display_name=name),
    ]
    if rng.random() < 0.3:
        options.append(DeleteNamespace(tenant_id="acme", namespace=space))
    if rng.random() < 0.1:
        options.append(DeleteTenant(tenant_id="acme"))
    log.do(rng.choice(options))


@pytest.mark.parametrize("seed", range(60))
def test_every_consumer_converges_from_wherever_it_stopped(seed: int) -> None:
    rng = random.Random(seed)
    limits = CatalogLimits(feed_rows_max=rng.choice([0, 1, 5, 10_000]))
    log = CatalogLog(limits=limits)
    consumers: list[FeedConsumer] = []
    for _ in range(200):
        _wander(log, rng)
        if rng.random() < 0.3:
            consumer = FeedConsumer(rng.choice(FEEDS))
            if rng.random() < 0.5:
                consumer.seed(log.catalog)
            consumers.append(consumer)
        for consumer in consumers:
            if rng.random() < 0.02:
                consumer.poll(log.catalog, limit=rng.randint(1, 5))
        if rng.random() < 0.02:
            log = restarted(log)
    for consumer in consumers:
        consumer.catch_up(log.catalog, limit=rng.randint(1, 50))
        consumer.check(log.catalog)


def _cpu_s_of_polls(catalog: Catalog, polls: int) -> float:
    query = GetFeedChanges(feed="streams", since=5, limit=10)
    started = time.process_time()
    for _ in range(polls):
        catalog.answer(query)
    return time.process_time() - started


def test_an_old_cursor_costs_a_page_and_not_the_whole_catalog() -> None:
    log = world()
    log.make(*[stream(f"s{number}") for number in range(20_000)])
    assert _cpu_s_of_polls(restarted(log).catalog, polls=200) < 0.3
