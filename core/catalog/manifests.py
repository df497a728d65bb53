"""Sets of documents: what each comes to, one after the other, all or none.

A document is made to one of the commands that there are for its object, when it is applied and not
before: nobody can come in between, and a set that is applied again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from felix.core.catalog import placement_handlers
from felix.core.catalog.changes import steps_of
from felix.core.catalog.placement_handlers import PLACEMENT_COMMANDS
from felix.core.catalog.steps import Context, Step
from felix.core.catalog.trial import Trial
from felix.proto.command import Command
from felix.proto.commands import (
    AnyCommand,
    CreateCache,
    CreateNamespace,
    CreateStream,
    CreateTenant,
    DeleteCache,
    DeleteNamespace,
    DeleteStream,
    DeleteTenant,
    DescribeBroker,
    Manifest,
    Right,
    UpdateCache,
    UpdateNamespace,
    UpdateStream,
    UpdateTenant,
    Wanted,
)
from felix.proto.errors import Conflict, ErrorReply, FelixError, Forbidden, NotFound
from felix.proto.manifests import Fate, ManifestFate
from felix.proto.placement_commands import (
    CancelDrain,
    DeleteBridge,
    DrainBroker,
    PutBridge,
    UpdateBroker,
)
from felix.proto.resources import (
    RESOURCE_TYPES,
    Bridge,
    Broker,
    Key,
    Resource,
    ResourceKind,
    Stream,
)

_KINDS: Final[dict[type[Command], ResourceKind]] = {
    CreateTenant: "Tenant",
    CreateNamespace: "Namespace",
    CreateStream: "Stream",
    CreateCache: "Cache",
    PutBridge: "Bridge",
    DescribeBroker: "Broker",
    DeleteTenant: "Tenant",
    DeleteNamespace: "Namespace",
    DeleteStream: "Stream",
    DeleteCache: "Cache",
    DeleteBridge: "Bridge",
}
DELETES: Final = (DeleteTenant, DeleteNamespace, DeleteStream, DeleteCache, DeleteBridge)
_UPDATES: Final[dict[type[Command], type[UpdateTenant | UpdateNamespace | UpdateCache]]] = {
    CreateTenant: UpdateTenant,
    CreateNamespace: UpdateNamespace,
    CreateCache: UpdateCache,
}
_NAMES: Final = ("tenant_id", "namespace", "stream", "cache", "broker_id", "name")
_FIXED: Final = ("shards", "replication_factor", "kind", "regions", "durability")
"""Of a stream: what no document changes."""
_ANEW: Final = "make another stream, or leave it out"
_WAYS_OUT: Final = {
    "durability": "its data would be lost; where that is meant, change the stream itself",
}
_CHANGEABLE: Final = ("retention", "delivery", "ack_policy")


def kind_of(wanted: Wanted) -> ResourceKind:
    """Say of which kind the object of a document is."""
    return _KINDS[type(wanted)]


def key_of(wanted: Wanted) -> Key:
    """Give the names of the object of a document."""
    return tuple(getattr(wanted, name) for name in _NAMES if hasattr(wanted, name))


def take(document: Manifest, context: Context, trial: Trial) -> ManifestFate:
    """Bring one object to how it is to be, in a trial. Raises: any FelixError, and takes nothing.

    `context` is one of `contexts_of`.
    """
    wanted, start = document.wanted, len(trial.steps)
    kind, key = kind_of(wanted), key_of(wanted)
    row = context.store.tables[kind].rows.get(key)
    if row is None and isinstance(wanted, DELETES):
        return ManifestFate(fate="absent")
    try:
        operations = _take_commands(_commands(document, row), context, trial)
    except FelixError:
        _check_rights(document, row)
        raise
    steps = trial.steps[start:]
    if not steps:
        return ManifestFate(fate="unchanged", version=0 if row is None else row.version)
    try:
        _check_rights(document, row)
    except Forbidden:
        trial.take_back(start)
        raise
    return ManifestFate(
        fate=_fate_of(document, row),
        operations=operations,
        objects=sum(step.kind in RESOURCE_TYPES for step in steps),
        version=context.next_version + trial.updates - 1,
    )


def contexts_of(context: Context, documents: tuple[Manifest, ...]) -> Iterator[Context]:
    """Give for each document what it may look at, with the signing key that is meant for it."""
    keys = iter(context.stamp.new_keys)
    for document in documents:
        key = next(keys, None) if isinstance(document.wanted, CreateTenant) else None
        stamp = msgspec.structs.replace(context.stamp, new_key=key, new_keys=())
        yield msgspec.structs.replace(context, stamp=stamp)


def placed_by(error: FelixError, place: int) -> ErrorReply:
    """Give a refusal with the place of the document that it is about."""
    reply = error.to_reply()
    return msgspec.structs.replace(reply, details={**reply.details, "document": place})


# --- what a document comes to ---------------------------------------------------------------------


def _commands(document: Manifest, row: Any) -> list[AnyCommand]:
    """Make the commands of a document, given its object as it is. Raises: NotFound, Conflict."""
    wanted = document.wanted
    match wanted:
        case DescribeBroker():
            return _of_broker(wanted, row)
        case PutBridge() if row is not None:
            return [_of_bridge(document, wanted, row)]
        case CreateStream() if row is not None:
            return [_of_stream(document, wanted, row)]
        case CreateTenant() | CreateNamespace() | CreateCache() if row is not None:
            names = {name: getattr(wanted, name) for name in _NAMES if hasattr(wanted, name)}
            values = {name: getattr(wanted, name) for name in document.given}
            return [_UPDATES[type(wanted)](**names, **values)]
        case _:
            return [wanted]


def _of_stream(document: Manifest, wanted: CreateStream, row: Stream) -> UpdateStream:
    for name in _FIXED:
        now, then = getattr(row.spec, name), getattr(wanted.spec, name)
        if name in document.given and now != then:
            raise Conflict(
                f"{name} of the stream {'/'.join(row.key)!r} is {_text(now)} and cannot become "
                f"{_text(then)}: {_WAYS_OUT.get(name, _ANEW)}",
                details={"reason": "read_only", "member": name},
            )
    values = {name: getattr(wanted.spec, name) for name in _CHANGEABLE if name in document.given}
    return UpdateStream(
        tenant_id=wanted.tenant_id, namespace=wanted.namespace, stream=wanted.stream, **values
    )


def _of_bridge(document: Manifest, wanted: PutBridge, row: Bridge) -> PutBridge:
    members = ("source_region", "target_region", "streams", "encryption_key_id")
    kept = {name: getattr(row, name) for name in members if name not in document.given}
    return msgspec.structs.replace(wanted, **kept)


def _of_broker(wanted: DescribeBroker, row: Broker | None) -> list[AnyCommand]:
    if row is None:
        raise NotFound(
            f"there is no broker {wanted.broker_id!r}: it registers itself when it starts, "
            "and can be described then"
        )
    if wanted.address not in {"", row.address}:
        raise Conflict(
            f"address of the broker {row.broker_id!r} is {row.address}, and only the broker itself "
            "says where it is: leave address out",
            details={"reason": "read_only", "member": "address"},
        )
    commands: list[AnyCommand] = [
        UpdateBroker(
            broker_id=row.broker_id,
            region=wanted.region,
            availability_zone=wanted.availability_zone,
            capacity=wanted.capacity,
            metadata=wanted.metadata,
        )
    ]
    if wanted.drain is not None and wanted.drain != row.drain:
        change = DrainBroker if wanted.drain else CancelDrain
        commands.append(change(broker_id=row.broker_id))
    return commands


# --- parts ----------------------------------------------------------------------------------------


def _take_commands(commands: list[AnyCommand], context: Context, trial: Trial) -> tuple[str, ...]:
    """Carry out all, or none of them; name those that changed something."""
    start = len(trial.steps)
    names = []
    try:
        for command in commands:
            version = context.next_version + trial.updates
            steps = _steps(command, msgspec.structs.replace(context, next_version=version))
            if steps:
                trial.take(steps)
                names.append(type(command).__name__)
    except FelixError:
        trial.take_back(start)
        raise
    return tuple(names)


def _steps(command: AnyCommand, context: Context) -> list[Step]:
    if isinstance(command, PLACEMENT_COMMANDS):
        return placement_handlers.outcome_of(command, context).steps
    return steps_of(command, context)


def _fate_of(document: Manifest, row: Resource | None) -> Fate:
    if isinstance(document.wanted, DELETES):
        return "deleted"
    return "created" if row is None else "updated"


def _check_rights(document: Manifest, row: Any) -> None:
    """Hold a change against what the caller may do about its object. Raises: Forbidden."""
    wanted = document.wanted
    need: Right = "update"
    if isinstance(wanted, DELETES):
        need = "delete"
    elif row is None and not isinstance(wanted, DescribeBroker):
        need = "create"
    needs: list[Right] = [need]
    if isinstance(wanted, CreateTenant | CreateNamespace) and "quotas" in document.given:
        before = None if row is None else row.quotas
        if wanted.quotas != before:
            needs.append("quotas")
    for right in needs:
        if right not in document.rights:
            what = f"the {kind_of(wanted).lower()} {'/'.join(key_of(wanted))!r}"
            change = f"set quotas of {what}" if right == "quotas" else f"{right} {what}"
            raise Forbidden(f"the right to {change} is needed", details={"right": right})


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
