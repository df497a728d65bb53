"""The PlacementPlanner actor: decides, while its node leads, where shards go.

It works on extracts of the catalog, in a thread of its own, and proposes: first copies of new
streams, moves away from brokers that are to be empty or have been down for long, their next steps,
and the end of streams whose grace is over. Whatever is proposed is checked again where it is
applied, so an extract that is no longer true does no harm: the next turn looks again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec
import pykka
import structlog

from felix.actors.messages import (
    ActorRef,
    BrokerAnswer,
    GetReports,
    GetStatistics,
    Leading,
    PlanAsked,
    Propose,
    Proposed,
    ReadWork,
    ReportsSeen,
    WorkRead,
    tell_if_alive,
)
from felix.actors.watch_position import WatchPosition
from felix.core.catalog.planning import (
    START,
    Places,
    Whole,
    Work,
    next_plans,
    placement_plan,
    rebalancing,
    with_health,
)
from felix.core.histogram import Histogram, HistogramValues
from felix.core.placement.arrivals import FEW, Arrivals
from felix.core.placement.creating import place
from felix.core.placement.pacing import first_moves
from felix.core.placement.stepping import ShardKey, StepLimits, next_steps
from felix.proto.brokers import PlacementPlan, ShardStatus, StreamName
from felix.proto.commands import AnyCommand
from felix.proto.errors import FelixError
from felix.proto.ids import Term
from felix.proto.placement_commands import AdvanceMoves, PlaceShards, StartMoves
from felix.proto.queries import PlanRebalance
from felix.transport.socket_actor import SocketActor, handles

TURN_S: Final = 0.1
SLOW_TURN_S: Final = 1.0
"""From one look to the next while nothing has changed: time passes too."""
PATIENCE_S: Final = 5.0
"""After this long a proposal or an extract counts as lost."""
BACK_OFF_S: Final = 1.0
"""After a refusal."""
ADVANCES_MAX: Final = 500
REPORTS_S: Final = 1.0
PRINCIPAL: Final = "felix:placement-planner"

log = structlog.get_logger("felix.placement")


class PlanTimes(msgspec.Struct, frozen=True, kw_only=True):
    """When and how much; see the section `brokers` of the configuration."""

    rebuild_after_s: float = 300.0
    """A broker that has been down for so long is not waited for: its copies are made elsewhere."""
    moves_per_broker: int = 2


class PlanStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The planner's numbers at one moment."""

    planned: int = 0
    """Commands proposed."""
    refused: int = 0
    """Batches of commands that were refused, or lost with the leadership."""
    turn_seconds: HistogramValues = Histogram().values()
    """How long it took to think, turn by turn."""


class _Turn(msgspec.Struct, frozen=True):
    term: Term


class _Lead(msgspec.Struct):
    term: Term
    raft: ActorRef
    version: int = -1
    looked_at: float = 0.0
    down_since: dict[str, float] = {}
    """By the monotonic clock of this node, since it leads."""
    reading_since: float | None = None
    proposing_since: float | None = None
    quiet_until: float = 0.0
    after: Places = START
    dead: tuple[str, ...] = ()
    arrivals: Arrivals = msgspec.field(default_factory=Arrivals)


