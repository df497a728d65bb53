"""Sets of documents: all or none, nothing twice, and just what the single commands would do."""

from __future__ import annotations

import random
from typing import Any, Final

import pytest

from felix.core.catalog.catalog import Applied, Catalog, CatalogLimits
from felix.core.catalog.dump import restore
from felix.core.catalog.manifests import DELETES, key_of, kind_of
from felix.core.catalog.validation import check
from felix.proto.commands import (
    AnyCommand,
    ApplyManifests,
    CreateNamespace,
    CreateStream,
    CreateTenant,
    DeleteNamespace,
    DeleteStream,
    DeleteTenant,
    DescribeBroker,
    Manifest,
    Right,
    Stamp,
    UpdateNamespace,
    UpdateStream,
    UpdateTenant,
    Wanted,
)
from felix.proto.errors import ErrorReply, ValidationFailed
from felix.proto.identity import AuditPage, NewKey
from felix.proto.manifests import DOCUMENTS_MAX, TENANTS_MAX, ManifestsApplied
from felix.proto.placement_commands import DeleteBridge, PutBridge, RegisterBroker
from felix.proto.queries import GetAudit, TryManifests
from felix.proto.resources import Quotas, RetentionPolicy, Stream, StreamSpec
from tests.support.catalog_log import NOON_MS, CatalogLog, dumped, namespace, stream, tenant

ALL: Final[tuple[Right, ...]] = ("create", "update", "quotas", "delete")
HERE: Final[Any] = {"tenant_id": "acme", "namespace": "prod"}


def document(wanted: Wanted, *given: str, rights: tuple[Right, ...] = ALL) -> Manifest:
    return Manifest(wanted=wanted, given=given, rights=rights)


def applying(*documents: Manifest | Wanted) -> ApplyManifests:
    return ApplyManifests(
        documents=tuple(one if isinstance(one, Manifest) else document(one) for one in documents)
    )


def fates(applied: Applied) -> list[str]:
    assert isinstance(applied.result, ManifestsApplied), applied.result
    return [one.fate for one in applied.result.documents]


def refusal(applied: Applied) -> ErrorReply:
    assert isinstance(applied.result, ErrorReply), applied.result
    assert applied.updates == ()
    return applied.result


def state(catalog: Catalog) -> tuple[int, str, str, tuple[int, ...]]:
    totals = catalog.placement.totals
    return catalog.version, catalog.digest, catalog.rows_digest, tuple(totals)


# --- all or none ----------------------------------------------------------------------------------


def test_a_set_makes_parents_and_children_in_one_run_of_versions() -> None:
    log = CatalogLog()
    applied = log.do(applying(tenant(), namespace(), stream("orders"), stream("events")))
    assert fates(applied) == ["created"] * 4
    assert [one.version for one in applied.updates] == [1, 2, 3, 4]
    assert log.catalog.version == applied.version == 4
    orders = log.catalog.store.tables["Stream"].rows["acme", "prod", "orders"]
    assert (orders.version, orders.stream_id) == (3, "st-1-3")


def test_each_tenant_of_a_set_gets_the_signing_key_that_was_made_for_it() -> None:
    log = CatalogLog()
    keys = tuple(NewKey(f"k{number}", f"public{number}", "kek", b"x") for number in (1, 2))
    stamp = Stamp(NOON_MS, new_keys=keys)
    applied = log.apply_stamped(stamp, applying(tenant("a"), namespace("n", "a"), tenant("b")))
    assert [one.version for one in applied.updates] == [1, 2, 3, 4, 5]
    rows = log.catalog.store.tables["SigningKey"].rows
    assert sorted(rows) == [("a", "k1"), ("b", "k2")]


def test_one_bad_document_leaves_no_trace_of_the_others() -> None:
    log = CatalogLog()
    log.make(tenant(), namespace())
    before = state(log.catalog)
    missing = CreateStream(tenant_id="acme", namespace="nowhere", stream="lost")
    found = refusal(log.do(applying(stream("orders"), tenant("other"), missing, stream("events"))))
    assert (found.code, found.details["document"]) == ("not_found", 2)
    assert state(log.catalog) == before
    assert log.catalog.counts()["Stream"] == 0
    assert not log.catalog.placement.unplaced(), "the index has forgotten them too"


