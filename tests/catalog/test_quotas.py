"""Quotas on streams: counted in the tables in the same step, so that nothing can drift."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import pytest

from felix.core.catalog.catalog import Catalog, CatalogLimits
from felix.core.catalog.dump import restore
from felix.core.catalog.store import Table
from felix.proto.commands import (
    AnyCommand,
    CreateNamespace,
    CreateStream,
    DeleteNamespace,
    DeleteStream,
    DeleteTenant,
    UpdateNamespace,
    UpdateStream,
    UpdateTenant,
)
from felix.proto.errors import ErrorReply, NotFound
from felix.proto.ids import Index
from felix.proto.placement_commands import PurgeStream, UndeleteStream
from felix.proto.queries import GetUsage, Usage
from felix.proto.resources import Key, Quotas, StreamSpec
from tests.support.catalog_log import (
    NOON_MS,
    CatalogLog,
    apply_entry,
    dumped,
    namespace,
    tenant,
)

DURABLE: Final = StreamSpec(durability="durable")
GRACE_MS: Final = 60_000
HERE: Final[Any] = {"tenant_id": "acme", "namespace": "prod"}


def log_with(of_tenant: Quotas | None = None, of_namespace: Quotas | None = None) -> CatalogLog:
    log = CatalogLog()
    log.make(tenant(), namespace())
    limit(log, of_tenant, of_namespace)
    return log


def limit(
    log: CatalogLog, of_tenant: Quotas | None = None, of_namespace: Quotas | None = None
) -> None:
    log.make(
        UpdateTenant(tenant_id="acme", quotas=of_tenant),
        UpdateNamespace(**HERE, quotas=of_namespace),
    )


def durable(name: str) -> CreateStream:
    return CreateStream(**HERE, stream=name, spec=DURABLE)


def delete(name: str, grace_ms: int = GRACE_MS) -> DeleteStream:
    return DeleteStream(**HERE, stream=name, grace_ms=grace_ms)


def usage(log: CatalogLog, namespace: str = "prod") -> Usage:
    found = log.catalog.answer(GetUsage(tenant_id="acme", namespace=namespace))
    assert isinstance(found, Usage)
    return found


def test_the_last_stream_that_there_is_room_for_is_made_and_the_next_is_refused() -> None:
    log = log_with(of_namespace=Quotas(max_streams=2))
    log.make(durable("a"), durable("b"))
    refusal = log.refuse(durable("c"))
    assert refusal.code == "quota_exceeded"
    assert refusal.details == {
        "quota": "max_streams", "scope": "namespace", "of": "acme/prod",
        "limit": 2, "used": 2, "deleted": 0,
    }  # fmt: skip
    assert refusal.message.endswith("it has 2 streams: delete streams, or raise the quota")


def test_a_tenants_quota_holds_over_all_its_namespaces() -> None:
    log = log_with(Quotas(max_streams=2), Quotas(max_streams=9))
    log.make(CreateNamespace(tenant_id="acme", namespace="test"), durable("a"))
    log.make(CreateStream(tenant_id="acme", namespace="test", stream="a"))
    refusal = log.refuse(durable("b"))
    assert (refusal.details["scope"], refusal.details["of"]) == ("tenant", "acme")
    log.make(tenant("acme-2"), CreateNamespace(tenant_id="acme-2", namespace="prod"))
    log.make(CreateStream(tenant_id="acme-2", namespace="prod", stream="b"))


def test_no_quota_and_an_empty_one_are_no_limit_and_nothing_is_a_limit_too() -> None:
    log = log_with(None, Quotas(max_publish_rate=1))
    log.make(durable("a"))
    limit(log, Quotas(max_streams=0))
    assert log.refuse(durable("b")).code == "quota_exceeded"
    limit(log, Quotas())
    log.make(durable("b"))


def test_a_quota_may_be_set_below_what_is_used_and_stops_growth_only() -> None:
    log = log_with()
    log.make(durable("a"), durable("b"), durable("c"))
    limit(log, Quotas(max_streams=1))
    assert usage(log).streams_left == 0
    log.make(UpdateStream(**HERE, stream="a", delivery="AtMostOnce"))
    log.make(UpdateStream(**HERE, stream="a", durability="ephemeral"))
    log.delete(delete("b", grace_ms=0))
    assert log.refuse(durable("d")).details["used"] == 2
    log.delete(delete("c", grace_ms=0))
    log.delete(delete("a"))
    log.make(durable("d"))


def test_a_stream_in_its_grace_counts_and_can_always_be_had_back() -> None:
    log = log_with(of_namespace=Quotas(max_streams=1))
    log.make(durable("a"))
    log.delete(delete("a"))
    refusal = log.refuse(durable("b"))
    assert refusal.details["deleted"] == 1
    assert "of which 1 are deleted and not purged: purge deleted ones, " in refusal.message
    log.make(UndeleteStream(**HERE, stream="a"))
    log.delete(delete("a"))
    log.delete(PurgeStream(**HERE, stream="a", now=True))
    log.make(durable("b"))


def test_a_name_that_is_taken_is_said_before_that_there_is_no_room() -> None:
    log = log_with(of_namespace=Quotas(max_streams=1))
    log.make(durable("a"))
    assert log.refuse(durable("a")).code == "conflict"
    assert log.refuse(CreateStream(tenant_id="acme", namespace="no", stream="a")).code == (
        "not_found"
    )


def test_usage_says_what_there_is_and_what_there_is_room_for() -> None:
    log = log_with(Quotas(max_streams=3), Quotas(max_streams=9, max_storage_bytes=7))
    log.make(durable("a"), durable("b"))
    log.delete(delete("b"))
    assert usage(log) == Usage(
        tenant_id="acme", namespace="prod", quotas=Quotas(max_streams=9, max_storage_bytes=7),
        streams=2, deleted_streams=1, streams_left=1,
    )  # fmt: skip
    whole = usage(log, namespace="")
    assert (whole.namespaces, whole.streams, whole.streams_left) == (1, 2, 1)
    for tenant_id, name in (("nobody", ""), ("acme", "nowhere")):
        with pytest.raises(NotFound):
            log.catalog.answer(GetUsage(tenant_id=tenant_id, namespace=name))


def test_counting_does_not_take_in_names_that_only_begin_alike() -> None:
    table = Table()
    names = ["a", "a-", "a.b", "a0", "b"]
    table.fill({(one, two): None for one in names for two in names})
    assert [table.count((one,)) for one in names] == [5] * 5
    assert table.count(("",)) == table.count(("c",)) == 0


# --- any commands whatever ------------------------------------------------------------------------

ENTRIES: Final = 4000
RESTARTS: Final = 0.02


class Counted:
    """Every stream that takes up room, in a set; limits in a dictionary."""

    def __init__(self) -> None:
        self.streams: set[Key] = set()
        self.limits: dict[Key, int | None] = {}

    def has_room(self, key: Key) -> bool:
        for parent in (key[:1], key[:2]):
            most = self.limits[parent]
            if most is not None and self.used(parent) >= most:
                return False
        return True

    def used(self, parent: Key) -> int:
        return sum(key[: len(parent)] == parent for key in self.streams)

    def follow(self, one: Any) -> None:
        """Take note of a command that was not refused."""
        key = (one.tenant_id,)
        key += (one.namespace,) if hasattr(one, "namespace") else ()
        key += (one.stream,) if hasattr(one, "stream") else ()
        name = type(one).__name__
        if name in {"CreateTenant", "CreateNamespace"} or name.startswith("Update"):
            quotas = getattr(one, "quotas", None)
            if quotas is not None or name.startswith("Create"):
                self.limits[key] = None if quotas is None else quotas.max_streams
        elif name in {"CreateStream", "UndeleteStream"}:
            self.streams.add(key)
        elif name == "PurgeStream" or (name == "DeleteStream" and not one.grace_ms):
            self.streams.discard(key)
        elif name in {"DeleteTenant", "DeleteNamespace"}:
            self.streams = {inside for inside in self.streams if inside[: len(key)] != key}
            self.limits = {
                place: most for place, most in self.limits.items() if place[: len(key)] != key
            }


def anything(chance: random.Random) -> AnyCommand:
    tenant_id, space = chance.choice(("acme", "acme-2")), chance.choice(("prod", "prod-2"))
    inside: Any = {"tenant_id": tenant_id, "namespace": space}
    one: Any = {**inside, "stream": chance.choice("abcdef")}
    quotas = chance.choice((None, Quotas(), Quotas(chance.randrange(6)), Quotas(0)))
    kinds: dict[Callable[[], AnyCommand], float] = {
        (lambda: tenant(tenant_id)): 2,
        (lambda: CreateNamespace(**inside, quotas=quotas)): 4,
        (lambda: UpdateTenant(tenant_id=tenant_id, quotas=quotas)): 3,
        (lambda: UpdateNamespace(**inside, quotas=quotas)): 3,
        (lambda: CreateStream(**one, spec=DURABLE)): 30,
        (lambda: UpdateStream(**one, delivery="AtMostOnce")): 2,
        (lambda: DeleteStream(**one, grace_ms=chance.choice((0, GRACE_MS)))): 12,
        (lambda: UndeleteStream(**one)): 4,
        (lambda: PurgeStream(**one, now=chance.random() < 0.5)): 4,
        (lambda: DeleteNamespace(**inside)): 1,
        (lambda: DeleteTenant(tenant_id=tenant_id)): 0.3,
    }
    (make,) = chance.choices(list(kinds), list(kinds.values()))
    return make()


def test_whatever_happens_usage_is_exact_and_no_stream_is_made_without_room() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    log, model, other = CatalogLog(), Counted(), Catalog("c1")
    came: Counter[str] = Counter()
    for number in range(ENTRIES):
        one = anything(chance)
        result = log.do(one, at_ms=NOON_MS + 1000 * number).result
        code = result.code if isinstance(result, ErrorReply) else "done"
        came[code] += 1
        if isinstance(one, CreateStream) and code in {"done", "quota_exceeded"}:
            key = (one.tenant_id, one.namespace, one.stream)
            assert model.has_room(key) == (code == "done")
        if code == "done":
            model.follow(one)
        if chance.random() < RESTARTS:
            other = restore(dumped(other, records=chance.randrange(1, 9)), CatalogLimits())
        apply_entry(other, log.entries[-1])
        assert other.proof == log.catalog.proof
        for place in model.limits:
            found = other.answer(GetUsage(tenant_id=place[0], namespace="".join(place[1:])))
            assert isinstance(found, Usage)
            assert found.streams == model.used(place)
    assert min(came["done"], came["quota_exceeded"]) > ENTRIES // 20, came


def test_a_cluster_that_was_begun_anew_from_a_backup_counts_the_same() -> None:
    log = log_with(of_namespace=Quotas(max_streams=2))
    log.make(durable("a"), durable("b"))
    log.delete(delete("b"))
    before = usage(log)
    log.catalog.renew("c2", 5, Index(log.catalog.applied_index), 1000)
    assert usage(log) == before
    assert log.refuse(durable("c")).code == "quota_exceeded"
