"""Free TCP ports on the loopback interface."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

from bench.errors import BenchError

_LOWEST, _HIGHEST = 20_000, 31_000
"""Below the range from which Linux takes ports for outgoing connections."""
_TRIES_MAX = 100


def free_ports(count: int) -> list[int]:
    """Find consecutive ports that nobody listens on. Raises: BenchError."""
    for _ in range(_TRIES_MAX):
        first = random.randrange(_LOWEST, _HIGHEST - count)
        if _all_free(first, count):
            return list(range(first, first + count))
    raise BenchError(f"no {count} consecutive free ports in {_LOWEST}..{_HIGHEST}")


def _all_free(first: int, count: int) -> bool:
    with ExitStack() as stack:
        for port in range(first, first + count):
            probe = stack.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
