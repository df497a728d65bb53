"""Who may use a route: a column of the table of routes."""

from __future__ import annotations

from typing import Literal

import msgspec


class Access(msgspec.Struct, frozen=True):
    """What a caller has to show before a request is looked at any further."""

    kind: Literal["open", "feed", "caller", "upstream"]
    """`open`: nothing. `feed`: a broker's credential or any token, unless feeds are open.
    `caller`: a Felix token with the permission below. `upstream`: a token of an identity provider,
    which the resource itself looks at."""
    action: str = ""
    object: str = ""
    """With fields of the path, as in `tenant:{tenant_id}`; empty: the resource decides, once it
    has read what the request is about."""
    always: bool = False
    """Needs a token in open mode too."""
