"""A log of commands about identity: tenants with keys, rules and people, and what they became."""

from __future__ import annotations

from typing import Any, Final

from felix.core.catalog.catalog import Applied, Catalog, CatalogLimits
from felix.core.catalog.identity_commands import NEEDS_A_KEY
from felix.core.catalog.identity_tables import IDENTITY_ROWS
from felix.proto.codec import Decoder
from felix.proto.commands import AnyCommand, BootstrapTenant, CreateTenant, NewIssuer
from felix.proto.errors import ErrorReply
from felix.proto.identity import Done, IdentityView, NewKey, RefreshGrant
from felix.proto.queries import GetTenantIdentity
from felix.proto.resources import RESOURCE_TYPES, Resource, SigningKey
from tests.support.catalog_log import NOON_MS, CatalogLog

ALICE: Final = "a" * 64
BOB: Final = "b" * 64
ISSUER: Final = "https://idp.example.test"
ADMIN: Final = "role:tenant-admin"

_resources: Final[Decoder[Resource]] = Decoder(Resource)


class IdentityLog(CatalogLog):
    """Applies commands with a new key wherever one may be needed, and lets time go on by hand."""

    def __init__(
        self, catalog: Catalog | None = None, *, limits: CatalogLimits | None = None
    ) -> None:
        super().__init__(catalog, limits=limits)
        self.now_ms = NOON_MS
        self.keys_made = 0

    def apply(self, command: AnyCommand, **stamp: Any) -> Applied:
        """Append a command to the log and apply it, now."""
        new_key = None
        if isinstance(command, (CreateTenant, *NEEDS_A_KEY)):
            self.keys_made += 1
            new_key = made_key(self.keys_made)
        return self.do(command, at_ms=self.now_ms, **{"new_key": new_key} | stamp)

    def done(self, command: AnyCommand, **stamp: Any) -> Done:
        """Apply a command that must succeed."""
        result = self.apply(command, **stamp).result
        assert isinstance(result, Done), result
        return result

    def code_of(self, command: AnyCommand, **stamp: Any) -> str:
        """Apply a command that must be refused without a trace but in the audit trail."""
        return self.refusal(command, **stamp).code

    def refusal(self, command: AnyCommand, **stamp: Any) -> ErrorReply:
        """Apply a command that must be refused without a trace; give the whole answer."""
        before = (self.catalog.version, self.catalog.digest, self.catalog.rows_digest)
        applied = self.apply(command, **stamp)
        assert isinstance(applied.result, ErrorReply), applied.result
        assert applied.updates == ()
        assert before == (self.catalog.version, self.catalog.digest, self.catalog.rows_digest)
        return applied.result

    def bootstrap(self, tenant_id: str = "acme", **members: Any) -> Done:
        """Give a tenant alice as its administrator."""
        return self.done(bootstrap(tenant_id, **members))

    def view(self, tenant_id: str = "acme", known_index: int = 0) -> IdentityView:
        """Ask for a tenant's identity."""
        query = GetTenantIdentity(tenant_id=tenant_id, known_index=known_index)
        answer = self.catalog.answer(query)
        assert isinstance(answer, IdentityView)
        return answer

    def states(self, tenant_id: str = "acme") -> dict[str, str]:
        """Give the state of each of a tenant's keys, by `kid`."""
        return {one.kid: one.state for one in self.view(tenant_id).keys}

    def grants(self) -> dict[str, RefreshGrant]:
        """Give all refresh grants, by id."""
        return {one.grant_id: one for one in self.rows("refresh_grants")}

    def rows(self, table: str) -> list[Any]:
        """List the rows of a table."""
        return list(self.catalog.store.tables[table].rows.values())

    def leftovers(self, tenant_id: str) -> list[object]:
        """List whatever the tables of objects and of identity still hold of a tenant."""
        names = [kind for kind in RESOURCE_TYPES if kind not in {"Broker", "Bridge"}]
        return [
            row
            for table in (*names, *IDENTITY_ROWS)
            for key, row in self.catalog.store.tables[table].rows.items()
            if key[0] == tenant_id
        ]


def bootstrap(tenant_id: str = "acme", **members: Any) -> BootstrapTenant:
    """Make the command that gives a tenant alice as its administrator."""
    given: dict[str, Any] = {"display_name": "Acme", "admins": (ALICE,), "issuers": (issuer(),)}
    return BootstrapTenant(tenant_id=tenant_id, **given | members)


def issuer(name: str = ISSUER, **members: Any) -> NewIssuer:
    return NewIssuer(issuer=name, **{"audiences": ("felix",)} | members)


def made_key(number: int) -> NewKey:
    """Make a key that nobody could sign with, the same each time."""
    return NewKey(f"{number:032x}", f"public-{number}", "0123456789abcdef", b"sealed-%d" % number)


def told(applied: Applied) -> list[tuple[str, str, str]]:
    """Say what brokers are told, in order: type of the update, kind and last name of the object."""
    return [
        (update.type, type(row).__name__, row.key[-1])
        for update in applied.updates
        for row in [_resources.decode(memoryview(update.payload))]
    ]


def keys_after_each(log: IdentityLog, applied: Applied, keys: dict[str, str]) -> None:
    """Follow what brokers are told update by update: there is a key at every version."""
    for update in applied.updates:
        row = _resources.decode(memoryview(update.payload))
        if isinstance(row, SigningKey):
            if update.type == "DELETE":
                del keys[row.kid]
            else:
                keys[row.kid] = row.state
        assert keys, f"no key at version {update.version}"
    assert keys == log.states()
