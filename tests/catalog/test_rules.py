"""Rules, assignments and identity providers: what is held against the state when it is applied."""

from __future__ import annotations

import pytest

from felix.core.catalog import identity_changes
from felix.core.catalog.identity_changes import ISSUERS_MAX, short_id
from felix.proto.commands import (
    AnyCommand,
    ChangeGroupings,
    ChangePolicies,
    CreateTenant,
    DeleteIssuer,
    PutIssuer,
    RevokeTokens,
)
from felix.proto.identity import Assignment, Done, Grouping, Rule
from felix.proto.resources import TokenRevocation
from tests.support.identity_log import (
    ADMIN,
    ALICE,
    BOB,
    ISSUER,
    IdentityLog,
    bootstrap,
    issuer,
    told,
)

PROD = ("namespace:acme/prod",)
READ = Rule("role:reader", "stream:acme/prod/orders", "stream.subscribe")
ELSEWHERE = Rule("role:reader", "stream:acme/test/orders", "stream.subscribe")
HOUR_MS = 3_600_000


def policies(
    *add: Rule, remove: tuple[Rule, ...] = (), scopes: tuple[str, ...] | None = None
) -> ChangePolicies:
    return ChangePolicies(tenant_id="acme", add=add, remove=remove, scopes=scopes)


def groupings(
    *add: Assignment, remove: tuple[Assignment, ...] = (), scopes: tuple[str, ...] | None = None
) -> ChangeGroupings:
    return ChangeGroupings(tenant_id="acme", add=add, remove=remove, scopes=scopes)


@pytest.fixture
def log() -> IdentityLog:
    """A log with a tenant `acme` that alice administers."""
    log = IdentityLog()
    log.bootstrap()
    return log


# --- rules --------------------------------------------------------------------------------------


def test_a_rule_is_added_once_and_removed_once_whether_or_not_it_is_there(
    log: IdentityLog,
) -> None:
    version = log.catalog.version
    assert log.done(policies(READ)) == Done()
    changed = log.view().changed_index
    assert log.done(policies(READ)) == Done(changed=False)
    assert log.view().changed_index == changed == log.catalog.applied_index - 1
    assert [one.subject for one in log.view().policies].count("role:reader") == 1
    assert log.done(policies(remove=(READ,))) == Done()
    assert log.done(policies(remove=(READ,))) == Done(changed=False)
    assert log.catalog.version == version, "brokers have nothing to do with it"


def test_what_is_added_and_removed_at_once_is_there_afterwards(log: IdentityLog) -> None:
    log.done(policies(READ, remove=(READ,)))
    log.done(policies(READ, remove=(READ,)))
    assert [one.subject for one in log.view().policies].count("role:reader") == 1


def test_rules_change_all_or_none(log: IdentityLog) -> None:
    assert log.code_of(policies(READ, ELSEWHERE, scopes=PROD)) == "forbidden"
    assert log.done(policies(READ, scopes=PROD)).changed
    assert log.code_of(policies(remove=(READ, ELSEWHERE), scopes=PROD)) == "forbidden"
    assert log.done(policies(remove=(READ,), scopes=PROD)).changed


@pytest.mark.parametrize("scopes", [(), ("stream:acme/test/*",), ("nonsense",)])
def test_nobody_gives_or_takes_what_lies_outside_their_scopes(
    log: IdentityLog, scopes: tuple[str, ...]
) -> None:
    assert log.code_of(policies(READ, scopes=scopes)) == "forbidden"
    assert log.code_of(policies(remove=(READ,), scopes=scopes)) == "forbidden"


