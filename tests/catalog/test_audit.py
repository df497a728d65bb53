"""The audit trail in the state machine: complete, bounded, chained, the same everywhere."""

from __future__ import annotations

import random
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest

from felix.core.catalog.audit import (
    AUDIT,
    GENESIS,
    OBJECT_CHARS_MAX,
    SEGMENT_RECORDS,
    SEGMENTS_READ_MAX,
    SEGMENTS_SEARCHED_MAX,
    TEXT_CHARS_MAX,
    hash_of,
)
from felix.core.catalog.audit_subjects import subject_of
from felix.core.catalog.catalog import Catalog, CatalogLimits
from felix.core.catalog.dump import restore
from felix.proto import commands, placement_commands
from felix.proto.brokers import MovePlan, PlannedMove
from felix.proto.codec import encode
from felix.proto.commands import (
    AnyCommand,
    ChangePolicies,
    DeleteStream,
    DeleteTenant,
    Proposal,
    RecordRefusals,
    SetFeatureLevel,
    Stamp,
    UpdateTenant,
)
from felix.proto.errors import ErrorReply, ValidationFailed
from felix.proto.identity import (
    Assignment,
    AuditPage,
    AuditRecord,
    Done,
    NewKey,
    RefreshGrant,
    Refusal,
    Rule,
)
from felix.proto.ids import Index
from felix.proto.levels import level_of
from felix.proto.placement_commands import AdvanceMoves, ChangeInSync
from felix.proto.queries import GetAudit
from tests.support.catalog_log import (
    NOON_MS,
    CatalogLog,
    apply_entry,
    cache,
    dumped,
    namespace,
    stream,
    tenant,
)

SECRET = b"\xde\xad\xbe\xef-secret"
SECRET_TEXT = "s3cr3t-s3cr3t-s3cr3t"


def page(catalog: Catalog, **query: Any) -> AuditPage:
    answer = catalog.answer(GetAudit(**query))
    assert isinstance(answer, AuditPage)
    return answer


def everything(catalog: Catalog, **query: Any) -> list[AuditRecord]:
    """Follow the pages to the end; newest first."""
    found: list[AuditRecord] = []
    before = 0
    while True:
        one = page(catalog, before=before, **query)
        found += one.items
        before = one.next_before
        if not before:
            return found


def refusal(number: int, **members: Any) -> Refusal:
    given = {"operation": "ExchangeToken", "code": "unauthorized", "tenant_id": "acme"} | members
    return Refusal(time_ms=NOON_MS + number, request_id=f"r-{number}", **given)


def record_refusals(log: CatalogLog, *refusals: Refusal, dropped: int = 0) -> None:
    applied = log.do(RecordRefusals(node="n1", refusals=refusals, dropped=dropped))
    assert applied.result == Done()


def busy(count: int, limits: CatalogLimits | None = None) -> CatalogLog:
    log = CatalogLog(limits=limits)
    log.make(tenant())
    for number in range(count - 1):
        log.do(UpdateTenant(tenant_id="acme", description=f"{number}"), at_ms=NOON_MS + number)
    return log


def test_steps_that_the_leader_takes_by_itself_leave_no_record_and_those_of_others_do() -> None:
    log = CatalogLog()
    steps: tuple[AnyCommand, ...] = (AdvanceMoves(items=()), ChangeInSync(items=()))
    for index, command in enumerate(steps, 1):
        stamp = Stamp(NOON_MS, principal="felix:placement-planner")
        log.catalog.apply(Index(index), Proposal(level_of(command), stamp, command))
    assert everything(log.catalog) == []
    for index, command in enumerate(steps, 3):
        stamp = Stamp(NOON_MS, principal="mallory")
        log.catalog.apply(Index(index), Proposal(level_of(command), stamp, command))
    assert [one.operation for one in everything(log.catalog)] == ["ChangeInSync", "AdvanceMoves"]


def test_every_command_leaves_one_record_with_who_what_where_and_what_came_of_it() -> None:
    log = CatalogLog()
    log.make(tenant(), namespace(), stream("orders"))
    command = DeleteStream(tenant_id="acme", namespace="prod", stream="orders")
    stamp = Stamp(NOON_MS, "req-7", "alice", "10.1.2.3")
    log.catalog.apply(Index(4), Proposal(level_of(command), stamp, command))
    newest = page(log.catalog).items[0]
    assert newest == AuditRecord(
        sequence=4,
        index=4,
        time_ms=NOON_MS,
        operation="DeleteStream",
        result="success",
        principal="alice",
        tenant_id="acme",
        namespace="prod",
        object="stream:orders",
        source="10.1.2.3",
        request_id="req-7",
        version=4,
    )
    assert [one.operation for one in everything(log.catalog)] == [
        "DeleteStream",
        "CreateStream",
        "CreateNamespace",
        "CreateTenant",
    ]


