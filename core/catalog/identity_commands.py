"""Which handler carries out which command about identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from felix.core.catalog import (
    bootstrap,
    credentials,
    identity_changes,
    refresh,
    signing_keys,
)
from felix.core.catalog.steps import Context, Outcome
from felix.proto.command import Command
from felix.proto.commands import (
    ActivateSigningKey,
    BootstrapTenant,
    ChangeGroupings,
    ChangePolicies,
    DeleteBrokerCredential,
    DeleteIssuer,
    GrantRefresh,
    PutBrokerCredential,
    PutIssuer,
    RetireSigningKey,
    RevokeTokens,
    RewrapSigningKey,
    StageSigningKey,
    UseRefresh,
)

_HANDLERS: Final[dict[type[Command], Callable[[Any, Context], Outcome]]] = {
    BootstrapTenant: bootstrap.bootstrap,
    PutIssuer: identity_changes.put_issuer,
    DeleteIssuer: identity_changes.delete_issuer,
    ChangePolicies: identity_changes.change_policies,
    ChangeGroupings: identity_changes.change_groupings,
    StageSigningKey: signing_keys.stage,
    ActivateSigningKey: signing_keys.activate,
    RetireSigningKey: signing_keys.retire,
    RewrapSigningKey: signing_keys.rewrap,
    GrantRefresh: refresh.grant_refresh,
    UseRefresh: refresh.use_refresh,
    RevokeTokens: identity_changes.revoke_tokens,
    PutBrokerCredential: credentials.put_credential,
    DeleteBrokerCredential: credentials.delete_credential,
}
IDENTITY_COMMANDS: Final = tuple(_HANDLERS)
NEEDS_A_KEY: Final = (BootstrapTenant, StageSigningKey, RetireSigningKey)
"""Beside `CreateTenant`: their stamp carries a `new_key`, which they may use."""


def outcome_of(command: Command, context: Context) -> Outcome:
    """Work out what becomes of a command about identity. Raises: any FelixError."""
    return _HANDLERS[type(command)](command, context)
