"""What the owner of a CURVE key may ask over RPC, and in whose name."""

from __future__ import annotations

from typing import Final

import msgspec

from felix.proto.errors import Forbidden, Unauthorized
from felix.proto.queries import GetCluster, GetSnapshot, WatchUpdates
from felix.transport.rpc_server import Incoming

BROKERS_MAY: Final = (GetSnapshot, WatchUpdates, GetCluster)


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
    if owner.role == "broker" and not isinstance(incoming.request.message, BROKERS_MAY):
        raise Forbidden("a broker may read the metadata and nothing else over this socket")
    prefix = "key" if owner.role == "admin" else owner.role
    request = msgspec.structs.replace(
        incoming.request, principal=f"{prefix}:{owner.name}", source=caller.address
    )
    return msgspec.structs.replace(incoming, request=request)
