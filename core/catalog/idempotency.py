"""Exactly once: the answers to commands that carried an idempotency key, kept for a time."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from felix.core.catalog.store import Store
from felix.proto import codec
from felix.proto.commands import AnyCommand, Deleted, FeatureLevel, Proposal
from felix.proto.errors import ErrorReply, KeyReused
from felix.proto.identity import Done, RefreshGrant
from felix.proto.manifests import ManifestsApplied
from felix.proto.resources import Key, Resource

KEYS: Final = "idempotency"
KEPT_MS: Final = 24 * 3600 * 1000
"""In log time: the highest stamp of any command so far."""

Result = Resource | Deleted | FeatureLevel | ErrorReply | Done | RefreshGrant | ManifestsApplied


class Remembered(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a key stands for."""

    key: str
    principal: str
    """Whose it is: others may use the same key for something else."""
    order: int
    """Index of the log entry that used it first."""
    at_ms: int
    command_hash: bytes
    version: int
    resource: Resource | None = None
    deleted: Deleted | None = None
    error: ErrorReply | None = None
    feature_level: FeatureLevel | None = None
    done: Done | None = None
    grant: RefreshGrant | None = None
    manifests: ManifestsApplied | None = None

    @property
    def result(self) -> Result:
        """The answer, again."""
        kinds = (
            self.resource, self.deleted, self.error, self.feature_level, self.done, self.grant,
            self.manifests,
        )  # fmt: skip
        return next(one for one in kinds if one is not None)


class IdempotencyKeys:
    """The keys in use, oldest first; a table of the store."""

    def __init__(self, store: Store, keys_max: int) -> None:
        self._store = store
        self._keys_max = keys_max
        self._order: dict[Key, int] = {}
        """Key of the row -> time, oldest first."""

    def restore(self) -> None:
        """Take up what a dump put into the store."""
        rows: list[Remembered] = list(self._store.tables[KEYS].rows.values())
        self._order = {
            (one.principal, one.key): one.at_ms for one in sorted(rows, key=lambda one: one.order)
        }

    def find(self, proposal: Proposal) -> Remembered | None:
        """Look for the answer to this very command. Raises: KeyReused."""
        key = proposal.stamp.idempotency_key
        if key is None:
            return None
        remembered: Remembered | None = self._store.tables[KEYS].rows.get(
            (proposal.stamp.principal, key)
        )
        if remembered is not None and remembered.command_hash != _hash(proposal.command):
            raise KeyReused(f"the idempotency key {key!r} was used with another request")
        return remembered

    def keep(
        self, proposal: Proposal, index: int, log_time_ms: int, version: int, result: Result
    ) -> None:
        """Remember an answer; forget those that are too old or too many."""
        key = proposal.stamp.idempotency_key
        if key is None:
            return
        place = (proposal.stamp.principal, key)
        self._store.put(
            KEYS,
            place,
            Remembered(
                key,
                proposal.stamp.principal,
                index,
                log_time_ms,
                _hash(proposal.command),
                version,
                resource=result if isinstance(result, Resource) else None,
                deleted=result if isinstance(result, Deleted) else None,
                error=result if isinstance(result, ErrorReply) else None,
                feature_level=result if isinstance(result, FeatureLevel) else None,
                done=result if isinstance(result, Done) else None,
                grant=result if isinstance(result, RefreshGrant) else None,
                manifests=result if isinstance(result, ManifestsApplied) else None,
            ),
        )
        self._order[place] = log_time_ms
        if len(self._order) > self._keys_max:
            self._forget(next(iter(self._order)))

    def expire(self, log_time_ms: int) -> None:
        """Forget what is too old."""
        while self._order:
            place, at_ms = next(iter(self._order.items()))
            if at_ms + KEPT_MS > log_time_ms:
                return
            self._forget(place)

    def _forget(self, place: Key) -> None:
        del self._order[place]
        self._store.remove(KEYS, place)


def _hash(command: AnyCommand) -> bytes:
    return hashlib.blake2b(codec.encode(command), digest_size=16).digest()
