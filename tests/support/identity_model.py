"""Identity in the fewest words: what tenants should hold, worked out with sets."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import msgspec

from felix.core.catalog.identity_tables import IDENTITY_ROWS, encoded_row
from felix.proto.commands import (
    ActivateSigningKey,
    AnyCommand,
    BootstrapTenant,
    ChangeGroupings,
    ChangePolicies,
    CreateNamespace,
    CreateTenant,
    DeleteBrokerCredential,
    DeleteIssuer,
    DeleteTenant,
    GrantRefresh,
    PutBrokerCredential,
    PutIssuer,
    RecordRefusals,
    RetireSigningKey,
    RevokeTokens,
    RewrapSigningKey,
    StageSigningKey,
    UseRefresh,
)
from felix.proto.digest import Digest
from felix.proto.identity import Assignment, RefreshGrant, Refusal, Rule
from tests.support.identity_log import ALICE, BOB, ISSUER, IdentityLog, bootstrap, issuer

TENANTS: Final = ("acme", "acme2")
SUBJECTS: Final = (ALICE, BOB, "role:a", "role:b", "group:g")
SCOPES: Final = (None, None, ("tenant:acme",), ("namespace:acme/prod",), ())
LIFE_MS: Final = 20_000


class IdentityModel:
    """Rules, assignments and issuers of each tenant as sets."""

    def __init__(self) -> None:
        self.policies: dict[str, set[Rule]] = {}
        self.groupings: dict[str, set[Assignment]] = {}
        self.issuers: dict[str, set[str]] = {}

    def follow(self, command: AnyCommand, log: IdentityLog) -> None:
        """Do what a command that was carried out says."""
        match command:
            case CreateTenant(tenant_id=one):
                self.policies[one], self.groupings[one], self.issuers[one] = set(), set(), set()
            case BootstrapTenant(tenant_id=one):
                # What it seeds has tests of its own.
                view = log.view(one)
                seeded = {Rule(row.subject, row.object, row.action) for row in view.policies}
                assigned = {Assignment(row.user, row.role) for row in view.groupings}
                assert seeded >= self.policies.get(one, set())
                assert assigned >= self.groupings.get(one, set())
                self.policies[one], self.groupings[one] = seeded, assigned
                given = {new.issuer for new in command.issuers}
                self.issuers[one] = self.issuers.get(one, set()) | given
            case DeleteTenant(tenant_id=one):
                del self.policies[one], self.groupings[one], self.issuers[one]
            case ChangePolicies(tenant_id=one):
                self.policies[one] = self.policies[one] - {*command.remove} | {*command.add}
            case ChangeGroupings(tenant_id=one):
                self.groupings[one] = self.groupings[one] - {*command.remove} | {*command.add}
            case PutIssuer(tenant_id=one):
                self.issuers[one].add(command.issuer.issuer)
            case DeleteIssuer(tenant_id=one):
                self.issuers[one].discard(command.issuer)
            case _:
                pass

    def check(self, log: IdentityLog) -> None:
        """Hold it against the catalog, and the catalog against itself."""
        for one in TENANTS:
            if one not in self.policies:
                assert log.leftovers(one) == []
                continue
            view = log.view(one)
            policies = {Rule(row.subject, row.object, row.action) for row in view.policies}
            assert policies == self.policies[one]
            assert {Assignment(row.user, row.role) for row in view.groupings} == (
                self.groupings[one]
            )
            assert {row.issuer for row in view.issuers} == self.issuers[one]
            assert [row.kid for row in view.keys] == [row.kid for row in view.sealed_keys]
            assert [row.state for row in view.keys].count("active") == 1
        digest = Digest()
        for table in IDENTITY_ROWS:
            for row in log.rows(table):
                digest.add(encoded_row(table, row))
        assert digest.hex() == log.catalog.rows_digest


class AnyIdentityCommand:
    """Makes commands up; the same chance makes the same ones."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._grants = 0

    def next(self, log: IdentityLog) -> AnyCommand:
        """Make up a command that may well be refused."""
        pick, tenant_id = self._chance.choice, self._chance.choice(TENANTS)
        kids = [one.kid for one in log.rows("SigningKey")] or ["0" * 32]
        makers: tuple[Callable[[], AnyCommand], ...] = (
            lambda: CreateTenant(tenant_id=tenant_id),
            lambda: bootstrap(tenant_id, admins=(pick(SUBJECTS),)),
            lambda: CreateNamespace(tenant_id=tenant_id, namespace="prod"),
            lambda: PutIssuer(tenant_id=tenant_id, issuer=issuer(pick((ISSUER, ISSUER + "/b")))),
            lambda: StageSigningKey(tenant_id=tenant_id),
            lambda: ActivateSigningKey(tenant_id=tenant_id, kid=pick(kids), lead_ms=pick((0, 500))),
            lambda: RetireSigningKey(
                tenant_id=tenant_id, kid=pick(kids), revoke=pick((False, True))
            ),
            lambda: RewrapSigningKey(
                tenant_id=tenant_id, kid=pick(kids), kek_id="f" * 16, sealed=pick((b"a", b"b"))
            ),
            lambda: RevokeTokens(tenant_id=tenant_id, principal=pick((ALICE, BOB, BOB, "*"))),
            lambda: PutBrokerCredential(broker_id=pick("ab"), curve_key=pick("kl") * 40),
            lambda: DeleteBrokerCredential(broker_id=pick("ab")),
            lambda: RecordRefusals(
                node="n", refusals=(Refusal(time_ms=1, operation="x", code="y"),)
            ),
            *[lambda: self._policies(tenant_id)] * 4,
            *[lambda: self._groupings(tenant_id)] * 4,
            *[lambda: self._grant(tenant_id, log)] * 3,
            *[lambda: self._use(log)] * 6,
        )
        if self._chance.random() < 0.02:
            return DeleteTenant(tenant_id=tenant_id)
        if self._chance.random() < 0.02:
            return DeleteIssuer(tenant_id=tenant_id, issuer=ISSUER)
        return pick(makers)()

    def _policies(self, tenant_id: str) -> ChangePolicies:
        add, remove = (
            tuple(self._rule(tenant_id) for _ in range(self._chance.randrange(3))) for _ in range(2)
        )
        scopes = self._chance.choice(SCOPES)
        return ChangePolicies(tenant_id=tenant_id, add=add, remove=remove, scopes=scopes)

    def _rule(self, tenant_id: str) -> Rule:
        pick = self._chance.choice
        about, action = pick((
            (f"tenant:{tenant_id}", "rbac.policy.manage"),
            (f"tenant:{tenant_id}", "rbac.assignment.manage"),
            (f"namespace:{tenant_id}/prod", "ns.manage"),
            (f"stream:{tenant_id}/prod/*", "stream.publish"),
        ))  # fmt: skip
        return Rule(pick((*SUBJECTS, "role:tenant-admin")), about, action)

    def _groupings(self, tenant_id: str) -> ChangeGroupings:
        pick = self._chance.choice
        add, remove = (
            tuple(
                Assignment(pick(SUBJECTS), pick(("role:a", "role:b", "role:tenant-admin")))
                for _ in range(self._chance.randrange(3))
            )
            for _ in range(2)
        )
        return ChangeGroupings(tenant_id=tenant_id, add=add, remove=remove, scopes=pick(SCOPES))

    def _grant(self, tenant_id: str, log: IdentityLog) -> GrantRefresh:
        self._grants += self._chance.random() < 0.95  # else it comes again
        name = f"{self._grants:032x}"
        return GrantRefresh(
            grant=RefreshGrant(
                tenant_id=tenant_id,
                grant_id=name,
                secret_hash=name.encode(),
                family=name,
                principal=self._chance.choice((ALICE, BOB)),
                issuer=self._chance.choice((ISSUER, ISSUER + "/b")),
                expires_at_ms=log.now_ms + self._chance.randrange(1, LIFE_MS),
            )
        )

    def _use(self, log: IdentityLog) -> UseRefresh:
        known: list[Any] = log.rows("refresh_grants")
        one = self._chance.choice(known) if known else None
        if one is None:
            one = RefreshGrant(
                tenant_id="acme", grant_id="f" * 32, secret_hash=b"f" * 32, family="", principal="",
                issuer="",
            )  # fmt: skip
        elif one.is_used and self._chance.random() < 0.9:
            one = next((other for other in known if not other.is_used), one)
        if self._chance.random() < 0.05:
            one = msgspec.structs.replace(one, secret_hash=b"wrong" * 6 + b"!!")
        self._grants += 1
        name = f"{self._grants:032x}"
        return UseRefresh(
            tenant_id=one.tenant_id,
            grant_id=one.grant_id,
            secret_hash=one.secret_hash,
            next_id=name,
            next_secret_hash=name.encode(),
        )
