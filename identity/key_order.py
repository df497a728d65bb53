"""The keys of a tenant as everyone may see them."""

from __future__ import annotations

from felix.core.auth.keys import jwks_order
from felix.proto.identity import IdentityView
from felix.proto.resources import SigningKey


def keys_of(view: IdentityView) -> tuple[SigningKey, ...]:
    """List a tenant's keys in the order of its JWKS: the one that signs comes first."""
    return jwks_order(view.keys)