class PlacementPlanner(SocketActor):
    """Looks, thinks, proposes, and looks again."""

    def __init__(
        self,
        failed: Callable[[SocketActor, BaseException], None],
        times: PlanTimes,
        monitor: Callable[[], ActorRef],
        shared: WatchPosition,
    ) -> None:
        """`monitor` gives the HeartbeatMonitor that there is now."""
        super().__init__(failed)
        self._times = times
        self._monitor = monitor
        self._shared = shared
        self._now: _Lead | None = None
        self._numbers = 0
        self._planned = 0
        self._refused = 0
        self._turn_seconds = Histogram()

    @handles(Leading)
    def _leading(self, message: Leading) -> None:
        self._now = None
        if message.is_leader:
            self._now = _Lead(message.term, message.raft)
            self.after(0, _Turn(message.term))

    @handles(_Turn)
    def _turn(self, message: _Turn) -> None:
        lead = self._now
        if lead is None or lead.term != message.term:
            return
        self.after(TURN_S, message)
        now = time.monotonic()
        if _is_recent(lead.reading_since, now) or _is_recent(lead.proposing_since, now):
            return
        position = self._shared.position
        is_news = position is not None and position.version != lead.version
        if now >= lead.quiet_until and (is_news or now - lead.looked_at >= SLOW_TURN_S):
            lead.reading_since = lead.looked_at = now
            tell_if_alive(lead.raft, ReadWork(self.actor_ref, lead.after, lead.dead))

    @handles(WorkRead)
    def _read(self, message: WorkRead) -> None:
        lead = self._now
        if lead is None:
            return
        lead.reading_since = None
        lead.version = message.work.fleet.version
        lead.after = message.work.ends
        began = time.monotonic()
        commands = self._decide(lead, message.work, self._reports())
        self._turn_seconds.add(time.monotonic() - began)
        if not commands:
            return
        lead.proposing_since = time.monotonic()
        lead.looked_at = 0.0  # look again at once: what this changes may be more work
        self._numbers += 1
        self._planned += len(commands)
        propose = Propose(self._numbers, lead.term, tuple(commands), PRINCIPAL, self.actor_ref)
        tell_if_alive(lead.raft, propose)

    def _decide(self, lead: _Lead, work: Work, reports: ReportsSeen) -> list[AnyCommand]:
        commands: list[AnyCommand] = list(work.due)
        now_ms = time.time_ns() // 1_000_000
        unwell = reports.unwell
        fleet = with_health(work.fleet, unwell)
        steps = next_steps(
            fleet.moves,
            work.moving,
            fleet.brokers,
            _drained(reports),
            now_ms,
            work.settings,
            StepLimits(moves_per_broker=work.moves_per_broker or self._times.moves_per_broker),
        )
        if steps:
            commands.append(AdvanceMoves(items=steps[:ADVANCES_MAX]))
        up = frozenset(row.broker_id for row in fleet.brokers if row.is_up)
        all_are_there = lead.arrivals.have_settled(up, time.monotonic())
        if all_are_there or len(work.unplaced) <= FEW:
            placed = place(fleet, work.unplaced)
            if placed.items:
                commands.append(PlaceShards(items=placed.items))
        dead = self._dead(lead, work)
        if commands or work.settings.is_paused:
            return commands  # plans are made of what is true once these are done
        for plan in next_plans(work, unwell, dead):
            moves = first_moves(fleet, plan.moves)
            if moves:
                first = msgspec.structs.replace(plan, moves=moves, blocked_by=())
                log.info("shards are to move", because=plan.reason, moves=len(moves))
                commands.append(StartMoves(plan=first))
                break
        return commands

    def _dead(self, lead: _Lead, work: Work) -> list[str]:
        """Name the brokers that are not waited for any more: down for long, or to be emptied."""
        now = time.monotonic()
        down = [row for row in work.fleet.brokers if row.status == "down"]
        lead.down_since = {one.broker_id: lead.down_since.get(one.broker_id, now) for one in down}
        after_s = self._times.rebuild_after_s
        if work.rebuild_after_ms is not None:
            after_s = work.rebuild_after_ms / 1000
        dead = [
            one.broker_id
            for one in down
            if one.drain or now - lead.down_since[one.broker_id] >= after_s
        ]
        lead.dead = tuple(dead)
        return dead

    @handles(Proposed)
    def _proposed(self, message: Proposed) -> None:
        lead = self._now
        if lead is None or message.number != self._numbers:
            return
        lead.proposing_since = None
        if message.errors:
            self._refused += 1
            lead.quiet_until = time.monotonic() + BACK_OFF_S
            log.warning("a decision about placement was refused", because=message.errors[0])

    def _reports(self) -> ReportsSeen:
        """Ask what brokers have reported; without an answer nothing is known, and nothing ends."""
        try:
            seen = self._monitor().ask(GetReports(), timeout=REPORTS_S)
        except (pykka.ActorDeadError, pykka.Timeout):
            return ReportsSeen(Term(0), (), ())
        assert isinstance(seen, ReportsSeen)
        return seen

    # --- questions ----------------------------------------------------------------------------

    @handles(PlanAsked)
    def _asked(self, message: PlanAsked) -> None:
        lead = self._now
        if lead is None:
            return
        try:
            answer = self._answer(lead, message)
        except FelixError as error:
            tell_if_alive(lead.raft, BrokerAnswer(message.token, error))
        else:
            tell_if_alive(lead.raft, BrokerAnswer(message.token, answer))

    def _answer(self, lead: _Lead, message: PlanAsked) -> PlacementPlan:
        unwell = self._reports().unwell
        if isinstance(message.query, PlanRebalance):
            assert isinstance(message.seen, Whole)
            return rebalancing(message.query, message.seen, unwell)
        assert isinstance(message.seen, Work)
        return placement_plan(message.seen, unwell, self._dead(lead, message.seen))

    @handles(GetStatistics)
    def _statistics(self, _: GetStatistics) -> PlanStatistics:
        return PlanStatistics(
            planned=self._planned,
            refused=self._refused,
            turn_seconds=self._turn_seconds.values(),
        )


def _is_recent(since: float | None, now: float) -> bool:
    return since is not None and now - since < PATIENCE_S


def _drained(reports: ReportsSeen) -> dict[ShardKey, ShardStatus]:
    """Give the reports of leaders that have nothing left to hand over."""
    found = {}
    for one in reports.drained:
        stream = StreamName(*one.stream)
        found[(stream, one.shard_id)] = ShardStatus(
            stream=stream,
            shard_id=one.shard_id,
            role="leader",
            generation=one.generation,
            is_drained=True,
        )
    return found