def test_a_set_that_is_applied_twice_changes_nothing_and_makes_no_versions() -> None:
    log = CatalogLog()
    command = applying(
        document(tenant(), "display_name"), namespace(), document(stream("orders"), "shards")
    )
    log.do(command)
    before = state(log.catalog)
    again = log.do(command)
    assert fates(again) == ["unchanged"] * 3
    assert again.updates == ()
    assert state(log.catalog) == before


def test_the_same_key_gets_the_same_answer() -> None:
    log = CatalogLog()
    command = applying(tenant(), namespace())
    first = log.do(command, key="k")
    assert log.do(command, key="k").result == first.result
    assert fates(log.do(command)) == ["unchanged"] * 2
    assert refusal(log.do(applying(tenant()), key="k")).code == "key_reused"


def test_what_a_document_leaves_out_stays_as_it_is() -> None:
    log = CatalogLog()
    log.make(tenant(), namespace())
    log.make(
        UpdateNamespace(**HERE, description="kept", quotas=Quotas(max_streams=3)),
        CreateStream(**HERE, stream="s", spec=StreamSpec(retention=RetentionPolicy(60))),
    )
    wanted = CreateNamespace(**HERE, display_name="Production")
    quicker = CreateStream(**HERE, stream="s", spec=StreamSpec(ack_policy="quorum"))
    applied = log.do(applying(document(wanted, "display_name"), document(quicker, "ack_policy")))
    assert fates(applied) == ["updated", "updated"]
    row = log.catalog.store.tables["Namespace"].rows["acme", "prod"]
    assert (row.display_name, row.description) == ("Production", "kept")
    assert row.quotas == Quotas(max_streams=3)
    spec = log.catalog.store.tables["Stream"].rows["acme", "prod", "s"].spec
    assert spec == StreamSpec(retention=RetentionPolicy(60), ack_policy="quorum")


# --- what is refused ------------------------------------------------------------------------------


def test_streams_of_one_set_count_against_the_quota_one_after_the_other() -> None:
    log = CatalogLog()
    log.make(tenant(), namespace(), UpdateNamespace(**HERE, quotas=Quotas(max_streams=2)))
    before = state(log.catalog)
    found = refusal(log.do(applying(*map(stream, "abc"))))
    assert (found.code, found.details["document"]) == ("quota_exceeded", 2)
    assert state(log.catalog) == before
    raised = CreateNamespace(**HERE, quotas=Quotas(max_streams=3))
    applied = log.do(applying(document(raised, "quotas"), *map(stream, "abc")))
    assert fates(applied) == ["updated", "created", "created", "created"]


@pytest.mark.parametrize(
    ("member", "value"),
    [("shards", 9), ("replication_factor", 2), ("regions", ("eu",)), ("durability", "durable")],
)
def test_what_cannot_be_changed_of_a_stream_is_named(member: str, value: Any) -> None:
    log = CatalogLog()
    log.make(tenant(), namespace(), stream("s"))
    wanted = CreateStream(**HERE, stream="s", spec=StreamSpec(**{member: value}))
    found = refusal(log.do(applying(document(wanted, member))))
    assert (found.code, found.details) == (
        "conflict", {"reason": "read_only", "member": member, "document": 0}
    )  # fmt: skip
    assert member in found.message


def test_a_change_without_the_right_to_it_is_refused_and_none_needs_no_right() -> None:
    log = CatalogLog()
    log.make(tenant(), namespace())
    there = document(namespace(), rights=())
    assert fates(log.do(applying(there))) == ["unchanged"]
    quotas = CreateNamespace(**HERE, quotas=Quotas(max_streams=1))
    cases: list[tuple[Manifest, str]] = [
        (document(stream("s"), rights=("update", "delete")), "create"),
        (document(CreateNamespace(**HERE, display_name="x"), "display_name", rights=()), "update"),
        (document(quotas, "quotas", rights=("create", "update", "delete")), "quotas"),
        (document(DeleteNamespace(**HERE), rights=("create", "update", "quotas")), "delete"),
    ]
    for one, right in cases:
        before = state(log.catalog)
        found = refusal(log.do(applying(tenant("other"), one)))
        assert (found.code, found.details) == ("forbidden", {"right": right, "document": 1})
        assert state(log.catalog) == before


def test_who_lacks_a_right_is_not_told_why_else_it_would_fail() -> None:
    log = CatalogLog()
    log.make(tenant())
    assert refusal(log.do(applying(document(stream("s"), rights=())))).code == "forbidden"