def test_a_command_that_the_state_refuses_is_recorded_with_its_code_and_reason() -> None:
    log = CatalogLog()
    log.refuse(DeleteTenant(tenant_id="nobody"))
    (only,) = everything(log.catalog)
    assert (only.result, only.object) == ("not_found", "tenant:nobody")
    assert "nobody" in only.reason


def test_an_answer_that_was_only_remembered_is_not_recorded_again() -> None:
    log = CatalogLog()
    for _ in range(3):
        log.do(tenant(), key="once")
    log.do(tenant("other"), key="once")
    assert [one.result for one in everything(log.catalog)] == ["key_reused", "success"]


def test_each_refused_request_is_a_record_and_so_is_that_some_were_dropped() -> None:
    log = busy(1)
    record_refusals(log, refusal(1, reason="bad signature", count=7), refusal(2), dropped=40)
    dropped, second, first, _ = everything(log.catalog)
    assert (first.operation, first.result, first.reason) == (
        "ExchangeToken",
        "unauthorized",
        "bad signature",
    )
    assert (first.count, first.request_id, first.time_ms) == (7, "r-1", NOON_MS + 1)
    assert second.count == 1
    assert (dropped.count, dropped.object, dropped.result) == (40, "node:n1", "overloaded")


def test_the_hash_of_each_record_is_over_the_one_before_and_its_own_bytes() -> None:
    log = busy(SEGMENT_RECORDS * 2 + 30)
    found = page(log.catalog, page_size=1000)
    last = GENESIS
    for record, said in zip(reversed(found.items), reversed(found.hashes), strict=True):
        last = hash_of(last, encode(record))
        assert said == last
    assert (found.last_hash, found.previous_hash) == (last, GENESIS)
    assert (found.first_sequence, found.last_sequence) == (1, SEGMENT_RECORDS * 2 + 30)


def test_pages_join_into_the_whole_trail_and_each_begins_where_the_next_one_ends() -> None:
    log = busy(SEGMENT_RECORDS + 77)
    before, sequences, wanted = 0, [], b""
    while True:
        found = page(log.catalog, before=before, page_size=50)
        sequences += [one.sequence for one in found.items]
        assert wanted in (b"", found.hashes[0])
        wanted = found.previous_hash
        before = found.next_before
        if not before:
            break
    assert sequences == list(range(SEGMENT_RECORDS + 77, 0, -1))
    assert wanted == GENESIS


@pytest.mark.parametrize("tail", [0, 1, 255])
def test_the_oldest_go_as_whole_segments_and_the_chain_is_whole_from_there(tail: int) -> None:
    limits = CatalogLimits(audit_records_max=600)
    log = busy(SEGMENT_RECORDS * 5 + tail, limits)
    found = page(log.catalog, page_size=1000)
    first = SEGMENT_RECORDS * 3 + 1
    assert (found.first_sequence, found.items[-1].sequence) == (first, first)
    assert found.next_before == 0
    last = found.previous_hash
    for record in reversed(found.items):
        last = hash_of(last, encode(record))
    assert last == found.last_hash
    assert len(log.catalog.store.tables[AUDIT].rows) == 2


@pytest.mark.parametrize("seed", [11, 12])
def test_filters_find_what_a_plain_search_finds(seed: int) -> None:
    print("seed", seed)
    chance = random.Random(seed)
    log = CatalogLog()
    for _ in range(700):
        record_refusals(
            log,
            refusal(
                chance.randrange(50_000),
                tenant_id=chance.choice(["acme", "zeta", "acme-2", ""]),
                principal=chance.choice(["alice", "bob"]),
                code=chance.choice(["unauthorized", "forbidden"]),
            ),
        )
    all_of_them = everything(log.catalog)
    for _ in range(60):
        query: dict[str, Any] = {}
        if chance.random() < 0.5:
            query["tenant_id"] = chance.choice(["acme", "zeta", "nobody"])
        if chance.random() < 0.4:
            query["principal"] = "bob"
        if chance.random() < 0.4:
            query["result"] = "forbidden"
        wanted = [
            one
            for one in all_of_them
            if all(getattr(one, name) == value for name, value in query.items())
        ]
        if chance.random() < 0.4:
            query["from_ms"] = NOON_MS + chance.randrange(50_000)
            wanted = [one for one in wanted if one.time_ms >= query["from_ms"]]
        if chance.random() < 0.4:
            query["to_ms"] = NOON_MS + chance.randrange(50_000)
            wanted = [one for one in wanted if one.time_ms <= query["to_ms"]]
        assert everything(log.catalog, page_size=chance.choice([0, 1, 33, 1000]), **query) == wanted
    one = chance.choice(all_of_them)
    assert one in everything(log.catalog, request_id=one.request_id)


