"""What is kept of identity: gone with its tenant, the same on every replica, never in clear."""

from __future__ import annotations

import secrets

import pytest

from felix.actors.backups import Backups
from felix.core.catalog.catalog import CatalogLimits
from felix.core.catalog.dump import BadDump, restore
from felix.core.catalog.renewal import MARGIN_DEFAULT
from felix.proto.commands import (
    ChangePolicies,
    CreateNamespace,
    DeleteIssuer,
    DeleteTenant,
    GrantRefresh,
    PutBrokerCredential,
    PutIssuer,
    RevokeTokens,
    StageSigningKey,
    UpdateTenant,
)
from felix.proto.errors import NotFound
from felix.proto.identity import RefreshGrant, Rule
from felix.proto.ids import Index, NodeId, Term
from felix.proto.queries import BackupPiece, GetBackup, GetTenantIdentity
from felix.proto.raft import Membership
from felix.storage.sealed import Sealer
from tests.support.catalog_log import CatalogLog, dumped
from tests.support.identity_log import ALICE, BOB, ISSUER, IdentityLog, bootstrap, issuer, told

RULE = Rule("role:reader", "stream:acme/prod/*", "stream.subscribe")


@pytest.fixture
def log() -> IdentityLog:
    """A log with everything that a tenant may have, and a neighbour of nearly the same name."""
    return filled()


def filled() -> IdentityLog:
    log = IdentityLog()
    for tenant_id in ("acme", "acme2"):
        log.bootstrap(tenant_id)
        log.done(StageSigningKey(tenant_id=tenant_id))
        log.apply(CreateNamespace(tenant_id=tenant_id, namespace="prod"))
        log.done(PutIssuer(tenant_id=tenant_id, issuer=issuer("https://other.test")))
        log.done(DeleteIssuer(tenant_id=tenant_id, issuer="https://other.test"))
        log.done(RevokeTokens(tenant_id=tenant_id, principal=BOB))
        log.done(
            GrantRefresh(
                grant=RefreshGrant(
                    tenant_id=tenant_id,
                    grant_id="a" * 32,
                    secret_hash=b"h" * 32,
                    family="a" * 32,
                    principal=ALICE,
                    issuer=ISSUER,
                    expires_at_ms=log.now_ms + 1000,
                )
            )
        )
    log.done(ChangePolicies(tenant_id="acme", add=(RULE,)))
    log.done(PutBrokerCredential(broker_id="acme", curve_key="k" * 40))
    return log


def test_of_a_deleted_tenant_nothing_is_left_and_brokers_hear_of_every_key(
    log: IdentityLog,
) -> None:
    keys = [("DELETE", "SigningKey", one.kid) for one in log.view().keys]
    revoked = [("DELETE", "TokenRevocation", one.principal) for one in log.view().revocations]
    neighbour = log.view("acme2")
    assert len(keys) == len(revoked) == 2
    applied = log.apply(DeleteTenant(tenant_id="acme"))
    assert told(applied) == [
        ("DELETE", "Namespace", "prod"),
        *revoked,
        *keys,
        ("DELETE", "Tenant", "acme"),
    ]
    # The credential of a broker that is called like the tenant is not the tenant's.
    assert {type(one).__name__ for one in log.leftovers("acme")} == {"BrokerCredential"}
    assert log.view("acme2") == neighbour
    with pytest.raises(NotFound):
        log.view("acme")


def test_a_tenant_of_a_name_that_was_used_before_starts_from_nothing(log: IdentityLog) -> None:
    log.apply(DeleteTenant(tenant_id="acme"))
    log.bootstrap(issuers=())
    view = log.view()
    assert (view.issuers, view.revocations, len(view.keys)) == ((), (), 1)
    assert RULE.subject not in [one.subject for one in view.policies]


def test_who_knows_the_last_change_is_told_in_few_words(log: IdentityLog) -> None:
    view = log.view()
    short = log.view(known_index=view.changed_index)
    assert short.is_unchanged
    assert (short.policies, short.keys) == ((), ())
    log.apply(UpdateTenant(tenant_id="acme", display_name="Another name"))
    log.done(ChangePolicies(tenant_id="acme2", add=()))
    assert log.view(known_index=view.changed_index).is_unchanged
    log.done(RevokeTokens(tenant_id="acme", principal=ALICE))
    later = log.view(known_index=view.changed_index)
    assert not later.is_unchanged
    assert len(later.revocations) == 3
    with pytest.raises(NotFound):
        log.catalog.answer(GetTenantIdentity(tenant_id="nobody", known_index=7))


