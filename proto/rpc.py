"""The native API: one request frame, one reply frame, correlated by a number."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from felix.proto.cluster import AnyOperation
from felix.proto.commands import AnyCommand, Deleted, FeatureLevel
from felix.proto.errors import ErrorReply
from felix.proto.identity import Done, RefreshGrant
from felix.proto.queries import AnyAnswer, AnyQuery
from felix.proto.reports import AnyReport
from felix.proto.resources import Resource

PROTOCOL = 1
"""First element of every envelope."""

NO_RESULT: Final = msgspec.Raw(b"\xc0")
"""Nil: what stands in the place of the answer when there is none."""

Consistency = Literal["linearizable", "stale"]

AnyRequest: TypeAlias = AnyCommand | AnyQuery | AnyOperation | AnyReport
Answer: TypeAlias = Resource | Deleted | FeatureLevel | Done | RefreshGrant | AnyAnswer


class Request(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A request as it travels from a DEALER to a node's ROUTER."""

    protocol: int
    id: int
    """Chosen by the caller; comes back in the reply. Never reused on one connection."""
    timeout_ms: int
    """How long the caller will wait; the node answers within that time, if only with an error."""
    message: AnyRequest
    consistency: Consistency = "linearizable"
    """Of queries: `stale` is answered by this node from what it has."""
    idempotency_key: str | None = None
    """Of commands: same key and same command have one effect and one answer."""
    request_id: str = ""
    principal: str = ""
    source: str = ""
    hops: int = 0
    """How many nodes have forwarded this request to the one they took for the leader."""
    wants_acks: bool = False
    """Of commands: brokers are to say at once that they have the change."""


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """The answer to the request of the same id."""

    protocol: int
    id: int
    version: int
    """Of the catalog: for a command the version at which it took effect."""
    age_ms: int
    """How old the answer may be; 0 for commands and linearizable reads."""
    error: ErrorReply | None
    result: msgspec.Raw
    """The encoded `Answer`; `NO_RESULT` when there is an error."""


class RequestEnvelope(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The start of a `Request`, to answer one whose rest cannot be read."""

    protocol: int
    id: int