def test_a_rare_filter_looks_at_a_few_segments_and_says_where_to_go_on() -> None:
    log = busy(SEGMENT_RECORDS * (SEGMENTS_READ_MAX + 4))
    found = page(log.catalog, operation="UpdateTenant", to_ms=NOON_MS + 1)
    assert [one.sequence for one in found.items] == [3, 2]  # skipped by time, at no cost
    found = page(log.catalog, operation="acme")  # in the bytes of every segment, in no record
    assert found.items == ()
    assert found.next_before == SEGMENT_RECORDS * 4 + 1
    assert everything(log.catalog, operation="acme") == []


def test_a_text_that_is_nowhere_is_not_searched_for_in_the_whole_trail_at_once() -> None:
    log = CatalogLog()
    some = tuple(refusal(number) for number in range(SEGMENT_RECORDS))
    for _ in range(SEGMENTS_SEARCHED_MAX + 7):
        record_refusals(log, *some)
    found = page(log.catalog, request_id="r-never")
    assert found.items == ()
    assert found.next_before == SEGMENT_RECORDS * 7 + 1
    assert page(log.catalog, request_id="r-never", before=found.next_before).next_before == 0


@pytest.mark.parametrize(
    "query", [{"page_size": 1001}, {"page_size": -1}, {"before": -1}, {"from_ms": -1}]
)
def test_what_makes_no_sense_is_refused(query: dict[str, int]) -> None:
    with pytest.raises(ValidationFailed):
        page(CatalogLog().catalog, **query)


def test_an_empty_trail_is_an_empty_page() -> None:
    assert page(CatalogLog().catalog) == AuditPage((), (), 1, 0, GENESIS)
    assert page(busy(3).catalog, before=1).items == ()


def random_command(chance: random.Random) -> AnyCommand:
    name = chance.choice(["a", "b", "c"])
    some: list[AnyCommand] = [
        tenant(name),
        namespace("n", name),
        stream("s", "n", name),
        cache("c", "n", name),
        DeleteTenant(tenant_id=name),
        UpdateTenant(tenant_id=name, description=str(chance.random())),
        SetFeatureLevel(level=1),
    ]
    return chance.choice(some)


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5, 6])
def test_replicas_have_the_same_trail_whatever_was_dumped_and_restored_when(seed: int) -> None:
    print("seed", seed)
    chance = random.Random(seed)
    limits = CatalogLimits(audit_records_max=chance.choice([100, 512, 700, 10_000]))
    log = CatalogLog(limits=limits)
    other = Catalog("c1", limits=limits)
    for number in range(1200):
        key = f"k{chance.randrange(50)}" if chance.random() < 0.2 else None
        log.do(random_command(chance), key=key, at_ms=NOON_MS + number)
        apply_entry(other, log.entries[-1])
        if chance.random() < 0.01:
            other = restore(dumped(other, chance.randrange(1, 99)), limits)
        if chance.random() < 0.02:
            page(other, page_size=chance.randrange(1000))  # looking changes nothing
    assert other.proof == log.catalog.proof
    assert dumped(other) == dumped(log.catalog)
    mine, its = page(log.catalog, page_size=1000), page(other, page_size=1000)
    assert mine == its
    kept = max(limits.audit_records_max, SEGMENT_RECORDS) + SEGMENT_RECORDS
    assert len(everything(other)) < kept


def test_a_dump_takes_few_segments_at_a_time_for_each_is_as_large_as_a_slice() -> None:
    log = busy(SEGMENT_RECORDS * 6 + 3)
    chunks = dumped(log.catalog, records=250)
    largest = max(len(row.records) for row in log.catalog.store.tables[AUDIT].rows.values())
    assert max(map(len, chunks)) < largest + 500
    assert dumped(restore(chunks, CatalogLimits()), records=250) == chunks


def test_a_catalog_that_is_taken_over_into_a_new_cluster_goes_on_with_the_chain() -> None:
    log = busy(SEGMENT_RECORDS + 3)
    before = page(log.catalog)
    log.catalog.renew("c2", 2, Index(log.catalog.applied_index + 10), 1000)
    log.make(tenant("new"))
    after = page(log.catalog)
    assert after.items[1:] == before.items[:-1]
    assert after.last_hash == hash_of(before.last_hash, encode(after.items[0]))
    assert dumped(restore(dumped(log.catalog), CatalogLimits())) == dumped(log.catalog)


def test_the_proof_differs_where_a_closed_record_does() -> None:
    one, other = busy(SEGMENT_RECORDS), busy(SEGMENT_RECORDS - 1)
    command = UpdateTenant(tenant_id="acme", description=str(SEGMENT_RECORDS - 2))
    stamp = Stamp(NOON_MS + SEGMENT_RECORDS - 2, principal="somebody else")
    other.catalog.apply(Index(SEGMENT_RECORDS), Proposal(1, stamp, command))
    assert one.catalog.digest == other.catalog.digest
    assert one.catalog.proof != other.catalog.proof


