"""How a broker stays in step with the control plane, without sockets, clocks or threads.

Frames, answers and ticks go in; what is to be done comes out. The client algorithm of
`docs/protocol.md` in code: versions are applied one after the other or not at all, `(epoch,
version)` never goes back within a cluster, and "current" is claimed only where a digest agreed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Final

import msgspec

from felix.proto.errors import Compacted, FelixError, Malformed
from felix.proto.queries import GetSnapshot, WatchUpdates
from felix.proto.updates import RawUpdate, SnapshotChunk, UpdateBatch, WatchHeader
from felix.transport.snapshot_assembly import SnapshotAssembly, WrongDigest
from felix.transport.sync_inbox import Frame, PendingFrames, check_versions, read_frame
from felix.transport.sync_records import (
    Acknowledge,
    Action,
    Connect,
    Counters,
    Deliver,
    Fetch,
    Replace,
    SyncLimits,
    SyncStatistics,
    UpdateInfo,
    Warn,
)
from felix.transport.view import MetadataView

_LIMITS_DEFAULT: Final = SyncLimits()


class _UnderWay(msgspec.Struct, frozen=True):
    """The one question that waits for its answer."""

    token: int
    sent_at: float
    assembly: SnapshotAssembly | None
    """None when it is `WatchUpdates`."""


class _Heard(msgspec.Struct, frozen=True):
    """The newest header of this session."""

    header: WatchHeader
    at: float


class BrokerSync:
    """Every input returns the actions it causes, in order. Times are monotonic seconds."""

    def __init__(
        self,
        node_count: int,
        random: Random,
        cached: MetadataView | None = None,
        limits: SyncLimits = _LIMITS_DEFAULT,
    ) -> None:
        """`cached` is what an earlier run knew: it is served, and is stale until proven."""
        self.view = cached or MetadataView()
        self.counters = Counters()
        self.current_at: float | None = None
        """When what we have was last known to be all there is."""
        self._node_count = node_count
        self._random = random
        self.limits = limits
        self._has_view = cached is not None
        self._needs_snapshot = cached is None
        self._in_gap = False
        self._awaited: WatchHeader | None = None
        """The newest that somebody waits for, until we have it."""
        self._target = self.view.version
        """The newest version of our epoch that anybody spoke of."""
        self.session = 0
        """Inputs of another session are of a node that was left, and are ignored."""
        self.node = random.randrange(node_count)
        """Index of the node that is listened to."""
        self._listens_from = 0.0
        """When this session began, or its back-off will end."""
        self._heard: _Heard | None = None
        self._progress_at = 0.0
        self._pending = PendingFrames(limits.pending_frames_max, limits.pending_bytes_max)
        self._fetch: _UnderWay | None = None
        self._token = 0
        self._retry_at = -math.inf
        self._failures = 0
        self._failovers_in_a_row = 0
        self._actions: list[Action] = []

    # --- inputs ---------------------------------------------------------------------------------

    def start(self, now: float) -> list[Action]:
        """Begin with any node."""
        self._begin_session(now, 0.0)
        return self._settle(now)

    def frame(self, session: int, header: bytes, payload: bytes, now: float) -> list[Action]:
        """Take in a message of the watch socket, without its topic."""
        if session != self.session:
            return []
        try:
            frame = read_frame(header, payload)
        except FelixError:
            self.counters.frames_dropped += 1
            return []
        if self._is_outdated(frame.header.cluster_id, frame.header.epoch):
            self.counters.frames_dropped += 1
            return self._fail_over(now, "it speaks of an older epoch")
        self._note(frame.header, now)
        if self._needs_snapshot or frame.header.first > self.view.version + 1:
            if not frame.header.is_bookmark and not self._pending.keep(frame):
                self.counters.frames_dropped += 1
        elif frame.header.last > self.view.version:
            self._apply_frame(frame, now)
        elif not frame.header.is_bookmark:
            self.counters.frames_repeated += 1
        return self._settle(now)

    def answer(
        self, session: int, token: int, answer: SnapshotChunk | UpdateBatch, now: float
    ) -> list[Action]:
        """Take in the answer to a `Fetch`."""
        fetch = self._fetch
        if session != self.session or fetch is None or token != fetch.token:
            return []
        self._fetch = None
        try:
            if self._is_outdated(answer.cluster_id, answer.epoch):
                return self._fail_over(now, "it answers from an older epoch")
            if fetch.assembly is None and isinstance(answer, UpdateBatch):
                self._take_batch(answer, now)
            elif fetch.assembly is not None and isinstance(answer, SnapshotChunk):
                self._take_chunk(fetch.assembly, answer, now)
            else:
                raise Malformed("an answer to another question")
        except FelixError as error:
            self.counters.digest_mismatches += isinstance(error, WrongDigest)
            return self._retry(now, error)
        return self._settle(now)

    def proceed(self, now: float) -> list[Action]:
        """Go on after a `Replace` was carried out: until then its view does not change."""
        return self._settle(now)

    def refused(self, session: int, token: int, error: FelixError, now: float) -> list[Action]:
        """Take in the error that answers a `Fetch`."""
        fetch = self._fetch
        if session != self.session or fetch is None or token != fetch.token:
            return []
        self._fetch = None
        if isinstance(error, Compacted) and fetch.assembly is None:
            self._needs_snapshot = True
            return self._settle(now)
        return self._retry(now, error)

    def lost(self, session: int, now: float) -> list[Action]:
        """Hear that the node refused or closed the connection."""
        if session != self.session:
            return []
        return self._fail_over(now, "the connection was refused or lost")

    def tick(self, now: float) -> list[Action]:
        """Let time pass; a few times each second."""
        heard_at = self._heard.at if self._heard else self._listens_from
        if now - heard_at > self.limits.silence_s:
            return self._fail_over(now, "it has fallen silent")
        progress_at = max(self._progress_at, self._listens_from, self.current_at or -math.inf)
        if now - progress_at > self.limits.lagging_s:
            return self._fail_over(now, "it does not bring us up to date")
        if self._fetch and now - self._fetch.sent_at > self.limits.fetch_timeout_s:
            self._fetch = None
            return self._retry(now, Malformed("no answer in time"))
        return self._settle(now)

    def statistics(self, now: float) -> SyncStatistics:
        """Count what has happened so far."""
        c = self.counters
        view = self.view
        return SyncStatistics(
            cluster_id=view.cluster_id,
            epoch=view.epoch,
            version=view.version,
            staleness_s=math.inf if self.current_at is None else max(0.0, now - self.current_at),
            node=self.node,
            **{name: getattr(c, name) for name in Counters.__slots__},
        )

    # --- decisions ------------------------------------------------------------------------------

    def _is_outdated(self, cluster_id: str, epoch: int) -> bool:
        return self._has_view and cluster_id == self.view.cluster_id and epoch < self.view.epoch

    def _is_ours(self, cluster_id: str, epoch: int) -> bool:
        return self._has_view and (cluster_id, epoch) == (self.view.cluster_id, self.view.epoch)

    def _has(self, header: WatchHeader) -> bool:
        """Whether we have, and believe, what that header speaks of."""
        if self._needs_snapshot or not self._is_ours(header.cluster_id, header.epoch):
            return False
        return self.view.version >= header.last

    def _note(self, header: WatchHeader, now: float) -> None:
        """Learn from a header where the node is and whether it is of our epoch."""
        self._heard = _Heard(header, now)
        if header.wants_acks:
            self._awaited = header
        if self._is_ours(header.cluster_id, header.epoch):
            self._target = max(self._target, header.last)
        else:
            self._needs_snapshot = True

    def _apply_frame(self, frame: Frame, now: float) -> None:
        header = frame.header
        info = UpdateInfo(header.node_id, header.epoch, header.time_us)
        try:
            self._apply(frame.updates, header.digest, info, now)
        except FelixError:
            self.counters.frames_dropped += 1

    def _apply(
        self, updates: Sequence[RawUpdate], digest: str, info: UpdateInfo, now: float
    ) -> None:
        """Believe updates that reach from at most the next version to a later one.

        `digest` is that of the metadata after them; empty if not known. Raises: FelixError.
        """
        fresh = [update for update in updates if update.version > self.view.version]
        assert fresh[0].version == self.view.version + 1
        staged = self.view.stage(fresh)
        if digest and staged.verifiable and staged.digest_hex != digest:
            self._distrust(now)
            return
        self.view.commit(staged)
        self._progress_at = now
        self.counters.updates += len(fresh)
        self.counters.unknown_objects += staged.unknown_objects
        self._actions.extend(Deliver(update, info) for update in staged.updates)

    def _distrust(self, now: float) -> None:
        """Something we believe is wrong: start over, and with another node if it happens again."""
        self.counters.digest_mismatches += 1
        self._actions.append(Warn(f"the digest at version {self.view.version} does not agree"))
        self._needs_snapshot = True
        self._fetch = None
        self._count_failure(now, 0.0)

    def _take_batch(self, batch: UpdateBatch, now: float) -> None:
        if not self._is_ours(batch.cluster_id, batch.epoch):
            self._needs_snapshot = True
            return
        check_versions(batch.updates, batch.first, batch.last)
        self._target = max(self._target, batch.current)
        if batch.first > self.view.version + 1:
            raise Malformed("updates that do not follow what was asked for")
        if batch.last > self.view.version:
            digest = batch.digest if batch.last == batch.current else ""
            self._apply(batch.updates, digest, UpdateInfo("", batch.epoch, 0), now)
        elif self.view.version < self._target:
            raise Malformed("the node does not have what it spoke of")

    def _take_chunk(self, assembly: SnapshotAssembly, chunk: SnapshotChunk, now: float) -> None:
        view = assembly.add(chunk)
        self._progress_at = now
        if view is None:
            self._ask(assembly.next_request(), assembly, now)
            return
        if self._is_ours(view.cluster_id, view.epoch) and view.version < self.view.version:
            raise Malformed("the snapshot is older than what we have")
        heard = self._heard.header if self._heard else None
        target = max(view.version, self._pending.last_of(view.cluster_id, view.epoch))
        if heard and (heard.cluster_id, heard.epoch) == (view.cluster_id, view.epoch):
            target = max(target, heard.last)
        if self._is_ours(view.cluster_id, view.epoch):
            target = max(target, self._target)
        self.counters.resyncs += self._has_view
        self.counters.unknown_objects += assembly.unknown_objects
        self.view, self._target = view, target
        self._has_view, self._needs_snapshot = True, False
        self._actions.append(Replace(view))

    def _settle(self, now: float) -> list[Action]:
        """Do what the last input made possible, and hand out the actions."""
        if self._actions and isinstance(self._actions[-1], Replace):
            actions, self._actions = self._actions, []
            return actions
        self._drain(now)
        self._check_current(now)
        awaited = self._awaited
        if awaited and self._has(awaited):
            self._awaited = None
            self._actions.append(Acknowledge())
        behind = self.view.version < self._target
        if self._in_gap and not behind and not self._needs_snapshot:
            self._in_gap = False
            self.counters.gaps_filled += 1
        if self._fetch is None and now >= self._retry_at and now >= self._listens_from:
            if self._needs_snapshot:
                assembly = SnapshotAssembly()
                self._ask(assembly.next_request(), assembly, now)
            elif behind:
                if not self._in_gap:
                    self._in_gap = True
                    self.counters.gaps_found += 1
                view = self.view
                self._ask(WatchUpdates(from_version=view.version, epoch=view.epoch), None, now)
        actions, self._actions = self._actions, []
        return actions

    def _drain(self, now: float) -> None:
        while not self._needs_snapshot and len(self._pending):
            view = self.view
            frame = self._pending.next_after(view.cluster_id, view.epoch, view.version)
            if frame is None:
                return
            self._apply_frame(frame, now)

    def _check_current(self, now: float) -> None:
        """Claim to be current if the node's newest header says what we have, digest and all."""
        heard, view = self._heard, self.view
        if heard is None or self._needs_snapshot or view.version < self._target:
            return
        header = heard.header
        if header.last != view.version or not self._is_ours(header.cluster_id, header.epoch):
            return
        if not header.digest:
            return  # the rest of a large batch is still to come
        if view.verifiable and header.digest != view.digest:
            self._distrust(now)
            return
        if self.current_at is None or heard.at > self.current_at:
            self.current_at = heard.at
        self._failures = self._failovers_in_a_row = 0

    def _ask(
        self, message: GetSnapshot | WatchUpdates, assembly: SnapshotAssembly | None, now: float
    ) -> None:
        self._token += 1
        self._fetch = _UnderWay(self._token, now, assembly)
        self._actions.append(Fetch(self.session, self._token, message))

    def _retry(self, now: float, error: FelixError) -> list[Action]:
        wait_s = max(self.limits.retry_s, (error.retry_after_ms or 0) / 1000)
        self._count_failure(now, min(wait_s, self.limits.retry_s_max))
        return self._settle(now)

    def _count_failure(self, now: float, wait_s: float) -> None:
        self._failures += 1
        self._retry_at = now + wait_s * self._random.uniform(0.5, 1.0)
        if self._failures >= self.limits.failures_max:
            self._leave(now, "it gives wrong answers or none")

    def _fail_over(self, now: float, why: str) -> list[Action]:
        self._leave(now, why)
        return self._settle(now)

    def _leave(self, now: float, why: str) -> None:
        self._actions.append(Warn(f"leaving node {self.node}: {why}"))
        self.counters.failovers += 1
        self.node = (self.node + 1) % self._node_count
        limit_s = self.limits.back_off_s * 2 ** min(self._failovers_in_a_row, 16)
        self._failovers_in_a_row += 1
        delay_s = min(limit_s, self.limits.back_off_s_max) * self._random.uniform(0.0, 1.0)
        self._begin_session(now, delay_s)

    def _begin_session(self, now: float, delay_s: float) -> None:
        self.session += 1
        self._listens_from = now + delay_s
        self._retry_at = -math.inf
        self._heard = None
        self._fetch = None
        self._failures = 0
        self._pending.clear()
        self._actions.append(Connect(self.session, self.node, delay_s))
