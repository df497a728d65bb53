"""Puts on a command what only the node that proposes it can know: the time, and a new key."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

from felix.proto.commands import (
    BootstrapTenant,
    Command,
    CreateTenant,
    RetireSigningKey,
    StageSigningKey,
    Stamp,
)
from felix.proto.errors import NotEnabled
from felix.proto.identity import NewKey
from felix.proto.rpc import Request

NewKeySource: TypeAlias = Callable[[str], NewKey]
"""Makes a signing key for a tenant, its private half encrypted."""


class Stamping:
    """Stamps commands; used by one thread."""

    def __init__(self, new_key: NewKeySource | None) -> None:
        """Without `new_key` the node has no key-encryption key."""
        self._new_key = new_key

    def stamp(self, request: Request) -> Stamp:
        """Say who asked and when. Raises: NotEnabled."""
        return Stamp(
            time.time_ns() // 1_000_000,
            request.request_id,
            request.principal,
            request.source,
            request.idempotency_key,
            self._key_for(request.message),
        )

    def _key_for(self, command: object) -> NewKey | None:
        assert isinstance(command, Command)
        match command:
            case CreateTenant() | BootstrapTenant() | StageSigningKey():
                tenant_id = command.tenant_id
            case RetireSigningKey(revoke=True):
                tenant_id = command.tenant_id
            case _:
                return None
        if self._new_key is None:
            raise NotEnabled("no key-encryption key is configured")
        return self._new_key(tenant_id)
