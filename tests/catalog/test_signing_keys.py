"""The life of a signing key in the catalog: who may follow whom, and what brokers see of it."""

from __future__ import annotations

import random

import pytest

from felix.core.auth.keys import TRANSITIONS, jwks_order
from felix.proto.commands import (
    ActivateSigningKey,
    AnyCommand,
    CreateTenant,
    RetireSigningKey,
    RewrapSigningKey,
    StageSigningKey,
)
from felix.proto.errors import ErrorReply, ValidationFailed
from felix.proto.identity import SigningKeyPage
from felix.proto.queries import ListAllSigningKeys
from felix.proto.resources import Encryption
from tests.support.identity_log import IdentityLog, keys_after_each, told

STAGE = StageSigningKey(tenant_id="acme")
MINUTE_MS = 60_000
FIRST, SECOND, THIRD = (f"{number:032x}" for number in (1, 2, 3))


def activate(kid: str, lead_ms: int = 0) -> ActivateSigningKey:
    return ActivateSigningKey(tenant_id="acme", kid=kid, lead_ms=lead_ms)


def retire(kid: str, after_ms: int = 0, *, revoke: bool = False) -> RetireSigningKey:
    return RetireSigningKey(tenant_id="acme", kid=kid, after_ms=after_ms, revoke=revoke)


@pytest.fixture
def log() -> IdentityLog:
    """A log with a tenant `acme`, whose key is the first one."""
    log = IdentityLog()
    log.apply(CreateTenant(tenant_id="acme"))
    return log


def test_a_tenant_is_born_with_the_key_that_signs() -> None:
    log = IdentityLog()
    applied = log.apply(CreateTenant(tenant_id="acme"))
    assert told(applied) == [("CREATE", "Tenant", "acme"), ("CREATE", "SigningKey", FIRST)]
    assert log.states() == {FIRST: "active"}
    assert [one.kid for one in log.view().sealed_keys] == [FIRST]


def test_a_tenant_without_a_key_gets_one_later() -> None:
    log = IdentityLog()
    log.apply(CreateTenant(tenant_id="acme"), new_key=None)
    assert log.states() == {}
    kid = log.done(STAGE).id
    log.done(activate(kid))
    assert log.states() == {kid: "active"}


def test_a_key_is_published_before_it_signs_and_stays_while_its_tokens_live(
    log: IdentityLog,
) -> None:
    assert log.done(STAGE).id == SECOND
    assert log.states() == {FIRST: "active", SECOND: "published"}
    log.now_ms += MINUTE_MS
    applied = log.apply(activate(SECOND, MINUTE_MS))
    assert told(applied) == [("UPDATE", "SigningKey", FIRST), ("UPDATE", "SigningKey", SECOND)]
    assert log.states() == {FIRST: "retiring", SECOND: "active"}
    log.now_ms += MINUTE_MS
    applied = log.apply(retire(FIRST, MINUTE_MS))
    assert told(applied) == [("DELETE", "SigningKey", FIRST)]
    assert log.states() == {SECOND: "active"}
    assert [one.kid for one in log.view().sealed_keys] == [SECOND]


def test_a_second_key_is_not_staged_beside_one_that_waits(log: IdentityLog) -> None:
    log.done(STAGE)
    refusal = log.refusal(STAGE)
    assert (refusal.code, refusal.details["reason"]) == ("key_state", "already_staged")


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (activate(FIRST), "is_active"),
        (activate(SECOND, MINUTE_MS), "too_early"),
        (activate(THIRD), "is_retiring"),
        (retire(FIRST), "is_active"),
        (retire(THIRD, MINUTE_MS), "too_early"),
    ],
)
def test_a_key_takes_no_step_that_is_not_its_turn(
    log: IdentityLog, command: AnyCommand, reason: str
) -> None:
    # FIRST signs, SECOND waits, THIRD retires; time has stood still since.
    log = IdentityLog()
    log.keys_made = 2
    log.apply(CreateTenant(tenant_id="acme"))
    log.keys_made = 0
    log.done(activate(log.done(STAGE).id))
    log.done(STAGE)
    assert log.states() == {FIRST: "active", SECOND: "published", THIRD: "retiring"}
    refusal = log.refusal(command)
    assert (refusal.code, refusal.details["reason"]) == ("key_state", reason)
    if reason == "too_early":
        assert refusal.details["wait_ms"] == MINUTE_MS


def test_how_long_a_key_waited_is_told_by_the_time_of_the_log(log: IdentityLog) -> None:
    log.done(STAGE)
    log.now_ms += MINUTE_MS - 1
    assert log.refusal(activate(SECOND, MINUTE_MS)).details["wait_ms"] == 1
    log.now_ms -= 30 * MINUTE_MS  # the clock of another leader
    assert log.refusal(activate(SECOND, MINUTE_MS)).details["wait_ms"] == 1
    log.now_ms += 30 * MINUTE_MS + 1
    log.done(activate(SECOND, MINUTE_MS))


def test_a_staged_key_may_be_taken_back(log: IdentityLog) -> None:
    log.done(STAGE)
    assert log.done(retire(SECOND)).id == FIRST
    assert log.states() == {FIRST: "active"}


def test_the_last_key_does_not_go() -> None:
    log = IdentityLog()
    log.apply(CreateTenant(tenant_id="acme"), new_key=None)
    kid = log.done(STAGE).id
    assert log.refusal(retire(kid)).details["reason"] == "is_last"
    successor = log.done(retire(kid, revoke=True)).id
    assert log.states() == {successor: "active"}


