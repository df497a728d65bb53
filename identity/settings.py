"""What the identity package can be told."""

from __future__ import annotations

import msgspec


class BadSettings(Exception):
    """What this process was told cannot be used; the message names the setting and what to do."""


class IdentitySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of everything that authenticates; see the sections `auth` and `keys` of the
    configuration."""

    algorithms: tuple[str, ...] = ("ES256",)
    """By which identity providers may sign."""
    accept_broker_tokens: bool = True
    token_lifetime_s: int = 900
    refresh_lifetime_s: int = 43_200
    """0: no refresh tokens."""
    kek_file: str = ""
    kek: str = ""
    previous_kek_files: tuple[str, ...] = ()
    cache_s: float = 1.0
    """How long a tenant's identity is believed without asking the node again."""
    identity_age_max_s: int = 900
    """Of what the node says; beyond, nobody is authenticated."""
