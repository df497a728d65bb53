"""What commands do to moves of shards: begun by plans, advanced step by step, taken back."""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from felix.core.catalog.draft import Draft
from felix.core.catalog.eligibility import regions_bridged, why_no_copies, why_not_there
from felix.core.catalog.move_ends import ended, take_back, waits_for_target, without_copy
from felix.core.catalog.placement_tables import (
    MOVES,
    PLANS,
    move_key,
    plan_key,
    settings_of,
)
from felix.core.catalog.steps import Context, Outcome
from felix.proto.brokers import (
    ACTIVE_STEPS,
    MoveAdvance,
    MovePlan,
    Placement,
    PlacementSettings,
    PlannedMove,
    ShardMove,
)
from felix.proto.errors import Conflict, FelixError, NotFound
from felix.proto.placement_commands import (
    AdvanceMoves,
    CancelMoves,
    PausePlacement,
    ResumePlacement,
    StartMoves,
)
from felix.proto.resources import Resource, ResourceKind, ShardPlacement, Stream, kind_of

MOVES_KEPT: Final = 5_000
"""Moves beyond this are forgotten once they are over, the oldest first."""
PLANS_KEPT: Final = 500
FORGOTTEN_MAX: Final = 2_000
"""By one command."""


# --- plans ----------------------------------------------------------------------------------------


def start_moves(command: StartMoves, context: Context) -> Outcome:
    """Carry a plan out. Raises: NotFound, Conflict.

    An operator's: all of it or nothing. Of the control plane's own what does not hold any more is
    passed over: while shards move there is always something that has just changed, and what is
    left over is in the next plan.
    """
    plan, draft = command.plan, Draft(context)
    if settings_of(context.store).is_paused and plan.reason != "operator":
        raise _conflict("placement is paused: resume it first", "paused")
    _check_not_stale(command, context)
    plan = msgspec.structs.replace(plan, plan_id=str(context.index))
    arriving: Counter[str] = Counter()
    seen: set[tuple[tuple[str, str, str], int]] = set()
    refusal: FelixError | None = None
    begun: list[PlannedMove] = []
    for number, wanted in enumerate(plan.moves, 1):
        shard = (wanted.stream.key, wanted.shard_id)
        if shard in seen:
            raise _conflict(f"{_name(wanted)} is in the plan twice", "under_way")
        seen.add(shard)
        try:
            draft.put_move(_begun(wanted, number, plan, draft, arriving))
            begun.append(wanted)
        except FelixError as error:
            if plan.reason == "operator":
                raise
            refusal = refusal or error
    if refusal is not None and not begun:
        raise refusal
    draft.put_row(PLANS, msgspec.structs.replace(plan, moves=tuple(begun)))
    _forget(draft)
    return draft.done(plan.plan_id)


def _check_not_stale(command: StartMoves, context: Context) -> None:
    """Raises: Conflict, where something has changed of what the plan as a whole rests on."""
    kinds: tuple[ResourceKind, ...] = ()
    if command.rests_on != "moves":
        kinds = ("Broker", "Bridge")
    if command.rests_on == "placements":
        kinds += ("ShardPlacement",)
    for kind in kinds:
        table = context.store.tables[kind]
        for key in table.keys:
            row: Resource = table.rows[key]
            if row.version > command.plan.base_version:
                raise _stale(row, command.plan)


def _stale(row: Resource, plan: MovePlan) -> Conflict:
    changed = f"{kind_of(row)} {'/'.join(row.key)}"
    return Conflict(
        f"{changed} has changed since version {plan.base_version}, of which the plan is: plan "
        "again, and look at it",
        details={"reason": "stale_plan", "changed": changed, "version": row.version},
    )


