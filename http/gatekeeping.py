"""What resources need of the gatekeeper beyond authentication, which comes before them."""

from __future__ import annotations

from typing import Protocol

import msgspec

from felix.proto.control_plane import Call


class ExchangeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a token is wanted for: it narrows what is granted."""

    requested: tuple[str, ...] | None = None
    """Actions; None: all."""
    resources: tuple[str, ...] | None = None
    """Objects; None: all."""
    audience: str | None = None
    """None: the tenant's usual one."""
    refresh: bool = False


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """What was given out."""

    felix_token: str
    expires_in: int
    refresh_token: str | None = None
    refresh_expires_in: int | None = None


class Gatekeeping(Protocol):
    """Trades tokens."""

    def exchange(self, tenant_id: str, token: str, wish: ExchangeRequest, call: Call) -> Issued:
        """Trade a token of an identity provider in.

        Raises: Unauthorized, Forbidden, IdpUnavailable; whatever the control plane raises.
        """
        ...

    def refresh(
        self, tenant_id: str, refresh_token: str, wish: ExchangeRequest, call: Call
    ) -> Issued:
        """Trade a refresh token in, for the next one too. Raises: as above."""
        ...