def test_a_dump_brings_everything_back_with_the_same_proof(log: IdentityLog) -> None:
    chunks = dumped(log.catalog, records=3)
    again = restore(chunks, CatalogLimits())
    assert again.proof == log.catalog.proof
    assert again.rows_digest == log.catalog.rows_digest
    assert dumped(again) == dumped(log.catalog)
    other = IdentityLog(again)
    assert other.view() == log.view()


@pytest.mark.parametrize("text", [b"role:reader", b"sealed-1", b"https://idp.example.test"])
def test_a_dump_that_was_tampered_with_is_refused(log: IdentityLog, text: bytes) -> None:
    chunks = dumped(log.catalog)
    changed = [chunk.replace(text, bytes([text[0] ^ 1]) + text[1:], 1) for chunk in chunks]
    assert changed != chunks
    with pytest.raises(BadDump):
        restore(changed, CatalogLimits())


def test_two_states_that_differ_in_one_word_of_identity_have_different_proofs() -> None:
    one, other = filled(), filled()
    assert one.catalog.proof == other.catalog.proof
    one.done(ChangePolicies(tenant_id="acme", add=(Rule(BOB, "tenant:acme", "rbac.view"),)))
    other.done(ChangePolicies(tenant_id="acme", add=(Rule(ALICE, "tenant:acme", "rbac.view"),)))
    assert one.catalog.rows_digest != other.catalog.rows_digest
    assert one.catalog.digest == other.catalog.digest


def test_metadata_that_is_taken_over_keeps_its_keys_rules_and_tokens(log: IdentityLog) -> None:
    view, digest = log.view(), log.catalog.rows_digest
    again = restore(dumped(log.catalog), CatalogLimits())
    index = Index(log.catalog.applied_index + 10)
    for catalog in (log.catalog, again):
        catalog.renew("c2", 2, index, MARGIN_DEFAULT)
    assert log.catalog.proof == again.proof
    assert again.rows_digest == digest
    assert log.view() == view
    applied = log.apply(RevokeTokens(tenant_id="acme", principal=ALICE))
    assert applied.version == log.catalog.version > MARGIN_DEFAULT
    assert log.view().changed_index == index + 1
    assert restore(dumped(log.catalog), CatalogLimits()).proof == log.catalog.proof


def test_no_dump_no_backup_and_no_log_holds_a_private_key_in_clear() -> None:
    sealer = Sealer((secrets.token_bytes(32),))
    log = IdentityLog()
    new_keys = [sealer.new_key("acme") for _ in range(2)]
    log.done(bootstrap(), new_key=new_keys[0])
    log.done(StageSigningKey(tenant_id="acme"), new_key=new_keys[1])
    seeds = [sealer.open(one).private_bytes_raw() for one in log.view().sealed_keys]
    assert len(seeds) == 2
    written = [b"".join(dumped(log.catalog)), b"".join(log.entries), backup_of(log)]
    for data in written:
        for new_key in new_keys:
            assert new_key.sealed in data, "it has been looked for in the right place"
        for seed in seeds:
            assert seed not in data
            assert seed.hex().encode() not in data


def backup_of(log: CatalogLog) -> bytes:
    """Make a backup as a node does."""
    backups, query, data = Backups(), GetBackup(), b""
    while True:
        piece = backups.next(
            query,
            log.catalog,
            applied_term=Term(1),
            node_id=NodeId("n"),
            membership=Membership((NodeId("n"),)),
        )
        assert isinstance(piece, BackupPiece)
        data += piece.data
        if piece.is_last:
            return data
        query = GetBackup(backup=piece.backup, piece=piece.piece + 1)


def test_what_anybody_may_read_says_nothing_of_identity_but_public_keys(log: IdentityLog) -> None:
    kinds = {kind for kind, count in log.catalog.counts().items() if count}
    assert kinds == {"Tenant", "Namespace", "SigningKey", "TokenRevocation"}
