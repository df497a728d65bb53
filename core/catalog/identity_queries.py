"""Questions about identity."""

from __future__ import annotations

import base64
import binascii
from itertools import islice
from typing import Final

from felix.core.catalog.identity_tables import (
    BROKERS,
    CREDENTIALS,
    GROUPINGS,
    ISSUERS,
    POLICIES,
    SEALED_KEYS,
    identity_of,
    keys_of,
    rows_of,
)
from felix.core.catalog.store import Store
from felix.proto.errors import NotFound, ValidationFailed
from felix.proto.identity import BrokerCredentials, IdentityView, SigningKeyPage
from felix.proto.queries import GetTenantIdentity, ListAllSigningKeys, ListBrokerCredentials
from felix.proto.resources import Key, Tenant

KEYS_PAGE_MAX: Final = 1000


def tenant_identity(store: Store, query: GetTenantIdentity) -> IdentityView:
    """Answer `GetTenantIdentity`. Raises: NotFound."""
    tenant_id = query.tenant_id
    if (tenant_id,) not in store.tables["Tenant"].rows:
        raise NotFound(f"there is no tenant {tenant_id!r}")
    identity = identity_of(store, tenant_id)
    if query.known_index and query.known_index == identity.changed_index:
        return IdentityView(
            tenant_id=tenant_id, changed_index=identity.changed_index, is_unchanged=True
        )
    return IdentityView(
        tenant_id=tenant_id,
        changed_index=identity.changed_index,
        is_bootstrapped=identity.is_bootstrapped,
        issuers=tuple(rows_of(store, ISSUERS, tenant_id)),
        policies=tuple(rows_of(store, POLICIES, tenant_id)),
        groupings=tuple(rows_of(store, GROUPINGS, tenant_id)),
        keys=tuple(keys_of(store, tenant_id)),
        sealed_keys=tuple(rows_of(store, SEALED_KEYS, tenant_id)),
        revocations=tuple(rows_of(store, "TokenRevocation", tenant_id)),
    )


def all_signing_keys(store: Store, query: ListAllSigningKeys) -> SigningKeyPage:
    """Answer `ListAllSigningKeys`. Raises: ValidationFailed."""
    if not 0 <= query.page_size <= KEYS_PAGE_MAX:
        raise _invalid("page_size", f"must be 0 to {KEYS_PAGE_MAX}")
    size = query.page_size or KEYS_PAGE_MAX
    keys, sealed = store.tables["SigningKey"], store.tables[SEALED_KEYS]
    after = _key_of(query.page_token)
    found = list(islice(keys.keys.irange(after, None, (False, True)), size + 1))
    items = tuple(
        (keys.rows[key], sealed.rows[key], _rotation_s(store, key[0]))
        for key in found[:size]
        if key in sealed.rows
    )
    return SigningKeyPage(items, _token_of(found[size - 1]) if len(found) > size else "")


def broker_credentials(store: Store, _query: ListBrokerCredentials) -> BrokerCredentials:
    """Answer `ListBrokerCredentials`."""
    table = store.tables[CREDENTIALS]
    items = tuple(table.rows[key] for key in table.keys)
    return BrokerCredentials(items, identity_of(store, BROKERS).changed_index)


def _rotation_s(store: Store, tenant_id: str) -> int:
    tenant: Tenant | None = store.tables["Tenant"].rows.get((tenant_id,))
    if tenant is None or tenant.encryption is None:
        return 0
    return tenant.encryption.rotation_period_seconds or 0


def _token_of(key: Key) -> str:
    return base64.urlsafe_b64encode("/".join(key).encode()).decode().rstrip("=")


def _key_of(token: str) -> Key | None:
    if not token:
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        tenant_id, kid = raw.decode("ascii").split("/")
    except (binascii.Error, ValueError) as error:
        raise _invalid("page_token", "is not one of ours") from error
    return (tenant_id, kid)


def _invalid(member: str, why: str) -> ValidationFailed:
    return ValidationFailed(f"/{member}: {why}", details={"pointer": f"/{member}"})
