"""What an address is: `host:port`, as it stands in configurations, requests and the log."""

from __future__ import annotations

import re
from typing import Final

from felix.proto.raft import Addresses

HOST_CHARS_MAX: Final = 253
_HOST: Final = re.compile(r"\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def is_address(text: str) -> bool:
    """Say whether this is a name or an IP address (IPv6 in brackets), a colon, and a port."""
    host, _, port = text.rpartition(":")
    is_port = port.isascii() and port.isdigit() and 0 < int(port) < 65536
    return is_port and len(host) <= HOST_CHARS_MAX and _HOST.fullmatch(host) is not None


def wrong_listener(addresses: Addresses) -> str | None:
    """Name a listener whose address is none; those that must be there are `peers` and `rpc`."""
    for listener in addresses.__struct_fields__:
        address: str = getattr(addresses, listener)
        if (address or listener in {"peers", "rpc"}) and not is_address(address):
            return listener
    return None
