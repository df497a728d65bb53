"""What commands do to placements and bridges."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from felix.core.catalog import failover
from felix.core.catalog.draft import Draft
from felix.core.catalog.eligibility import regions_bridged, why_no_copies, why_not_there
from felix.core.catalog.move_ends import take_back
from felix.core.catalog.placement_tables import MOVES, move_key
from felix.core.catalog.steps import Context, Outcome, Step
from felix.proto.brokers import InSyncChange, NewPlacement, Placement
from felix.proto.errors import Conflict, NotFound, PreconditionFailed
from felix.proto.placement_commands import (
    AbandonShard,
    ChangeInSync,
    DeleteBridge,
    PlaceShards,
    PutBridge,
)
from felix.proto.resources import Bridge, Key, ShardPlacement, Stream

# --- first copies ---------------------------------------------------------------------------------


def place_shards(command: PlaceShards, context: Context) -> Outcome:
    """Give shards their first copies, as far as it still holds."""
    draft = Draft(context)
    room = _Room(draft)
    for item in command.items:
        _place(item, draft, room)
    return draft.done()


class _Room:
    """Which brokers may have copies, those that this very command gives them included."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._given: Counter[str] = Counter()
        bridges = draft.context.store.tables["Bridge"]
        self._bridges = [bridges.rows[key] for key in bridges.keys]

    def takes(self, stream: Stream, shards: list[Placement]) -> bool:
        """Take all these copies of a stream, or none."""
        bridged = regions_bridged(stream, self._bridges)
        wanted: Counter[str] = Counter()
        for shard in shards:
            copies = shard.copies
            is_whole = bool(shard.leader) and len(set(copies)) == len(copies)
            if not is_whole or len(copies) > stream.spec.replication_factor:
                return False
            for broker_id in copies:
                leads = broker_id == shard.leader
                if not self._may(broker_id, wanted[broker_id], stream, bridged, leads=leads):
                    return False
                wanted[broker_id] += 1
        self._given += wanted
        return True

    def _may(
        self, broker_id: str, more: int, stream: Stream, bridged: frozenset[str], *, leads: bool
    ) -> bool:
        index = self._draft.context.placement
        broker = self._draft.broker(broker_id)
        copies = index.copies(broker_id) + index.arriving(broker_id)
        if broker is None or why_no_copies(broker, copies + self._given[broker_id] + more):
            return False
        return not why_not_there(stream, broker.region, bridged, leads=leads)


def _place(item: NewPlacement, draft: Draft, room: _Room) -> None:
    stream = draft.stream(item.stream.key)
    if stream is None or stream.stream_id != item.stream_id or stream.deleted_at_ms:
        return
    ids = [shard.shard_id for shard in item.placements]
    row = draft.placement(stream.key)
    if row is None:
        if ids == list(range(stream.spec.shards)) and room.takes(stream, list(item.placements)):
            draft.put(
                ShardPlacement(
                    tenant_id=stream.tenant_id,
                    namespace=stream.namespace,
                    stream=stream.stream,
                    stream_id=stream.stream_id,
                    placements=tuple(_first(shard, 1) for shard in item.placements),
                )
            )
        return
    shards = list(row.placements)
    for new in item.placements:  # those that were given up have no copies
        now = shards[new.shard_id] if 0 <= new.shard_id < len(shards) else None
        if now is not None and not now.copies and room.takes(stream, [new]):
            shards[new.shard_id] = _first(new, now.generation + 1)
    draft.put(msgspec.structs.replace(row, placements=tuple(shards)))


def _first(shard: Placement, generation: int) -> Placement:
    """Give a shard that is empty: all of its copies are in sync."""
    return Placement(
        shard_id=shard.shard_id,
        leader=shard.leader,
        replicas=shard.replicas,
        in_sync=tuple(sorted(shard.copies)),
        generation=generation,
    )


# --- who is in sync -------------------------------------------------------------------------------


def change_in_sync(command: ChangeInSync, context: Context) -> Outcome:
    """Take over what leaders of shards say, as far as it still holds."""
    draft = Draft(context)
    for item in command.items:
        _change_in_sync(item, draft)
    return draft.done()


def _change_in_sync(item: InSyncChange, draft: Draft) -> None:
    row = draft.placement(item.stream.key)
    if row is None or row.stream_id != item.stream_id:
        return
    if not 0 <= item.shard_id < len(row.placements):
        return
    shard = row.placements[item.shard_id]
    if shard.generation != item.generation or not shard.leader:
        return
    said = {one for one in item.in_sync if one in shard.copies and draft.is_up(one)}
    if shard.leader in said:
        draft.put_shard(row, msgspec.structs.replace(shard, in_sync=tuple(sorted(said))))


def abandon_shard(command: AbandonShard, context: Context) -> Outcome:
    """Give up what only unreachable copies hold. Raises: NotFound, Conflict."""
    draft = Draft(context)
    row, shard = draft.need_shard(command.stream, command.shard_id)
    if shard.leader:
        raise Conflict(
            f"the shard is served by {shard.leader}: nothing is lost",
            details={"reason": "has_leader", "leader": shard.leader},
        )
    if not shard.copies:
        return draft.answer(row)
    move = context.placement.move_of(row.key, shard.shard_id)
    if move is not None:
        take_back(draft, move, "failed", "the shard was abandoned")
        row, shard = draft.need_shard(command.stream, command.shard_id)
    return draft.answer(draft.put_shard(row, failover.abandoned(shard, draft.is_up)))


# --- streams that go ------------------------------------------------------------------------------


def without_placements(keys: list[Key], context: Context) -> list[Step]:
    """End what is known of where streams are; to be done before they themselves are deleted."""
    steps: list[Step] = []
    for key in keys:
        row: ShardPlacement | None = context.store.tables["ShardPlacement"].rows.get(key)
        if row is None:
            continue
        for move in context.placement.moves_of_stream(row):
            after = msgspec.structs.replace(
                move,
                step="failed",
                step_since_ms=context.now_ms,
                blocked_by="its stream was deleted",
            )
            steps.append(Step(MOVES, move_key(move.move_id), move, after))
        steps.append(Step("ShardPlacement", key, row, None))
    return steps


# --- bridges --------------------------------------------------------------------------------------


def put_bridge(command: PutBridge, context: Context) -> Outcome:
    """Make or change a bridge. Raises: NotFound.

    A stream that is deleted stays named: one that is made anew is bridged again.
    """
    draft = Draft(context)
    for name in command.streams:
        if draft.stream(name.key) is None:
            raise NotFound(f"there is no stream {'/'.join(name.key)!r}")
    before: Bridge | None = draft.get("Bridge", (command.name,))
    said: dict[str, Any] = {
        "source_region": command.source_region,
        "target_region": command.target_region,
        "streams": tuple(dict.fromkeys(command.streams)),
        "encryption_key_id": command.encryption_key_id,
    }
    if before is None:
        return draft.answer(draft.put(Bridge(name=command.name, **said)))
    return draft.answer(draft.put(msgspec.structs.replace(before, **said)))


def delete_bridge(command: DeleteBridge, context: Context) -> Outcome:
    """Forget a bridge. Raises: NotFound, PreconditionFailed."""
    draft = Draft(context)
    before: Bridge | None = draft.get("Bridge", (command.name,))
    if before is None:
        raise NotFound(f"there is no bridge {command.name!r}")
    expected = command.expected_version
    if expected is not None and expected != before.version:
        raise PreconditionFailed(
            f"the bridge {command.name!r} was changed",
            details={"expected": expected, "actual": before.version},
        )
    draft.delete(before)
    return draft.deleted()
