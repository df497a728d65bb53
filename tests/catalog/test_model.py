"""Any commands whatever: the catalog does what a few dictionaries do, and replicas stay equal."""

from __future__ import annotations

import random
from collections import Counter
from typing import Final

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from felix.core.catalog.catalog import Applied, Catalog, CatalogLimits
from felix.core.catalog.dump import restore
from felix.proto.codec import Decoder, encode
from felix.proto.commands import (
    AnyCommand,
    CreateCache,
    CreateNamespace,
    CreateStream,
    CreateTenant,
    DeleteCache,
    Deleted,
    DeleteNamespace,
    DeleteStream,
    DeleteTenant,
    UpdateCache,
    UpdateNamespace,
    UpdateStream,
    UpdateTenant,
)
from felix.proto.digest import Digest
from felix.proto.errors import Compacted, ErrorReply
from felix.proto.queries import Feed, WatchUpdates
from felix.proto.resources import Quotas, Resource, RetentionPolicy, StreamSpec
from felix.proto.updates import UpdateBatch
from tests.support.catalog_log import NOON_MS, CatalogLog, apply_entry, dumped, rendered, rows_of
from tests.support.catalog_model import CatalogModel, Place
from tests.support.feed_consumer import FeedConsumer
from tests.support.identity_log import IdentityLog
from tests.support.identity_model import AnyIdentityCommand, IdentityModel

IDENTITY_ENTRIES: Final = 3000
RESTARTS: Final = 0.01

Line = tuple[AnyCommand, str | None]

FEEDS: tuple[Feed, ...] = ("tenants", "namespaces", "streams", "caches")

tenants = st.fixed_dictionaries({"tenant_id": st.sampled_from(["acme", "a"])})
spaces = st.fixed_dictionaries(
    {"tenant_id": st.sampled_from(["acme", "a"]), "namespace": st.sampled_from(["prod", "a"])}
)
texts = st.sampled_from(["", "x", "y"])
maybe_text = st.none() | texts
expected = st.sampled_from([None, None, None, 1, 2, 3, 4, 5])
quotas = st.sampled_from([None, None, Quotas(), Quotas(1), Quotas(2)])
specs = st.builds(
    StreamSpec,
    shards=st.integers(1, 2),
    durability=st.sampled_from(["ephemeral", "durable"]),
)


def with_name(member: str) -> st.SearchStrategy[dict[str, str]]:
    """Names of something inside a namespace."""
    return st.builds(
        lambda parent, name: {**parent, member: name}, spaces, st.sampled_from(["s", "t"])
    )


def command(
    type_: type[AnyCommand],
    names: st.SearchStrategy[dict[str, str]],
    **members: st.SearchStrategy[object],
) -> st.SearchStrategy[AnyCommand]:
    """Build commands of one type."""
    return st.builds(
        lambda named, others: type_(**named, **others), names, st.fixed_dictionaries(members)
    )


streams, caches = with_name("stream"), with_name("cache")
commands: st.SearchStrategy[AnyCommand] = st.one_of(
    command(CreateTenant, tenants, display_name=texts),
    command(
        UpdateTenant,
        tenants,
        display_name=maybe_text,
        quotas=quotas,
        expected_version=expected,
    ),
    command(DeleteTenant, tenants, expected_version=expected),
    command(CreateNamespace, spaces, description=texts, quotas=quotas),
    command(
        UpdateNamespace, spaces, description=maybe_text, quotas=quotas, expected_version=expected
    ),
    command(DeleteNamespace, spaces, expected_version=expected),
    command(CreateStream, streams, spec=specs),
    command(
        UpdateStream,
        streams,
        durability=st.sampled_from([None, None, "durable", "ephemeral"]),
        retention=st.sampled_from([None, RetentionPolicy(), RetentionPolicy(60)]),
        expected_version=expected,
    ),
    command(DeleteStream, streams, expected_version=expected),
    command(CreateCache, caches, display_name=texts),
    command(UpdateCache, caches, display_name=maybe_text, expected_version=expected),
    command(DeleteCache, caches, expected_version=expected),
)
beginning: list[Line] = [
    (CreateTenant(tenant_id="acme"), None),
    (CreateNamespace(tenant_id="acme", namespace="prod"), None),
]
logs = st.lists(
    st.tuples(commands, st.sampled_from([None, None, None, "k1", "k2"])), max_size=120
).map(lambda lines: beginning + lines)
cuts = st.integers(0, 100)
many = settings(max_examples=150, deadline=None, print_blob=True)

resources = Decoder[Resource](Resource)


def outcome(applied: Applied) -> Resource | str | int:
    """Say what came of a command in the model's words."""
    if isinstance(applied.result, ErrorReply):
        return applied.result.code
    if isinstance(applied.result, Deleted):
        return applied.result.count
    assert isinstance(applied.result, Resource)
    return applied.result


def play(lines: list[Line], limits: CatalogLimits | None = None) -> tuple[CatalogLog, CatalogModel]:
    """Apply a log to the catalog and to the model; they must agree on each outcome."""
    log, model = CatalogLog(limits=limits), CatalogModel()
    for number, (one, key) in enumerate(lines):
        applied = log.do(one, key, NOON_MS + number)
        assert outcome(applied) == model.apply(one, NOON_MS + number, key)
        assert log.catalog.version == len(model.states) - 1
    return log, model


@many
@given(logs)
def test_every_version_is_what_the_model_had_then(lines: list[Line]) -> None:
    log, model = play(lines)
    for version in range(log.catalog.version + 1):
        view = log.catalog.view_at(version)
        assert rows_of(view, count=3) == model.states[version]
        assert view.digest == model.digest(version)
        view.close()


