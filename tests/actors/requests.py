"""Requests as a node has taken them in."""

from __future__ import annotations

import itertools

from felix.proto.queries import ListTenants
from felix.proto.rpc import PROTOCOL, AnyRequest, Consistency, Request
from felix.transport.rpc_server import Incoming

_ids = itertools.count(1)


def incoming(
    message: AnyRequest | None = None,
    *,
    timeout_ms: int = 60_000,
    consistency: Consistency = "linearizable",
) -> Incoming:
    """Make a request of somebody."""
    number = next(_ids)
    request = Request(PROTOCOL, number, timeout_ms, message or ListTenants(), consistency)
    return Incoming((b"caller-%d" % number,), request)
