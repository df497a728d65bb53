"""Which handler carries out which command about brokers and placement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from felix.core.catalog import (
    broker_changes,
    move_changes,
    placement_changes,
    stream_deletion,
)
from felix.core.catalog.steps import Context, Outcome
from felix.proto.command import Command
from felix.proto.commands import DeleteStream
from felix.proto.placement_commands import (
    AbandonShard,
    AdvanceMoves,
    CancelDrain,
    CancelMoves,
    ChangeBrokerStatus,
    ChangeInSync,
    DeleteBridge,
    DeregisterBroker,
    DrainBroker,
    PausePlacement,
    PlaceShards,
    PurgeStream,
    PutBridge,
    RegisterBroker,
    RemoveBroker,
    ResumePlacement,
    StartMoves,
    UndeleteStream,
    UpdateBroker,
)

_HANDLERS: Final[dict[type[Command], Callable[[Any, Context], Outcome]]] = {
    # brokers
    RegisterBroker: broker_changes.register,
    UpdateBroker: broker_changes.update,
    DeregisterBroker: broker_changes.deregister,
    ChangeBrokerStatus: broker_changes.change_status,
    DrainBroker: broker_changes.drain,
    CancelDrain: broker_changes.cancel_drain,
    RemoveBroker: broker_changes.remove,
    # placements and bridges
    PlaceShards: placement_changes.place_shards,
    ChangeInSync: placement_changes.change_in_sync,
    AbandonShard: placement_changes.abandon_shard,
    PutBridge: placement_changes.put_bridge,
    DeleteBridge: placement_changes.delete_bridge,
    # moves
    StartMoves: move_changes.start_moves,
    AdvanceMoves: move_changes.advance_moves,
    CancelMoves: move_changes.cancel_moves,
    PausePlacement: move_changes.pause,
    ResumePlacement: move_changes.resume,
    # streams that are deleted and can be had back
    DeleteStream: stream_deletion.delete_stream,
    UndeleteStream: stream_deletion.undelete_stream,
    PurgeStream: stream_deletion.purge_stream,
}
PLACEMENT_COMMANDS: Final = tuple(_HANDLERS)


def outcome_of(command: Command, context: Context) -> Outcome:
    """Work out what becomes of a command about placement. Raises: any FelixError."""
    return _HANDLERS[type(command)](command, context)
