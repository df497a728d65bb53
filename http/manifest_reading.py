"""Turns documents into what the control plane is asked for, and says what the caller may do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from felix.http.manifest_bodies import (
    API_VERSION,
    BridgeDocument,
    BrokerDocument,
    CacheDocument,
    Head,
    NamespaceDocument,
    QuotasSpec,
    StreamDocument,
    TenantDocument,
)
from felix.http.spelling import BYTES, SECONDS, amount
from felix.http.strict_json import to_record, unprocessable
from felix.identity.caller import Caller
from felix.proto.brokers import BrokerCapacity, StreamName
from felix.proto.commands import (
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
    Wanted,
)
from felix.proto.errors import FelixError, Forbidden
from felix.proto.permissions import Object
from felix.proto.placement_commands import DeleteBridge, PutBridge
from felix.proto.resources import Encryption, Quotas, RetentionPolicy, StreamSpec

KINDS: Final = ("Tenant", "Namespace", "Stream", "Cache", "Broker", "Bridge")
"""In the order in which they are made: what others need comes first."""
READ_ONLY: Final = "ShardPlacement"
_CLUSTER: Final = Object("cluster")


class DeletionRules(msgspec.Struct, frozen=True):
    """How careful the deletion of a stream is."""

    refuse_durable: bool
    grace_ms: int


class Read(msgspec.Struct, frozen=True):
    """One document, read."""

    kind: str
    name: str
    """With the names around it: `acme/prod/orders`."""
    manifest: Manifest


def read_document(document: object, caller: Caller, deletion: DeletionRules | None) -> Read:
    """Read one document; `deletion`: its object is to go. Raises: Unprocessable, Forbidden."""
    head = to_record(document, Head)
    if head.apiVersion != API_VERSION:
        raise unprocessable("/apiVersion", f"must be {API_VERSION}")
    if head.kind == READ_ONLY:
        raise unprocessable("/kind", f"{READ_ONLY} is read only: felix places shards by itself")
    if head.kind not in KINDS:
        raise unprocessable("/kind", f"must be one of {', '.join(KINDS)}")
    wanted, given = _READERS[head.kind](document)
    if deletion is not None:
        wanted, given = _deletion(head.kind, wanted, deletion), ()
    names = _names(wanted)
    rights = rights_of(caller, head.kind, names)
    if not rights and not _sees(caller, head.kind, names):
        raise Forbidden(f"this needs a permission that reaches the {head.kind.lower()}")
    return Read(head.kind, "/".join(names), Manifest(wanted=wanted, given=given, rights=rights))


def placed_at(error: FelixError, place: int) -> FelixError:
    """Add which document an error is about, where it does not say so yet."""
    return type(error)(
        error.message,
        retry_after_ms=error.retry_after_ms,
        details={"document": place, **error.details},
    )


# --- rights ---------------------------------------------------------------------------------------


def rights_of(caller: Caller, kind: str, names: tuple[str, ...]) -> tuple[Right, ...]:
    """List what a caller may do about an object: as much as with the routes for one of its kind."""
    is_operator = caller.may("cluster.manage", _CLUSTER)
    if is_operator:
        return ("create", "update", "quotas", "delete")
    if kind in {"Broker", "Bridge"} or caller.tenant_id != names[0]:
        return ()
    if kind == "Tenant":
        return ("update", "delete") if caller.may("tenant.manage", _object(kind, names)) else ()
    if not caller.may(_MANAGE[kind], _object(kind, names)):
        return ()
    may_limit = kind == "Namespace" and caller.may("tenant.manage", Object("tenant", names[:1]))
    return ("create", "update", "quotas", "delete") if may_limit else ("create", "update", "delete")


def _sees(caller: Caller, kind: str, names: tuple[str, ...]) -> bool:
    if caller.sees_all:
        return True
    if kind in {"Broker", "Bridge"} or caller.tenant_id != names[0]:
        return False
    return caller.sees(_object(kind, names))


def _object(kind: str, names: tuple[str, ...]) -> Object:
    return Object(_OBJECTS[kind], names)


_MANAGE: Final = {"Namespace": "ns.manage", "Stream": "stream.manage", "Cache": "cache.manage"}
_OBJECTS: Final[dict[str, Any]] = {
    "Tenant": "tenant", "Namespace": "namespace", "Stream": "stream", "Cache": "cache"
}  # fmt: skip
_NAMES: Final = ("tenant_id", "namespace", "stream", "cache", "broker_id", "name")


def _names(wanted: Wanted) -> tuple[str, ...]:
    return tuple(getattr(wanted, name) for name in _NAMES if hasattr(wanted, name))


# --- kinds ----------------------------------------------------------------------------------------

Found = tuple[Wanted, tuple[str, ...]]


def _tenant(document: object) -> Found:
    body = to_record(document, TenantDocument)
    spec, values = body.spec, _texts(body.spec)
    if spec.quotas is not None:
        values["quotas"] = _quotas(spec.quotas)
    if spec.encryption is not None:
        values["encryption"] = Encryption(
            spec.encryption.key_id,
            amount(spec.encryption.rotation_period, SECONDS, "/spec/encryption/rotation_period"),
        )
    return CreateTenant(tenant_id=body.metadata.name, **values), tuple(values)


def _namespace(document: object) -> Found:
    body = to_record(document, NamespaceDocument)
    values = _texts(body.spec)
    if body.spec.quotas is not None:
        values["quotas"] = _quotas(body.spec.quotas)
    where = body.metadata
    wanted = CreateNamespace(tenant_id=where.tenant, namespace=where.name, **values)
    return wanted, tuple(values)


def _stream(document: object) -> Found:
    body = to_record(document, StreamDocument)
    where, spec = body.metadata, body.spec
    values = _given(spec)
    if spec.retention is not None:
        values["retention"] = RetentionPolicy(
            amount(spec.retention.time, SECONDS, "/spec/retention/time"),
            amount(spec.retention.size, BYTES, "/spec/retention/size"),
        )
    if spec.regions is not None:
        values["regions"] = tuple(dict.fromkeys(spec.regions))
    wanted = CreateStream(
        tenant_id=where.tenant,
        namespace=where.namespace,
        stream=where.name,
        spec=StreamSpec(**values),
    )
    return wanted, tuple(values)


def _cache(document: object) -> Found:
    body = to_record(document, CacheDocument)
    where, values = body.metadata, _texts(body.spec)
    wanted = CreateCache(
        tenant_id=where.tenant, namespace=where.namespace, cache=where.name, **values
    )
    return wanted, tuple(values)


def _broker(document: object) -> Found:
    body = to_record(document, BrokerDocument)
    values = _given(body.spec)
    status = values.pop("status", None)
    capacity = body.spec.capacity
    if capacity is not None:
        values["capacity"] = BrokerCapacity(capacity.max_shards, capacity.max_connections)
    drain = {"active": False, "draining": True}.get(status or "")
    return DescribeBroker(broker_id=body.metadata.name, drain=drain, **values), ()


def _bridge(document: object) -> Found:
    body = to_record(document, BridgeDocument)
    spec = body.spec
    values: dict[str, Any] = {
        "source_region": spec.source_region,
        "target_region": spec.target_region,
    }
    if spec.streams is not None:
        values["streams"] = tuple(
            StreamName(one.tenant, one.namespace, one.stream) for one in spec.streams
        )
    if spec.encryption is not None:
        values["encryption_key_id"] = spec.encryption.key_id
    return PutBridge(name=body.metadata.name, **values), tuple(values)


_READERS: Final[dict[str, Callable[[object], Found]]] = {
    "Tenant": _tenant,
    "Namespace": _namespace,
    "Stream": _stream,
    "Cache": _cache,
    "Broker": _broker,
    "Bridge": _bridge,
}


def _deletion(kind: str, wanted: Any, rules: DeletionRules) -> Wanted:
    match wanted:
        case CreateTenant():
            return DeleteTenant(tenant_id=wanted.tenant_id)
        case CreateNamespace():
            return DeleteNamespace(tenant_id=wanted.tenant_id, namespace=wanted.namespace)
        case CreateStream():
            return DeleteStream(
                tenant_id=wanted.tenant_id,
                namespace=wanted.namespace,
                stream=wanted.stream,
                refuse_durable=rules.refuse_durable,
                grace_ms=rules.grace_ms,
            )
        case CreateCache():
            return DeleteCache(
                tenant_id=wanted.tenant_id, namespace=wanted.namespace, cache=wanted.cache
            )
        case PutBridge():
            return DeleteBridge(name=wanted.name)
        case _:
            raise unprocessable("/kind", f"a {kind} is not deleted by a document: remove it itself")


def _quotas(spec: QuotasSpec) -> Quotas:
    return Quotas(
        max_streams=spec.max_streams,
        max_publish_rate=spec.max_publish_rate,
        max_subscribe_connections=spec.max_subscribe_connections,
        max_storage_bytes=amount(spec.max_storage, BYTES, "/spec/quotas/max_storage"),
        max_cache_memory=amount(spec.max_cache_memory, BYTES, "/spec/quotas/max_cache_memory"),
    )


def _texts(spec: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in _given(spec).items()
        if name in {"display_name", "description"}
    }


def _given(spec: msgspec.Struct) -> dict[str, Any]:
    values = {name: getattr(spec, name) for name in spec.__struct_fields__}
    return {name: value for name, value in values.items() if value is not None}
