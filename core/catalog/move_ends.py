"""How moves end before they are done: taken back, or overtaken by what became of their shard."""

from __future__ import annotations

from typing import Literal

import msgspec

from felix.core.catalog.draft import Draft
from felix.core.catalog.placement_tables import MOVES, move_key
from felix.proto.brokers import ACTIVE_STEPS, MoveStep, Placement, ShardMove
from felix.proto.resources import ShardPlacement


def ended(draft: Draft, move: ShardMove, step: MoveStep, why: str = "") -> None:
    """Write a move's new step down, whatever its shard is like."""
    now_ms = draft.context.now_ms
    draft.put_move(msgspec.structs.replace(move, step=step, step_since_ms=now_ms, blocked_by=why))


def take_back(
    draft: Draft, move: ShardMove, step: Literal["cancelled", "failed"], why: str = ""
) -> None:
    """End a move that is not over; its shard is as it was, at a higher generation if fenced.

    A target that has come to lead the shard, or alone has its data, stays. Where it leads, the copy
    that it was to replace goes instead: nobody else would ever take the surplus one away. Nobody
    can cancel a move whose target is down with all the data there is: it waits for the target.
    """
    row = draft.placement(move.stream.key)
    if step == "cancelled" and waits_for_target(draft, move):
        return
    ended(draft, move, step, why)
    if move.original is None or row is None or row.stream_id != move.stream_id:
        return
    shard = row.placements[move.shard_id]
    target = move.to_broker
    if target not in move.original.copies and target in shard.replicas:
        in_sync = tuple(one for one in shard.in_sync if one != target)
        if in_sync:
            replicas = tuple(one for one in shard.replicas if one != target)
            shard = msgspec.structs.replace(shard, replicas=replicas, in_sync=in_sync)
    elif target not in move.original.copies and target == shard.leader and move.from_broker:
        shard = without_copy(shard, move.from_broker)
    if shard.is_fenced:
        shard = msgspec.structs.replace(shard, is_fenced=False, generation=shard.generation + 1)
    draft.put_shard(row, shard)


def waits_for_target(draft: Draft, move: ShardMove) -> bool:
    """Tell whether the target of a move has led the shard, and is down with what nobody else has.

    The copies before had less: there is no way back.
    """
    row = draft.placement(move.stream.key)
    if move.original is None or row is None or row.stream_id != move.stream_id:
        return False
    shard = row.placements[move.shard_id]
    is_new = move.to_broker not in move.original.copies
    return is_new and not shard.leader and shard.in_sync == (move.to_broker,)


def without_copy(shard: Placement, gone: str) -> Placement:
    """Take the copy of a broker away that does not lead the shard."""
    return msgspec.structs.replace(
        shard,
        replicas=tuple(one for one in shard.replicas if one != gone),
        in_sync=tuple(one for one in shard.in_sync if one != gone),
    )


def follow_failover(draft: Draft, row: ShardPlacement, before: Placement, now: Placement) -> None:
    """Let the move of a shard whose leader was replaced go on without a fence, or end.

    A copy still has to come: it is staged as a follower's. Leadership has passed already.
    """
    if before.leader == now.leader:
        return
    known = draft.context.placement.move_of(row.key, before.shard_id)
    move: ShardMove | None = draft.get(MOVES, move_key(known.move_id)) if known else None
    if move is None or move.step not in ACTIVE_STEPS:
        return
    if move.kind == "replica":
        if move.step == "fencing":
            ended(draft, move, "staging")
    elif now.leader == move.to_broker:
        ended(draft, move, "done")
    else:
        ended(draft, move, "failed", f"{before.leader or 'the leader'} was replaced meanwhile")