def _begun(
    wanted: PlannedMove, number: int, plan: MovePlan, draft: Draft, arriving: Counter[str]
) -> ShardMove:
    row, shard = draft.need_shard(wanted.stream, wanted.shard_id)
    if draft.context.placement.move_of(row.key, shard.shard_id) is not None:
        raise _conflict(f"{_name(wanted)} moves already", "under_way")
    target = draft.need_broker(wanted.to_broker)
    source = draft.broker(wanted.from_broker)
    for one in (row, target, source):
        if one is not None and one.version > plan.base_version:
            raise _stale(one, plan)
    _check_copies(wanted, shard)
    stream = draft.stream(row.key)
    assert stream is not None, "a placement goes with its stream"
    if not wanted.from_broker and len(shard.copies) >= stream.spec.replication_factor:
        raise _conflict(
            f"{_name(wanted)} has the {stream.spec.replication_factor} copies that its stream "
            "wants: say from which broker one goes",
            "no_such_copy",
        )
    why = _why_not(wanted, row, draft, arriving[wanted.to_broker])
    if why:
        raise _conflict(
            f"{_name(wanted)}: {wanted.to_broker} cannot have it: {why}", "target_refused"
        )
    if wanted.kind == "replica":
        arriving[wanted.to_broker] += 1
    now_ms = draft.context.now_ms
    return ShardMove(
        move_id=f"{draft.context.index}-{number}",
        plan_id=plan.plan_id,
        stream=wanted.stream,
        stream_id=row.stream_id,
        shard_id=wanted.shard_id,
        kind=wanted.kind,
        from_broker=wanted.from_broker,
        to_broker=wanted.to_broker,
        reason=plan.reason,
        created_at_ms=now_ms,
        step_since_ms=now_ms,
    )


def _check_copies(wanted: PlannedMove, shard: Placement) -> None:
    source, target = wanted.from_broker, wanted.to_broker
    if wanted.kind == "leader":
        if not source or shard.leader != source or target not in shard.replicas:
            raise _conflict(
                f"{_name(wanted)} is led by {shard.leader or 'nobody'}, and leadership passes to "
                f"one of {', '.join(shard.replicas) or 'no replicas'}",
                "no_such_copy",
            )
        return
    if source and source not in shard.copies:
        raise _conflict(f"{_name(wanted)} has no copy on {source}", "no_such_copy")
    if target in shard.copies:
        raise _conflict(f"{_name(wanted)} has a copy on {target} already", "target_refused")


def _why_not(wanted: PlannedMove | ShardMove, row: ShardPlacement, draft: Draft, more: int) -> str:
    """Say why the target may not have what is to come, or ""."""
    target, stream = draft.broker(wanted.to_broker), draft.stream(row.key)
    assert stream is not None, "a placement goes with its stream"
    shard = row.placements[wanted.shard_id]
    if wanted.kind == "leader":
        if target is None or target.status != "active" or target.drain:
            return why_no_copies(target, 0)
        return _why_not_in(stream, target.region, draft, leads=True)
    index = draft.context.placement
    held = index.copies(wanted.to_broker) + index.arriving(wanted.to_broker) + more
    if isinstance(wanted, ShardMove) and wanted.step == "waiting":
        held -= 1  # itself
    why = why_no_copies(target, held)
    if why or target is None:
        return why
    leads = bool(wanted.from_broker) and shard.leader == wanted.from_broker
    return _why_not_in(stream, target.region, draft, leads=leads)


def _why_not_in(stream: Stream, region: str, draft: Draft, *, leads: bool) -> str:
    bridges = draft.context.store.tables["Bridge"]
    bridged = regions_bridged(stream, [bridges.rows[key] for key in bridges.keys])
    return why_not_there(stream, region, bridged, leads=leads)


def _forget(draft: Draft) -> None:
    """Let the oldest moves and plans go that are over."""
    store = draft.context.store
    for table, kept in ((MOVES, MOVES_KEPT), (PLANS, PLANS_KEPT)):
        keys = store.tables[table].keys
        under_way = {move.plan_id for move in draft.context.placement.moves()}
        for key in list(keys[: min(max(0, len(keys) - kept), FORGOTTEN_MAX)]):
            row = store.tables[table].rows[key]
            is_over = (
                row.step not in ACTIVE_STEPS
                if isinstance(row, ShardMove)
                else row.plan_id not in under_way
            )
            if is_over:
                draft.delete_row(table, row)


# --- steps ----------------------------------------------------------------------------------------


def advance_moves(command: AdvanceMoves, context: Context) -> Outcome:
    """Let moves go on, as far as it still holds."""
    draft = Draft(context)
    for item in command.items:
        move: ShardMove | None = draft.get(MOVES, move_key(item.move_id))
        if move is not None and move.step == item.from_step and move.step in ACTIVE_STEPS:
            _advance(move, item, draft)
    return draft.done()


