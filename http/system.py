"""What the service says about itself: contract, chapter 3."""

from __future__ import annotations

import falcon

from felix.http.cluster_views import node_view
from felix.http.desk import Desk, answer
from felix.http.settings import HttpSettings
from felix.http.views import (
    Features,
    Health,
    RegionPage,
    RegionView,
    SystemInfo,
)
from felix.proto.errors import NotFound
from felix.proto.queries import ClusterStatus, GetCluster, Listing, ListTenants


class Info:
    """/v1/system/info"""

    def __init__(self, desk: Desk) -> None:
        self._info = SystemInfo(
            region_id=desk.settings.region_id,
            api_version=desk.settings.api_version,
            features=Features(),
        )

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Read."""
        answer(resp, self._info)

    on_head = on_get


class SystemHealth:
    """/v1/system/health"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Read something from the catalog of this node; needs no quorum."""
        self._desk.ask(req, resp, ListTenants(page_size=1), Listing, consistency="stale")
        answer(resp, Health())

    on_head = on_get


class ThisNode:
    """/v1/system/node"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Say who this node is: one that no cluster has taken in knows nobody who could ask it."""
        status = self._desk.ask(req, resp, GetCluster(), ClusterStatus, consistency="stale")
        view = node_view(status)
        if view is None:
            raise NotFound("the cluster has let this node go")
        answer(resp, view)

    on_head = on_get


class Regions:
    """/v1/regions"""

    def __init__(self, desk: Desk) -> None:
        self._page = RegionPage([region_of(desk.settings)])

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """List."""
        answer(resp, self._page)

    on_head = on_get


class OneRegion:
    """/v1/regions/{region_id}"""

    def __init__(self, desk: Desk) -> None:
        self._region = region_of(desk.settings)

    def on_get(self, _req: falcon.Request, resp: falcon.Response, region_id: str) -> None:
        """Read."""
        if region_id != self._region.region_id:
            raise NotFound("there is no such region")
        answer(resp, self._region)

    on_head = on_get


def region_of(settings: HttpSettings) -> RegionView:
    """Describe the one region this service is in."""
    return RegionView(settings.region_id, "Local Region")