def test_a_revoked_key_is_replaced_by_the_published_one_first(log: IdentityLog) -> None:
    log.done(STAGE)
    applied = log.apply(retire(FIRST, revoke=True))
    assert told(applied) == [("UPDATE", "SigningKey", SECOND), ("DELETE", "SigningKey", FIRST)]
    assert log.states() == {SECOND: "active"}
    assert [one.kid for one in log.view().sealed_keys] == [SECOND]


def test_a_revoked_key_without_an_heir_is_replaced_by_a_new_one(log: IdentityLog) -> None:
    applied = log.apply(retire(FIRST, revoke=True))
    assert told(applied) == [("CREATE", "SigningKey", SECOND), ("DELETE", "SigningKey", FIRST)]
    assert log.states() == {SECOND: "active"}


def test_a_key_that_does_not_sign_is_revoked_without_a_successor(log: IdentityLog) -> None:
    log.done(activate(log.done(STAGE).id))
    assert log.done(retire(FIRST, after_ms=MINUTE_MS, revoke=True)).id == SECOND
    assert log.states() == {SECOND: "active"}


@pytest.mark.parametrize("command", [STAGE, retire(FIRST, revoke=True)])
def test_without_a_kek_no_key_is_made(log: IdentityLog, command: AnyCommand) -> None:
    assert log.code_of(command, new_key=None) == "not_enabled"
    assert log.states() == {FIRST: "active"}


@pytest.mark.parametrize(
    "command",
    [
        activate("f" * 32),
        retire("f" * 32, revoke=True),
        StageSigningKey(tenant_id="nobody"),
        ActivateSigningKey(tenant_id="nobody", kid=FIRST),
        RewrapSigningKey(tenant_id="acme", kid="f" * 32, kek_id="0" * 16, sealed=b"x"),
    ],
)
def test_what_is_not_there_is_not_found(log: IdentityLog, command: AnyCommand) -> None:
    assert log.code_of(command) == "not_found"


def test_a_key_is_encrypted_anew_without_a_word_to_brokers(log: IdentityLog) -> None:
    version, before = log.catalog.version, log.view()
    rewrap = RewrapSigningKey(tenant_id="acme", kid=FIRST, kek_id="f" * 16, sealed=b"anew")
    assert log.done(rewrap).changed
    (sealed,) = log.view().sealed_keys
    assert (sealed.kek_id, sealed.sealed) == ("f" * 16, b"anew")
    assert sealed.public_key == before.sealed_keys[0].public_key
    assert log.catalog.version == version
    assert log.view().changed_index > before.changed_index
    assert not log.done(rewrap).changed


def test_every_key_of_every_tenant_is_listed_with_its_period(log: IdentityLog) -> None:
    log.apply(CreateTenant(tenant_id="b", encryption=Encryption("k", 86_400)))
    log.done(STAGE)
    found, token = [], ""
    while True:
        page = page_of(log, ListAllSigningKeys(page_size=1, page_token=token))
        (item,) = page.items
        found.append(item)
        token = page.next_page_token
        if not token:
            break
    assert [(key.tenant_id, key.kid, sealed.kid, s) for key, sealed, s in found] == [
        ("acme", FIRST, FIRST, 0),
        ("acme", THIRD, THIRD, 0),
        ("b", SECOND, SECOND, 86_400),
    ]
    assert list(page_of(log, ListAllSigningKeys()).items) == found


def page_of(log: IdentityLog, query: ListAllSigningKeys) -> SigningKeyPage:
    answer = log.catalog.answer(query)
    assert isinstance(answer, SigningKeyPage)
    return answer


@pytest.mark.parametrize(
    "query", [ListAllSigningKeys(page_token="?"), ListAllSigningKeys(page_size=-1)]
)
def test_a_page_that_cannot_be_is_refused(log: IdentityLog, query: ListAllSigningKeys) -> None:
    with pytest.raises(ValidationFailed, match=r"^/page_"):
        log.catalog.answer(query)


def test_whatever_is_done_to_keys_there_is_one_at_every_version_and_one_that_signs() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    log = IdentityLog()
    log.apply(CreateTenant(tenant_id="acme"))
    seen, refused = log.states(), 0
    for _ in range(2000):
        before = log.states()
        kid = chance.choice([*before, "f" * 32])
        commands: list[AnyCommand] = [
            STAGE,
            activate(kid, chance.choice((0, MINUTE_MS))),
            retire(kid, chance.choice((0, MINUTE_MS)), revoke=chance.random() < 0.3),
        ]  # fmt: skip
        command = chance.choice(commands)
        log.now_ms += chance.choice((0, 1000, MINUTE_MS))
        applied = log.apply(command)
        refused += isinstance(applied.result, ErrorReply)
        keys_after_each(log, applied, seen)
        after = log.states()
        assert list(after.values()).count("active") == 1
        assert list(after.values()).count("published") <= 1
        assert {one.kid for one in log.view().sealed_keys} == set(after)
        assert jwks_order(log.view().keys)[0].state == "active"
        is_revocation = isinstance(command, RetireSigningKey) and command.revoke
        for one, state in before.items():
            if after.get(one) != state and not is_revocation:
                assert after.get(one) in TRANSITIONS[state]  # type: ignore[index]  # a state
    assert 100 < refused < 1900