def test_a_durable_stream_goes_only_where_that_was_confirmed_and_with_a_grace() -> None:
    log = CatalogLog()
    durable = StreamSpec(durability="durable")
    log.make(tenant(), namespace(), CreateStream(**HERE, stream="s", spec=durable))
    careful = DeleteStream(**HERE, stream="s", refuse_durable=True, grace_ms=1000)
    assert refusal(log.do(applying(careful))).details == {"reason": "durable", "document": 0}
    applied = log.do(applying(DeleteStream(**HERE, stream="s", grace_ms=1000)))
    assert fates(applied) == ["deleted"]
    assert log.catalog.store.tables["deleted_streams"].count(("acme", "prod")) == 1
    assert fates(log.do(applying(DeleteStream(**HERE, stream="s")))) == ["absent"]


def test_a_broker_is_described_and_drained_but_not_made_or_readdressed() -> None:
    log = CatalogLog()
    found = refusal(log.do(applying(DescribeBroker(broker_id="b1", region="eu"))))
    assert found.code == "not_found"
    log.make(RegisterBroker(broker_id="b1", address="h:1", boot_id="x"))
    applied = log.do(applying(DescribeBroker(broker_id="b1", region="eu", drain=True)))
    assert fates(applied) == ["updated"]
    row = log.catalog.store.tables["Broker"].rows[("b1",)]
    assert (row.region, row.drain, row.status) == ("eu", True, "drained"), "it holds nothing"
    again = log.do(applying(DescribeBroker(broker_id="b1", address="h:1", drain=True)))
    assert fates(again) == ["unchanged"]
    found = refusal(log.do(applying(DescribeBroker(broker_id="b1", address="h:2"))))
    assert found.details["member"] == "address"


def test_sets_are_bounded_and_hold_no_object_twice() -> None:
    many = [stream(f"s{number}") for number in range(DOCUMENTS_MAX + 1)]
    tenants = [tenant(f"t{number}") for number in range(TENANTS_MAX + 1)]
    for command, said in (
        (applying(*many), f"at most {DOCUMENTS_MAX}"),
        (applying(*tenants), f"at most {TENANTS_MAX} tenants"),
        (applying(stream("s"), stream("s")), "twice"),
        (applying(document(stream("s"), "version")), "no member"),
        (applying(stream("s"), stream("/")), "must be letters"),
    ):
        with pytest.raises(ValidationFailed, match=said):
            check(command)


# --- the trail, and a trial -----------------------------------------------------------------------


def test_the_trail_tells_of_the_set_and_of_each_change_by_the_command_it_came_to() -> None:
    log = CatalogLog()
    log.make(tenant())
    log.do(
        applying(document(CreateTenant(tenant_id="acme", display_name="A"), "display_name"),
                 namespace(), stream("s"))
    )  # fmt: skip
    page = log.catalog.answer(GetAudit())
    assert isinstance(page, AuditPage)
    items = reversed(page.items)
    told = [(one.operation, one.tenant_id, one.object, one.version) for one in items]
    assert told[1:] == [
        ("ApplyManifests", "",
         "manifests:Tenant acme, Namespace acme/prod, Stream acme/prod/s", 4),
        ("UpdateTenant", "acme", "tenant:acme", 2),
        ("CreateNamespace", "acme", "namespace:prod", 3),
        ("CreateStream", "acme", "stream:s", 4),
    ]  # fmt: skip


def test_a_trial_tells_the_fate_of_every_document_and_changes_nothing() -> None:
    log = CatalogLog()
    log.make(tenant(), namespace(), stream("old"))
    log.make(RegisterBroker(broker_id="b1", address="h:1", boot_id="x"))
    before = (state(log.catalog), log.catalog.proof, dumped(log.catalog))
    more = CreateStream(**HERE, stream="old", spec=StreamSpec(ack_policy="quorum"))
    query = TryManifests(
        documents=applying(
            document(more, "ack_policy"),
            CreateStream(**HERE, stream="new", spec=StreamSpec(shards=2, replication_factor=2)),
            CreateStream(tenant_id="acme", namespace="none", stream="x"),
            namespace("late"),
            CreateStream(tenant_id="acme", namespace="late", stream="x"),
            DeleteBridge(name="no"),
        ).documents
    )
    answer = log.catalog.answer(query)
    assert isinstance(answer, ManifestsApplied)
    assert [one.fate for one in answer.documents] == [
        "updated", "created", "refused", "created", "created", "absent"
    ]  # fmt: skip
    changed = answer.documents[0]
    assert isinstance(changed.before, Stream)
    assert isinstance(changed.after, Stream)
    policies = (changed.before.spec.ack_policy, changed.after.spec.ack_policy)
    assert policies == ("leader_only", "quorum")
    why = answer.documents[2].why
    assert why is not None
    assert (why.code, why.details["document"]) == ("not_found", 2)
    assert [(one.stream.stream, len(one.placements)) for one in answer.placements] == [
        ("x", 1), ("new", 2)
    ]  # fmt: skip
    assert [one.stream.stream for one in answer.unmet] == ["new", "new"], "one broker, two copies"
    assert (state(log.catalog), log.catalog.proof, dumped(log.catalog)) == before


