"""The one table of routes: the Falcon app and the OpenAPI document are both made from it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from felix.http import bodies, cluster_views, feeds, views
from felix.http.backup import Backup
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
from felix.http.metadata import MetadataSnapshot, MetadataWatch
from felix.http.namespaces import Namespaces, OneNamespace
from felix.http.route import CONSISTENCY, KEY, PAGING, PRECONDITION, Parameter, Route
from felix.http.streams import OneStream, Streams
from felix.http.system import Info, OneRegion, Regions, SystemHealth
from felix.http.tenants import OneTenant, Tenants
from felix.proto.queries import Feed

_TENANT: Final = "/v1/tenants/{tenant_id}"
_NAMESPACE: Final = _TENANT + "/namespaces/{namespace}"
_STREAM: Final = _NAMESPACE + "/streams/{stream}"
_CACHE: Final = _NAMESPACE + "/caches/{cache}"


def _collection(
    path: str,
    resource: Callable[[Desk], object],
    noun: str,
    *,
    new: type[msgspec.Struct],
    one: type[msgspec.Struct],
    page: type[msgspec.Struct],
) -> tuple[Route, ...]:
    has_parent = "{" in path
    return (
        Route(
            method="GET",
            path=path,
            resource=resource,
            operation=f"list_{noun}s",
            summary=f"List {noun}s in the order of names",
            response=page,
            refusals=(404,) if has_parent else (),
            parameters=PAGING,
        ),
        Route(
            method="POST",
            path=path,
            resource=resource,
            operation=f"create_{noun}",
            summary=f"Create a {noun}",
            request=new,
            response=one,
            status=201,
            refusals=(404, 409, 415, 422, 507) if has_parent else (409, 415, 422, 507),
            parameters=(KEY,),
        ),
    )


def _single(
    path: str,
    resource: Callable[[Desk], object],
    noun: str,
    patch: type[msgspec.Struct],
    one: type[msgspec.Struct],
) -> tuple[Route, ...]:
    return (
        Route(
            method="GET",
            path=path,
            resource=resource,
            operation=f"get_{noun}",
            summary=f"Read one {noun}",
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
            request=patch,
            response=one,
            refusals=(404, 412, 415, 422, 507),
            parameters=PRECONDITION,
        ),
        Route(
            method="DELETE",
            path=path,
            resource=resource,
            operation=f"delete_{noun}",
            summary=f"Delete a {noun} and everything inside",
            status=204,
            refusals=(404, 412, 422),
            parameters=PRECONDITION,
        ),
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
            response=shapes.snapshot,
            parameters=(CONSISTENCY,),
        ),
        Route(
            method="GET",
            path=f"/v1/{feed}/changes",
            resource=partial(feeds.ChangesOfFeed, feed=feed),
            operation=f"{feed}_changes",
            summary=f"Changes of {feed} from `since` on, oldest first",
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
    refusals: tuple[int, ...] = (),
    parameters: tuple[Parameter, ...] = (),
) -> Route:
    return Route(
        method="GET",
        path=path,
        resource=resource,
        operation=operation,
        summary=summary,
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
            parameters=(CONSISTENCY,),
        ),
        _get(
            members,
            Members,
            "list_members",
            "List the members",
            cluster_views.MemberPage,
            parameters=(CONSISTENCY,),
        ),
        Route(
            method="POST",
            path=members,
            resource=Members,
            operation="add_member",
            summary="Take a node in as a learner; it becomes a voter by itself once it keeps up",
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
            refusals=(404,),
            parameters=(CONSISTENCY,),
        ),
        Route(
            method="DELETE",
            path=one,
            resource=OneMember,
            operation="remove_member",
            summary="Let a member leave for good; answered when it has left",
            response=cluster_views.ClusterView,
            refusals=(404, 409),
        ),
        Route(
            method="POST",
            path="/v1/cluster/leadership/transfer",
            resource=LeadershipTransfer,
            operation="transfer_leadership",
            summary="Hand leadership over; answered when another node leads",
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
            request=bodies.NewFeatureLevel,
            response=cluster_views.FeatureLevelView,
            refusals=(409, 415, 422, 507),
            parameters=(KEY,),
        ),
    )


ROUTES: Final[tuple[Route, ...]] = (
    _get("/v1/system/info", Info, "system_info", "What this service is", views.SystemInfo),
    _get("/v1/system/health", SystemHealth, "system_health", "Whether it answers", views.Health),
    _get("/v1/regions", Regions, "list_regions", "List regions", views.RegionPage),
    _get(
        "/v1/regions/{region_id}",
        OneRegion,
        "get_region",
        "Read one region",
        views.RegionView,
        refusals=(404,),
    ),
    *_collection(
        "/v1/tenants",
        Tenants,
        "tenant",
        new=bodies.NewTenant,
        one=views.TenantView,
        page=views.TenantPage,
    ),
    *_single(_TENANT, OneTenant, "tenant", bodies.TenantPatch, views.TenantView),
    *_collection(
        _TENANT + "/namespaces",
        Namespaces,
        "namespace",
        new=bodies.NewNamespace,
        one=views.NamespaceView,
        page=views.NamespacePage,
    ),
    *_single(_NAMESPACE, OneNamespace, "namespace", bodies.NamespacePatch, views.NamespaceView),
    *_collection(
        _NAMESPACE + "/streams",
        Streams,
        "stream",
        new=bodies.NewStream,
        one=views.StreamView,
        page=views.StreamPage,
    ),
    *_single(_STREAM, OneStream, "stream", bodies.StreamPatch, views.StreamView),
    *_collection(
        _NAMESPACE + "/caches",
        Caches,
        "cache",
        new=bodies.NewCache,
        one=views.CacheView,
        page=views.CachePage,
    ),
    *_single(_CACHE, OneCache, "cache", bodies.CachePatch, views.CacheView),
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
        is_file=True,
        parameters=(
            Parameter("consistency", "`stale` (default): what this node has, or `linearizable`"),
        ),
    ),
    *IDENTITY_ROUTES,
)
