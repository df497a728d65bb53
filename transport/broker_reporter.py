"""The thread in which a broker registers and reports, for as long as it runs."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

import msgspec
import structlog

from felix.proto.brokers import BrokerMetrics, HealthAck, HealthStatus, ShardStatus
from felix.proto.control_plane import Call
from felix.proto.errors import (
    FENCED_REPLACED,
    BrokerFenced,
    DeadlineExceeded,
    FelixError,
    NotFound,
)
from felix.proto.placement_commands import DeregisterBroker, RegisterBroker
from felix.proto.reports import ReportApplied, ReportHealth
from felix.proto.resources import Broker as BrokerRow
from felix.proto.rpc import Answer, AnyRequest
from felix.transport.broker_shards import ShardReports
from felix.transport.client import BrokerClient
from felix.transport.rpc_client import RpcClient

ASK_S: Final = 2.0
"""How long one node is given to answer, before another is asked."""
RETRY_S: Final = 0.1
RETRY_S_MAX: Final = 5.0
REST: Final = 10
"""A report that took so long is followed by a rest of so many times that, before another one comes
early, half an interval at most: while a whole fleet has news the leader is busy, and repetitions
would keep it so."""
EARLY: Final = 0.1
"""Heartbeats come earlier by up to this part of the interval, so that brokers do not march."""


class Vitals(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker has to say of itself; each is asked in the reporter's thread."""

    shards: Callable[[], Sequence[ShardStatus]] = tuple
    """Of every copy that the broker holds, as they are now."""
    health: Callable[[], HealthStatus] = HealthStatus
    metrics: Callable[[], BrokerMetrics] = BrokerMetrics