# --- against the single commands ------------------------------------------------------------------


def command_of(catalog: Catalog, one: Manifest) -> AnyCommand | None:
    """Say by other means what a document of these tests comes to; None: to nothing."""
    rows, wanted = catalog.store.tables, one.wanted
    is_there = key_of(wanted) in rows[kind_of(wanted)].rows
    assert not isinstance(wanted, DescribeBroker)
    match wanted:
        case CreateTenant() if is_there:
            return UpdateTenant(tenant_id=wanted.tenant_id, display_name=wanted.display_name)
        case CreateNamespace() if is_there:
            return UpdateNamespace(
                tenant_id=wanted.tenant_id, namespace=wanted.namespace, quotas=wanted.quotas
            )
        case CreateStream() if is_there:
            return UpdateStream(
                tenant_id=wanted.tenant_id,
                namespace=wanted.namespace,
                stream=wanted.stream,
                retention=wanted.spec.retention,
            )
        case _ if is_there or not isinstance(wanted, DELETES):
            return wanted
        case _:
            return None


def first_failure(model: CatalogLog, documents: tuple[Manifest, ...]) -> int | None:
    """Carry out one command after the other, up to one that is refused: give its place."""
    for place, one in enumerate(documents):
        command = command_of(model.catalog, one)
        if command is not None and isinstance(model.do(command).result, ErrorReply):
            return place
    return None


def random_document(chance: random.Random) -> Manifest:
    at: Any = {"tenant_id": chance.choice("ab")}
    within = {**at, "namespace": chance.choice("mn")}
    names = {**within, "stream": chance.choice("stuv")}
    quotas = Quotas(max_streams=chance.randrange(4))
    spec = StreamSpec(retention=RetentionPolicy(chance.randrange(3)), durability="durable")
    wanted: Wanted = chance.choice(
        [
            CreateTenant(**at, display_name=chance.choice("xyz")),
            CreateNamespace(**within, quotas=quotas),
            CreateStream(**names, spec=spec),
            CreateStream(**names, spec=spec),
            CreateStream(**names, spec=spec),
            PutBridge(name="b", source_region="r", target_region=chance.choice("st")),
            DeleteStream(**names, grace_ms=chance.choice([0, 1000])),
            DeleteNamespace(**within),
            DeleteTenant(**at) if chance.random() < 0.3 else DeleteBridge(name="b"),
        ]
    )
    given = {
        CreateTenant: ("display_name",),
        CreateNamespace: ("quotas",),
        CreateStream: ("retention",),
        PutBridge: ("source_region", "target_region"),
    }
    return document(wanted, *given.get(type(wanted), ()))


@pytest.mark.parametrize("seed", range(6))
def test_random_sets_do_what_their_commands_do_one_by_one_or_nothing(seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    log = CatalogLog()
    done = refused = 0
    for _ in range(150):
        command = applying(*(random_document(chance) for _ in range(chance.randrange(1, 6))))
        try:
            check(command)
        except ValidationFailed:
            continue  # the same object twice
        model = CatalogLog(restore(dumped(log.catalog), CatalogLimits()))
        before = state(log.catalog)
        failed = first_failure(model, command.documents)
        trial = log.catalog.answer(TryManifests(documents=command.documents))
        assert isinstance(trial, ManifestsApplied)
        assert state(log.catalog) == before
        applied = log.do(command)
        if failed is None:
            done += 1
            assert fates(applied) == [one.fate for one in trial.documents]
            assert (log.catalog.version, log.catalog.digest) == (
                model.catalog.version, model.catalog.digest
            )  # fmt: skip
            assert log.catalog.placement.totals == model.catalog.placement.totals
        else:
            refused += 1
            assert refusal(applied).details["document"] == failed
            assert trial.documents[failed].fate == "refused"
            assert state(log.catalog) == before
    assert min(done, refused) > 10
