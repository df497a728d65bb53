"""Where the identity of tenants is kept: internal tables, and ways to look into them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from sortedcontainers import SortedList

from felix.core.catalog.store import Store
from felix.proto import codec
from felix.proto.identity import (
    BrokerCredential,
    Grouping,
    IdpIssuer,
    Policy,
    RefreshGrant,
    SealedKey,
    TenantIdentity,
)
from felix.proto.resources import Key, SigningKey

ISSUERS: Final = "issuers"
POLICIES: Final = "policies"
GROUPINGS: Final = "groupings"
SEALED_KEYS: Final = "sealed_keys"
REFRESH_GRANTS: Final = "refresh_grants"
IDENTITIES: Final = "identities"
CREDENTIALS: Final = "broker_credentials"

IDENTITY_ROWS: Final[dict[str, type]] = {
    ISSUERS: IdpIssuer,
    POLICIES: Policy,
    GROUPINGS: Grouping,
    SEALED_KEYS: SealedKey,
    REFRESH_GRANTS: RefreshGrant,
    IDENTITIES: TenantIdentity,
    CREDENTIALS: BrokerCredential,
}
"""The type of the rows of each table."""
OF_A_TENANT: Final = (ISSUERS, POLICIES, GROUPINGS, SEALED_KEYS, REFRESH_GRANTS)
"""Those whose keys are a tenant's and something in it."""
BROKERS: Final = ""
"""Stands for a tenant in the row that says when a broker's credential was changed."""


def encoded_row(table: str, row: Any) -> bytes:
    """Encode a row as the digest of rows covers it."""
    return table.encode() + b"\0" + codec.encode(row)


class StoredRules:
    """A tenant's rules as they are in the store: a `core.auth.rbac.RuleSource`.

    What is looked up costs no more than what is found.
    """

    def __init__(self, store: Store, tenant_id: str) -> None:
        self._policies = store.tables[POLICIES]
        self._groupings = store.tables[GROUPINGS]
        self._tenant_id = tenant_id

    def rules_of(self, subject: str) -> Iterable[Policy]:
        """List the rules of exactly this subject."""
        rows = self._policies.rows
        return [rows[key] for key in self._policies.children((self._tenant_id, subject))]

    def roles_of(self, user: str) -> Iterable[str]:
        """List the roles of exactly this user."""
        return [key[-1] for key in self._groupings.children((self._tenant_id, user))]


def rows_of(store: Store, table: str, tenant_id: str) -> list[Any]:
    """List a tenant's rows of a table, in order."""
    found = store.tables[table]
    return [found.rows[key] for key in found.children((tenant_id,))]


def identity_of(store: Store, tenant_id: str) -> TenantIdentity:
    """Give what there is once in a tenant."""
    row: TenantIdentity | None = store.tables[IDENTITIES].rows.get((tenant_id,))
    return row or TenantIdentity(tenant_id)


def keys_of(store: Store, tenant_id: str) -> list[SigningKey]:
    """List a tenant's signing keys, in the order of their ids."""
    return rows_of(store, "SigningKey", tenant_id)


class RefreshIndex:
    """Which refresh grants a principal has, and which have expired; follows the table.

    Its order depends on the rows alone, never on how they came to be there: a replica that was
    restarted has to drop the same ones as the others.
    """

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], SortedList] = {}
        """Tenant and principal -> used or not, index, grant id: in the order of going."""
        self._expiries: SortedList = SortedList()
        """When each expires, and its key."""

    def put(self, grant: RefreshGrant) -> None:
        """Follow an insertion."""
        owner = (grant.tenant_id, grant.principal)
        self._of.setdefault(owner, SortedList()).add(_place(grant))
        self._expiries.add((grant.expires_at_ms, grant.key))

    def remove(self, grant: RefreshGrant) -> None:
        """Follow a deletion."""
        self._expiries.remove((grant.expires_at_ms, grant.key))
        owner = (grant.tenant_id, grant.principal)
        self._of[owner].remove(_place(grant))
        if not self._of[owner]:
            del self._of[owner]

    def of(self, tenant_id: str, principal: str) -> list[Key]:
        """List the keys of a principal's grants: used ones first, and of each the oldest first."""
        return [(tenant_id, place[-1]) for place in self._of.get((tenant_id, principal), ())]

    def expired(self, now_ms: int, count_max: int) -> list[Key]:
        """List grants that have expired, longest ago first."""
        found = []
        for expires_at_ms, key in islice(self._expiries, count_max):
            if expires_at_ms > now_ms:
                break
            found.append(key)
        return found

    def restore(self, grants: Iterable[RefreshGrant]) -> None:
        """Take up what a dump held."""
        self._of, self._expiries = {}, SortedList()
        for grant in grants:
            self.put(grant)


def _place(grant: RefreshGrant) -> tuple[bool, int, str]:
    return (not grant.is_used, grant.changed_index, grant.grant_id)
