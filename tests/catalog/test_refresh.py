"""Refresh tokens in the catalog: used once, ended as a family, bounded, and swept away."""

from __future__ import annotations

import msgspec
import pytest

from felix.core.catalog.catalog import EXPIRIES_MAX, CatalogLimits
from felix.core.catalog.dump import restore
from felix.core.catalog.refresh import GRANTS_MAX
from felix.proto.commands import (
    CreateTenant,
    DeleteIssuer,
    DeleteTenant,
    GrantRefresh,
    PutIssuer,
    RevokeTokens,
    UseRefresh,
)
from felix.proto.errors import ErrorReply
from felix.proto.identity import Done, RefreshGrant
from tests.support.catalog_log import dumped
from tests.support.identity_log import ALICE, BOB, ISSUER, IdentityLog, issuer

HOUR_MS = 3_600_000
OTHER_IDP = "https://other.test"


def name_of(number: int) -> str:
    return f"{number:032x}"


def hash_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


def use(number: int, following: int, secret: int | None = None) -> UseRefresh:
    """Trade the grant of one number for that of another."""
    return UseRefresh(
        tenant_id="acme",
        grant_id=name_of(number),
        secret_hash=hash_of(number if secret is None else secret),
        next_id=name_of(following),
        next_secret_hash=hash_of(following),
    )


class Log(IdentityLog):
    """With a tenant that trusts two issuers."""

    def __init__(self) -> None:
        super().__init__()
        self.bootstrap(issuers=(issuer(), issuer(OTHER_IDP)))

    def grant(
        self, number: int, principal: str = ALICE, idp: str = ISSUER, lives_ms: int = HOUR_MS
    ) -> GrantRefresh:
        return GrantRefresh(
            grant=RefreshGrant(
                tenant_id="acme",
                grant_id=name_of(number),
                secret_hash=hash_of(number),
                family=name_of(number),
                principal=principal,
                issuer=idp,
                permissions=("rbac.view:tenant:acme",),
                audience="felix-broker",
                expires_at_ms=self.now_ms + lives_ms,
            )
        )

    def numbers(self) -> list[int]:
        """Of the grants that there are."""
        return sorted(int(grant_id, 16) for grant_id in self.grants())


@pytest.fixture
def log() -> Log:
    return Log()


def test_a_token_is_traded_once_for_one_that_stands_for_the_same(log: Log) -> None:
    assert log.done(log.grant(1)) == Done(id=name_of(1))
    first = log.grants()[name_of(1)]
    log.now_ms += 1000
    result = log.apply(use(1, 2)).result
    assert isinstance(result, RefreshGrant)
    assert result == msgspec.structs.replace(
        first,
        grant_id=name_of(2),
        secret_hash=hash_of(2),
        changed_index=log.catalog.applied_index,
    )
    assert log.grants()[name_of(1)].is_used
    assert log.grants()[name_of(2)] == result


def test_a_token_that_is_used_twice_ends_its_family_and_no_other(log: Log) -> None:
    log.done(log.grant(1))
    log.done(log.grant(10))
    log.apply(use(1, 2))
    log.apply(use(2, 3))
    refused = log.apply(use(1, 4)).result
    assert isinstance(refused, ErrorReply)
    assert refused.code == "unauthorized"
    assert log.numbers() == [10]
    assert log.code_of(use(3, 5)) == "unauthorized"


def test_a_repeated_trade_with_the_same_idempotency_key_is_the_same_trade(log: Log) -> None:
    log.done(log.grant(1))
    first = log.apply(use(1, 2), key="k").result
    assert isinstance(first, RefreshGrant)
    assert log.apply(use(1, 2), key="k").result == first
    assert log.numbers() == [1, 2]


def test_a_trade_whose_answer_was_lost_is_made_again_as_long_as_nobody_used_the_successor(
    log: Log,
) -> None:
    log.done(log.grant(1))
    first = log.apply(use(1, 2)).result
    digest = log.catalog.rows_digest
    assert log.apply(use(1, 2)).result == first
    assert log.catalog.rows_digest == digest
    log.apply(use(2, 3))
    late = log.apply(use(1, 2)).result
    assert isinstance(late, ErrorReply), "two have had the successor: one of them is a thief"
    assert late.code == "unauthorized"
    assert log.numbers() == []


def test_the_same_successor_with_another_secret_is_another_trade(log: Log) -> None:
    log.done(log.grant(1))
    log.done(log.grant(10))
    log.apply(use(1, 2))
    forged = msgspec.structs.replace(use(1, 2), next_secret_hash=hash_of(9))
    assert isinstance(log.apply(forged).result, ErrorReply)
    assert log.numbers() == [10]


def test_a_successor_of_another_family_is_nobodys_answer(log: Log) -> None:
    log.done(log.grant(1))
    log.done(log.grant(10))
    log.apply(use(1, 2))
    assert isinstance(log.apply(use(1, 10)).result, ErrorReply)
    assert log.numbers() == [10]


def test_a_wrong_secret_is_refused_and_ends_nothing(log: Log) -> None:
    log.done(log.grant(1))
    log.apply(use(1, 2))
    assert log.code_of(use(1, 3, secret=9)) == "unauthorized"
    assert log.code_of(use(2, 3, secret=9)) == "unauthorized"
    assert log.code_of(use(7, 8)) == "unauthorized"
    assert log.numbers() == [1, 2]


