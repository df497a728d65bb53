"""Records of quotas, settings and feature flags for the golden vectors."""

from __future__ import annotations

from typing import Any

from felix.proto import brokers, queries, resources
from felix.proto.rpc import AnyRequest


def requests() -> list[AnyRequest]:
    """Every command and query about quotas, settings and flags."""
    return [
        queries.GetUsage(tenant_id="acme"),
        queries.GetReportedUsage(tenant_id="acme", namespace="prod"),
    ]


def answers() -> dict[str, tuple[str, Any, int]]:
    """Every answer about them, by name: what it is, the record, the version."""
    counted = queries.Usage(
        tenant_id="acme",
        quotas=resources.Quotas(max_streams=1000),
        namespaces=1,
        streams=3,
        deleted_streams=1,
        caches=1,
        streams_left=997,
    )
    reported = brokers.ReportedUsage(
        brokers=3, publish_per_s=2.5, subscribe_connections=4, storage_bytes=1024, cache_bytes=9
    )
    return {
        "usage": ("what a tenant may have and has", counted, 11),
        "reported-usage": ("what brokers have reported of it", reported, 11),
    }
