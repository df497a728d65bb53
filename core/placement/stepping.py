"""What moves under way do next (`felix.proto.brokers.ShardMove`), and what they wait for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from felix.core.placement.fleet import BrokerRow
from felix.proto.brokers import (
    ACTIVE_STEPS,
    MoveAdvance,
    MoveStep,
    Placement,
    PlacementSettings,
    ShardMove,
    ShardStatus,
    StreamName,
)
from felix.proto.resources import Key, ShardPlacement

ShardKey: TypeAlias = tuple[StreamName, int]


class StepLimits(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How much at once, and how long."""

    moves_per_broker: int = 2
    """That copy or drain, from a broker that is up or to it."""
    fencing_ms_max: int = 30_000
    """A shard takes no writes while it is fenced: the move fails after this time."""


DEFAULT_LIMITS: Final = StepLimits()
RUNNING: Final = PlacementSettings()


def next_steps(
    moves: Iterable[ShardMove],
    placements: Mapping[Key, ShardPlacement],
    brokers: Iterable[BrokerRow],
    reports: Mapping[ShardKey, ShardStatus],
    now_ms: int,
    settings: PlacementSettings = RUNNING,
    limits: StepLimits = DEFAULT_LIMITS,
) -> tuple[MoveAdvance, ...]:
    """Say which moves go on by a step, and for which ones the reason to wait has changed.

    `placements` are those of the moves' streams; `reports` is what leaders of shards said last,
    and counts only at the placement's generation. `now_ms` is the clock that `step_since_ms` is of.
    A target that is down, gone or being drained fails a move that has not fenced: a new plan finds
    another one. A source that dies does not: its copy is not needed, as long as somebody leads.
    """
    ordered = sorted((move for move in moves if move.step in ACTIVE_STEPS), key=_age)
    rows = {row.broker_id: row for row in brokers}
    stepping = _Stepping(ordered, rows, now_ms, settings, limits)
    found = []
    for move in ordered:
        placement = _placement(move, placements)
        report = reports.get((move.stream, move.shard_id))
        step, why = stepping.decide(move, placement, report)
        if step != move.step or why != move.blocked_by:
            found.append(
                MoveAdvance(move_id=move.move_id, from_step=move.step, to_step=step, blocked_by=why)
            )
    return tuple(found)


def _age(move: ShardMove) -> tuple[int, int]:
    """Order moves by when they were begun: `{log index}-{number}`."""
    index, _, number = move.move_id.partition("-")
    return int(index), int(number)


def _placement(move: ShardMove, placements: Mapping[Key, ShardPlacement]) -> Placement | None:
    """Find the shard that a move is about; not that of a newer stream with the same name."""
    record = placements.get(move.stream.key)
    if record is None or record.stream_id != move.stream_id:
        return None
    return next((one for one in record.placements if one.shard_id == move.shard_id), None)


_Decision: TypeAlias = tuple[MoveStep, str]


