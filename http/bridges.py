"""Bridges between regions (seed, "Region and Bridge Management")."""

from __future__ import annotations

import falcon
import msgspec

from felix.http.broker_bodies import BridgeBody
from felix.http.broker_views import BridgePage, bridge_view
from felix.http.desk import Desk, answer, expected_version_of, page_size_of, text_of
from felix.proto.brokers import StreamName
from felix.proto.commands import Deleted
from felix.proto.placement_commands import DeleteBridge, PutBridge
from felix.proto.queries import GetBridge, ListBridges
from felix.proto.resources import Bridge


class Bridges:
    """/v1/bridges"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List."""
        query = ListBridges(
            filter=text_of(req, "filter"),
            page_size=page_size_of(req),
            page_token=text_of(req, "page_token"),
        )
        listing = self._desk.list(req, resp, query, seen=None)
        items = [bridge_view(one) for one in listing.items if isinstance(one, Bridge)]
        answer(resp, BridgePage(items, listing.next_page_token))

    on_head = on_get


class OneBridge:
    """/v1/bridges/{bridge}"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response, bridge: str) -> None:
        """Read."""
        found = self._desk.ask(req, resp, GetBridge(name=bridge), Bridge)
        answer(resp, bridge_view(found), version=found.version)

    on_head = on_get

    def on_put(self, req: falcon.Request, resp: falcon.Response, bridge: str) -> None:
        """Make or change."""
        body = self._desk.read(req, BridgeBody)
        streams = (msgspec.structs.astuple(one) for one in body.streams or ())
        command = PutBridge(
            name=bridge,
            source_region=body.source_region,
            target_region=body.target_region,
            streams=tuple(StreamName(*names) for names in streams),
            encryption_key_id=body.encryption_key_id or "",
        )
        made = self._desk.ask(req, resp, command, Bridge)
        answer(resp, bridge_view(made), version=made.version)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, bridge: str) -> None:
        """Forget."""
        command = DeleteBridge(name=bridge, expected_version=expected_version_of(req))
        self._desk.ask(req, resp, command, Deleted)
        resp.status = 204
