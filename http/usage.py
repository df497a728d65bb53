"""What tenants and namespaces may have and have (seed, "Quota Enforcement")."""

from __future__ import annotations

import falcon
import msgspec

from felix.http.authentication import require
from felix.http.brokers import aside
from felix.http.desk import Desk, answer
from felix.http.views import QuotasView, quotas_view
from felix.identity.caller import Caller
from felix.proto.brokers import ReportedUsage
from felix.proto.permissions import Object
from felix.proto.queries import GetReportedUsage, GetUsage, Usage
from felix.proto.resources import Quotas


class UsedView(msgspec.Struct, frozen=True, kw_only=True):
    """What is used. What only brokers know is null as long as none of them has reported it."""

    streams: int
    """Those whose deletion can be taken back included: they count until they are purged."""
    deleted_streams: int
    caches: int
    publish_rate: float | None
    """Messages per second."""
    subscribe_connections: int | None
    storage_bytes: int | None
    """Of all copies."""
    cache_memory: int | None


class UsageView(msgspec.Struct, frozen=True, kw_only=True):
    """Limits, and what is used of them."""

    tenant_id: str
    namespace: str | None
    """Null: the whole tenant."""
    limits: QuotasView
    used: UsedView
    streams_left: int | None
    """How many streams may still be made, under all quotas that hold there; null: any number."""
    reported_by: int
    """How many brokers have reported what they count."""


class UsageOfTenant:
    """/v1/tenants/{tenant_id}/usage"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response, tenant_id: str) -> None:
        """Read. Who sees one stream of a tenant need not know how many there are."""
        _require_view(req.context.caller, "tenant.manage", Object("tenant", (tenant_id,)))
        answer(resp, _usage(self._desk, req, resp, tenant_id))

    on_head = on_get


class UsageOfNamespace:
    """/v1/tenants/{tenant_id}/namespaces/{namespace}/usage"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(
        self, req: falcon.Request, resp: falcon.Response, tenant_id: str, namespace: str
    ) -> None:
        """Read."""
        place = Object("namespace", (tenant_id, namespace))
        _require_view(req.context.caller, "ns.manage", place)
        answer(resp, _usage(self._desk, req, resp, tenant_id, namespace))

    on_head = on_get


def require_right_to_quotas(caller: Caller, tenant_id: str, *, of_namespace: bool) -> None:
    """Let nobody raise a limit that others have set.

    A tenant's limits are the operators' to set, and a namespace's those of who manages the whole
    tenant. Raises: Forbidden.
    """
    if of_namespace:
        require(caller, "tenant.manage", Object("tenant", (tenant_id,)))
    else:
        require(caller, "cluster.manage", Object("cluster"))


def _require_view(caller: Caller, action: str, target: Object) -> None:
    if not caller.sees_all:
        require(caller, action, target)


def _usage(
    desk: Desk, req: falcon.Request, resp: falcon.Response, tenant_id: str, namespace: str = ""
) -> UsageView:
    counted = desk.ask(req, resp, GetUsage(tenant_id=tenant_id, namespace=namespace), Usage)
    query = GetReportedUsage(tenant_id=tenant_id, namespace=namespace)
    reported = aside(desk, req, resp, query, ReportedUsage) or ReportedUsage()
    is_known = reported.brokers > 0
    limits = quotas_view(counted.quotas or Quotas())
    assert limits is not None
    return UsageView(
        tenant_id=tenant_id,
        namespace=namespace or None,
        limits=limits,
        used=UsedView(
            streams=counted.streams,
            deleted_streams=counted.deleted_streams,
            caches=counted.caches,
            publish_rate=reported.publish_per_s if is_known else None,
            subscribe_connections=reported.subscribe_connections if is_known else None,
            storage_bytes=reported.storage_bytes if is_known else None,
            cache_memory=reported.cache_bytes if is_known else None,
        ),
        streams_left=counted.streams_left,
        reported_by=reported.brokers,
    )