class _Stepping:
    def __init__(
        self,
        moves: Sequence[ShardMove],
        rows: Mapping[str, BrokerRow],
        now_ms: int,
        settings: PlacementSettings,
        limits: StepLimits,
    ) -> None:
        self._rows = rows
        self._now_ms = now_ms
        self._settings = settings
        self._limits = limits
        self._busy: Counter[str] = Counter()
        self._moving: set[ShardKey] = set()
        for move in moves:
            if move.step != "waiting":
                self._begin(move)

    def _begin(self, move: ShardMove) -> None:
        self._busy.update(self._burdened(move))
        self._moving.add((move.stream, move.shard_id))

    def _burdened(self, move: ShardMove) -> tuple[str, ...]:
        """List the brokers that have work with a move: one that is down has none."""
        ends = (move.from_broker, move.to_broker)
        return tuple(name for name in ends if name and self._is_up(name))

    def decide(
        self, move: ShardMove, placement: Placement | None, report: ShardStatus | None
    ) -> _Decision:
        """Decide on one move."""
        if placement is None:
            return "failed", "the shard is gone"
        if move.step == "waiting":
            return self._waiting(move, placement)
        if move.step == "staging":
            return self._staging(move, placement)
        return self._fencing(move, placement, report)

    # --- waiting ----------------------------------------------------------------------------------

    def _waiting(self, move: ShardMove, placement: Placement) -> _Decision:
        wrong = self._why_impossible(move, placement) or self._why_no_target(move.to_broker)
        if wrong:
            return "failed", wrong
        blocked = self._why_not_yet(move, placement)
        if blocked:
            return "waiting", blocked
        self._begin(move)
        return ("staging" if move.kind == "replica" else "fencing"), ""

    def _why_not_yet(self, move: ShardMove, placement: Placement) -> str:
        if self._settings.is_paused:
            reason = self._settings.reason
            return f"placement is paused{f': {reason}' if reason else ''}"
        if not placement.leader:
            return _nobody_leads(placement)
        if (move.stream, move.shard_id) in self._moving:
            return "another move of the shard is under way"
        if move.kind == "leader" and move.to_broker not in placement.in_sync:
            return f"{move.to_broker} is not in sync"
        for name in self._burdened(move):
            if self._busy[name] >= self._limits.moves_per_broker:
                return f"{name} has {self._busy[name]} moves under way"
        return ""

    def _why_impossible(self, move: ShardMove, placement: Placement) -> str:
        source, target = move.from_broker, move.to_broker
        if move.kind == "leader":
            if placement.leader and placement.leader != source:
                return f"{source} does not lead any more, {placement.leader} does"
            return "" if target in placement.copies else f"{target} has no copy any more"
        if source and source not in placement.copies:
            return f"{source} has no copy any more"
        return f"{target} has a copy already" if target in placement.copies else ""

    def _why_no_target(self, target: str) -> str:
        row = self._rows.get(target)
        if row is None:
            return f"{target} is not a broker any more"
        if not row.is_up:
            return f"the target {target} is down"
        return f"the target {target} is being drained" if row.drain else ""

    # --- staging ----------------------------------------------------------------------------------

    def _staging(self, move: ShardMove, placement: Placement) -> _Decision:
        source, target = move.from_broker, move.to_broker
        wrong = self._why_no_target(target)
        if not wrong and target not in placement.copies:
            wrong = f"{target} has no copy any more"
        if wrong and not _waits_for_target(move, placement):
            return "failed", wrong
        if not placement.leader:
            return "staging", _nobody_leads(placement)
        if target not in placement.in_sync:
            return "staging", f"{target} does not have everything yet"
        if placement.leader == source and self._is_up(source):
            return "fencing", ""
        return "done", ""

    def _is_up(self, name: str) -> bool:
        row = self._rows.get(name)
        return row is not None and row.is_up

    # --- fencing ----------------------------------------------------------------------------------

    def _fencing(
        self, move: ShardMove, placement: Placement, report: ShardStatus | None
    ) -> _Decision:
        source = move.from_broker
        if placement.leader != source:
            return self._led_by_another(move, placement)
        broken = self._why_not_fenced(move, placement)
        if broken:
            return "failed", broken
        if (
            report is not None
            and report.role == "leader"
            and report.generation == placement.generation
            and report.is_drained
        ):
            return "done", ""
        if self._now_ms - move.step_since_ms >= self._limits.fencing_ms_max:
            return "failed", f"{source} was not drained in {self._limits.fencing_ms_max} ms"
        return "fencing", f"{source} has not said that it is drained"

    def _why_not_fenced(self, move: ShardMove, placement: Placement) -> str:
        source, target = move.from_broker, move.to_broker
        if not self._is_up(target):
            return f"the target {target} is down"
        if target not in placement.in_sync:
            return f"{target} fell behind while {source} was drained"
        if not placement.is_fenced:
            return f"{source} was down meanwhile, and leads again without a fence"
        return ""

    def _led_by_another(self, move: ShardMove, placement: Placement) -> _Decision:
        """Decide where the source has died while it was fenced."""
        source, target = move.from_broker, move.to_broker
        if move.kind == "leader":
            if placement.leader == target:
                return "done", ""
            leads = f"{placement.leader} leads" if placement.leader else "nobody leads"
            return "failed", f"{source} does not lead any more, {leads}"
        wrong = self._why_no_target(target)
        if not wrong and target not in placement.copies:
            wrong = f"{target} has no copy any more"
        if wrong:
            return "failed", wrong
        if not placement.leader:
            return "fencing", _nobody_leads(placement)
        if target not in placement.in_sync:
            return "fencing", f"{target} does not have everything yet"
        return "done", ""


def _waits_for_target(move: ShardMove, placement: Placement) -> bool:
    """Tell whether the target has led, and went down with what nobody else has.

    Without the move nobody would take the surplus copy away once it is back.
    """
    return not placement.leader and placement.in_sync == (move.to_broker,)


def _nobody_leads(placement: Placement) -> str:
    return f"nobody leads the shard{f': {placement.reason}' if placement.reason else ''}"