def _advance(move: ShardMove, item: MoveAdvance, draft: Draft) -> None:
    row = draft.placement(move.stream.key)
    if item.to_step == "failed":
        take_back(draft, move, "failed", item.blocked_by)
    elif item.to_step == item.from_step:
        draft.put_move(msgspec.structs.replace(move, blocked_by=item.blocked_by))
    elif row is not None and row.stream_id == move.stream_id:
        shard = row.placements[move.shard_id]
        why = _why_no_step(move, item, row, draft)
        if why:  # to be passed over again and again would help nobody
            take_back(draft, move, "failed", why)
            return
        after = _after(move, item, shard, draft)
        if after is not None:
            if move.step == "waiting":
                move = msgspec.structs.replace(move, original=shard)
            draft.put_shard(row, after)
            ended(draft, move, item.to_step)


def _why_no_step(move: ShardMove, item: MoveAdvance, row: ShardPlacement, draft: Draft) -> str:
    """Say why the target may not have what the step gives it, or "".

    What was allowed when the move was made may not be any more: a follower's copy that was to go
    to a region in which the stream only follows has come to lead.
    """
    if item.from_step == "waiting":
        return _why_not(move, row, draft, 0)
    target, stream = draft.broker(move.to_broker), draft.stream(row.key)
    if item.to_step != "fencing" or target is None or stream is None:
        return ""
    return _why_not_in(stream, target.region, draft, leads=True)


def _after(move: ShardMove, item: MoveAdvance, shard: Placement, draft: Draft) -> Placement | None:
    """Give the shard as it is after a step; None where the step cannot be made."""
    target, source = move.to_broker, move.from_broker
    leads = bool(source) and shard.leader == source
    has_all = target in shard.in_sync and draft.is_up(target)
    after: Placement | None = None
    match (move.kind, item.from_step, item.to_step):
        case ("replica", "waiting", "staging"):
            if shard.leader and target not in shard.copies:
                after = msgspec.structs.replace(shard, replicas=(*shard.replicas, target))
        case ("leader", "waiting", "fencing") | ("replica", "staging", "fencing"):
            if leads and has_all and not shard.is_fenced:
                after = msgspec.structs.replace(shard, is_fenced=True)
        case ("replica", "staging", "done") if has_all and not leads:
            after = without_copy(shard, source)
        case (_, "fencing", "done") if has_all and leads and shard.is_fenced:
            after = _cut_over(shard, move)
    return after


def _cut_over(shard: Placement, move: ShardMove) -> Placement:
    """Let the target lead. After a move of leadership alone the source follows."""
    others = tuple(one for one in shard.replicas if one != move.to_broker)
    after = msgspec.structs.replace(
        shard,
        leader=move.to_broker,
        replicas=(*others, move.from_broker),
        generation=shard.generation + 1,
        is_fenced=False,
    )
    return after if move.kind == "leader" else without_copy(after, move.from_broker)


# --- the operator ---------------------------------------------------------------------------------


def cancel_moves(command: CancelMoves, context: Context) -> Outcome:
    """Take moves back to where they started. Raises: NotFound, Conflict."""
    draft = Draft(context)
    if command.move_id:
        move: ShardMove | None = draft.get(MOVES, move_key(command.move_id))
        if move is None:
            raise NotFound(f"there is no move {command.move_id!r}")
        if move.step not in ACTIVE_STEPS:
            raise Conflict(f"the move is {move.step}", details={"reason": "over"})
        if waits_for_target(draft, move):
            raise Conflict(
                f"{move.to_broker} is down and alone has the shard's data: bring it back, or "
                "abandon the shard",
                details={"reason": "target_has_data"},
            )
        take_back(draft, move, "cancelled")
        return draft.done()
    if draft.get(PLANS, plan_key(command.plan_id)) is None:
        raise NotFound(f"there is no plan {command.plan_id!r}")
    for one in context.placement.moves():
        if one.plan_id == command.plan_id:
            take_back(draft, one, "cancelled")
    return draft.done()


def pause(command: PausePlacement, context: Context) -> Outcome:
    """Begin no more moves."""
    draft = Draft(context)
    now = settings_of(context.store)
    if not (now.is_paused and now.reason == command.reason):
        draft.put_settings(
            PlacementSettings(is_paused=True, reason=command.reason, since_ms=context.now_ms)
        )
    return draft.done()


def resume(_command: ResumePlacement, context: Context) -> Outcome:
    """Let placement go on by itself."""
    draft = Draft(context)
    if settings_of(context.store).is_paused:
        draft.put_settings(PlacementSettings(since_ms=context.now_ms))
    return draft.done()


def _name(wanted: PlannedMove) -> str:
    return f"shard {wanted.shard_id} of {'/'.join(wanted.stream.key)}"


def _conflict(why: str, reason: str) -> Conflict:
    return Conflict(why, details={"reason": reason})
