"""The whole metadata and its updates over HTTP: a snapshot and a long poll."""

from __future__ import annotations

import threading
from typing import Final

import falcon
import msgspec

from felix.http.broker_views import BridgeView, BrokerView, PlacementView
from felix.http.desk import Desk, answer, integer_of
from felix.http.setting_views import FeatureFlagView, SettingView
from felix.http.views import (
    CacheView,
    MetadataView,
    NamespaceView,
    SigningKeyView,
    SnapshotView,
    StreamView,
    TenantView,
    TokenRevocationView,
    UpdateView,
    WatchView,
    view,
)
from felix.proto.errors import Compacted, Overloaded
from felix.proto.queries import GetSnapshot, WatchUpdates
from felix.proto.resources import Resource, kind_of
from felix.proto.updates import RawUpdate, SnapshotChunk, UpdateBatch

_SNAPSHOT_TRIES: Final = 3
_WAITERS_RETRY_MS: Final = 1000
_decode_resource = msgspec.msgpack.Decoder[Resource](Resource).decode


class MetadataSnapshot:
    """/v1/metadata/snapshot"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Read everything at `?version=`, or at the latest one."""
        version = integer_of(req, "version")
        chunks = self._chunks(req, resp, version)
        objects = [view(_decode_resource(raw)) for chunk in chunks for raw in chunk.objects]
        first = chunks[0]
        metadata = MetadataView(
            tenants=[item for item in objects if isinstance(item, TenantView)],
            namespaces=[item for item in objects if isinstance(item, NamespaceView)],
            streams=[item for item in objects if isinstance(item, StreamView)],
            caches=[item for item in objects if isinstance(item, CacheView)],
            signing_keys=[item for item in objects if isinstance(item, SigningKeyView)],
            token_revocations=[item for item in objects if isinstance(item, TokenRevocationView)],
            placements=[item for item in objects if isinstance(item, PlacementView)],
            brokers=[item for item in objects if isinstance(item, BrokerView)],
            bridges=[item for item in objects if isinstance(item, BridgeView)],
            settings=[item for item in objects if isinstance(item, SettingView)],
            feature_flags=[item for item in objects if isinstance(item, FeatureFlagView)],
        )
        resp.set_header("X-Felix-Version", str(first.version))
        answer(
            resp,
            SnapshotView(
                version=first.version,
                epoch=first.epoch,
                cluster_id=first.cluster_id,
                digest=first.digest,
                metadata=metadata,
            ),
        )

    on_head = on_get

    def _chunks(
        self, req: falcon.Request, resp: falcon.Response, version: int
    ) -> list[SnapshotChunk]:
        """Collect all chunks of one version; the latest may be compacted meanwhile: take a newer.

        Raises: Compacted, FutureVersion.
        """
        tries_left = _SNAPSHOT_TRIES if version == 0 else 1
        while True:
            tries_left -= 1
            try:
                query = GetSnapshot(version=version)
                chunks = [self._desk.ask(req, resp, query, SnapshotChunk)]
                for number in range(1, chunks[0].chunks):
                    query = GetSnapshot(version=chunks[0].version, chunk=number)
                    chunks.append(self._desk.ask(req, resp, query, SnapshotChunk))
            except Compacted:
                if not tries_left:
                    raise
            else:
                return chunks


class MetadataWatch:
    """/v1/metadata/watch

    | `from_version` | answer |
    |---|---|
    | missing or 0 | everything from the first update on, or 410 when that is compacted |
    | the current version | after the next update, or after `wait_ms` with no updates |
    | a version yet to come | 409 `future_version` |
    | negative or no number | 400 `validation_error` |
    | of another epoch | 410 `compacted`: take a snapshot |
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._waiters = threading.BoundedSemaphore(desk.settings.watch_waiters_max)

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Read the updates after `from_version`; wait for one if there is none."""
        query = WatchUpdates(
            from_version=integer_of(req, "from_version"),
            epoch=integer_of(req, "epoch"),
            limit=integer_of(req, "limit"),
            wait_ms=min(integer_of(req, "wait_ms"), self._desk.settings.watch_wait_ms_max),
        )
        batch = self._ask(req, resp, query)
        answer(
            resp,
            WatchView(
                epoch=batch.epoch,
                cluster_id=batch.cluster_id,
                first=batch.first,
                last=batch.last,
                current=batch.current,
                updates=[_update_view(update) for update in batch.updates],
            ),
        )

    on_head = on_get

    def _ask(self, req: falcon.Request, resp: falcon.Response, query: WatchUpdates) -> UpdateBatch:
        if not query.wait_ms:
            return self._desk.ask(req, resp, query, UpdateBatch)
        if not self._waiters.acquire(blocking=False):
            raise Overloaded(
                "too many long polls wait at this worker", retry_after_ms=_WAITERS_RETRY_MS
            )
        try:
            return self._desk.ask(req, resp, query, UpdateBatch, patience_s=query.wait_ms / 1000)
        finally:
            self._waiters.release()


def _update_view(update: RawUpdate) -> UpdateView:
    resource = _decode_resource(update.payload)
    return UpdateView(
        version=update.version, type=update.type, kind=kind_of(resource), payload=view(resource)
    )
