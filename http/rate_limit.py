"""How many requests one client may send to one worker: a bucket of tokens for each address."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import falcon

from felix.proto.errors import Overloaded

BURST_S: Final = 2
"""A bucket holds what flows into it in so many seconds."""
REFUSAL_COST: Final = 10
"""A refused authentication counts as so many requests."""
CLIENTS_MAX: Final = 10_000
"""Addresses that are remembered; beyond, whoever has been away longest is taken for new."""
_V6_PREFIX: Final = 64
"""One customer has a whole network of this length."""


class TokenBucket:
    """Tokens flow in evenly up to a bound, and each request takes some out."""

    def __init__(self, rate: float, burst: float, now_s: float) -> None:
        """Start full; `rate` is tokens per second."""
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at_s = now_s

    def take(self, now_s: float) -> float:
        """Take a token; give 0, or the seconds until there is one when there is none."""
        self._flow(now_s)
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0

    def charge(self, tokens: float, now_s: float) -> None:
        """Take tokens whether they are there or not; the debt is bounded by one such charge."""
        self._flow(now_s)
        self._tokens = max(self._tokens - tokens, -tokens)

    def _flow(self, now_s: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._rate)
        self._at_s = now_s


class RateLimit:
    """Falcon middleware that refuses clients that ask for too much. Any thread may use it."""

    def __init__(self, rate: int, clock: Callable[[], float]) -> None:
        """`rate`: requests per second and client, 0: no bound; `clock`: seconds, monotonic."""
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        """Those used last are last."""

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Raises: Overloaded, saying when to try again."""
        if not self._rate:
            return
        with self._lock:
            now_s = self._clock()
            wait_s = self._bucket(req.remote_addr or "", now_s).take(now_s)
        if wait_s:
            raise Overloaded(
                f"more than {self._rate} requests a second from this address",
                retry_after_ms=int(wait_s * 1000) + 1,
            )

    def note_refused(self, address: str) -> None:
        """Hear that a caller could not prove who it is: guessing is to be slow."""
        if not self._rate:
            return
        with self._lock:
            now_s = self._clock()
            self._bucket(address, now_s).charge(REFUSAL_COST, now_s)

    def _bucket(self, address: str, now_s: float) -> TokenBucket:
        client = client_of(address)
        bucket = self._buckets.pop(client, None)
        if bucket is None:
            bucket = TokenBucket(self._rate, BURST_S * self._rate, now_s)
            if len(self._buckets) >= CLIENTS_MAX:
                self._buckets.popitem(last=False)
        self._buckets[client] = bucket
        return bucket


def client_of(address: str) -> str:
    """Say who an address belongs to: an IPv4 address, or the first half of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _V6_PREFIX), strict=False))