def test_a_family_ends_by_the_time_of_the_log_however_often_it_was_used(log: Log) -> None:
    log.done(log.grant(1))
    log.now_ms += HOUR_MS - 1
    log.apply(use(1, 2))
    assert log.numbers() == [1, 2]
    log.now_ms += 1
    refused = log.apply(use(2, 3)).result
    assert isinstance(refused, ErrorReply)
    assert refused.code == "unauthorized"
    assert log.numbers() == []


def test_a_clock_that_goes_back_brings_nothing_back_to_life(log: Log) -> None:
    log.done(log.grant(1))
    log.now_ms += HOUR_MS
    log.apply(CreateTenant(tenant_id="b"))
    log.now_ms -= HOUR_MS
    assert log.code_of(use(1, 2)) == "unauthorized"


def test_after_a_leap_of_the_clock_expired_ones_are_swept_a_few_at_a_time_and_good_for_nothing(
    log: Log,
) -> None:
    for number in range(1, EXPIRIES_MAX + 3):
        log.done(log.grant(number, principal=f"{number:064x}"))
    log.now_ms += 2 * HOUR_MS
    log.apply(CreateTenant(tenant_id="b"))
    assert log.numbers() == [EXPIRIES_MAX + 1, EXPIRIES_MAX + 2]
    refused = log.apply(use(EXPIRIES_MAX + 2, 1000)).result
    assert isinstance(refused, ErrorReply)
    assert log.numbers() == []


def test_a_principal_has_so_many_and_used_ones_go_first(log: Log) -> None:
    log.done(log.grant(1))
    log.done(log.grant(2))
    for number in range(3, GRANTS_MAX + 20):
        log.apply(use(number - 1, number))
    assert len(log.grants()) == GRANTS_MAX
    assert not log.grants()[name_of(1)].is_used, "a busy session pushes no other one out"
    assert isinstance(log.apply(use(GRANTS_MAX + 19, 1000)).result, RefreshGrant)
    assert isinstance(log.apply(use(1, 1001)).result, RefreshGrant)


def test_among_live_ones_the_oldest_go_of_that_principal_only(log: Log) -> None:
    log.done(log.grant(1000, principal=BOB))
    for number in range(1, GRANTS_MAX + 3):
        log.done(log.grant(number, lives_ms=HOUR_MS - number))
    assert log.numbers() == [*range(3, GRANTS_MAX + 3), 1000]


def test_what_makes_room_is_never_what_is_being_traded(log: Log) -> None:
    for number in range(1, GRANTS_MAX + 1):
        log.done(log.grant(number))
    assert isinstance(log.apply(use(1, 1000)).result, RefreshGrant)
    assert len(log.grants()) == GRANTS_MAX
    assert log.grants()[name_of(1)].is_used


def test_a_revocation_takes_them_along(log: Log) -> None:
    for number, principal in ((1, ALICE), (2, BOB), (3, ALICE)):
        log.done(log.grant(number, principal))
    log.done(RevokeTokens(tenant_id="acme", principal=ALICE))
    assert log.numbers() == [2]
    log.done(RevokeTokens(tenant_id="acme", principal="*"))
    assert log.numbers() == []


def test_a_deleted_issuer_takes_its_own_along_and_gets_no_new_ones(log: Log) -> None:
    log.done(log.grant(1))
    log.done(log.grant(2, idp=OTHER_IDP))
    log.done(DeleteIssuer(tenant_id="acme", issuer=ISSUER))
    assert log.numbers() == [2]
    assert log.code_of(log.grant(3)) == "not_found"
    log.done(PutIssuer(tenant_id="acme", issuer=issuer()))
    assert log.code_of(use(1, 4)) == "unauthorized"


def test_none_is_given_out_in_a_tenant_that_is_gone(log: Log) -> None:
    log.done(log.grant(1))
    log.apply(DeleteTenant(tenant_id="acme"))
    assert log.grants() == {}
    assert log.code_of(log.grant(2)) == "not_found"
    assert log.code_of(use(1, 2)) == "unauthorized"


def test_one_that_comes_twice_is_kept_once_and_an_id_is_not_used_again(log: Log) -> None:
    log.done(log.grant(1))
    digest = log.catalog.rows_digest
    assert log.done(log.grant(1)) == Done(changed=False, id=name_of(1))
    assert log.catalog.rows_digest == digest
    other = log.grant(1)
    other = GrantRefresh(grant=msgspec.structs.replace(other.grant, secret_hash=hash_of(5)))
    assert log.code_of(other) == "conflict"
    log.done(log.grant(2))
    assert log.code_of(use(1, 2)) == "conflict"


def test_a_replica_that_was_restarted_drops_the_same_ones(log: Log) -> None:
    """A family keeps its expiry, so what comes later may expire sooner."""
    log.done(log.grant(1, lives_ms=100))
    log.done(log.grant(2, lives_ms=200))
    log.apply(use(1, 3))
    other = Log()
    other.catalog = restore(dumped(log.catalog), CatalogLimits())
    for one in (log, other):
        one.now_ms += 150
        one.apply(CreateTenant(tenant_id="b"), new_key=None)
        assert one.numbers() == [2]
    assert log.catalog.proof == other.catalog.proof
