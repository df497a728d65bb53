"""Commands about brokers and the placement of shards (seed, "Shard Management", "Broker
Management"). Those that the leader itself gives are checked again when they are applied."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from felix.proto.brokers import (
    BrokerCapacity,
    BrokerStatus,
    InSyncChange,
    MoveAdvance,
    MovePlan,
    NewPlacement,
    StreamName,
)
from felix.proto.command import Command, Conditional

AUTO = "auto"
"""As a broker id: make one of `metadata.pod_name`, else of the address's host."""


class RegisterBroker(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A broker has started. Answer: `Broker`, with the epoch of this boot.

    The same boot registering again changes nothing but what it says of itself. Another boot takes
    the id over if the one before has stopped, is down, is at the same address, or was not heard
    from for a whole detection window. A drain that was asked for stays.
    Errors: conflict (the id is held by a live process; `details` has its address).
    """

    broker_id: str
    address: str
    """`host:port` for clients and other brokers."""
    boot_id: str
    """Random, new with every start of the process."""
    region: str = ""
    availability_zone: str = ""
    capacity: BrokerCapacity = BrokerCapacity()
    metadata: dict[str, str] = msgspec.field(default_factory=dict)


class UpdateBroker(Conditional, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Change what is known of a broker; None stays. Answer: `Broker`. Errors: not_found."""

    broker_id: str
    region: str | None = None
    availability_zone: str | None = None
    capacity: BrokerCapacity | None = None
    metadata: dict[str, str] | None = None


class DeregisterBroker(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A broker stops cleanly: it is down at once, and its id is free. Answer: `Broker`.

    Errors: not_found, broker_fenced (another boot has the id).
    """

    broker_id: str
    broker_epoch: int


class ChangeBrokerStatus(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """The leader has found a broker down, back, or drained. Answer: `Broker`.

    Going down passes its leaderships to copies in sync in the same step; coming back gives it
    those that nobody else could take. Errors: not_found, conflict (decided on something that has
    changed: another epoch, status or term).
    """

    broker_id: str
    broker_epoch: int
    from_status: BrokerStatus
    to_status: BrokerStatus
    reason: str = ""
    decided_in_term: int = 0


class DrainBroker(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Empty a broker. It lasts until it is cancelled, over restarts. Answer: `Broker`."""

    broker_id: str


class CancelDrain(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Let a broker have shards again; its drain's moves are cancelled. Answer: `Broker`."""

    broker_id: str


class RemoveBroker(Conditional, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Forget a broker. Answer: `Deleted`.

    Errors: not_found, conflict (it is not down or drained; it holds copies, whose number is in
    `details`). With `abandon` a broker that is down goes with its copies, and what only it held is
    lost.
    """

    broker_id: str
    abandon: bool = False


class PlaceShards(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Give shards their first copies. Answer: `Done`.

    What does not hold any more is passed over: a stream that is gone or placed, a broker that may
    not have it.
    """

    items: tuple[NewPlacement, ...]


class ChangeInSync(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Take over what leaders of shards say of their copies. Answer: `Done`.

    What does not hold any more is passed over: another generation, a broker without a copy. A copy
    on a broker that is down is never in sync unless it is the only one.
    """

    items: tuple[InSyncChange, ...]


class StartMoves(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Carry a plan out, an operator's whole or not at all. Answer: `Done`.

    Errors: conflict, with `details.reason`: `stale_plan` (what the plan rests on has changed since
    `base_version`), `paused` (a plan of the control plane's own while placement is paused),
    `no_such_copy`, `target_refused`, `under_way` (the shard moves already).
    """

    plan: MovePlan
    rests_on: Literal["moves", "brokers", "placements"] = "moves"
    """What must not have changed: the placements and the brokers of the moves; also all brokers and
    bridges; also all placements. A plan that somebody has looked at would be another one then."""


class AdvanceMoves(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Moves go on by one step each. Answer: `Done`. What does not hold any more is passed over."""

    items: tuple[MoveAdvance, ...]


class CancelMoves(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Take moves back to where they started. Answer: `Done`. Errors: not_found, conflict (over)."""

    move_id: str = ""
    plan_id: str = ""
    """Instead: all of a plan's that are not over."""


class PausePlacement(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Begin no more moves. Answer: `Done`."""

    reason: str = ""


class ResumePlacement(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Let placement go on by itself. Answer: `Done`."""


class AbandonShard(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Give up what only unreachable copies of a shard hold. Answer: `ShardPlacement`.

    A live copy leads, whatever it lacks; without one the shard is placed anew, empty.
    Errors: not_found, conflict (it has a leader).
    """

    stream: StreamName
    shard_id: int


class UndeleteStream(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Take back a deletion whose grace has not ended. Answer: `Stream`.

    Errors: not_found, conflict (it is not deleted).
    """

    tenant_id: str
    namespace: str
    stream: str


class PurgeStream(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Remove a deleted stream for good. Answer: `Deleted`.

    Errors: not_found, conflict (not deleted, or its grace has not ended and `now` is not set).
    """

    tenant_id: str
    namespace: str
    stream: str
    stream_id: str = ""
    """Only this one."""
    now: bool = False


class PutBridge(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Let streams of one region have copies in another. Answer: `Bridge`.

    Errors: not_found (a stream).
    """

    name: str
    source_region: str
    target_region: str
    streams: tuple[StreamName, ...] = ()
    encryption_key_id: str = ""


class DeleteBridge(Conditional, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Forget a bridge. Answer: `Deleted`. Errors: not_found."""

    name: str


PlacementCommand: TypeAlias = (
    RegisterBroker
    | UpdateBroker
    | DeregisterBroker
    | ChangeBrokerStatus
    | DrainBroker
    | CancelDrain
    | RemoveBroker
    | PlaceShards
    | ChangeInSync
    | StartMoves
    | AdvanceMoves
    | CancelMoves
    | PausePlacement
    | ResumePlacement
    | AbandonShard
    | UndeleteStream
    | PurgeStream
    | PutBridge
    | DeleteBridge
)
