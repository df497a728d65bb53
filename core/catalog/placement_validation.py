"""What commands about brokers and placement must look like before they may be proposed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sized
from typing import Any, Final, TypeVar

from felix.core.catalog.broker_changes import id_of
from felix.proto.brokers import Placement, StreamName
from felix.proto.command import Command
from felix.proto.errors import ValidationFailed
from felix.proto.names import why_not_a_name
from felix.proto.placement_commands import (
    AUTO,
    AbandonShard,
    AdvanceMoves,
    CancelMoves,
    ChangeBrokerStatus,
    ChangeInSync,
    DeleteBridge,
    PausePlacement,
    PlaceShards,
    PurgeStream,
    PutBridge,
    RegisterBroker,
    StartMoves,
    UpdateBroker,
)

T = TypeVar("T")

ITEMS_MAX: Final = 1000
"""Of a command. Moves of a plan may be more: a whole broker is emptied by one."""
PLANNED_MOVES_MAX: Final = 10_000
COPIES_MAX: Final = 255
SHARDS_MAX: Final = 65_536
METADATA_PAIRS_MAX: Final = 64
METADATA_CHARS_MAX: Final = 256
ID_CHARS_MAX: Final = 128
"""Of ids that are not names: of boots, moves, plans, streams."""
TEXT_CHARS_MAX: Final = 1024
ADDRESS_CHARS_MAX: Final = 300
PORT_MAX: Final = 65_535
NUMBER_MAX: Final = (1 << 63) - 1
_PRINTABLE_ASCII: Final = re.compile("[\x20-\x7e]*")
_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", re.ASCII)


def check_placement(command: Command) -> None:
    """Check every value of such a command. Raises: ValidationFailed with the member's pointer."""
    if not isinstance(command, RegisterBroker):
        _check_name("/broker_id", getattr(command, "broker_id", None))
    _check_number("/broker_epoch", getattr(command, "broker_epoch", None))
    check = _CHECKS.get(type(command))
    if check is not None:
        check(command)


# --- brokers --------------------------------------------------------------------------------------


def _check_registration(command: RegisterBroker) -> None:
    found = _ADDRESS.fullmatch(command.address)
    is_port = found is not None and 1 <= int(found[2]) <= PORT_MAX
    if not is_port or len(command.address) > ADDRESS_CHARS_MAX:
        raise _failed("/address", "must be host:port")
    if not command.boot_id:
        raise _failed("/boot_id", "must not be empty")
    _check_id("/boot_id", command.boot_id)
    _check_description(command)
    if command.broker_id == AUTO and why_not_a_name(id_of(command)):
        raise _failed("/broker_id", "no id can be made of metadata.pod_name or the address")
    _check_name("/broker_id", id_of(command))


def _check_description(command: RegisterBroker | UpdateBroker) -> None:
    _check_place("/region", command.region)
    _check_place("/availability_zone", command.availability_zone)
    if command.capacity is not None:
        _check_number("/capacity/max_shards", command.capacity.max_shards)
        _check_number("/capacity/max_connections", command.capacity.max_connections)
    _check_metadata(command.metadata)


def _check_status(command: ChangeBrokerStatus) -> None:
    _check_text("/reason", command.reason)
    _check_number("/decided_in_term", command.decided_in_term)


def _check_place(pointer: str, value: str | None) -> None:
    """Check a region or a zone, which may be unknown."""
    if value:
        _check_name(pointer, value)


def _check_metadata(metadata: Mapping[str, str] | None) -> None:
    if metadata is None:
        return
    if len(metadata) > METADATA_PAIRS_MAX:
        raise _failed("/metadata", f"must have at most {METADATA_PAIRS_MAX} pairs")
    for name, value in metadata.items():
        for text in (name, value):
            if len(text) > METADATA_CHARS_MAX or not text.isprintable():
                why = f"must be at most {METADATA_CHARS_MAX} printable characters each"
                raise _failed("/metadata", why)
        if not name:
            raise _failed("/metadata", "a name must not be empty")


# --- placements and moves -------------------------------------------------------------------------


def _check_placements(command: PlaceShards) -> None:
    for pointer, item in _items(command.items):
        _check_stream(f"{pointer}/stream", item.stream)
        _check_id(f"{pointer}/stream_id", item.stream_id)
        _check_size(f"{pointer}/placements", item.placements, SHARDS_MAX)
        for shard in item.placements:
            _check_copies(f"{pointer}/placements", shard)


def _check_in_sync(command: ChangeInSync) -> None:
    for pointer, item in _items(command.items):
        _check_shard(pointer, item.stream, item.shard_id)
        _check_id(f"{pointer}/stream_id", item.stream_id)
        _check_number(f"{pointer}/generation", item.generation)
        _check_brokers(f"{pointer}/in_sync", item.in_sync)


def _check_advances(command: AdvanceMoves) -> None:
    for pointer, item in _items(command.items):
        _check_id(f"{pointer}/move_id", item.move_id)
        _check_text(f"{pointer}/blocked_by", item.blocked_by)


