"""What the owner of a CURVE key may ask over RPC, and in whose name."""

from __future__ import annotations

from typing import Final

import msgspec

from felix.core.catalog.broker_changes import id_of
from felix.proto.errors import Forbidden, Unauthorized
from felix.proto.placement_commands import DeregisterBroker, DrainBroker, RegisterBroker
from felix.proto.queries import GetCluster, GetSnapshot, WatchUpdates
from felix.proto.reports import ReportApplied, ReportHealth
from felix.proto.rpc import AnyRequest
from felix.transport.rpc_server import Incoming

BROKERS_MAY: Final = (GetSnapshot, WatchUpdates, GetCluster)
BROKERS_MAY_FOR_THEMSELVES: Final = (
    RegisterBroker,
    DeregisterBroker,
    DrainBroker,
    ReportHealth,
    ReportApplied,
)
"""About the broker that the key belongs to, and no other."""


def admit(incoming: Incoming) -> Incoming:
    """Let a request that came encrypted in, or not. Raises: Unauthorized, Forbidden.

    A node speaks for those who asked it; everybody else speaks for the owner of the key, whatever
    the request says.
    """
    caller = incoming.caller
    if caller is None or caller.owner is None:
        raise Unauthorized("this key is not known here")
    owner = caller.owner
    if owner.role == "node":
        return incoming
    if owner.role == "broker":
        _check_broker(owner.name, incoming.request.message)
    prefix = "key" if owner.role == "admin" else owner.role
    request = msgspec.structs.replace(
        incoming.request, principal=f"{prefix}:{owner.name}", source=caller.address
    )
    return msgspec.structs.replace(incoming, request=request)


def _check_broker(name: str, message: AnyRequest) -> None:
    """Raises: Forbidden."""
    if isinstance(message, BROKERS_MAY):
        return
    if not isinstance(message, BROKERS_MAY_FOR_THEMSELVES):
        raise Forbidden(
            "a broker may read the metadata and speak for itself over this socket, no more"
        )
    about = id_of(message) if isinstance(message, RegisterBroker) else message.broker_id
    if about != name:
        raise Forbidden(f"this key is that of the broker {name!r}: it does not speak for {about!r}")
