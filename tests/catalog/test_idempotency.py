"""Same key, same command: one effect and one answer."""

from __future__ import annotations

from felix.core.catalog.catalog import CatalogLimits
from felix.core.catalog.dump import restore
from felix.proto.commands import DeleteTenant
from felix.proto.errors import ErrorReply
from tests.support.catalog_log import NOON_MS, CatalogLog, dumped, tenant

DAY_MS = 24 * 3600 * 1000


def code_of(result: object) -> str:
    assert isinstance(result, ErrorReply), result
    return result.code


def test_a_repeated_command_has_no_second_effect_and_the_same_answer() -> None:
    log = CatalogLog()
    first = log.do(tenant(), key="k")
    log.make(tenant("other"))
    again = log.do(tenant(), key="k", at_ms=NOON_MS + 1000)
    assert (again.result, again.version) == (first.result, first.version)
    assert again.updates == ()
    assert log.catalog.version == 2


def test_a_repeated_deletion_is_answered_though_the_object_is_gone() -> None:
    log = CatalogLog()
    log.make(tenant())
    first = log.do(DeleteTenant(tenant_id="acme"), key="k")
    assert log.do(DeleteTenant(tenant_id="acme"), key="k").result == first.result


def test_a_refusal_is_remembered_too() -> None:
    log = CatalogLog()
    assert code_of(log.do(DeleteTenant(tenant_id="acme"), key="k").result) == "not_found"
    log.make(tenant())
    assert code_of(log.do(DeleteTenant(tenant_id="acme"), key="k").result) == "not_found"
    assert log.catalog.counts()["Tenant"] == 1


def test_a_key_does_not_serve_another_command() -> None:
    log = CatalogLog()
    log.do(tenant(), key="k")
    assert code_of(log.do(tenant("other"), key="k").result) == "key_reused"
    assert log.catalog.version == 1


def test_a_command_without_key_is_carried_out_each_time() -> None:
    log = CatalogLog()
    log.do(tenant(), key="k")
    assert log.refuse(tenant()).code == "already_exists"


def test_a_key_is_good_for_a_day_of_log_time_and_not_longer() -> None:
    log = CatalogLog()
    first = log.do(tenant(), key="k")
    just_in_time = log.do(tenant(), key="k", at_ms=NOON_MS + DAY_MS - 1)
    assert just_in_time.result == first.result
    late = log.do(tenant(), key="k", at_ms=NOON_MS + DAY_MS)
    assert code_of(late.result) == "already_exists"


def test_a_clock_that_is_behind_brings_no_expired_key_back() -> None:
    log = CatalogLog()
    log.do(tenant(), key="k", at_ms=NOON_MS)
    log.do(tenant("other"), at_ms=NOON_MS + DAY_MS)
    assert code_of(log.do(tenant(), key="k", at_ms=NOON_MS).result) == "already_exists"


def test_when_there_are_too_many_keys_the_oldest_goes() -> None:
    log = CatalogLog(limits=CatalogLimits(idempotency_keys_max=2))
    for name in ("a", "b", "c"):
        log.do(tenant(name), key=name)
    assert log.do(tenant("b"), key="b").version == 2
    assert code_of(log.do(tenant("a"), key="a").result) == "already_exists"


def test_keys_and_their_age_survive_a_restart() -> None:
    limits = CatalogLimits(idempotency_keys_max=3)
    log = CatalogLog(limits=limits)
    for name in ("z", "y", "x"):
        log.do(tenant(name), key=name)
    restarted = CatalogLog(restore(dumped(log.catalog), limits))
    for one in (log, restarted):
        assert one.do(tenant("z"), key="z").version == 1
        one.do(tenant("w"), key="w")
        assert code_of(one.do(tenant("z"), key="z").result) == "already_exists"
    assert dumped(restarted.catalog) == dumped(log.catalog)


def test_a_key_is_its_principals_own() -> None:
    log = CatalogLog()
    first = log.do(tenant(), key="k", principal="alice")
    other = log.do(tenant("other"), key="k", principal="bob")
    assert (first.version, other.version) == (1, 2)
    assert code_of(log.do(tenant("other"), key="k", principal="alice").result) == "key_reused"
    assert code_of(log.do(tenant(), key="k", principal="carol").result) == "already_exists"
    log.catalog = restore(dumped(log.catalog), CatalogLimits())
    assert log.do(tenant(), key="k", principal="alice").result == first.result
    assert log.do(tenant("other"), key="k", principal="bob").result == other.result
