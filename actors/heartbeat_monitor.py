"""The HeartbeatMonitor actor: listens to brokers while its node leads, and says who is down.

What brokers report is soft state and stays here; what follows from it (a broker is down, is back,
is empty; other copies are in sync) is proposed, a batch at a time, and proposed again until the
catalog says so. Nothing here waits for anything, so reports are answered at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import msgspec
import structlog

from felix.actors.brokers_heard import BrokersHeard, Heard
from felix.actors.messages import (
    ActorRef,
    BrokerAnswer,
    BrokersAwaited,
    CatalogRead,
    GetReports,
    GetStatistics,
    HealthAsked,
    Leading,
    Propose,
    Proposed,
    ReadCatalog,
    Reported,
    ReportsSeen,
    tell_if_alive,
)
from felix.actors.watch_position import WatchPosition
from felix.actors.watchdog import Pulse
from felix.core.brokers.health import brokers_health
from felix.core.brokers.heartbeats import BeatTimes, Heartbeats
from felix.core.brokers.reports import Reports
from felix.core.brokers.waiters import Waiters
from felix.proto.brokers import AppliedBy, HealthAck
from felix.proto.errors import FelixError
from felix.proto.ids import Term
from felix.proto.placement_commands import ChangeBrokerStatus, ChangeInSync
from felix.proto.resources import Key
from felix.transport.socket_actor import SocketActor, handles

TURN_S: Final = 0.1
"""From one look to the next; a tenth of an interval where that is shorter."""
LEAST_TURN_S: Final = 0.01
STATUSES_MAX: Final = 20
"""Changes of status in one batch."""
IN_SYNC_MAX: Final = 500
"""Shards in one `ChangeInSync`."""
STREAMS_MAX: Final = 500
"""Placements read at once, beside those that have changed."""
PATIENCE_S: Final = 5.0
"""After this long a proposal or an answer of RaftNode's counts as lost."""
BACK_OFF_S: Final = 1.0
"""After a refusal."""
PRINCIPAL: Final = "felix:heartbeat-monitor"

log = structlog.get_logger("felix.brokers")

_Reached: TypeAlias = Iterable[tuple[int, AppliedBy]]


class BeatStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """HeartbeatMonitor's numbers at one moment."""

    reports: int = 0
    sync_lag_versions: int = 0
    """Of the broker furthest behind, of those that are up and have reported."""
    is_judging: bool = False
    """This node leads, and has listened for long enough to find somebody silent."""
    waiting: int = 0
    """Requests that wait for brokers."""


class _Turn(msgspec.Struct, frozen=True):
    """Look at what has to be done."""

    term: Term


class _Lead(msgspec.Struct):
    """What is known in one term."""

    term: Term
    raft: ActorRef
    beats: Heartbeats
    reports: Reports
    version: int = -1
    """Of the catalog that was read last."""
    to_read: dict[Key, None] = {}
    """Streams to be looked at because nobody knows what has changed."""
    reading_since: float | None = None
    proposing_since: float | None = None
    quiet_until: float = 0.0


