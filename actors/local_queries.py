"""Queries that another actor of this node answers: they go out by message, and wait here.

They need neither a leader nor a quorum: an identity provider is looked up in this node's own
catalog, and what this node knows of its keys is this node's business.
"""

from __future__ import annotations

import itertools
import time
from typing import Final

import msgspec

from felix.actors.messages import (
    ActorRef,
    FindIssuerKeys,
    LocalAnswer,
    ProbeProvider,
    tell_if_alive,
)
from felix.core.auth.idp_cache import KeySource
from felix.core.catalog.store import Store
from felix.proto.errors import FelixError, IdpUnavailable, NotFound, Overloaded
from felix.proto.identity import IdpIssuer
from felix.proto.queries import GetIssuerKeys, ProbeIssuer
from felix.transport.rpc_server import Incoming, RpcServer

ISSUERS: Final = "issuers"
"""The table of the catalog."""
WAITING_MAX: Final = 2048
PATIENCE: Final = 0.8
"""The part of a request's time in which the other actor answers: at the last moment is too late."""
PATIENCE_MAX: Final = 0.9
"""The part after which it is not waited for."""


class _Waiting(msgspec.Struct, frozen=True, gc=False):
    incoming: Incoming
    deadline: float


class LocalQueries:
    """What waits for another actor of this node; used by RaftNode's thread."""

    def __init__(self, rpc: RpcServer, me: ActorRef, idp_keys: ActorRef) -> None:
        """`me` is told the answers, and passes them on to `answered`."""
        self._rpc = rpc
        self._me = me
        self._idp_keys = idp_keys
        self._tokens = itertools.count()
        self._waiting: dict[int, _Waiting] = {}

    def __len__(self) -> int:
        """Count the requests that wait."""
        return len(self._waiting)

    def attach(self, idp_keys: ActorRef) -> None:
        """Ask this actor from now on."""
        if idp_keys is not self._idp_keys:
            self._idp_keys = idp_keys
            self._give_up(list(self._waiting))  # what the one before was asked has gone with it

    def take(self, incoming: Incoming, store: Store) -> None:
        """Pass a query on. Raises: NotFound, Overloaded, IdpUnavailable."""
        if len(self._waiting) >= WAITING_MAX:
            raise Overloaded("too many requests wait for identity providers", retry_after_ms=500)
        query = incoming.request.message
        timeout_s = incoming.request.timeout_ms / 1000
        patience_s = PATIENCE * timeout_s
        token = next(self._tokens)
        message: FindIssuerKeys | ProbeProvider
        if isinstance(query, GetIssuerKeys):
            source = _source_of(store, query)
            message = FindIssuerKeys(token, source, query.missing_kid, patience_s, self._me)
        else:
            assert isinstance(query, ProbeIssuer)
            message = ProbeProvider(token, query, patience_s, self._me)
        if not tell_if_alive(self._idp_keys, message):
            raise IdpUnavailable("its keys cannot be asked for just now", retry_after_ms=500)
        self._waiting[token] = _Waiting(incoming, time.monotonic() + PATIENCE_MAX * timeout_s)

    def answered(self, message: LocalAnswer, version: int) -> None:
        """Answer the one who asked, if that is not too late."""
        waiting = self._waiting.pop(message.token, None)
        if waiting is None:
            return
        route, request_id = waiting.incoming.route, waiting.incoming.request.id
        if isinstance(message.result, FelixError):
            self._rpc.refuse(route, request_id, message.result)
        else:
            self._rpc.answer(route, request_id, message.result, version)

    def sweep(self, now: float) -> None:
        """Answer those whose time is up."""
        self._give_up([token for token, one in self._waiting.items() if one.deadline <= now])

    def _give_up(self, tokens: list[int]) -> None:
        error = IdpUnavailable("no answer within the deadline", retry_after_ms=1000)
        for token in tokens:
            incoming = self._waiting.pop(token).incoming
            self._rpc.refuse(incoming.route, incoming.request.id, error)


def _source_of(store: Store, query: GetIssuerKeys) -> KeySource:
    """Find where the keys of an issuer are, if the tenant trusts it. Raises: NotFound."""
    row = store.tables[ISSUERS].rows.get((query.tenant_id, query.issuer))
    if row is None:
        raise NotFound("the tenant trusts no such issuer")
    assert isinstance(row, IdpIssuer)
    return KeySource(row.issuer, row.discovery_url, row.jwks_url)