def _check_which(command: CancelMoves) -> None:
    _check_id("/move_id", command.move_id)
    _check_id("/plan_id", command.plan_id)
    if bool(command.move_id) == bool(command.plan_id):
        raise _failed("/move_id", "either this or a plan_id must be given")


def _items(items: tuple[T, ...]) -> Iterator[tuple[str, T]]:
    """Give a command's items with their pointers. Raises: ValidationFailed if they are too many."""
    _check_size("/items", items, ITEMS_MAX)
    for number, item in enumerate(items):
        yield f"/items/{number}", item


def _check_copies(pointer: str, shard: Placement) -> None:
    _check_shard_id(f"{pointer}/shard_id", shard.shard_id)
    _check_name(f"{pointer}/leader", shard.leader)
    _check_brokers(f"{pointer}/replicas", shard.replicas)


def _check_brokers(pointer: str, names: tuple[str, ...]) -> None:
    _check_size(pointer, names, COPIES_MAX)
    for name in names:
        _check_name(pointer, name)


def _check_plan(command: StartMoves) -> None:
    plan = command.plan
    _check_id("/plan/plan_id", plan.plan_id)
    _check_number("/plan/base_version", plan.base_version)
    _check_size("/plan/moves", plan.moves, PLANNED_MOVES_MAX)
    for number, move in enumerate(plan.moves):
        pointer = f"/plan/moves/{number}"
        _check_shard(pointer, move.stream, move.shard_id)
        if move.from_broker:
            _check_name(f"{pointer}/from_broker", move.from_broker)
        _check_name(f"{pointer}/to_broker", move.to_broker)
    _check_size("/plan/blocked_by", plan.blocked_by, ITEMS_MAX)
    for number, unmet in enumerate(plan.blocked_by):
        _check_shard(f"/plan/blocked_by/{number}", unmet.stream, unmet.shard_id)
        _check_text(f"/plan/blocked_by/{number}/why", unmet.why)


def _check_bridge(command: PutBridge) -> None:
    _check_name("/name", command.name)
    _check_name("/source_region", command.source_region)
    _check_name("/target_region", command.target_region)
    if command.source_region == command.target_region:
        raise _failed("/target_region", "must be another region than source_region")
    _check_size("/streams", command.streams, ITEMS_MAX)
    for number, stream in enumerate(command.streams):
        _check_stream(f"/streams/{number}", stream)
    _check_text("/encryption_key_id", command.encryption_key_id)


def _check_abandoned(command: AbandonShard) -> None:
    _check_shard("", command.stream, command.shard_id)


# --- parts ----------------------------------------------------------------------------------------


def _check_shard(pointer: str, stream: StreamName, shard_id: int) -> None:
    _check_stream(f"{pointer}/stream", stream)
    _check_shard_id(f"{pointer}/shard_id", shard_id)


def _check_shard_id(pointer: str, shard_id: int) -> None:
    if not 0 <= shard_id < SHARDS_MAX:
        raise _failed(pointer, f"must be 0 to {SHARDS_MAX - 1}")


def _check_stream(pointer: str, stream: StreamName) -> None:
    _check_name(f"{pointer}/tenant_id", stream.tenant_id)
    _check_name(f"{pointer}/namespace", stream.namespace)
    _check_name(f"{pointer}/stream", stream.stream)


def _check_name(pointer: str, value: str | None) -> None:
    if value is not None:
        why = why_not_a_name(value)
        if why:
            raise _failed(pointer, why)


def _check_id(pointer: str, value: str) -> None:
    if len(value) > ID_CHARS_MAX or not _PRINTABLE_ASCII.fullmatch(value):
        raise _failed(pointer, f"must be at most {ID_CHARS_MAX} printable ASCII characters")


def _check_text(pointer: str, value: str) -> None:
    if len(value) > TEXT_CHARS_MAX or not value.isprintable():
        raise _failed(pointer, f"must be at most {TEXT_CHARS_MAX} printable characters")


def _check_size(pointer: str, items: Sized, count_max: int) -> None:
    if len(items) > count_max:
        raise _failed(pointer, f"must have at most {count_max} items")


def _check_number(pointer: str, value: int | None) -> None:
    if value is not None and not 0 <= value <= NUMBER_MAX:
        raise _failed(pointer, f"must be 0 to {NUMBER_MAX}")


def _failed(pointer: str, why: str) -> ValidationFailed:
    return ValidationFailed(f"{pointer}: {why}", details={"pointer": pointer})


_CHECKS: Final[dict[type[Command], Callable[[Any], None]]] = {
    RegisterBroker: _check_registration,
    UpdateBroker: _check_description,
    ChangeBrokerStatus: _check_status,
    PlaceShards: _check_placements,
    ChangeInSync: _check_in_sync,
    StartMoves: _check_plan,
    AdvanceMoves: _check_advances,
    CancelMoves: _check_which,
    PausePlacement: lambda command: _check_text("/reason", command.reason),
    AbandonShard: _check_abandoned,
    PurgeStream: lambda command: _check_id("/stream_id", command.stream_id),
    PutBridge: _check_bridge,
    DeleteBridge: lambda command: _check_name("/name", command.name),
}
"""What there is to check besides `broker_id` and `broker_epoch`."""
