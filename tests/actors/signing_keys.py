"""Signing keys for tests, and a cluster of one node that keeps them and nothing else."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable

import msgspec

from felix.core.auth.keys import why_not_activate, why_not_retire
from felix.proto.command import Command
from felix.proto.commands import (
    ActivateSigningKey,
    RetireSigningKey,
    RewrapSigningKey,
    StageSigningKey,
)
from felix.proto.control_plane import Answered, Call
from felix.proto.errors import FelixError, KeyStateRefused, NotFound
from felix.proto.identity import Done, SealedKey, SigningKeyPage
from felix.proto.queries import ClusterStatus, GetCluster, ListAllSigningKeys
from felix.proto.resources import Key, KeyState, SigningKey
from felix.proto.rpc import AnyRequest
from felix.storage.sealed import Sealer


def sealer(*names: str) -> Sealer:
    """Make a sealer whose KEKs follow from their names."""
    return Sealer(tuple(hashlib.sha256(name.encode()).digest() for name in names))


class KeyKeeper:
    """A `ControlPlane` of one node that knows signing keys and nothing else."""

    def __init__(self, sealer: Sealer, wall_ms: Callable[[], int]) -> None:
        """`sealer` makes the keys that commands need."""
        self.leads = True
        self.refuses: FelixError | None = None
        """Every command, for this reason."""
        self.commands: list[Command] = []
        self.pages = 0
        self.keys: dict[Key, tuple[SigningKey, SealedKey]] = {}
        self.period_s: dict[str, int] = {}
        self._sealer = sealer
        self._wall_ms = wall_ms
        self._lock = threading.Lock()

    def add(self, tenant_id: str, sealer: Sealer | None = None) -> str:
        """Make a tenant with its first key, and give the `kid`."""
        with self._lock:
            return self._new(tenant_id, "active", sealer or self._sealer)

    def states(self, tenant_id: str) -> list[KeyState]:
        """List the states of a tenant's keys, in the order of their making."""
        with self._lock:
            return [key.state for key, _ in self.keys.values() if key.tenant_id == tenant_id]

    def ask(self, message: AnyRequest, call: Call) -> Answered:
        """See `ControlPlane`."""
        with self._lock:
            match message:
                case GetCluster():
                    return Answered(status("me" if self.leads else "another"), 0)
                case ListAllSigningKeys():
                    return Answered(self._page(message), 0)
                case _:
                    assert isinstance(message, Command)
                    assert call.principal == "felix:key-manager"
                    self.commands.append(message)
                    if self.refuses is not None:
                        raise self.refuses
                    return Answered(Done(id=self._apply(message)), 0)

    def _apply(self, command: Command) -> str:
        if isinstance(command, StageSigningKey):
            return self._new(command.tenant_id, "published", self._sealer)
        assert isinstance(command, ActivateSigningKey | RetireSigningKey | RewrapSigningKey)
        place = (command.tenant_id, command.kid)
        if place not in self.keys:
            raise NotFound("no such key")
        key, sealed = self.keys[place]
        now_ms = self._wall_ms()
        match command:
            case ActivateSigningKey():
                self._refuse(why_not_activate(key, now_ms, command.lead_ms))
                for other in [one for one, _ in self.keys.values() if one.state == "active"]:
                    if other.tenant_id == command.tenant_id:
                        self._move(other, "retiring")
                self._move(key, "active")
            case RetireSigningKey():
                self._refuse(why_not_retire(key, now_ms, command.after_ms))
                del self.keys[place]
            case RewrapSigningKey():
                new = msgspec.structs.replace(sealed, kek_id=command.kek_id, sealed=command.sealed)
                self.keys[place] = (key, new)
        return command.kid

    def _refuse(self, why: str | None) -> None:
        if why is not None:
            raise KeyStateRefused(why)

    def _move(self, key: SigningKey, state: KeyState) -> None:
        moved = msgspec.structs.replace(key, state=state, state_since_ms=self._wall_ms())
        self.keys[key.key] = (moved, self.keys[key.key][1])

    def _new(self, tenant_id: str, state: KeyState, sealer: Sealer) -> str:
        new = sealer.new_key(tenant_id)
        key = SigningKey(
            tenant_id=tenant_id,
            kid=new.kid,
            public_key=new.public_key,
            state=state,
            state_since_ms=self._wall_ms(),
        )
        sealed = SealedKey(tenant_id, new.kid, new.public_key, new.kek_id, new.sealed)
        self.keys[key.key] = (key, sealed)
        return new.kid

    def _page(self, query: ListAllSigningKeys) -> SigningKeyPage:
        self.pages += 1
        start = int(query.page_token or 0)
        end = start + (query.page_size or 1000)
        ordered = sorted(self.keys.values(), key=lambda one: one[0].key)
        items = [(*one, self.period_s.get(one[0].tenant_id, 0)) for one in ordered[start:end]]
        return SigningKeyPage(tuple(items), str(end) if end < len(ordered) else "")


def status(leader_id: str) -> ClusterStatus:
    """Describe the cluster of a node `me` that has nothing in its log."""
    return ClusterStatus(
        cluster_id="c",
        node_id="me",
        leader_id=leader_id,
        term=1,
        commit_index=0,
        applied_index=0,
        version=0,
        epoch=1,
        digest="",
        members=[],
    )