class HeartbeatMonitor(SocketActor):
    """Hears, answers, and looks again and again."""

    def __init__(
        self,
        failed: Callable[[SocketActor, BaseException], None],
        times: BeatTimes,
        heard: BrokersHeard,
        shared: WatchPosition,
        pulse: Pulse,
        *,
        waiters_max: int,
    ) -> None:
        """`pulse` is RaftNode's: while that stands still no report gets here either."""
        super().__init__(failed)
        self._times = times
        self._turn_s = max(LEAST_TURN_S, min(TURN_S, times.interval_s / 10))
        self._heard = heard
        self._shared = shared
        self._pulse = pulse
        self._beats_seen = 0
        self._now: _Lead | None = None
        self._waiters_max = waiters_max
        self._waiters = Waiters(waiters_max)
        self._numbers = 0
        self._reports = 0

    @handles(Leading)
    def _leading(self, message: Leading) -> None:
        if not message.is_leader:
            self._now = self._heard.now = None
            # RaftNode has let go of them, and asks the next leader.
            self._waiters = Waiters(self._waiters_max)
            return
        now = time.monotonic()
        beats, reports = Heartbeats(self._times, now, message.term), Reports()
        self._now = _Lead(message.term, message.raft, beats, reports)
        self._heard.now = Heard(message.term, beats.gone_epoch, reports.subscribers)
        self.after(0, _Turn(message.term))

    # --- requests -----------------------------------------------------------------------------

    @handles(Reported)
    def _reported(self, message: Reported) -> None:
        lead = self._now
        if lead is None:
            return  # RaftNode has let go of it, or is about to
        self._reports += 1
        report, broker = message.report, message.seen.broker
        if lead.beats.hear(report, message.seen, time.monotonic()):
            lead.reports.forget([report.broker_id])
        lead.reports.hear(report, epoch=message.epoch, digest=message.digest, holds=message.holds)
        self._complain_of(lead, report.broker_id)
        ack = HealthAck(
            term=lead.term,
            version=self._version(),
            interval_ms=int(self._times.interval_s * 1000),
            status=broker.status,
            drain=broker.drain,
            wants_all_shards=lead.reports.wants_all(report.broker_id),
        )
        tell_if_alive(lead.raft, BrokerAnswer(message.token, ack))
        self._release(lead, self._waiters.heard(report.broker_id, lead.reports))

    def _complain_of(self, lead: _Lead, broker_id: str) -> None:
        said = lead.reports.said(broker_id)
        if said is not None and said.is_wrong and not said.is_told:
            said.is_told = True
            log.error(
                "a broker has other metadata than the cluster at the same version",
                broker=broker_id,
                version=said.version,
                its_digest=said.digest,
            )

    @handles(HealthAsked)
    def _health(self, message: HealthAsked) -> None:
        lead = self._now
        if lead is None:
            return
        self._take_in(lead, message.catalog)
        now, version = time.monotonic(), message.catalog.version
        try:
            answer = brokers_health(lead.beats, lead.reports, version, now, message.query.broker_id)
        except FelixError as error:
            tell_if_alive(lead.raft, BrokerAnswer(message.token, error))
        else:
            tell_if_alive(lead.raft, BrokerAnswer(message.token, answer))

    @handles(BrokersAwaited)
    def _await(self, message: BrokersAwaited) -> None:
        lead = self._now
        if lead is None:
            return
        self._take_in(lead, message.catalog)
        deadline = time.monotonic() + message.patience_s
        try:
            answer = self._waiters.add(message.token, message.query, deadline, lead.reports)
        except FelixError as error:
            tell_if_alive(lead.raft, BrokerAnswer(message.token, error))
        else:
            self._release(lead, [] if answer is None else [(message.token, answer)])

    def _release(self, lead: _Lead, reached: _Reached) -> None:
        for token, answer in reached:
            tell_if_alive(lead.raft, BrokerAnswer(token, answer))

    @handles(GetReports)
    def _seen(self, _: GetReports) -> ReportsSeen:
        lead = self._now
        if lead is None:
            return ReportsSeen(Term(0), (), ())
        unwell = (one.seen.broker.broker_id for one in lead.beats.beats() if not one.health.healthy)
        return ReportsSeen(lead.term, tuple(sorted(unwell)), tuple(lead.reports.drained()))

    # --- looking ------------------------------------------------------------------------------

    @handles(_Turn)
    def _turn(self, message: _Turn) -> None:
        lead = self._now
        if lead is None or lead.term != message.term:
            return
        self.after(self._turn_s, message)
        now = time.monotonic()
        if self._pulse.beats != self._beats_seen:  # else a standstill, which `tick` then sees
            self._beats_seen = self._pulse.beats
            lead.beats.tick(now)
        self._release(lead, self._waiters.overdue(now, lead.reports))
        if lead.reading_since is not None and now - lead.reading_since < PATIENCE_S:
            return
        streams = dict.fromkeys(lead.reports.unsettled(STREAMS_MAX))
        for stream in list(lead.to_read)[: STREAMS_MAX - len(streams)]:
            streams[stream] = None
        if streams or lead.version != self._version() or lead.beats.wanted(now):
            lead.reading_since = now
            request = ReadCatalog(lead.version, tuple(streams), self.actor_ref)
            tell_if_alive(lead.raft, request)

    @handles(CatalogRead)
    def _read(self, message: CatalogRead) -> None:
        lead = self._now
        if lead is None:
            return
        lead.reading_since = None
        self._take_in(lead, message)
        lead.version = message.version
        now = time.monotonic()
        if now < lead.quiet_until:
            return
        if lead.proposing_since is None or now - lead.proposing_since > PATIENCE_S:
            self._propose(lead, message, now)

    def _take_in(self, lead: _Lead, read: CatalogRead) -> None:
        """Follow the catalog; what it says is the newest, however it came."""
        if read.brokers is not None:
            lead.reports.forget(lead.beats.follow(read.brokers, time.monotonic()))
            reached = self._waiters.brokers_changed(lead.beats.up(), lead.reports)
            self._release(lead, reached)
        if read.is_whole:
            lead.to_read = dict.fromkeys(lead.reports.streams())
        for stream in read.placements:
            lead.to_read.pop(stream, None)
        lead.reports.placed(read.placements)

    def _propose(self, lead: _Lead, read: CatalogRead, now: float) -> None:
        commands: list[ChangeBrokerStatus | ChangeInSync] = []
        commands += lead.beats.wanted(now)[:STATUSES_MAX]
        up = dict.fromkeys(lead.beats.up())
        changes = lead.reports.changes_in_sync(read.placements, up, IN_SYNC_MAX)
        if changes:
            commands.append(ChangeInSync(items=tuple(changes)))
        if not commands:
            return
        for command in commands:
            if isinstance(command, ChangeBrokerStatus):
                log.info(
                    "a broker's status changes",
                    broker=command.broker_id,
                    status=command.to_status,
                    before=command.from_status,
                    because=command.reason,
                )
        lead.proposing_since = now
        self._numbers += 1
        message = Propose(self._numbers, lead.term, tuple(commands), PRINCIPAL, self.actor_ref)
        tell_if_alive(lead.raft, message)

    @handles(Proposed)
    def _proposed(self, message: Proposed) -> None:
        lead = self._now
        if lead is None or message.number != self._numbers:
            return
        lead.proposing_since = None
        if message.errors:
            lead.quiet_until = time.monotonic() + BACK_OFF_S
            log.warning("what follows from brokers' reports waits", because=message.errors[0])
        else:
            lead.reports.settle()

    def _version(self) -> int:
        position = self._shared.position
        return 0 if position is None else position.version

    @handles(GetStatistics)
    def _statistics(self, _: GetStatistics) -> BeatStatistics:
        lead = self._now
        if lead is None:
            return BeatStatistics(reports=self._reports)
        return BeatStatistics(
            reports=self._reports,
            sync_lag_versions=lead.reports.lag(self._version(), lead.beats.up()),
            is_judging=not lead.beats.judges_in_s(time.monotonic()),
            waiting=len(self._waiters),
        )
