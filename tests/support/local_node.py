"""A control plane of the test's own process behind real sockets: for clients that write too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from felix.proto.codec import encode
from felix.proto.control_plane import Call
from felix.proto.errors import FelixError
from felix.proto.queries import WatchUpdates
from felix.proto.rpc import PROTOCOL, Answer, Request
from felix.proto.updates import UpdateBatch, WatchHeader
from tests.support.local_control_plane import NODE_ID, LocalControlPlane
from tests.support.scripted_node import ScriptedNode

T = TypeVar("T")


class LocalNode:
    """Answers requests from its control plane; publishes when a test says so."""

    def __init__(self) -> None:
        self.control_plane = LocalControlPlane()
        self.sockets = ScriptedNode(self._answer)
        self.sockets.on_subscribe = self._bookmark
        self.is_silent = False

    def asked(self, kind: type[T]) -> list[T]:
        """What came in of this class, in order."""
        messages = [request.message for request in self.sockets.requests]
        return [one for one in messages if isinstance(one, kind)]

    def publish(self, since: int, *, wants_acks: bool = False) -> None:
        """Tell every subscriber of what came after a version."""
        batch = self.control_plane.ask(WatchUpdates(from_version=since, epoch=1)).result
        assert isinstance(batch, UpdateBatch)
        header = WatchHeader(
            PROTOCOL,
            batch.cluster_id,
            batch.epoch,
            batch.first,
            batch.last,
            NODE_ID,
            1_000,
            self.control_plane.catalog.digest,
            wants_acks,
        )
        self.sockets.publish((encode(header), encode(batch.updates)))

    def _bookmark(self) -> None:
        catalog = self.control_plane.catalog
        version = catalog.version
        header = WatchHeader(
            PROTOCOL,
            catalog.cluster_id,
            catalog.epoch,
            version + 1,
            version,
            NODE_ID,
            1_000,
            catalog.digest,
        )
        self.sockets.send((encode(header), encode([])))

    def _answer(self, request: Request) -> Answer | FelixError | None:
        if self.is_silent:
            return None
        try:
            return self.control_plane.ask(request.message, Call()).result
        except FelixError as error:
            return error


@contextmanager
def local_node() -> Iterator[LocalNode]:
    """Run one until the block ends."""
    node = LocalNode()
    with node.sockets:
        yield node
