"""The thread of a `BrokerClient`: sockets, clock, callbacks and cache around `BrokerSync`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Final, TypeAlias

import msgspec
import structlog
import zmq

from felix.proto.control_plane import Call
from felix.proto.errors import FelixError, Overloaded
from felix.proto.queries import GetSnapshot, WatchUpdates
from felix.proto.updates import WATCH_TOPIC, MetadataUpdate, SnapshotChunk, UpdateBatch
from felix.transport.client_cache import ClientCache
from felix.transport.curve import ClientCurve
from felix.transport.rpc_link import Link
from felix.transport.rpc_wire import decode_reply, encode_request, read_reply
from felix.transport.socket_actor import SocketActor, handles
from felix.transport.sync import BrokerSync
from felix.transport.sync_records import (
    Acknowledge,
    Action,
    Connect,
    Deliver,
    Fetch,
    Replace,
    UpdateInfo,
    Warn,
)
from felix.transport.view import MetadataView

TICK_S: Final = 0.1
WATCH_QUEUE_MAX: Final = 1000
"""Messages kept for this client while it is busy; what comes on top is lost and asked for."""
RPC_QUEUE_MAX: Final = 16
CACHE_INTERVAL_S: Final = 5.0
"""At most this often a changed view is written to disk, besides at the end."""

Failed: TypeAlias = Callable[[SocketActor, BaseException], None]


class Applied(msgspec.Struct, frozen=True):
    """A version of the metadata of which every reader has been told."""

    epoch: int
    version: int
    digest: str
    """Empty where this build cannot work it out."""


class Progress:
    """Where the client stands, for its readers' threads."""

    def __init__(self, view: MetadataView) -> None:
        self.view = view
        self.applied = _applied(view)
        """Unlike the view it does not run ahead of `on_update`."""
        self.changed = threading.Condition()


class _Tick(msgspec.Struct, frozen=True):
    """Time has passed."""


class _Open(msgspec.Struct, frozen=True):
    """The pause before this session is over."""

    session: int
    node: int


class _CloseLeft(msgspec.Struct, frozen=True):
    """Close the connections that are no longer used."""


class _Session(msgspec.Struct, frozen=True):
    """The connections to one node."""

    number: int
    watch: Link
    rpc: Link


