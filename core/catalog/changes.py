"""What a command does to the catalog: a pure function from the tables to a list of changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from felix.core.catalog import identity_changes, signing_keys
from felix.core.catalog.placement_changes import without_placements
from felix.core.catalog.placement_tables import DELETED_STREAMS
from felix.core.catalog.quotas import check_room_for_stream
from felix.core.catalog.steps import Context, Step
from felix.proto.command import Conditional
from felix.proto.commands import (
    AnyCommand,
    CreateCache,
    CreateNamespace,
    CreateStream,
    CreateTenant,
    DeleteCache,
    DeleteNamespace,
    DeleteTenant,
    UpdateCache,
    UpdateNamespace,
    UpdateStream,
    UpdateTenant,
)
from felix.proto.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    NotFound,
    PreconditionFailed,
    ValidationFailed,
)
from felix.proto.permissions import OPERATOR_TENANT
from felix.proto.resources import (
    RESOURCE_TYPES,
    Cache,
    Key,
    Namespace,
    ResourceKind,
    Stream,
    StreamSpec,
    Tenant,
)


def steps_of(command: AnyCommand, context: Context) -> list[Step]:
    """Work out a command's changes; an empty list changes nothing.

    Raises: NotFound, AlreadyExists, Conflict, PreconditionFailed, QuotaExceeded.
    """
    return _HANDLERS[type(command)](command, context)


# --- create -------------------------------------------------------------------------------------


def _create_tenant(command: CreateTenant, context: Context) -> list[Step]:
    key = (command.tenant_id,)
    if key in context.store.tables["Tenant"].rows:
        raise AlreadyExists(f"the tenant {command.tenant_id!r} exists")
    tenant = Tenant(
        tenant_id=command.tenant_id,
        display_name=command.display_name,
        description=command.description,
        quotas=command.quotas,
        encryption=command.encryption,
        **_created(context),
    )
    if command.tenant_id == OPERATOR_TENANT:
        raise ValidationFailed(
            f"/tenant_id: {OPERATOR_TENANT!r} is made by bootstrap",
            details={"pointer": "/tenant_id"},
        )
    return [
        Step("Tenant", key, None, tenant),
        *signing_keys.first_key(command.tenant_id, context, offset=1),
        *identity_changes.touched(command.tenant_id, context),
    ]


def _create_namespace(command: CreateNamespace, context: Context) -> list[Step]:
    key = (command.tenant_id, command.namespace)
    _require_tenant(context, command.tenant_id)
    if key in context.store.tables["Namespace"].rows:
        raise AlreadyExists(f"the namespace {'/'.join(key)!r} exists")
    namespace = Namespace(
        tenant_id=command.tenant_id,
        namespace=command.namespace,
        display_name=command.display_name,
        description=command.description,
        quotas=command.quotas,
        **_created(context),
    )
    return [Step("Namespace", key, None, namespace)]


def _create_stream(command: CreateStream, context: Context) -> list[Step]:
    key = (command.tenant_id, command.namespace, command.stream)
    _require_namespace(context, command.tenant_id, command.namespace)
    if key in context.store.tables["Stream"].rows:
        raise Conflict(f"the stream {'/'.join(key)!r} exists")
    deleted: Stream | None = context.store.tables[DELETED_STREAMS].rows.get(key)
    if deleted is not None:
        raise Conflict(
            f"the stream {'/'.join(key)!r} is deleted and can be had back: undelete or purge it",
            details={"reason": "deleted", "purge_at_ms": deleted.purge_at_ms},
        )
    check_room_for_stream(context.store, key)
    return [Step("Stream", key, None, _new_stream(key, command.spec, context, 0))]


def _create_cache(command: CreateCache, context: Context) -> list[Step]:
    key = (command.tenant_id, command.namespace, command.cache)
    _require_namespace(context, command.tenant_id, command.namespace)
    if key in context.store.tables["Cache"].rows:
        raise Conflict(f"the cache {'/'.join(key)!r} exists")
    cache = Cache(
        tenant_id=command.tenant_id,
        namespace=command.namespace,
        cache=command.cache,
        display_name=command.display_name,
        **_created(context),
    )
    return [Step("Cache", key, None, cache)]


# --- update -------------------------------------------------------------------------------------


def _update_tenant(command: UpdateTenant, context: Context) -> list[Step]:
    members = ("display_name", "description", "quotas", "encryption")
    return _patch("Tenant", (command.tenant_id,), command, members, context)


def _update_namespace(command: UpdateNamespace, context: Context) -> list[Step]:
    _require_tenant(context, command.tenant_id)
    members = ("display_name", "description", "quotas")
    return _patch("Namespace", (command.tenant_id, command.namespace), command, members, context)


def _update_cache(command: UpdateCache, context: Context) -> list[Step]:
    _require_namespace(context, command.tenant_id, command.namespace)
    key = (command.tenant_id, command.namespace, command.cache)
    return _patch("Cache", key, command, ("display_name",), context)


def _update_stream(command: UpdateStream, context: Context) -> list[Step]:
    _require_namespace(context, command.tenant_id, command.namespace)
    key = (command.tenant_id, command.namespace, command.stream)
    before: Stream = _existing("Stream", key, command, context)
    given = _given(command, ("retention", "durability", "delivery", "ack_policy"))
    spec = msgspec.structs.replace(before.spec, **given)
    if spec == before.spec:
        return []
    if spec.durability != before.spec.durability:
        # A broker cannot change it on a stream it knows: it has to see the stream go first.
        gone = [*without_placements([key], context), Step("Stream", key, before, None)]
        offset = sum(step.kind in RESOURCE_TYPES for step in gone)
        return [*gone, Step("Stream", key, None, _new_stream(key, spec, context, offset))]
    after = msgspec.structs.replace(before, spec=spec, **_updated(context))
    return [Step("Stream", key, before, after)]


# --- delete: children before parents ------------------------------------------------------------


def _delete_tenant(command: DeleteTenant, context: Context) -> list[Step]:
    key = (command.tenant_id,)
    tenant = _existing("Tenant", key, command, context)
    if command.tenant_id == OPERATOR_TENANT:
        raise Forbidden(f"without {OPERATOR_TENANT!r} nobody could run the cluster")
    return [
        *_children(key, context),
        *identity_changes.all_of_a_tenant(command.tenant_id, context),
        Step("Tenant", key, tenant, None),
    ]


def _delete_namespace(command: DeleteNamespace, context: Context) -> list[Step]:
    key = (command.tenant_id, command.namespace)
    _require_tenant(context, command.tenant_id)
    namespace = _existing("Namespace", key, command, context)
    return [*_children(key, context), Step("Namespace", key, namespace, None)]


def _delete_cache(command: DeleteCache, context: Context) -> list[Step]:
    _require_namespace(context, command.tenant_id, command.namespace)
    key = (command.tenant_id, command.namespace, command.cache)
    return [Step("Cache", key, _existing("Cache", key, command, context), None)]


def _children(parent: Key, context: Context) -> list[Step]:
    steps = []
    kinds: tuple[ResourceKind, ...] = ("Cache", "Stream", "Namespace")
    for kind in kinds:
        table = context.store.tables[kind]
        keys = table.children(parent)
        if kind == "Stream":
            deleted = context.store.tables[DELETED_STREAMS]
            gone = deleted.children(parent)
            steps += without_placements([*keys, *gone], context)
            steps += [Step(DELETED_STREAMS, key, deleted.rows[key], None) for key in gone]
        steps += [Step(kind, key, table.rows[key], None) for key in keys]
    return steps


# --- shared -------------------------------------------------------------------------------------


def _require_tenant(context: Context, tenant_id: str) -> None:
    if (tenant_id,) not in context.store.tables["Tenant"].rows:
        raise NotFound(f"there is no tenant {tenant_id!r}")


def _require_namespace(context: Context, tenant_id: str, namespace: str) -> None:
    _require_tenant(context, tenant_id)
    if (tenant_id, namespace) not in context.store.tables["Namespace"].rows:
        raise NotFound(f"there is no namespace {tenant_id + '/' + namespace!r}")


def _existing(kind: ResourceKind, key: Key, command: Conditional, context: Context) -> Any:
    row = context.store.tables[kind].rows.get(key)
    if row is None:
        raise NotFound(f"there is no {kind.lower()} {'/'.join(key)!r}")
    expected = command.expected_version
    if expected is not None and expected != row.version:
        raise PreconditionFailed(
            f"the {kind.lower()} {'/'.join(key)!r} was changed",
            details={"expected": expected, "actual": row.version},
        )
    return row


def _given(command: Conditional, members: tuple[str, ...]) -> dict[str, Any]:
    values = {member: getattr(command, member) for member in members}
    return {member: value for member, value in values.items() if value is not None}


def _patch(
    kind: ResourceKind, key: Key, command: Conditional, members: tuple[str, ...], context: Context
) -> list[Step]:
    before = _existing(kind, key, command, context)
    patched = msgspec.structs.replace(before, **_given(command, members))
    if patched == before:
        return []
    return [Step(kind, key, before, msgspec.structs.replace(patched, **_updated(context)))]


def _new_stream(key: Key, spec: StreamSpec, context: Context, offset: int) -> Stream:
    version = context.next_version + offset
    return Stream(
        tenant_id=key[0],
        namespace=key[1],
        stream=key[2],
        stream_id=f"st-{context.epoch:x}-{version:x}",
        spec=spec,
        version=version,
        created_version=version,
        created_at_ms=context.stamp.time_ms,
        updated_at_ms=context.stamp.time_ms,
    )


def _created(context: Context) -> dict[str, int]:
    return {
        "version": context.next_version,
        "created_version": context.next_version,
        "created_at_ms": context.stamp.time_ms,
        "updated_at_ms": context.stamp.time_ms,
    }


def _updated(context: Context) -> dict[str, int]:
    return {"version": context.next_version, "updated_at_ms": context.stamp.time_ms}


_HANDLERS: Final[dict[type[AnyCommand], Callable[[Any, Context], list[Step]]]] = {
    CreateTenant: _create_tenant,
    UpdateTenant: _update_tenant,
    DeleteTenant: _delete_tenant,
    CreateNamespace: _create_namespace,
    UpdateNamespace: _update_namespace,
    DeleteNamespace: _delete_namespace,
    CreateStream: _create_stream,
    UpdateStream: _update_stream,
    CreateCache: _create_cache,
    UpdateCache: _update_cache,
    DeleteCache: _delete_cache,
}
COMMANDS: Final = tuple(_HANDLERS)