def test_what_a_caller_chose_cannot_make_a_record_large() -> None:
    log = CatalogLog()
    stamp = Stamp(NOON_MS, "r" * 9999, "p" * 9999, "s" * 9999)
    rules = tuple(Rule("u" * 500, "o" * 500, "a" * 500) for _ in range(500))
    command = ChangePolicies(tenant_id="acme", add=rules)
    log.catalog.audit.record(1, Proposal(1, stamp, command), None, 0)
    record_refusals(log, refusal(1, reason="x" * 9999, object="o" * 9999, principal="p" * 9999))
    for one in everything(log.catalog):
        assert len(encode(one)) < 8 * TEXT_CHARS_MAX + OBJECT_CHARS_MAX + 500


SUBJECTS = {
    commands.CreateStream: "stream:stream",
    commands.DeleteCache: "cache:cache",
    commands.UpdateNamespace: "namespace:namespace",
    commands.BootstrapTenant: "tenant:tenant_id",
    commands.PutIssuer: "issuer:issuer",
    commands.DeleteIssuer: "issuer:issuer",
    commands.ChangePolicies: "policy:+subject action object, -subject action object",
    commands.ChangeGroupings: "grouping:+user role, -user role",
    commands.StageSigningKey: "key:kid",
    commands.RetireSigningKey: "key:kid",
    commands.RevokeTokens: "principal:principal",
    commands.PutBrokerCredential: "broker:broker_id",
    commands.SetFeatureLevel: "level:1",
    placement_commands.RegisterBroker: "broker:broker_id",
    placement_commands.ChangeBrokerStatus: "broker:broker_id active -> active, reason",
    placement_commands.PlaceShards: "placement:tenant_id/namespace/stream",
    placement_commands.ChangeInSync: "in_sync:tenant_id/namespace/stream/1 text",
    placement_commands.StartMoves: (
        "plan:drain tenant_id/namespace/stream/1 replica from_broker->to_broker"
    ),
    placement_commands.AdvanceMoves: "move:move_id waiting->waiting",
    placement_commands.CancelMoves: "plan:plan_id",
    placement_commands.PausePlacement: "placement:",
    placement_commands.AbandonShard: "shard:stream/1",
    placement_commands.PurgeStream: "stream:stream",
    placement_commands.PutBridge: "bridge:name",
}


@pytest.mark.parametrize("kind", get_args(AnyCommand), ids=lambda kind: str(kind.__name__))
def test_no_command_has_a_secret_in_its_record(kind: type[AnyCommand]) -> None:
    command = filled(kind)
    stamp = Stamp(NOON_MS, new_key=NewKey("kid", "public", "kek", SECRET))
    log = CatalogLog()
    refused = ErrorReply("conflict", "no")
    for result in (None, refused):
        log.catalog.audit.record(1, Proposal(1, stamp, command), result, 0)
    written = b"".join(encode(one) for one in everything(log.catalog))
    assert written
    for secret in (SECRET, SECRET_TEXT.encode(), b"public"):
        assert secret not in written
    if kind in SUBJECTS:
        assert subject_of(command, stamp)[2] == SUBJECTS[kind]


def filled(kind: type[AnyCommand]) -> AnyCommand:
    """Make a command with something in every member: its own name, or a secret."""
    return msgspec.convert({"type": kind.__name__} | _members(kind), kind)


def _members(kind: type[msgspec.Struct]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if field.name in {"next_id", "grant_id", "family"}:
            values[field.name] = "0123456789ab" + SECRET_TEXT
        elif field.name in {"scopes", "curve_key"}:
            continue
        elif field.type is str:
            values[field.name] = field.name
        elif field.type is bytes:
            values[field.name] = SECRET
        elif field.name == "level":
            values[field.name] = 1
        elif field.name == "issuer":
            values[field.name] = {"issuer": "issuer", "audiences": ["a"]}
        elif field.name == "grant":
            values[field.name] = _members(RefreshGrant)
        elif field.name in {"add", "remove"}:
            item = Rule if kind is ChangePolicies else Assignment
            values[field.name] = [_members(item)]
        elif field.name == "refusals":
            values[field.name] = [_members(Refusal) | {"time_ms": 1}]
        elif field.required:
            values[field.name] = _value(field.type)
    return values


def _value(kind: Any) -> Any:
    """Make up a value of a type that has nothing to hide."""
    parts = get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _members(kind) | ({"moves": [_members(PlannedMove)]} if kind is MovePlan else {})
    if get_origin(kind) is Literal:
        return parts[0]
    if get_origin(kind) is tuple:
        return [_value(parts[0])]
    return 1 if kind is int else "text"
