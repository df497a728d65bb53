"""The WatchFanout actor: tells every subscriber of every update, and where the catalog stands."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

import msgspec

from felix.actors.messages import GetStatistics, KeysChanged, Publish
from felix.actors.watch_position import WatchPosition
from felix.proto import codec
from felix.proto.rpc import PROTOCOL
from felix.proto.updates import RawUpdate, WatchHeader
from felix.transport.publisher import Publisher
from felix.transport.socket_actor import SocketActor, handles

BOOKMARK_S = 1.0
REOPEN_S = 0.01
REOPEN_WITHIN_S = 5.0
FRAME_UPDATES_MAX = 500
"""One frame carries a whole batch up to this; a larger one goes out as several frames."""


class _BookmarkDue(msgspec.Struct, frozen=True):
    """A second has passed."""


class _Reopen(msgspec.Struct, frozen=True):
    """Try to open the socket again."""

    since: float
    """Monotonic."""


class _BookmarkSoon(msgspec.Struct, frozen=True):
    """Say where the catalog stands, after what is queued before this."""


class FanoutStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """WatchFanout's numbers at one moment."""

    subscribers: int
    updates_published: int
    frames_published: int
    bookmarks_published: int
    frames_unsent: int
    """Messages that nobody got because the socket was being opened anew."""


class WatchFanout(SocketActor):
    """Owns the watch socket."""

    def __init__(
        self,
        failed: Callable[[SocketActor, BaseException], None],
        open_publisher: Callable[[], Publisher],
        cluster_id: str,
        node_id: str,
        shared: WatchPosition,
        fresh_s: float,
    ) -> None:
        """`fresh_s`: what this node has counts as all there is for so long after it was proven."""
        super().__init__(failed)
        self._shared = shared
        self._fresh_s = fresh_s
        self._open_publisher = open_publisher
        self._cluster_id = cluster_id
        self._node_id = node_id
        self._publisher: Publisher | None = None
        self._published = 0
        self._bookmark_told = False
        self._updates = self._frames = self._bookmarks = self._unsent = 0

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let go of the port: whoever is started in this actor's place needs it."""
        super().on_failure(exception_type, exception_value, traceback)
        self.on_stop()

    def acquire(self) -> None:
        """Open the socket and start the clock of the bookmarks."""
        self._open()
        self.after(BOOKMARK_S, _BookmarkDue())

    def release(self) -> None:
        """Close the socket."""
        if self._publisher is not None:
            self._publisher.close()

    def _open(self) -> None:
        publisher = self._publisher = self._open_publisher()
        self._shared.subscribers = 0
        self.listen(publisher.socket, self._hear_subscription)
        if publisher.guard is not None:
            self.listen(publisher.guard.monitor, publisher.guard.hear)

    @handles(KeysChanged)
    def _keys_changed(self, message: KeysChanged) -> None:
        publisher = self._publisher
        if not message.change.lost or publisher is None:
            return
        self.unlisten(publisher.socket)
        if publisher.guard is not None:
            self.unlisten(publisher.guard.monitor)
        publisher.close()
        self._publisher = None
        self._shared.subscribers = 0  # those who come back ask for what they have missed
        self.after(REOPEN_S, _Reopen(time.monotonic()))

    @handles(_Reopen)
    def _reopen(self, message: _Reopen) -> None:
        """Go on until libzmq has let go of the port. Raises: OSError, in the end."""
        try:
            self._open()
        except OSError:
            if time.monotonic() - message.since > REOPEN_WITHIN_S:
                raise
            self.after(REOPEN_S, message)

    @handles(Publish)
    def _publish(self, message: Publish) -> None:
        updates = message.updates
        for start in range(0, len(updates), FRAME_UPDATES_MAX):
            part = updates[start : start + FRAME_UPDATES_MAX]
            # Only the last part brings the catalog to the version that the digest is of.
            # And a node that is catching up, or stood still, does not say that this is all.
            is_last = start + len(part) == len(updates)
            digest = message.digest if is_last and self._is_fresh() else ""
            span = (part[0].version, part[-1].version)
            acks = message.wants_acks and is_last
            self._send(message.epoch, part, *span, digest, message.time_us, wants_acks=acks)
            self._frames += 1
        self._updates += len(updates)
        self._published = updates[-1].version
        if len(updates) > 1:
            self._bookmark_soon()

    @handles(_BookmarkDue)
    def _bookmark_due(self, message: _BookmarkDue) -> None:
        self._bookmark()
        self.after(BOOKMARK_S, message)

    @handles(_BookmarkSoon)
    def _bookmark_now(self, _: _BookmarkSoon) -> None:
        self._bookmark_told = False
        self._bookmark()

    def _hear_subscription(self, frames: list[bytes]) -> None:
        assert self._publisher is not None
        is_new = self._publisher.take(frames)
        self._shared.subscribers = self._publisher.subscribers
        if is_new:
            self._bookmark_soon()

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._shared.current_at <= self._fresh_s

    def _bookmark_soon(self) -> None:
        if not self._bookmark_told:
            self._bookmark_told = True
            self.after(0.005, _BookmarkSoon())

    def _bookmark(self) -> None:
        at = self._shared.position
        if self._publisher is None:
            return
        if at is None or not at.is_current or not self._is_fresh():
            return  # a node that hears no leader does not know what is current: silence says so
        if at.told > self._published:
            self._bookmark_soon()  # after the updates that are on their way here
            return
        time_us = time.time_ns() // 1000
        self._send(at.epoch, (), at.version + 1, at.version, at.digest, time_us)
        self._bookmarks += 1

    def _send(
        self,
        epoch: int,
        updates: tuple[RawUpdate, ...],
        first: int,
        last: int,
        digest: str,
        time_us: int,
        *,
        wants_acks: bool = False,
    ) -> None:
        if self._publisher is None:
            self._unsent += 1
            return  # whoever comes back asks for what it has missed
        header = WatchHeader(
            PROTOCOL,
            self._cluster_id,
            epoch,
            first,
            last,
            self._node_id,
            time_us,
            digest,
            wants_acks,
        )
        self._publisher.send(header, codec.encode(updates))

    @handles(GetStatistics)
    def _statistics(self, _: GetStatistics) -> FanoutStatistics:
        return FanoutStatistics(
            subscribers=self._shared.subscribers,
            updates_published=self._updates,
            frames_published=self._frames,
            bookmarks_published=self._bookmarks,
            frames_unsent=self._unsent,
        )
