"""Streams: contract, section 4.3 (seed, "Stream Management")."""

from __future__ import annotations

import falcon

from felix.http.authentication import require
from felix.http.bodies import NewStream, StreamPatch
from felix.http.desk import (
    Desk,
    answer,
    expected_version_of,
    flag_of,
    invalid,
    page_size_of,
    text_of,
)
from felix.http.spelling import as_spelled, stream_spec, stream_update
from felix.http.views import StreamPage, stream_view
from felix.proto.commands import CreateStream, Deleted, DeleteStream
from felix.proto.errors import ValidationFailed
from felix.proto.permissions import Object
from felix.proto.placement_commands import PurgeStream, UndeleteStream
from felix.proto.queries import GetStream, ListStreams
from felix.proto.resources import Stream


class Streams:
    """/v1/tenants/{tenant_id}/namespaces/{namespace}/streams"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(
        self, req: falcon.Request, resp: falcon.Response, tenant_id: str, namespace: str
    ) -> None:
        """List."""
        listing = self._desk.list(
            req,
            resp,
            ListStreams(
                tenant_id=tenant_id,
                namespace=namespace,
                filter=text_of(req, "filter"),
                page_size=page_size_of(req),
                page_token=text_of(req, "page_token"),
                is_deleted=flag_of(req, "deleted"),
            ),
            seen=req.context.caller.names_seen("stream", (tenant_id, namespace)),
        )
        items = [stream_view(item) for item in listing.items if isinstance(item, Stream)]
        answer(resp, StreamPage(items, listing.next_page_token))

    on_head = on_get

    def on_post(
        self, req: falcon.Request, resp: falcon.Response, tenant_id: str, namespace: str
    ) -> None:
        """Create."""
        body = self._desk.read(req, NewStream)
        require(
            req.context.caller,
            "stream.manage",
            Object("stream", (tenant_id, namespace, body.stream)),
        )
        command = CreateStream(
            tenant_id=tenant_id, namespace=namespace, stream=body.stream, spec=stream_spec(body)
        )
        try:
            stream = self._desk.ask(req, resp, command, Stream)
        except ValidationFailed as error:
            raise as_spelled(error) from error
        resp.location = f"{req.path}/{stream.stream}"
        answer(resp, stream_view(stream), status=201, version=stream.version)


class OneStream:
    """/v1/tenants/{tenant_id}/namespaces/{namespace}/streams/{stream}"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        tenant_id: str,
        namespace: str,
        stream: str,
    ) -> None:
        """Read."""
        query = GetStream(tenant_id=tenant_id, namespace=namespace, stream=stream)
        found = self._desk.ask(req, resp, query, Stream)
        answer(resp, stream_view(found), version=found.version)

    on_head = on_get

    def on_patch(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        tenant_id: str,
        namespace: str,
        stream: str,
    ) -> None:
        """Change."""
        body = self._desk.read(req, StreamPatch)
        command = stream_update(tenant_id, namespace, stream, body, expected_version_of(req))
        changed = self._desk.ask(req, resp, command, Stream)
        answer(resp, stream_view(changed), version=changed.version)

    def on_delete(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        tenant_id: str,
        namespace: str,
        stream: str,
    ) -> None:
        """Delete: durable data only with `?confirm=` and the stream's name, and after a grace."""
        settings, confirmed = self._desk.settings, text_of(req, "confirm")
        if confirmed not in {"", stream}:
            raise invalid("confirm", "must be the name of the stream")
        command = DeleteStream(
            tenant_id=tenant_id,
            namespace=namespace,
            stream=stream,
            force=flag_of(req, "force"),
            refuse_durable=settings.confirm_durable_deletes and not confirmed,
            grace_ms=settings.delete_grace_s * 1000,
            expected_version=expected_version_of(req),
        )
        self._desk.ask(req, resp, command, Deleted)
        resp.status = 204


class StreamUndeletion:
    """/v1/tenants/{tenant_id}/namespaces/{namespace}/streams/{stream}/undelete"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        tenant_id: str,
        namespace: str,
        stream: str,
    ) -> None:
        """Take a deletion back whose grace has not ended."""
        command = UndeleteStream(tenant_id=tenant_id, namespace=namespace, stream=stream)
        found = self._desk.ask(req, resp, command, Stream)
        answer(resp, stream_view(found), version=found.version)


class StreamPurge:
    """/v1/tenants/{tenant_id}/namespaces/{namespace}/streams/{stream}/purge"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        tenant_id: str,
        namespace: str,
        stream: str,
    ) -> None:
        """Remove a deleted stream for good, now."""
        command = PurgeStream(tenant_id=tenant_id, namespace=namespace, stream=stream, now=True)
        self._desk.ask(req, resp, command, Deleted)
        resp.status = 204
