"""The one table of routes: the Falcon app and the OpenAPI document are both made from it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from felix.http import bodies, cluster_views, feeds, views
from felix.http.access import CLUSTER_MANAGE, CLUSTER_VIEW, FEED, OPEN, Access
from felix.http.audit import Audit
from felix.http.audit_views import AuditPageView
from felix.http.backup import Backup
from felix.http.broker_routes import BROKER_ROUTES
from felix.http.caches import Caches, OneCache
from felix.http.cluster import (
    Cluster,
    ClusterFeatureLevel,
    LeadershipTransfer,
    Members,
    OneMember,
)
from felix.http.desk import Desk
from felix.http.identity_routes import IDENTITY_ROUTES
from felix.http.manifest_routes import MANIFEST_ROUTES
from felix.http.metadata import MetadataSnapshot, MetadataWatch
from felix.http.namespaces import Namespaces, OneNamespace
from felix.http.node_report import NodeReport, ThisNodesReport
from felix.http.route import (
    AWAITING,
    CONSISTENCY,
    KEY,
    PAGING,
    PRECONDITION,
    Other,
    Parameter,
    Route,
)
from felix.http.setting_routes import SETTING_ROUTES
from felix.http.streams import OneStream, Streams
from felix.http.system import Info, OneRegion, Regions, SystemHealth, ThisNode
from felix.http.tenants import OneTenant, Tenants
from felix.http.usage import UsageOfNamespace, UsageOfTenant, UsageView
from felix.proto.queries import Feed

_TENANT: Final = "/v1/tenants/{tenant_id}"
_NAMESPACE: Final = _TENANT + "/namespaces/{namespace}"
_STREAM: Final = _NAMESPACE + "/streams/{stream}"
_CACHE: Final = _NAMESPACE + "/caches/{cache}"


class _Deletion(msgspec.Struct, frozen=True):
    """What is special about deleting one kind of object."""

    summary: str = ""
    parameters: tuple[Parameter, ...] = ()
    refusals: tuple[int, ...] = ()
    others: tuple[Other, ...] = ()


_WITH_ALL_INSIDE: Final = _Deletion(
    " and everything inside, or only say what that would be",
    (Parameter("dry_run", "change nothing, and answer what would go"),),
    others=(Other(200, views.DeletionView),),
)
_OF_DELETION: Final = {
    "tenant": _WITH_ALL_INSIDE,
    "namespace": _WITH_ALL_INSIDE,
    "stream": _Deletion(
        "; a durable one with a grace in which it can be had back",
        (
            Parameter("confirm", "the name of the stream, if it is durable: else 409"),
            Parameter("force", "no checks and no grace"),
        ),
        (409,),
    ),
    "cache": _Deletion(),
}


def _collection(
    path: str,
    resource: Callable[[Desk], object],
    noun: str,
    *,
    new: type[msgspec.Struct],
    one: type[msgspec.Struct],
    page: type[msgspec.Struct],
    listed: Access,
    created: Access,
    also: tuple[Parameter, ...] = (),
) -> tuple[Route, ...]:
    has_parent = "{" in path
    return (
        Route(
            method="GET",
            path=path,
            resource=resource,
            operation=f"list_{noun}s",
            summary=f"List the {noun}s that the caller may see, in the order of names",
            access=listed,
            response=page,
            refusals=(404,) if has_parent else (),
            parameters=(*PAGING, *also),
        ),
        Route(
            method="POST",
            path=path,
            resource=resource,
            operation=f"create_{noun}",
            summary=f"Create a {noun}",
            access=created,
            request=new,
            response=one,
            status=201,
            refusals=(404, 409, 415, 422, 507) if has_parent else (409, 415, 422, 507),
            parameters=(KEY, *AWAITING),
        ),
    )


def _single(
    path: str,
    resource: Callable[[Desk], object],
    noun: str,
    patch: type[msgspec.Struct],
    one: type[msgspec.Struct],
    action: str,
    target: str,
) -> tuple[Route, ...]:
    manage = Access("caller", action, target)
    deletion = Route(
        method="DELETE",
        path=path,
        resource=resource,
        operation=f"delete_{noun}",
        summary=f"Delete a {noun}" + _OF_DELETION[noun].summary,
        access=manage,
        status=204,
        others=_OF_DELETION[noun].others,
        refusals=(404, *_OF_DELETION[noun].refusals, 412, 422),
        parameters=(*PRECONDITION, *AWAITING, *_OF_DELETION[noun].parameters),
    )
    return (
        Route(
            method="GET",
            path=path,
            resource=resource,
            operation=f"get_{noun}",
            summary=f"Read one {noun}",
            access=Access("caller", object=target),
            response=one,
            refusals=(404,),
            parameters=(CONSISTENCY,),
        ),
        Route(
            method="PATCH",
            path=path,
            resource=resource,
            operation=f"update_{noun}",
            summary=f"Change a {noun}; members that are absent or null stay as they are",
            access=manage,
            request=patch,
            response=one,
            refusals=(404, 412, 415, 422, 507),
            parameters=(*PRECONDITION, *AWAITING),
        ),
        deletion,
    )


def _feed(feed: Feed) -> tuple[Route, ...]:
    shapes = feeds.SHAPES[feed]
    return (
        Route(
            method="GET",
            path=f"/v1/{feed}/snapshot",
            resource=partial(feeds.SnapshotOfFeed, feed=feed),
            operation=f"{feed}_snapshot",
            summary=f"All {feed}, and where their changes go on",
            access=FEED,
            response=shapes.snapshot,
            parameters=(CONSISTENCY,),
        ),
        Route(
            method="GET",
            path=f"/v1/{feed}/changes",
            resource=partial(feeds.ChangesOfFeed, feed=feed),
            operation=f"{feed}_changes",
            summary=f"Changes of {feed} from `since` on, oldest first",
            access=FEED,
            response=shapes.changes,
            parameters=(Parameter("since", "inclusive; no number is 0"), CONSISTENCY),
        ),
    )


def _get(
    path: str,
    resource: Callable[[Desk], object],
    operation: str,
    summary: str,
    response: type[msgspec.Struct],
    *,
    access: Access,
    refusals: tuple[int, ...] = (),
    parameters: tuple[Parameter, ...] = (),
) -> Route:
    return Route(
        method="GET",
        path=path,
        resource=resource,
        operation=operation,
        summary=summary,
        access=access,
        response=response,
        refusals=refusals,
        parameters=parameters,
    )


def _cluster() -> tuple[Route, ...]:
    members = "/v1/cluster/members"
    one = members + "/{member}"
    return (
        _get(
            "/v1/cluster",
            Cluster,
            "get_cluster",
            "The cluster as its leader sees it, or this node where there is none",
            cluster_views.ClusterView,
            access=CLUSTER_VIEW,
            parameters=(CONSISTENCY,),
        ),
        _get(
            members,
            Members,
            "list_members",
            "List the members",
            cluster_views.MemberPage,
            access=CLUSTER_VIEW,
            parameters=(CONSISTENCY,),
        ),
        Route(
            method="POST",
            path=members,
            resource=Members,
            operation="add_member",
            summary="Take a node in as a learner; it becomes a voter by itself once it keeps up",
            access=CLUSTER_MANAGE,
            request=bodies.NewMember,
            response=cluster_views.ClusterView,
            status=202,
            refusals=(409, 415, 422),
        ),
        _get(
            one,
            OneMember,
            "get_member",
            "Read one member, by identity or by a name that only one has",
            cluster_views.MemberView,
            access=CLUSTER_VIEW,
            refusals=(404,),
            parameters=(CONSISTENCY,),
        ),
        Route(
            method="DELETE",
            path=one,
            resource=OneMember,
            operation="remove_member",
            summary="Let a member leave for good; answered when it has left",
            access=CLUSTER_MANAGE,
            response=cluster_views.ClusterView,
            refusals=(404, 409),
        ),
        Route(
            method="POST",
            path="/v1/cluster/leadership/transfer",
            resource=LeadershipTransfer,
            operation="transfer_leadership",
            summary="Hand leadership over; answered when another node leads",
            access=CLUSTER_MANAGE,
            request=bodies.Transfer,
            response=cluster_views.ClusterView,
            refusals=(404, 409, 415, 422),
        ),
        Route(
            method="POST",
            path="/v1/cluster/feature-level",
            resource=ClusterFeatureLevel,
            operation="set_feature_level",
            summary="Let the cluster use what a newer build can do; there is no way back",
            access=CLUSTER_MANAGE,
            request=bodies.NewFeatureLevel,
            response=cluster_views.FeatureLevelView,
            refusals=(409, 415, 422, 507),
            parameters=(KEY,),
        ),
    )


ROUTES: Final[tuple[Route, ...]] = (
    _get(
        "/v1/system/info",
        Info,
        "system_info",
        "What this service is",
        views.SystemInfo,
        access=OPEN,
    ),
    _get(
        "/v1/system/health",
        SystemHealth,
        "system_health",
        "Whether it answers",
        views.Health,
        access=OPEN,
    ),
    _get(
        "/v1/system/node",
        ThisNode,
        "get_this_node",
        "Which node answers, and where it listens until a cluster has taken it in",
        cluster_views.NodeView,
        access=OPEN,
        refusals=(404,),
    ),
    _get(
        "/v1/system/report",
        ThisNodesReport,
        "get_node_report",
        "What runs on the node that answers, and with which configuration, without secrets",
        NodeReport,
        access=CLUSTER_VIEW,
    ),
    _get("/v1/regions", Regions, "list_regions", "List regions", views.RegionPage, access=OPEN),
    _get(
        "/v1/regions/{region_id}",
        OneRegion,
        "get_region",
        "Read one region",
        views.RegionView,
        access=OPEN,
        refusals=(404,),
    ),
    *_collection(
        "/v1/tenants",
        Tenants,
        "tenant",
        new=bodies.NewTenant,
        one=views.TenantView,
        page=views.TenantPage,
        listed=Access("caller"),
        created=CLUSTER_MANAGE,
    ),
    *_single(
        _TENANT,
        OneTenant,
        "tenant",
        bodies.TenantPatch,
        views.TenantView,
        "tenant.manage",
        "tenant:{tenant_id}",
    ),
    _get(
        _TENANT + "/usage",
        UsageOfTenant,
        "get_tenant_usage",
        "What a tenant may have and has",
        UsageView,
        access=Access("caller", object="tenant:{tenant_id}"),
        refusals=(404,),
        parameters=(CONSISTENCY,),
    ),
    *_collection(
        _TENANT + "/namespaces",
        Namespaces,
        "namespace",
        new=bodies.NewNamespace,
        one=views.NamespaceView,
        page=views.NamespacePage,
        listed=Access("caller", object="tenant:{tenant_id}"),
        created=Access("caller", "ns.manage"),
    ),
    *_single(
        _NAMESPACE,
        OneNamespace,
        "namespace",
        bodies.NamespacePatch,
        views.NamespaceView,
        "ns.manage",
        "namespace:{tenant_id}/{namespace}",
    ),
    _get(
        _NAMESPACE + "/usage",
        UsageOfNamespace,
        "get_namespace_usage",
        "What a namespace may have and has",
        UsageView,
        access=Access("caller", object="namespace:{tenant_id}/{namespace}"),
        refusals=(404,),
        parameters=(CONSISTENCY,),
    ),
    *_collection(
        _NAMESPACE + "/streams",
        Streams,
        "stream",
        new=bodies.NewStream,
        one=views.StreamView,
        page=views.StreamPage,
        listed=Access("caller", object="namespace:{tenant_id}/{namespace}"),
        created=Access("caller", "stream.manage"),
        also=(Parameter("deleted", "those whose deletion can still be taken back, instead"),),
    ),
    *_single(
        _STREAM,
        OneStream,
        "stream",
        bodies.StreamPatch,
        views.StreamView,
        "stream.manage",
        "stream:{tenant_id}/{namespace}/{stream}",
    ),
    *_collection(
        _NAMESPACE + "/caches",
        Caches,
        "cache",
        new=bodies.NewCache,
        one=views.CacheView,
        page=views.CachePage,
        listed=Access("caller", object="namespace:{tenant_id}/{namespace}"),
        created=Access("caller", "cache.manage"),
    ),
    *_single(
        _CACHE,
        OneCache,
        "cache",
        bodies.CachePatch,
        views.CacheView,
        "cache.manage",
        "cache:{tenant_id}/{namespace}/{cache}",
    ),
    *_feed("tenants"),
    *_feed("namespaces"),
    *_feed("streams"),
    *_feed("caches"),
    _get(
        "/v1/metadata/snapshot",
        MetadataSnapshot,
        "metadata_snapshot",
        "The whole metadata at one version",
        views.SnapshotView,
        access=FEED,
        refusals=(409, 410),
        parameters=(
            Parameter("version", "one that history covers; 0 is the latest", kind="integer"),
            CONSISTENCY,
        ),
    ),
    _get(
        "/v1/metadata/watch",
        MetadataWatch,
        "metadata_watch",
        "The updates after a version; waits for one if asked to",
        views.WatchView,
        access=FEED,
        refusals=(409, 410),
        parameters=(
            Parameter("from_version", "the last version already known", kind="integer"),
            Parameter("epoch", "the epoch it was seen in; 0 does not check", kind="integer"),
            Parameter("wait_ms", "with nothing to tell, wait this long", kind="integer"),
            Parameter("limit", "at most this many updates", kind="integer"),
            CONSISTENCY,
        ),
    ),
    *_cluster(),
    Route(
        method="GET",
        path="/v1/cluster/backup",
        resource=Backup,
        operation="cluster_backup",
        summary="Everything this node has at one moment, as a file",
        access=CLUSTER_MANAGE,
        is_file=True,
        parameters=(
            Parameter("consistency", "`stale` (default): what this node has, or `linearizable`"),
        ),
    ),
    *BROKER_ROUTES,
    *SETTING_ROUTES,
    *MANIFEST_ROUTES,
    *IDENTITY_ROUTES,
    _get(
        "/v1/audit",
        Audit,
        "get_audit",
        "Who did what from where with which result, newest first",
        AuditPageView,
        access=Access("caller", always=True),
        parameters=(
            Parameter("tenant", "only of this tenant; who may not see all sees one's own only"),
            Parameter("principal", "only of this principal"),
            Parameter("operation", "as in `DeleteStream`"),
            Parameter("result", "`success`, or the code of a refusal"),
            Parameter("request_id", "the request that somebody was told about"),
            Parameter("from", "not before this time, RFC 3339"),
            Parameter("to", "not after this time, RFC 3339"),
            Parameter("before", "only records of a lower sequence", kind="integer"),
            Parameter("page_size", "at most this many, up to 1000", kind="integer"),
        ),
    ),
)
