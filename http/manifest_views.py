"""Documents of `felix.io/v1` as they go out, and what comes of those that came in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from felix.http.manifest_bodies import API_VERSION
from felix.http.spelling import BYTES, SECONDS, in_words
from felix.proto.manifests import Fate
from felix.proto.resources import (
    Bridge,
    Broker,
    Cache,
    Namespace,
    Quotas,
    Resource,
    ShardPlacement,
    Stream,
    Tenant,
    kind_of,
)


class FieldChange(msgspec.Struct, frozen=True):
    """A member of a document that is or would be another one; null: there is none."""

    field: str
    """As in `spec.retention.time`."""
    before: str | None
    after: str | None


class ProblemView(msgspec.Struct, frozen=True):
    """Why a document would be refused."""

    code: str
    message: str
    details: dict[str, int | str]


class FateView(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a document, or would."""

    document: int
    """Its place in the request, from 0."""
    kind: str
    name: str
    """With the names around it: `acme/prod/orders`."""
    result: Fate
    operations: list[str]
    """What it came to, as the audit trail calls it."""
    objects: int
    """How many objects change: a deletion takes along what is inside."""
    version: int
    """0 in a dry run."""
    changes: list[FieldChange]
    """In a dry run."""
    error: ProblemView | None
    """In a dry run, where `result` is `refused`."""


class PlannedShard(msgspec.Struct, frozen=True):
    """Where a shard would go."""

    shard_id: int
    leader: str
    replicas: list[str]


class PlannedStream(msgspec.Struct, frozen=True):
    """Where the shards of a new stream would go."""

    stream: str
    shards: list[PlannedShard]


class UnmetShard(msgspec.Struct, frozen=True):
    """A shard with fewer copies than wanted, or none."""

    stream: str
    shard_id: int
    why: str


class ManifestsView(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a set of documents, or would."""

    dry_run: bool
    documents: list[FateView]
    """In the order of the request."""
    placements: list[PlannedStream]
    """In a dry run: only with the right to view the cluster."""
    unmet: list[UnmetShard]
    not_planned: int
    """Streams whose shards were too many to look where they would go."""


def document_of(resource: Resource) -> dict[str, Any]:
    """Write an object as a document that can be applied."""
    metadata, spec = _WRITERS[kind_of(resource)](resource)
    return {
        "apiVersion": API_VERSION,
        "kind": kind_of(resource),
        "metadata": metadata,
        "spec": {name: value for name, value in spec.items() if value not in (None, "", {}, [])},
    }


def changes_between(before: Resource | None, after: Resource | None) -> list[FieldChange]:
    """List the members that differ between two states of an object."""
    old = {} if before is None else dict(_flat("spec", document_of(before)["spec"]))
    new = {} if after is None else dict(_flat("spec", document_of(after)["spec"]))
    return [
        FieldChange(field, old.get(field), new.get(field))
        for field in sorted({*old, *new})
        if old.get(field) != new.get(field)
    ]


def _flat(path: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for name, inner in value.items() for pair in _flat(f"{path}.{name}", inner)]
    if isinstance(value, list):
        parts = [
            "/".join(map(str, one.values())) if isinstance(one, dict) else str(one) for one in value
        ]
        return [(path, ", ".join(parts))]
    return [(path, str(value))]


# --- kinds ----------------------------------------------------------------------------------------

Written = tuple[dict[str, str], dict[str, Any]]


def _tenant(row: Tenant) -> Written:
    encryption = row.encryption
    return {"name": row.tenant_id}, {
        "display_name": row.display_name,
        "description": row.description,
        "quotas": _quotas(row.quotas),
        "encryption": encryption
        and _without_none(
            key_id=encryption.key_id,
            rotation_period=_words(encryption.rotation_period_seconds, SECONDS),
        ),
    }


def _namespace(row: Namespace) -> Written:
    return {"name": row.namespace, "tenant": row.tenant_id}, {
        "display_name": row.display_name,
        "description": row.description,
        "quotas": _quotas(row.quotas),
    }


def _stream(row: Stream) -> Written:
    spec = row.spec
    return _inside(row.stream, row), {
        "shards": spec.shards,
        "retention": _without_none(
            time=_words(spec.retention.max_age_seconds, SECONDS),
            size=_words(spec.retention.max_size_bytes, BYTES),
        ),
        "durability": spec.durability,
        "replication_factor": spec.replication_factor,
        "ack_policy": spec.ack_policy,
        "kind": spec.kind,
        "delivery": spec.delivery,
        "regions": list(spec.regions),
    }


def _cache(row: Cache) -> Written:
    return _inside(row.cache, row), {"display_name": row.display_name}


def _broker(row: Broker) -> Written:
    capacity = row.capacity
    return {"name": row.broker_id}, {
        "address": row.address,
        "region": row.region,
        "availability_zone": row.availability_zone,
        "capacity": _without_none(
            max_shards=capacity.max_shards, max_connections=capacity.max_connections
        ),
        "metadata": dict(sorted(row.metadata.items())),
        "status": "draining" if row.drain and row.status != "down" else row.status,
    }


def _placement(row: ShardPlacement) -> Written:
    where = {"stream": row.stream, "namespace": row.namespace, "tenant": row.tenant_id}
    return where, {
        "placements": [
            {"shard_id": one.shard_id, "leader": one.leader, "replicas": list(one.replicas)}
            for one in row.placements
        ]
    }


def _bridge(row: Bridge) -> Written:
    return {"name": row.name}, {
        "source_region": row.source_region,
        "target_region": row.target_region,
        "streams": [
            {"tenant": one.tenant_id, "namespace": one.namespace, "stream": one.stream}
            for one in row.streams
        ],
        "encryption": {"key_id": row.encryption_key_id} if row.encryption_key_id else None,
    }


_WRITERS: Final[dict[str, Callable[[Any], Written]]] = {
    "Tenant": _tenant,
    "Namespace": _namespace,
    "Stream": _stream,
    "Cache": _cache,
    "Broker": _broker,
    "ShardPlacement": _placement,
    "Bridge": _bridge,
}


def _inside(name: str, row: Stream | Cache) -> dict[str, str]:
    return {"name": name, "namespace": row.namespace, "tenant": row.tenant_id}


def _quotas(quotas: Quotas | None) -> dict[str, Any] | None:
    if quotas is None:
        return None
    return _without_none(
        max_streams=quotas.max_streams,
        max_publish_rate=quotas.max_publish_rate,
        max_subscribe_connections=quotas.max_subscribe_connections,
        max_storage=_words(quotas.max_storage_bytes, BYTES),
        max_cache_memory=_words(quotas.max_cache_memory, BYTES),
    )


def _words(value: int | None, units: dict[str, int]) -> int | str | None:
    return None if value is None else in_words(value, units)


def _without_none(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