@many
@given(logs, cuts)
def test_a_view_that_is_read_late_is_still_of_its_moment(lines: list[Line], cut: int) -> None:
    log, model = CatalogLog(), CatalogModel()
    view = log.catalog.view()
    for number, (one, key) in enumerate(lines):
        if number == cut:
            view.close()
            view = log.catalog.view()
        log.do(one, key, NOON_MS + number)
        model.apply(one, NOON_MS + number, key)
    assert rows_of(view, count=3) == model.states[view.version]


@many
@given(logs, cuts)
def test_replicas_are_equal_byte_for_byte_restarted_or_not(lines: list[Line], cut: int) -> None:
    log, _ = play(lines)
    replica, restarted = Catalog("c1"), Catalog("c1")
    for number, entry in enumerate(log.entries):
        if number == cut:
            restarted = restore(dumped(restarted, records=3), CatalogLimits())
        apply_entry(replica, entry)
        apply_entry(restarted, entry)
    for other in (replica, restarted):
        assert other.digest == log.catalog.digest
        assert dumped(other) == dumped(log.catalog)
        assert rendered(other.view()) == rendered(log.catalog.view())


class Watcher:
    """A broker's cache: hears updates, and takes a snapshot when it must."""

    def __init__(self) -> None:
        self.version = 0
        self.rows: dict[Place, msgspec.Raw] = {}

    def catch_up(self, catalog: Catalog, limit: int) -> None:
        """Ask until there is nothing more, then compare digests."""
        while True:
            try:
                batch = catalog.answer(WatchUpdates(from_version=self.version, limit=limit))
            except Compacted:
                self._start_anew(catalog)
                continue
            assert isinstance(batch, UpdateBatch)
            for update in batch.updates:
                assert update.version == self.version + 1
                self.version = update.version
                row = resources.decode(memoryview(update.payload))
                place = (type(row).__name__, row.key)
                assert (place in self.rows) == (update.type != "CREATE")
                if update.type == "DELETE":
                    assert self.rows.pop(place) == update.payload
                else:
                    self.rows[place] = update.payload
            if batch.last == batch.current:
                break
        digest = Digest()
        for raw in self.rows.values():
            digest.add(raw)
        assert digest.hex() == batch.digest == catalog.digest

    def _start_anew(self, catalog: Catalog) -> None:
        view = catalog.view()
        self.version = view.version
        self.rows = {place: msgspec.Raw(encode(row)) for place, row in rows_of(view).items()}
        view.close()


@many
@given(logs, st.sets(cuts), st.integers(1, 4), st.sampled_from([1, 3, 100]))
def test_a_watcher_ends_up_with_the_metadata_however_rarely_it_asks(
    lines: list[Line], polls: set[int], limit: int, history: int
) -> None:
    log = CatalogLog(limits=CatalogLimits(history_updates_max=history))
    watcher = Watcher()
    for number, (one, key) in enumerate(lines):
        log.do(one, key, NOON_MS + number)
        if number in polls:
            watcher.catch_up(log.catalog, limit)
    watcher.catch_up(log.catalog, limit)
    assert watcher.version == log.catalog.version


@many
@given(logs, st.sets(cuts), st.integers(1, 4), st.sampled_from([0, 1, 3, 100]), cuts)
def test_a_feed_consumer_ends_up_with_the_metadata_however_rarely_it_asks(
    lines: list[Line], polls: set[int], limit: int, rows_max: int, restart: int
) -> None:
    limits = CatalogLimits(feed_rows_max=rows_max)
    log = CatalogLog(limits=limits)
    consumers = [FeedConsumer(feed) for feed in FEEDS]
    for number, (one, key) in enumerate(lines):
        if number == restart:
            log = CatalogLog(restore(dumped(log.catalog), limits))
        log.do(one, key, NOON_MS + number)
        if number in polls:
            for consumer in consumers:
                consumer.poll(log.catalog, limit)
    for consumer in consumers:
        consumer.catch_up(log.catalog, limit)
        consumer.check(log.catalog)


def test_whatever_is_done_to_identity_replicas_agree_and_hold_what_the_model_holds() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    log, model, commands = IdentityLog(), IdentityModel(), AnyIdentityCommand(chance)
    replica, restarted = Catalog("c1"), Catalog("c1")
    came: Counter[str] = Counter()
    used: set[tuple[str, str | None]] = set()
    for _ in range(IDENTITY_ENTRIES):
        log.now_ms += chance.choice((0, 100, 100, 1000, -1000, 5000))
        one = commands.next(log)
        key = f"key-{chance.randrange(100)}" if chance.random() < 0.1 else None
        owner = (chance.choice("ab"), key)
        applied = log.apply(one, key=key, principal=owner[0])
        is_refused = isinstance(applied.result, ErrorReply)
        came[applied.result.code if isinstance(applied.result, ErrorReply) else "done"] += 1
        if not is_refused and owner not in used:
            model.follow(one, log)
        if key is not None:
            used.add(owner)
        model.check(log)
        if chance.random() < RESTARTS:
            restarted = restore(dumped(restarted, records=chance.randrange(1, 50)), CatalogLimits())
            came["restart"] += 1
        for other in (replica, restarted):
            assert apply_entry(other, log.entries[-1]) == applied
            assert other.proof == log.catalog.proof
    assert dumped(restarted) == dumped(replica) == dumped(log.catalog)
    assert came["done"] > IDENTITY_ENTRIES // 4
    assert {"restart", "forbidden", "last_admin", "unauthorized", "key_state"} <= came.keys()
