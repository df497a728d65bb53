"""The IdpKeys actor: what this node knows of identity providers' keys, shared by all its workers.

`felix.core.auth.idp_cache` decides; threads of the actor's own fetch (`felix.actors.fetchers`), so
that a provider that is slow holds up nobody but those who ask for it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from felix.actors.fetchers import Broken, Fetched, Fetchers, Probed, ProbeJob
from felix.actors.messages import (
    FindIssuerKeys,
    GetStatistics,
    LocalAnswer,
    ProbeProvider,
    tell_if_alive,
)
from felix.core.auth.idp_cache import IdpCache
from felix.proto.errors import Overloaded
from felix.transport.outbound import Outbound
from felix.transport.socket_actor import SocketActor, handles

PROBES_MAX: Final = 16
"""At one time; each may take two fetches."""
SWEEP_S: Final = 0.1

log = structlog.get_logger("felix.idp")


class _Sweep(msgspec.Struct, frozen=True):
    """See whose time is up."""


class IdpStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """IdpKeys' numbers at one moment."""

    fetches: dict[str, int]
    """By result: `ok`, or the reason of the failure."""
    urls: int
    waiting: int


class IdpKeys(SocketActor):
    """Asks identity providers, and remembers what they said."""

    def __init__(
        self,
        failed: Callable[[SocketActor, BaseException], None],
        outbound: Outbound,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(failed)
        self._clock = clock
        self._cache = IdpCache()
        self._fetchers = Fetchers(outbound, self._told)
        self._asked: dict[int, FindIssuerKeys] = {}
        self._tickets = 0
        self._probes = 0
        self._sweep_is_due = False
        self._results: Counter[str] = Counter()

    def release(self) -> None:
        """Let the threads go."""
        self._fetchers.stop()

    def end_turn(self) -> None:
        """Carry out what the cache has decided."""
        while fetches := self._cache.take_fetches():
            for fetch in fetches:
                if not self._fetchers.submit(fetch):
                    self._results["busy"] += 1
                    self._cache.failed(fetch, "too much is being fetched", self._clock())
        for answer in self._cache.take_answers():
            asked = self._asked.pop(answer.ticket)
            tell_if_alive(asked.reply_to, LocalAnswer(asked.token, answer.result))
        if self._cache.waiting and not self._sweep_is_due:
            self._sweep_is_due = True
            self.after(SWEEP_S, _Sweep())

    @handles(FindIssuerKeys)
    def _find(self, message: FindIssuerKeys) -> None:
        self._tickets += 1
        self._asked[self._tickets] = message
        now = self._clock()
        deadline = now + message.patience_s
        self._cache.ask(self._tickets, message.source, message.missing_kid, now, deadline)

    @handles(ProbeProvider)
    def _probe(self, message: ProbeProvider) -> None:
        job = ProbeJob(message, time.monotonic() + message.patience_s)
        if self._probes >= PROBES_MAX or not self._fetchers.submit(job):
            busy = Overloaded("too many identity providers are being probed", retry_after_ms=1000)
            tell_if_alive(message.reply_to, LocalAnswer(message.token, busy))
        else:
            self._probes += 1

    @handles(Fetched)
    def _fetched(self, message: Fetched) -> None:
        self._results[message.reason] += 1
        fetch, now = message.fetch, self._clock()
        if message.body is None:
            log.warning(
                "an identity provider gave nothing",
                # One that is no plain URL may hold a password.
                url=fetch.url if message.reason != "bad_url" else "",
                reason=message.reason,
                because=message.problem,
            )
            self._cache.failed(fetch, message.problem, now)
        else:
            self._cache.arrived(fetch, message.body, now)

    @handles(Probed)
    def _probed(self, message: Probed) -> None:
        self._probes -= 1
        self._results.update(message.reasons)
        probe = message.probe
        tell_if_alive(probe.reply_to, LocalAnswer(probe.token, message.result))

    @handles(Broken)
    def _broken(self, message: Broken) -> None:
        raise message.error

    @handles(_Sweep)
    def _sweep(self, _: _Sweep) -> None:
        self._sweep_is_due = False
        self._cache.sweep(self._clock())

    @handles(GetStatistics)
    def _statistics(self, _: GetStatistics) -> IdpStatistics:
        return IdpStatistics(
            fetches=dict(self._results), urls=self._cache.urls, waiting=self._cache.waiting
        )

    def _told(self, message: Fetched | Probed | Broken) -> None:
        """Hear from a thread; an actor that has ended has no use for it."""
        tell_if_alive(self.actor_ref, message)