class BrokerActor(SocketActor):
    """Feeds a `BrokerSync` and carries out what it decides."""

    def __init__(
        self,
        *,
        context: zmq.Context[zmq.Socket[bytes]],
        nodes: Sequence[tuple[str, str]],
        sync: BrokerSync,
        progress: Progress,
        cache: ClientCache | None,
        on_update: Callable[[MetadataUpdate, UpdateInfo], None] | None,
        on_snapshot: Callable[[MetadataView], None] | None,
        on_ack_wanted: Callable[[], None] | None,
        failed: Failed | None,
        curve: ClientCurve | None,
    ) -> None:
        super().__init__(failed or _report)
        self._log = structlog.get_logger(__name__)
        self._context = context
        self._nodes = nodes
        self._curve = curve
        self._sync = sync
        self._progress = progress
        self._cache = cache
        self._on_update = on_update
        self._on_snapshot = on_snapshot
        self._on_ack_wanted = on_ack_wanted
        self._session: _Session | None = None
        self._left: list[Link] = []
        self._told = self._standing()
        self._asked: dict[int, GetSnapshot | WatchUpdates] = {}
        self._saved = (sync.view.cluster_id, sync.view.epoch, sync.view.version)
        self._saved_at = time.monotonic() - CACHE_INTERVAL_S

    def acquire(self) -> None:
        self._carry_out(self._sync.start(time.monotonic()))
        self.after(TICK_S, _Tick())

    def release(self) -> None:
        self._save()
        self._disconnect()
        self._close_left(_CloseLeft())

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().on_failure(exception_type, exception_value, traceback)
        self._disconnect()
        self._close_left(_CloseLeft())

    @handles(_Tick)
    def _on_tick(self, message: _Tick) -> None:
        self.after(TICK_S, message)
        now = time.monotonic()
        self._carry_out(self._sync.tick(now))
        if now - self._saved_at >= CACHE_INTERVAL_S:
            self._save()

    @handles(_Open)
    def _on_open(self, message: _Open) -> None:
        if message.session == self._sync.session and self._session is None:
            self._connect(message.session, message.node)

    def _on_watch(self, session: int, frames: list[bytes]) -> None:
        if len(frames) != 3:
            frames = [WATCH_TOPIC, b"", b""]  # counted with the malformed ones
        now = time.monotonic()
        self._carry_out(self._sync.frame(session, frames[1], frames[2], now))

    def _on_reply(self, session: int, frames: list[bytes]) -> None:
        try:
            reply = decode_reply(frames[-1])
        except FelixError as error:
            self._log.warning("broker_reply_unreadable", reason=error.message)
            return
        message = self._asked.pop(reply.id, None)
        if message is None:
            return
        now = time.monotonic()
        outcome = read_reply(message, reply)
        if isinstance(outcome, FelixError):
            self._carry_out(self._sync.refused(session, reply.id, outcome, now))
            return
        answer = outcome.result
        assert isinstance(answer, SnapshotChunk | UpdateBatch)
        self._carry_out(self._sync.answer(session, reply.id, answer, now))

    def _on_event(self, session: int, link: Link, frames: list[bytes]) -> None:
        if link.take_event(frames) is False:
            self._carry_out(self._sync.lost(session, time.monotonic()))

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Deliver():
                    if self._on_update is not None:
                        self._on_update(action.update, action.info)
                case Fetch():
                    self._fetch(action)
                case Connect():
                    self._disconnect()
                    self.after(action.delay_s, _Open(action.session, action.node))
                case Replace():
                    self._progress.view = action.view
                    if self._on_snapshot is not None:
                        self._on_snapshot(action.view)
                    self._carry_out(self._sync.proceed(time.monotonic()))
                case Acknowledge():
                    self._progress.applied = _applied(self._sync.view)
                    if self._on_ack_wanted is not None:
                        self._on_ack_wanted()
                case Warn():
                    self._log.warning("broker_client", reason=action.text)
        standing = self._standing()
        if standing != self._told:
            self._told = standing
            self._progress.applied = _applied(self._sync.view)
            with self._progress.changed:
                self._progress.changed.notify_all()

    def _standing(self) -> tuple[MetadataView, int, bool]:
        sync = self._sync
        return sync.view, sync.view.version, sync.current_at is None

    def _fetch(self, action: Fetch) -> None:
        session = self._session
        if session is None:
            session = self._connect(action.session, self._sync.node)
        self._asked.clear()
        self._asked[action.token] = action.message
        call = Call(consistency="stale", timeout_s=self._sync.limits.fetch_timeout_s)
        frame = encode_request(action.token, action.message, call, call.timeout_s)
        if not session.rpc.send(frame):
            error = Overloaded("the connection takes no more")
            self._carry_out(
                self._sync.refused(action.session, action.token, error, time.monotonic())
            )

    def _connect(self, number: int, node: int) -> _Session:
        rpc_endpoint, watch_endpoint = self._nodes[node]
        connect = partial(Link, self._context, curve=self._curve, node=node)
        watch = connect(zmq.SUB, watch_endpoint, queue_max=WATCH_QUEUE_MAX, topic=WATCH_TOPIC)
        rpc = connect(zmq.DEALER, rpc_endpoint, queue_max=RPC_QUEUE_MAX, early=True)
        session = self._session = _Session(number, watch, rpc)
        self.listen(watch.socket, partial(self._on_watch, number))
        self.listen(rpc.socket, partial(self._on_reply, number))
        for link in (watch, rpc):
            self.listen(link.monitor, partial(self._on_event, number, link))
        return session

    def _disconnect(self) -> None:
        session, self._session = self._session, None
        self._asked.clear()
        if session is None:
            return
        for link in (session.watch, session.rpc):
            for socket in (link.socket, link.monitor):
                if socket in self._frame_handlers:  # not so when the actor stops
                    self.unlisten(socket)
            self._left.append(link)
        self.after(0.0, _CloseLeft())  # not now: a handler of that very socket may be running

    @handles(_CloseLeft)
    def _close_left(self, _message: _CloseLeft) -> None:
        while self._left:
            self._left.pop().close()

    def _save(self) -> None:
        view = self._sync.view
        place = (view.cluster_id, view.epoch, view.version)
        if self._cache is None or place == self._saved:
            return
        try:
            self._cache.save(view)
        except OSError as error:
            self._log.warning("broker_cache_not_written", reason=str(error))
        self._saved = place
        self._saved_at = time.monotonic()


def _applied(view: MetadataView) -> Applied:
    return Applied(view.epoch, view.version, view.digest if view.verifiable else "")


def _report(actor: SocketActor, error: BaseException) -> None:
    structlog.get_logger(__name__).critical(
        "broker_client_failed", actor=str(actor), exc_info=error
    )
