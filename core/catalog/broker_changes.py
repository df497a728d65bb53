"""What commands do to brokers, and to the shards of brokers that go or come back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec

from felix.core.brokers.boots import check_boot
from felix.core.catalog import failover
from felix.core.catalog.draft import Draft
from felix.core.catalog.move_ends import follow_failover, take_back
from felix.core.catalog.steps import Context, Outcome
from felix.proto.brokers import BrokerStatus, Placement
from felix.proto.command import Conditional
from felix.proto.errors import Conflict, PreconditionFailed
from felix.proto.names import NAME_CHARS_MAX
from felix.proto.placement_commands import (
    AUTO,
    CancelDrain,
    ChangeBrokerStatus,
    DeregisterBroker,
    DrainBroker,
    RegisterBroker,
    RemoveBroker,
    UpdateBroker,
)
from felix.proto.resources import Broker, Durability, Stream

POD_NAME: Final = "pod_name"
STOPPED: Final = "it has stopped"
_NOT_OF_A_NAME: Final = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)
_AROUND_A_NAME: Final = "._-"


def id_of(command: RegisterBroker) -> str:
    """Give the id that a registration is about; it may be no valid name if it is `auto`."""
    if command.broker_id != AUTO:
        return command.broker_id
    wanted = command.metadata.get(POD_NAME) or command.address.rpartition(":")[0]
    return _NOT_OF_A_NAME.sub("-", wanted).strip(_AROUND_A_NAME)[:NAME_CHARS_MAX]


# --- coming and going -----------------------------------------------------------------------------


def register(command: RegisterBroker, context: Context) -> Outcome:
    """Take a broker in, or its next boot. Raises: Conflict."""
    draft = Draft(context)
    before = draft.broker(id_of(command))
    if before is None:
        return draft.answer(draft.put(_newly_registered(command, draft)))
    said = _as_it_says(before, command)
    if before.boot_id == command.boot_id:
        return draft.answer(draft.put(said))
    _check_free(before, command, context)
    after = msgspec.structs.replace(
        said,
        boot_id=command.boot_id,
        broker_epoch=draft.next_version,
        status=_status_up(said, context),
        status_since_ms=context.now_ms,
        status_reason="",
    )
    after = draft.put(after)
    if before.status != "down":
        # It was killed, and nobody had noticed: what its copies lack, nobody knows.
        _went_down(draft, before.broker_id)
    _came_back(draft, before.broker_id)
    return draft.answer(after)


def deregister(command: DeregisterBroker, context: Context) -> Outcome:
    """Let a broker go that has stopped. Raises: NotFound, BrokerFenced."""
    draft = Draft(context)
    before = draft.need_broker(command.broker_id)
    if command.broker_epoch == before.broker_epoch and not before.boot_id:
        return draft.answer(before)
    check_boot(before, command.broker_epoch)
    was_up = before.status != "down"
    # Without a boot: whoever registers next has the id, and late reports do not bring it back.
    after = _with_status(msgspec.structs.replace(before, boot_id=""), "down", STOPPED, context)
    after = draft.put(after)
    if was_up:
        _went_down(draft, command.broker_id)
    return draft.answer(after)


def change_status(command: ChangeBrokerStatus, context: Context) -> Outcome:
    """Take over what the leader has found. Raises: NotFound, Conflict."""
    draft = Draft(context)
    before = draft.need_broker(command.broker_id)
    known = (before.broker_epoch, before.status)
    if known != (command.broker_epoch, command.from_status):
        raise _changed_meanwhile(before, f"it is {before.status} at epoch {before.broker_epoch}")
    wanted = command.to_status
    if wanted == "down":
        after = draft.put(_with_status(before, "down", command.reason, context))
        if before.status != "down":
            _went_down(draft, command.broker_id)
        return draft.answer(after)
    if wanted == "drained" and before.status != "down":
        if not before.drain or context.placement.copies(command.broker_id):
            raise _changed_meanwhile(before, "it is not to be empty, or holds copies")
        return draft.answer(draft.put(_with_status(before, "drained", command.reason, context)))
    if before.status != "down":
        raise _changed_meanwhile(before, f"it is up, and only a drain makes it {wanted}")
    if not before.boot_id:
        raise _changed_meanwhile(before, "it has stopped, and is back when it registers")
    up = _status_up(before, context)
    after = draft.put(_with_status(before, up, command.reason, context))
    _came_back(draft, command.broker_id)
    return draft.answer(after)


def remove(command: RemoveBroker, context: Context) -> Outcome:
    """Forget a broker. Raises: NotFound, PreconditionFailed, Conflict."""
    draft = Draft(context)
    broker_id = command.broker_id
    before = draft.need_broker(broker_id)
    _check_version(before, command)
    if before.status not in {"down", "drained"}:
        raise Conflict(
            f"{broker_id!r} is {before.status}: drain it, or stop it",
            details={"reason": "not_down", "status": before.status},
        )
    copies = context.placement.copies(broker_id)
    if copies and (not command.abandon or before.status != "down"):
        raise Conflict(
            f"{broker_id!r} holds {copies} copies of shards: drain it, or, if it is down for "
            "good, abandon them",
            details={"reason": "holds_copies", "copies": copies},
        )
    for move in context.placement.moves_with(broker_id):
        take_back(draft, move, "failed", f"{broker_id} was removed")
    _each_shard(
        draft,
        broker_id,
        lambda shard, durability: failover.forgotten(shard, broker_id, durability, draft.is_up),
    )
    draft.delete(before)
    return draft.deleted()


# --- what is known of them, and drains ------------------------------------------------------------


def update(command: UpdateBroker, context: Context) -> Outcome:
    """Change what is known of a broker. Raises: NotFound, PreconditionFailed."""
    draft = Draft(context)
    before = draft.need_broker(command.broker_id)
    _check_version(before, command)
    members = ("region", "availability_zone", "capacity", "metadata")
    values = {member: getattr(command, member) for member in members}
    given = {member: value for member, value in values.items() if value is not None}
    return draft.answer(draft.put(msgspec.structs.replace(before, **given)))


def drain(command: DrainBroker, context: Context) -> Outcome:
    """Say that a broker is to be empty. Raises: NotFound."""
    draft = Draft(context)
    before = draft.need_broker(command.broker_id)
    return draft.answer(draft.put(_with_drain(before, context, drain=True)))


def cancel_drain(command: CancelDrain, context: Context) -> Outcome:
    """Let a broker have shards again; cancel what its drain has begun. Raises: NotFound."""
    draft = Draft(context)
    before = draft.need_broker(command.broker_id)
    after = draft.put(_with_drain(before, context, drain=False))
    if before.drain:
        for move in context.placement.moves_with(command.broker_id):
            if move.reason == "drain" and move.from_broker == command.broker_id:
                take_back(draft, move, "cancelled", "the drain was cancelled")
    return draft.answer(after)


# --- shards ---------------------------------------------------------------------------------------


def _went_down(draft: Draft, broker_id: str) -> None:
    def is_up(other: str) -> bool:
        return other != broker_id and draft.is_up(other)

    _each_shard(
        draft,
        broker_id,
        lambda shard, durability: failover.without(shard, broker_id, durability, is_up),
    )


def _came_back(draft: Draft, broker_id: str) -> None:
    _each_shard(
        draft,
        broker_id,
        lambda shard, durability: failover.with_back(shard, broker_id, durability),
    )


def _each_shard(
    draft: Draft, broker_id: str, change: Callable[[Placement, Durability], Placement]
) -> None:
    """Change the shards of which a broker has a copy, each stream's at once."""
    for key in draft.context.placement.streams_on(broker_id):
        row, stream = draft.placement(key), draft.stream(key)
        assert row is not None
        assert isinstance(stream, Stream), "a placement goes with its stream, deleted or not"
        durability = stream.spec.durability
        shards = tuple(
            change(shard, durability)
            if broker_id == shard.leader or broker_id in shard.replicas
            else shard
            for shard in row.placements
        )
        if all(map(_is_same, shards, row.placements)):
            continue
        draft.put(msgspec.structs.replace(row, placements=shards))
        for before, now in zip(row.placements, shards, strict=True):
            follow_failover(draft, row, before, now)


