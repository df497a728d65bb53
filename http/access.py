"""What a route asks of its callers; every route of the table says it."""

from __future__ import annotations

from typing import Final, Literal

import msgspec


class Access(msgspec.Struct, frozen=True):
    """Who may use a route."""

    kind: Literal["open", "feed", "caller", "upstream", "bootstrap"]
    """`open`: everyone. `feed`: brokers, and whoever may view the cluster. `caller`: the bearer of
    a Felix token. `upstream`: the resource looks at the bearer's token itself. `bootstrap`: who has
    the token of the bootstrap listener."""
    action: str = ""
    """What the caller must be allowed to do; empty: to see the object is enough."""
    object: str = ""
    """On which object, with the fields of the path: `stream:{tenant_id}/{namespace}/{stream}`.
    Empty: the resource decides, once it has read what the request is about."""
    always: bool = False
    """A token is needed even where the configuration leaves the doors open."""

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked who they are."""
        return self.kind == "open"

    @property
    def challenge(self) -> str:
        """What `WWW-Authenticate` says with a 401 (RFC 9110, section 11.6.1)."""
        return _CHALLENGES.get(self.kind, "Bearer")


BOOTSTRAP_HEADER: Final = "X-Felix-Bootstrap-Token"
_CHALLENGES: Final = {
    "feed": 'Bearer, Basic realm="felix", charset="UTF-8"',
    "bootstrap": BOOTSTRAP_HEADER,
}

OPEN: Final = Access("open")
FEED: Final = Access("feed")
CLUSTER_VIEW: Final = Access("caller", "cluster.view", "cluster:*")
CLUSTER_MANAGE: Final = Access("caller", "cluster.manage", "cluster:*")
