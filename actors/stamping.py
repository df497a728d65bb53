"""Puts on a command what only the node that proposes it can know: the time, and a new key."""

from __future__ import annotations

import time

from felix.proto.command import Command
from felix.proto.commands import (
    ApplyManifests,
    BootstrapTenant,
    CreateTenant,
    RetireSigningKey,
    StageSigningKey,
    Stamp,
)
from felix.proto.errors import NotEnabled
from felix.proto.identity import NewKey
from felix.proto.rpc import Request
from felix.storage.sealed import Sealer


class Stamping:
    """Stamps commands; used by one thread."""

    def __init__(self, sealer: Sealer | None) -> None:
        """Without a `sealer` there is no key-encryption key, and no new key."""
        self._sealer = sealer

    def stamp(self, request: Request, gone_epoch: int = 0) -> Stamp:
        """Say who asked and when; `gone_epoch` as in `Stamp`. Raises: NotEnabled."""
        return Stamp(
            time.time_ns() // 1_000_000,
            request.request_id,
            request.principal,
            request.source,
            request.idempotency_key,
            self._key_for(request.message),
            request.wants_acks,
            gone_epoch,
            self._keys_for(request.message),
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
        return self._new_key(tenant_id)

    def _keys_for(self, command: object) -> tuple[NewKey, ...]:
        if not isinstance(command, ApplyManifests):
            return ()
        tenants = (one.wanted for one in command.documents if isinstance(one.wanted, CreateTenant))
        return tuple(self._new_key(tenant.tenant_id) for tenant in tenants)

    def _new_key(self, tenant_id: str) -> NewKey:
        if self._sealer is None:
            raise NotEnabled("no key-encryption key is configured")
        return self._sealer.new_key(tenant_id)
