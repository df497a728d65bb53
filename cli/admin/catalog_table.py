"""Commands about tenants, namespaces, streams, caches, and what there is beside them."""

from __future__ import annotations

from typing import Any, Final

from felix.cli.admin.command import Command, Spelling
from felix.http.spelling import CONSISTENCY_WORDS
from felix.proto.resources import StreamSpec

_CHANGED: Final = ("VERSION=version", "UPDATED=updated_at")
TENANTS: Final = ("NAME=tenant_id", "DISPLAY NAME=display_name", "STREAMS=quotas.max_streams",
                  "STORAGE=quotas.max_storage_bytes", *_CHANGED)  # fmt: skip
NAMESPACES: Final = ("NAME=namespace", "DISPLAY NAME=display_name", "STREAMS=quotas.max_streams",
                     "STORAGE=quotas.max_storage_bytes", *_CHANGED)  # fmt: skip
STREAMS: Final = (
    "NAME=stream", "KIND=kind", "SHARDS=shards", "REPLICATION=replication_factor",
    "DURABILITY=durability", "ACK=ack_policy", "RETENTION=retention.max_age_seconds",
    "SIZE=retention.max_size_bytes", *_CHANGED, "PURGED=purge_at",
)  # fmt: skip
CACHES: Final = ("NAME=cache", "DISPLAY NAME=display_name", *_CHANGED)
_OTHER_SPELLINGS: Final = ("consistency", "durable")


def whole_stream(body: dict[str, Any]) -> dict[str, Any]:
    """Say all of a stream's kind: with a part of it the API has no defaults for the rest."""
    if not body.keys() & {"kind", "delivery"}:
        return body
    usual = StreamSpec()
    return {
        "kind": usual.kind,
        "delivery": usual.delivery,
        "consistency": CONSISTENCY_WORDS[body.get("ack_policy", usual.ack_policy)],
        "durable": body["durability"] == "durable",
        "retention": {},
        **body,
    }


CATALOG: Final = (
    Command(
        name="tenant create",
        operation="create_tenant",
        own="tenant_id",
        named_after="display_name",
    ),
    Command(name="tenant list", operation="list_tenants", columns=TENANTS),
    Command(name="tenant get", operation="get_tenant", own="tenant_id"),
    Command(name="tenant update", operation="update_tenant", own="tenant_id"),
    Command(
        name="tenant delete",
        operation="delete_tenant",
        own="tenant_id",
        destroys="Tenant {tenant_id} and everything inside is deleted for good",
        done="tenant {tenant_id} is deleted",
    ),
    Command(
        name="tenant bootstrap",
        operation="bootstrap_tenant",
        own="tenant_id",
        body_from_file=True,
        proof="bootstrap",
        help="Give a tenant its first administrators, once; --endpoint is the bootstrap listener",
    ),
    Command(
        name="namespace create",
        operation="create_namespace",
        own="namespace",
        named_after="display_name",
    ),
    Command(name="namespace list", operation="list_namespaces", columns=NAMESPACES),
    Command(name="namespace get", operation="get_namespace", own="namespace"),
    Command(name="namespace update", operation="update_namespace", own="namespace"),
    Command(
        name="namespace delete",
        operation="delete_namespace",
        own="namespace",
        destroys="Namespace {tenant_id}/{namespace} and everything inside is deleted for good",
        done="namespace {tenant_id}/{namespace} is deleted",
    ),
    Command(
        name="stream create",
        operation="create_stream",
        own="stream",
        required=("durability",),
        without=_OTHER_SPELLINGS,
        shape=whole_stream,
        follows="placement",
        waits=False,
    ),
    Command(name="stream list", operation="list_streams", columns=STREAMS),
    Command(name="stream get", operation="get_stream", own="stream"),
    Command(
        name="stream update",
        operation="update_stream",
        own="stream",
        without=_OTHER_SPELLINGS,
    ),
    Command(
        name="stream delete",
        operation="delete_stream",
        own="stream",
        destroys="Stream {tenant_id}/{namespace}/{stream} is deleted; one that is durable can be "
        "had back until its grace ends, unless --force",
        done="stream {tenant_id}/{namespace}/{stream} is deleted",
    ),
    Command(name="stream undelete", operation="undelete_stream", own="stream"),
    Command(
        name="stream purge",
        operation="purge_stream",
        own="stream",
        destroys="Stream {tenant_id}/{namespace}/{stream} and all its data is gone for good",
        done="stream {tenant_id}/{namespace}/{stream} is gone",
    ),
    Command(name="cache create", operation="create_cache", own="cache", named_after="display_name"),
    Command(name="cache list", operation="list_caches", columns=CACHES),
    Command(name="cache get", operation="get_cache", own="cache"),
    Command(name="cache update", operation="update_cache", own="cache"),
    Command(
        name="cache delete",
        operation="delete_cache",
        own="cache",
        destroys="Cache {tenant_id}/{namespace}/{cache} is deleted for good",
        done="cache {tenant_id}/{namespace}/{cache} is deleted",
    ),
    Command(
        name="region list",
        operation="list_regions",
        columns=("NAME=region_id", "DISPLAY NAME=display_name"),
    ),
    Command(name="region get", operation="get_region", own="region_id"),
    Command(name="system info", operation="system_info"),
    Command(name="system health", operation="system_health"),
    Command(name="system node", operation="get_this_node"),
    Command(
        name="metadata snapshot",
        operation="metadata_snapshot",
        spelled={
            "version": Spelling("--at-version", "One that history covers.", metavar="N"),
        },
    ),
    Command(name="cluster member", operation="get_member", own="member"),
    Command(
        name="cluster feature-level",
        operation="set_feature_level",
        arguments=("level",),
        destroys="The cluster goes to feature level {level}; there is no way back",
    ),
)
