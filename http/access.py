"""What a route asks of its callers; every route of the table says it."""

from __future__ import annotations

from typing import Final, Literal

import msgspec


class Access(msgspec.Struct, frozen=True):
    """Who may use a route."""

    kind: Literal["open", "feed", "caller", "upstream"]
    """`open`: everyone. `feed`: brokers, and whoever may view the cluster. `caller`: the bearer of
    a Felix token. `upstream`: the resource looks at the bearer's token itself."""
    action: str = ""
    """What the caller must be allowed to do; empty: to see the object is enough."""
    object: str = ""
    """On which object, with the fields of the path: `stream:{tenant_id}/{namespace}/{stream}`.
    Empty: the resource decides, once it has read what the request is about."""
    always: bool = False
    """A token is needed even where the configuration leaves the doors open."""


OPEN: Final = Access("open")
FEED: Final = Access("feed")
CLUSTER_VIEW: Final = Access("caller", "cluster.view", "cluster:*")
CLUSTER_MANAGE: Final = Access("caller", "cluster.manage", "cluster:*")