def _is_same(one: Placement, other: Placement) -> bool:
    return one is other


# --- shared ---------------------------------------------------------------------------------------


def _newly_registered(command: RegisterBroker, draft: Draft) -> Broker:
    return Broker(
        broker_id=id_of(command),
        address=command.address,
        region=command.region,
        availability_zone=command.availability_zone,
        capacity=command.capacity,
        metadata=command.metadata,
        status_since_ms=draft.context.now_ms,
        boot_id=command.boot_id,
        broker_epoch=draft.next_version,
    )


def _as_it_says(before: Broker, command: RegisterBroker) -> Broker:
    return msgspec.structs.replace(
        before,
        address=command.address,
        region=command.region,
        availability_zone=command.availability_zone,
        capacity=command.capacity,
        metadata=command.metadata,
    )


def _check_free(before: Broker, command: RegisterBroker, context: Context) -> None:
    """Raises: Conflict while another process may be alive that has the id."""
    if before.status == "down" or before.address == command.address:
        return
    if context.stamp.gone_epoch == before.broker_epoch:
        return
    raise Conflict(
        f"the id {before.broker_id!r} is held by the broker at {before.address}: stop that one, "
        "or wait until it is down, or choose another id",
        details={
            "reason": "id_taken",
            "address": before.address,
            "broker_epoch": before.broker_epoch,
        },
    )


def _check_version(before: Broker, command: Conditional) -> None:
    """Raises: PreconditionFailed."""
    expected = command.expected_version
    if expected is not None and expected != before.version:
        raise PreconditionFailed(
            f"the broker {before.broker_id!r} was changed",
            details={"expected": expected, "actual": before.version},
        )


def _changed_meanwhile(before: Broker, why: str) -> Conflict:
    return Conflict(
        f"the status of {before.broker_id!r} stays: {why}",
        details={
            "reason": "changed",
            "status": before.status,
            "broker_epoch": before.broker_epoch,
        },
    )


def _status_up(broker: Broker, context: Context) -> BrokerStatus:
    """Say what a broker is that is not down."""
    if not broker.drain:
        return "active"
    return "draining" if context.placement.copies(broker.broker_id) else "drained"


def _with_drain(broker: Broker, context: Context, *, drain: bool) -> Broker:
    if broker.drain == drain:
        return broker
    after = msgspec.structs.replace(broker, drain=drain)
    if broker.status == "down":
        return after
    return _with_status(after, _status_up(after, context), "", context)


def _with_status(broker: Broker, status: BrokerStatus, reason: str, context: Context) -> Broker:
    if broker.status == status:
        return msgspec.structs.replace(broker, status_reason=reason)
    return msgspec.structs.replace(
        broker, status=status, status_since_ms=context.now_ms, status_reason=reason
    )
