"""What resources ask about whoever calls, once the table of routes has let them in."""

from __future__ import annotations

from typing import Final

import falcon

from felix.identity.caller import Caller
from felix.proto.errors import Forbidden
from felix.proto.permissions import Object

_BEARER: Final = "Bearer "
_CLUSTER: Final = Object("cluster")


def bearer_of(req: falcon.Request) -> str | None:
    """Read the token of the `Authorization` header as it stands there (contract, section 2.4)."""
    header = req.get_header("Authorization") or ""
    return header[len(_BEARER) :] or None if header.startswith(_BEARER) else None


def caller_of(req: falcon.Request) -> Caller:
    """Give who has been authenticated for this request."""
    caller = req.context.caller
    assert isinstance(caller, Caller)
    return caller


def is_operator(caller: Caller) -> bool:
    """Tell whether somebody manages the whole cluster."""
    return caller.may("cluster.manage", _CLUSTER)


def require(req: falcon.Request, action: str, target: Object) -> Caller:
    """Let only somebody on who may do that. Raises: Forbidden."""
    caller = caller_of(req)
    if not caller.may(action, target):
        raise Forbidden(f"{action} on {target} is needed")
    return caller


def scopes_for(req: falcon.Request, action: str, tenant_id: str) -> tuple[str, ...] | None:
    """List where in a tenant a caller has an action, as delegated commands carry it.

    None: everywhere, for who manages the cluster. Raises: Forbidden where it is nowhere.
    """
    caller = caller_of(req)
    if is_operator(caller):
        return None
    scopes = tuple(str(one) for one in caller.scopes(action) if one.names[:1] == (tenant_id,))
    if not scopes:
        raise Forbidden(f"{action} is needed")
    return scopes