class Reporter:
    """Registers until that works, beats, acknowledges, and registers again when it is forgotten.

    Where another boot has the id it ends: two that registered again and again would take the id
    from each other for ever. A callback that raises ends the thread: the broker falls silent, and
    is found down for it.
    """

    def __init__(
        self,
        registration: RegisterBroker,
        nodes: Sequence[RpcClient],
        client: BrokerClient,
        vitals: Vitals,
        on_fenced: Callable[[], None] | None,
        on_replaced: Callable[[BrokerFenced], None] | None,
    ) -> None:
        self._registration = registration
        self._nodes = nodes
        self._client = client
        self._vitals = vitals
        self._on_fenced = on_fenced
        self._on_replaced = on_replaced
        self._log = structlog.get_logger(__name__)
        self._random = Random()  # noqa: S311 - spreads load, guards nothing
        self._shards = ShardReports()
        self._preferred = self._random.randrange(len(nodes))
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="broker-reporter", daemon=True)
        self._closing = False
        self._suspended = False
        self._ack_wanted = False
        self._due = 0.0
        self._rest_until = 0.0
        self._retry_s = RETRY_S
        self.registered: BrokerRow | None = None
        self.last_ack: HealthAck | None = None
        self.replaced: BrokerFenced | None = None

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self, *, deregister: bool) -> None:
        """End the thread; then say good-bye, once."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        mine = self.registered
        if deregister and mine is not None:
            command = DeregisterBroker(broker_id=mine.broker_id, broker_epoch=mine.broker_epoch)
            try:
                self._ask(command)
            except FelixError as error:
                self._log.warning("broker_not_deregistered", reason=error.message)

    def acknowledge(self) -> None:
        """Say at once what is in force; any thread."""
        with self._changed:
            self._ack_wanted = True
            self._changed.notify_all()

    def report_within(self, delay_s: float) -> None:
        """Let the next heartbeat be no later than this or the rest of the last one; any thread."""
        with self._changed:
            due = max(time.monotonic() + delay_s, self._rest_until)
            if due < self._due:
                self._due = due
                self._changed.notify_all()

    def suspend(self, *, suspended: bool) -> None:
        """Be silent, or speak again."""
        with self._changed:
            self._suspended = suspended
            self._due = 0.0
            self._changed.notify_all()

    def wait_registered(self, timeout_s: float) -> bool:
        """Wait until there is a registration; False when the time is over, or all is."""

        def is_decided() -> bool:
            return self.registered is not None or self.replaced is not None

        with self._changed:
            self._changed.wait_for(is_decided, timeout_s)
            return self.registered is not None

    # --- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closing and (wait_s := self._wait_s()) > 0:
                    self._changed.wait(None if math.isinf(wait_s) else wait_s)
                if self._closing:
                    return
                is_beat = self._due <= time.monotonic()
                self._ack_wanted = False
                if is_beat:
                    self._due = math.inf  # what asks for an earlier one from now on moves it
            self._act(is_beat=is_beat)
            if self.replaced is not None:
                return

    def _wait_s(self) -> float:
        if self._suspended:
            return math.inf
        if self._ack_wanted and self.registered is not None:
            return 0.0
        return max(0.0, self._due - time.monotonic())

    def _act(self, *, is_beat: bool) -> None:
        mine = self.registered
        try:
            if mine is None:
                self._register()
            elif is_beat:
                self._beat(mine)
            else:
                self._ask(self._standing(mine))
        except BrokerFenced as error:
            if error.details.get("reason") == FENCED_REPLACED:
                self._end(error)
            else:
                self._fenced(error)
        except NotFound as error:
            self._fenced(error)
        except FelixError as error:
            self._log.info("broker_report_failed", reason=error.message)
            self._try_again()

    def _register(self) -> None:
        row = self._ask(self._registration)
        assert isinstance(row, BrokerRow)
        self._shards.forget()
        self._retry_s = RETRY_S
        with self._changed:
            self.registered = row
            self._due = 0.0
            self._changed.notify_all()

    def _beat(self, mine: BrokerRow) -> None:
        news = self._shards.news(self._vitals.shards(), self._client.view)
        standing = self._standing(mine)
        report = ReportHealth(
            broker_id=standing.broker_id,
            broker_epoch=standing.broker_epoch,
            applied_version=standing.applied_version,
            applied_epoch=standing.applied_epoch,
            applied_digest=standing.applied_digest,
            status=self._vitals.health(),
            metrics=self._vitals.metrics(),
            shard_status=news.statuses,
            has_all_shards=news.is_all,
        )
        began = time.monotonic()
        ack = self._ask(report)
        assert isinstance(ack, HealthAck)
        now = time.monotonic()
        self._shards.acknowledged(news)
        if ack.wants_all_shards:
            self._shards.forget()
        interval_s = ack.interval_ms / 1000
        self._rest_until = now + min(REST * (now - began), interval_s / 2)
        self.last_ack = ack
        self._retry_s = RETRY_S
        self.report_within(
            0 if ack.wants_all_shards else interval_s * self._random.uniform(1 - EARLY, 1)
        )

    def _standing(self, mine: BrokerRow) -> ReportApplied:
        applied = self._client.applied
        return ReportApplied(
            broker_id=mine.broker_id,
            broker_epoch=mine.broker_epoch,
            applied_version=applied.version,
            applied_epoch=applied.epoch,
            applied_digest=applied.digest,
        )

    def _fenced(self, error: FelixError) -> None:
        self._log.warning("broker_fenced", reason=error.message)
        had_one = self.registered is not None
        self.registered = None
        self._try_again()
        if had_one and self._on_fenced is not None:
            self._on_fenced()

    def _end(self, error: BrokerFenced) -> None:
        """Register no more: a later boot has the id, and whoever runs this one has to know."""
        self._log.error("broker_replaced", reason=error.message)
        with self._changed:
            self.registered = None
            self.replaced = error
            self._changed.notify_all()
        if self._on_fenced is not None:
            self._on_fenced()
        if self._on_replaced is not None:
            self._on_replaced(error)

    def _try_again(self) -> None:
        self.report_within(self._retry_s * self._random.uniform(0.5, 1.0))
        self._retry_s = min(2 * self._retry_s, RETRY_S_MAX)

    def _ask(self, message: AnyRequest) -> Answer:
        """Ask one node; after its silence the next one is asked next. Raises: FelixError."""
        try:
            return self._nodes[self._preferred].ask(message, Call(timeout_s=ASK_S)).result
        except DeadlineExceeded:
            self._preferred = (self._preferred + 1) % len(self._nodes)
            raise