def test_a_tenant_has_so_many_rules_and_no_more(
    log: IdentityLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert identity_changes.RULES_MAX == 20_000
    monkeypatch.setattr(identity_changes, "RULES_MAX", len(log.view().policies) + 1)
    assert log.code_of(policies(READ, ELSEWHERE)) == "too_large"
    log.done(policies(READ))
    assert log.code_of(policies(ELSEWHERE)) == "too_large"
    assert not log.done(policies(READ)).changed
    log.done(policies(ELSEWHERE, remove=(READ,)))


@pytest.mark.parametrize(
    "command",
    [
        ChangePolicies(tenant_id="nobody"),
        ChangeGroupings(tenant_id="nobody"),
        PutIssuer(tenant_id="nobody", issuer=issuer()),
        DeleteIssuer(tenant_id="nobody", issuer=ISSUER),
        RevokeTokens(tenant_id="nobody", principal="*"),
    ],
)
def test_a_tenant_that_is_not_there_is_not_found(log: IdentityLog, command: AnyCommand) -> None:
    assert log.code_of(command) == "not_found"


# --- assignments --------------------------------------------------------------------------------


def test_a_role_is_given_only_by_who_may_give_all_that_is_behind_it(log: IdentityLog) -> None:
    log.done(policies(READ))
    give = Assignment(BOB, "role:reader")
    assert log.code_of(groupings(give, scopes=("namespace:acme/test",))) == "forbidden"
    assert log.done(groupings(give, scopes=PROD)).changed
    assert not log.done(groupings(give, scopes=PROD)).changed
    assert log.code_of(groupings(remove=(give,), scopes=())) == "forbidden"
    assert log.done(groupings(remove=(give,), scopes=PROD)).changed


def test_s3_no_chain_of_roles_leads_to_more_than_one_may_give(log: IdentityLog) -> None:
    log.done(policies(READ))
    log.done(policies(Rule("role:middle", "stream:acme/prod/a", "stream.publish")))
    log.done(groupings(Assignment("role:middle", ADMIN)))
    log.done(groupings(Assignment("role:reader", "role:middle")))
    assert log.code_of(groupings(Assignment(BOB, "role:reader"), scopes=PROD)) == "forbidden"
    assert log.code_of(groupings(Assignment(BOB, ALICE), scopes=PROD)) == "forbidden"
    assert log.code_of(groupings(Assignment(BOB, "group:admins"), scopes=PROD)) == "forbidden"


def test_a_role_that_widened_meanwhile_is_seen_when_the_assignment_is_applied(
    log: IdentityLog,
) -> None:
    log.done(policies(READ))
    give = groupings(Assignment(BOB, "role:reader"), scopes=PROD)  # proposed now, applied later
    log.done(policies(ELSEWHERE))
    assert log.code_of(give) == "forbidden"


@pytest.mark.parametrize("role", ["role:empty", "reader", "role:", "", ALICE])
def test_what_brings_nothing_or_is_no_role_is_not_given(log: IdentityLog, role: str) -> None:
    assert log.code_of(groupings(Assignment(BOB, role))) == "forbidden"


def test_a_role_that_lost_its_rules_can_still_be_taken(log: IdentityLog) -> None:
    log.done(policies(READ))
    log.done(groupings(Assignment(BOB, "role:reader")))
    log.done(policies(remove=(READ,)))
    assert log.done(groupings(remove=(Assignment(BOB, "role:reader"),), scopes=())).changed


# --- the last administrator ---------------------------------------------------------------------


def test_the_last_administrator_stays(log: IdentityLog) -> None:
    alice = Assignment(ALICE, ADMIN)
    giving = Rule(ADMIN, "tenant:acme", "rbac.policy.manage")
    assigning = Rule(ADMIN, "tenant:acme", "rbac.assignment.manage")
    assert log.code_of(groupings(remove=(alice,))) == "last_admin"
    for rule in (giving, assigning):
        assert log.code_of(policies(remove=(rule,))) == "last_admin"
    log.done(groupings(Assignment("group:admins", ADMIN)))
    log.done(groupings(remove=(alice,)))
    assert log.code_of(groupings(remove=(Assignment("group:admins", ADMIN),))) == "last_admin"


def test_administrators_are_exchanged_in_one_step(log: IdentityLog) -> None:
    log.done(groupings(Assignment(BOB, ADMIN), remove=(Assignment(ALICE, ADMIN),)))
    assert list(log.view().groupings) == [Grouping("acme", BOB, ADMIN)]


def test_a_role_is_no_administrator_without_anybody_in_it(log: IdentityLog) -> None:
    log.done(groupings(Assignment("role:staff", ADMIN)))
    assert log.code_of(groupings(remove=(Assignment(ALICE, ADMIN),))) == "last_admin"


def test_a_tenant_that_never_had_one_needs_none() -> None:
    log = IdentityLog()
    log.apply(CreateTenant(tenant_id="acme"))
    rule = Rule(BOB, "tenant:acme", "rbac.policy.manage")
    log.done(policies(rule))
    assert log.done(policies(remove=(rule,))).changed


# --- issuers ------------------------------------------------------------------------------------


def test_an_issuer_is_kept_byte_for_byte_and_changed_in_place(log: IdentityLog) -> None:
    odd = "https://IDP.example.test:443/a//b/?c=%41"
    assert log.done(PutIssuer(tenant_id="acme", issuer=issuer(odd))) == Done(id=short_id(odd))
    assert [one.issuer for one in log.view().issuers] == [odd, ISSUER]
    log.now_ms += 1000
    assert not log.done(PutIssuer(tenant_id="acme", issuer=issuer(odd))).changed
    log.done(PutIssuer(tenant_id="acme", issuer=issuer(odd, groups_claim="groups")))
    assert log.view().issuers[0].groups_claim == "groups"
    assert log.view().issuers[0].updated_at_ms == log.now_ms


def test_who_may_not_change_issuers_may_add_one_that_nobody_trusts(log: IdentityLog) -> None:
    def put(tenant_id: str, name: str, **members: str) -> PutIssuer:
        return PutIssuer(tenant_id=tenant_id, issuer=issuer(name, **members), may_change=False)

    log.bootstrap("other", issuers=())
    log.done(put("acme", "https://new.test"))
    assert log.code_of(put("acme", "https://new.test", subject_claim="email")) == "forbidden"
    assert log.code_of(put("other", "https://new.test")) == "forbidden"


def test_a_tenant_trusts_so_many_issuers_and_no_more(log: IdentityLog) -> None:
    for number in range(ISSUERS_MAX - 1):
        log.done(PutIssuer(tenant_id="acme", issuer=issuer(f"https://idp-{number}.test")))
    assert log.code_of(PutIssuer(tenant_id="acme", issuer=issuer("https://more.test"))) == (
        "too_large"
    )
    log.done(PutIssuer(tenant_id="acme", issuer=issuer(plain_groups=True)))


def test_s14_what_a_deleted_issuer_vouched_for_is_void(log: IdentityLog) -> None:
    applied = log.apply(DeleteIssuer(tenant_id="acme", issuer=ISSUER))
    name = f"issuer:{short_id(ISSUER)}"
    assert told(applied) == [("CREATE", "TokenRevocation", name)]
    assert log.view().issuers == ()
    assert [one.before_ms for one in log.view().revocations] == [log.now_ms]
    assert log.done(DeleteIssuer(tenant_id="acme", issuer=ISSUER)) == (
        Done(changed=False, id=short_id(ISSUER))
    )


# --- revocations --------------------------------------------------------------------------------


def test_a_revocation_moves_on_and_is_forgotten_when_no_token_can_meet_it(
    log: IdentityLog,
) -> None:
    revoke_alice = RevokeTokens(tenant_id="acme", principal=ALICE)
    assert told(log.apply(revoke_alice)) == [("CREATE", "TokenRevocation", ALICE)]
    created = log.view().revocations[0]
    log.now_ms += HOUR_MS
    assert told(log.apply(revoke_alice)) == [("UPDATE", "TokenRevocation", ALICE)]
    (moved,) = log.view().revocations
    assert isinstance(moved, TokenRevocation)
    assert (moved.before_ms, moved.created_version) == (log.now_ms, created.version)
    log.now_ms += HOUR_MS + 1
    applied = log.apply(RevokeTokens(tenant_id="acme", principal="*"))
    assert told(applied) == [
        ("DELETE", "TokenRevocation", ALICE),
        ("CREATE", "TokenRevocation", "*"),
    ]
    versions = [update.version for update in applied.updates]
    assert log.view().revocations[0].version == versions[-1] == log.catalog.version


def test_two_bootstrapped_tenants_share_nothing(log: IdentityLog) -> None:
    log.apply(bootstrap("acme2", admins=(BOB,)))
    log.done(policies(READ))
    log.done(RevokeTokens(tenant_id="acme", principal="*"))
    assert len(log.view("acme2").policies) == 5
    assert log.view("acme2").revocations == ()
