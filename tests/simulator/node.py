"""One node: the production core, a disk that takes its time, and a small state machine.

It carries out a `Ready` as `felix.actors.raft_node.RaftNode` does: one after the other, deaf while
the disk is at work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import msgspec

from felix.actors.proposals import Proposals
from felix.core.raft.core import RaftCore
from felix.core.raft.ready import ReadRelease, Ready
from felix.proto.errors import NotLeader
from felix.proto.ids import Index, NodeId
from felix.proto.raft import AnyPeerMessage, Entry, InstallSnapshot, Membership, SnapshotMeta
from tests.simulator.disk import Disk
from tests.simulator.machine import Machine
from tests.simulator.plan import TICK_US
from tests.simulator.world import World

TICKS_AT_ONCE_MAX = 10
SNAPSHOT_WRITE_US_MAX = 60_000


class SimulatedNode:
    """A node that can be killed, started and stopped at any moment."""

    def __init__(self, disk: Disk, membership: Membership, world: World) -> None:
        self.id: NodeId = disk.node_id
        self.disk = disk
        self._membership = membership
        self._world = world
        self.is_alive = False
        self.is_paused = False
        self.tick_us = TICK_US
        self.disk_delay_us = 0
        self._life = 0
        """Grows with each start, so that nothing reaches a later life from an earlier one."""

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start with what the disk holds."""
        self.disk.snapshots.restart()
        recovered = self.disk.journal.recover()
        snapshot = recovered.snapshot
        self._world.trace.note("start", self.id, recovered.hard_state, snapshot)
        self._life += 1
        self.is_alive, self.is_paused = True, False
        self.core = RaftCore(
            self.id,
            self._membership,
            self._world.plan.raft,
            Random(f"{self._world.plan.seed} {self.id} {self._life}"),
            hard_state=recovered.hard_state,
            snapshot=snapshot,
            entries=recovered.entries,
        )
        self.machine = self._restored(snapshot) if snapshot else Machine()
        self._inbox: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._writing: Ready | None = None
        self._written_in_pause = False
        self._work_planned = False
        self._snapshot_under_way = False
        self._proposals = Proposals()
        self._contexts = 0
        self._reads_asked: dict[int, int] = {}
        self._reads_unapplied: list[tuple[Index, int]] = []
        self._last_tick_us = self._world.scheduler.now_us
        if snapshot is not None:
            self._world.coverage.restarts_from_a_snapshot += 1
        self._world.checker.restarted(self.id)
        self._world.checker.restored(self.id, self.machine)
        self._world.checker.stepped(self.core)
        self._later(self.tick_us, self._tick)

    def crash(self, *, keep_write: bool) -> None:
        """Die; what was being written is on the disk whole, or not at all."""
        writing = self._writing
        if writing is not None and not self._written_in_pause:
            if keep_write:
                self._write(writing)
                self._world.coverage.writes_kept_in_crashes += 1
            else:
                self._world.coverage.writes_lost_in_crashes += 1
        self._world.trace.note("crash", self.id, "kept" if keep_write else "lost")
        self._life += 1
        self.is_alive = False

    def pause(self) -> None:
        """Stop as by SIGSTOP: messages wait, a write under way goes on."""
        self._world.trace.note("pause", self.id)
        self.is_paused = True

    def resume(self) -> None:
        """Go on after `pause`."""
        self._world.trace.note("resume", self.id)
        self.is_paused = False
        if self._written_in_pause:
            self._written_in_pause = False
            self._finish_write()
        self._work()

    # --- inputs -------------------------------------------------------------------------------

    def hear(self, message: AnyPeerMessage) -> None:
        """Take in a message from the network."""
        if self.is_alive:
            self._world.trace.note("recv", message)
            self._give(self._step, message)

    def propose(self, token: int, data: bytes) -> None:
        """Ask for a write; the clients hear what becomes of it."""
        self._give(self._propose, (token, data))

    def read(self, token: int) -> None:
        """Ask for a linearizable read; the clients hear of it."""
        self._give(self._read, token)

    def _step(self, message: AnyPeerMessage) -> None:
        if isinstance(message, InstallSnapshot):
            self._world.coverage.snapshot_chunks_received += 1
        was_leader = self.core.is_leader
        self.core.step(message)
        self._note_role(was_leader)

    def _propose(self, request: tuple[int, bytes]) -> None:
        token, data = request
        try:
            index = self.core.propose([data])
        except NotLeader:
            self._world.clients.refused(token)
            return
        self._proposals.add(index, self.core.term, [token])

    def _read(self, token: int) -> None:
        self._contexts += 1
        self._reads_asked[self._contexts] = token
        self.core.read_index(self._contexts)

    def _tick(self) -> None:
        self._later(self.tick_us, self._tick)
        if not self._inbox or self._inbox[-1][0] != self._time_passed:
            self._give(self._time_passed, None)

    def _time_passed(self, _: None) -> None:
        now_us = self._world.scheduler.now_us
        passed = (now_us - self._last_tick_us) // self.tick_us
        self._last_tick_us += passed * self.tick_us
        for _tick in range(min(passed, TICKS_AT_ONCE_MAX)):
            was_leader = self.core.is_leader
            self.core.tick()
            self._note_role(was_leader)

    def _snapshot_written(self, taken: tuple[Index, bytes]) -> None:
        self._snapshot_under_way = False
        index, data = taken
        if self.core.snapshot is not None and index <= self.core.snapshot.index:
            return  # one that the leader sent has overtaken it
        term = self._world.checker.committed[index]
        writer = self.disk.snapshots.begin(index, term)
        writer.write(data)
        meta = writer.finish(self._membership)
        trail = self._world.random.randint(0, self._world.plan.trail_entries_max)
        first_kept = Index(max(1, index + 1 - trail))
        self._world.trace.note("compact", self.id, meta, first_kept)
        self._world.coverage.snapshots_taken += 1
        self.disk.journal.compact(meta, first_kept)
        self.core.compact(meta, first_kept)
        self._prune()

    # --- work ---------------------------------------------------------------------------------

    def _give(self, handler: Callable[[Any], None], argument: object) -> None:
        self._inbox.append((handler, argument))
        linger_us = self._world.plan.linger_us_max
        if linger_us == 0:
            self._work()
        elif not self._work_planned:
            self._work_planned = True
            self._later(self._world.random.randint(0, linger_us), self._work)

    def _work(self) -> None:
        self._work_planned = False
        while self._writing is None and not self.is_paused:
            while self._inbox:
                handler, argument = self._inbox.popleft()
                handler(argument)
                self._world.checker.stepped(self.core)
            ready = self.core.ready()
            if ready is None:
                return
            self._carry_out(ready)

    def _carry_out(self, ready: Ready) -> None:
        if ready.committed:
            self._deliver(ready.committed)
        for message in ready.messages:
            if isinstance(message, InstallSnapshot):
                message = self._with_data(message)  # noqa: PLW2901 - the same message, filled in
            self._send(message)
        if not ready.entries and ready.hard_state is None:
            self._finish(ready)
            return
        self._writing = ready
        delay_us = self._world.random.randint(50, self._world.plan.write_us_max)
        self._later(delay_us + self.disk_delay_us, self._written)

    def _written(self) -> None:
        assert self._writing is not None
        self._write(self._writing)
        if self.is_paused:
            self._written_in_pause = True
        else:
            self._finish_write()
            self._work()

    def _write(self, ready: Ready) -> None:
        self._world.trace.note("write", self.id, ready.hard_state, ready.entries)
        dropped = self._world.checker.writing(self.id, ready.hard_state, ready.entries)
        if dropped > 0:
            self._world.coverage.log_truncations += 1
        self.disk.journal.append(ready.hard_state, ready.entries)

    def _finish_write(self) -> None:
        ready, self._writing = self._writing, None
        assert ready is not None
        self._finish(ready)

    def _finish(self, ready: Ready) -> None:
        for message in ready.replies:
            self._send(message)
        for chunk in ready.chunks:
            self._put_down(chunk)
        for read in ready.reads:
            self._released(read)
        was_leader = self.core.is_leader
        self.core.persisted()
        self._note_role(was_leader)
        self._world.checker.stepped(self.core)

    def _deliver(self, committed: tuple[Entry, ...]) -> None:
        outcome = self._proposals.committed(committed)
        self._refuse(outcome.overwritten)
        for entry in committed:
            self._apply(entry)
            token = outcome.tokens.get(entry.index)
            if token is not None:
                self._world.clients.committed(token, entry.index)

    def _apply(self, entry: Entry) -> None:
        self.machine.apply(entry)
        self._world.coverage.entries_committed += 1
        self._world.checker.applied(self.id, entry, self.machine)
        self._answer_reads()
        index = entry.index
        since = self.core.snapshot.index if self.core.snapshot else 0
        if not self._snapshot_under_way and index - since >= self._world.plan.snapshot_entries:
            self._snapshot_under_way = True
            taken = (index, self.machine.snapshot())
            self._later(
                self._world.random.randint(100, SNAPSHOT_WRITE_US_MAX),
                partial(self._give, self._snapshot_written, taken),
            )

    def _refuse(self, tokens: tuple[int, ...]) -> None:
        for token in tokens:
            self._world.coverage.writes_overwritten += 1
            self._world.clients.refused(token)

    def _released(self, read: ReadRelease) -> None:
        token = self._reads_asked.pop(read.context)
        if read.index is None:
            self._answer(token, None)
        else:
            self._reads_unapplied.append((read.index, token))
            self._answer_reads()

    def _answer_reads(self) -> None:
        applied = self.machine.state.index
        waiting = []
        for index, token in self._reads_unapplied:
            if index <= applied:
                self._answer(token, index)
            else:
                waiting.append((index, token))
        self._reads_unapplied = waiting

    def _answer(self, token: int, index: Index | None) -> None:
        self._world.clients.answered(
            self.id, token, index, self.machine, by_leader=self.core.is_leader
        )

    # --- snapshots between nodes --------------------------------------------------------------

    def _with_data(self, message: InstallSnapshot) -> InstallSnapshot:
        size = self._world.plan.raft.snapshot_chunk_bytes
        data = self.disk.snapshots.read(message.meta, message.offset, size)
        return msgspec.structs.replace(message, data=data)

    def _put_down(self, chunk: InstallSnapshot) -> None:
        meta = chunk.meta
        if not self.core.wants_snapshot(meta):
            return
        next_offset = self.disk.snapshots.receive(meta, chunk.offset, chunk.data)
        if next_offset < meta.size_bytes:
            self.core.snapshot_received(chunk, next_offset)
        elif self.disk.snapshots.accept(meta):
            self._install(chunk, meta)
        else:
            self._world.coverage.snapshots_refused_as_damaged += 1
            self.core.snapshot_received(chunk, 0)

    def _install(self, chunk: InstallSnapshot, meta: SnapshotMeta) -> None:
        self._world.trace.note("install", self.id, meta)
        self._world.coverage.snapshots_installed += 1
        self._world.checker.installing(self.id, meta)
        self.disk.journal.install(meta)
        self.core.snapshot_installed(chunk)
        self.machine = self._restored(meta)
        self._world.checker.restored(self.id, self.machine)
        self._answer_reads()
        self._prune()

    def _restored(self, meta: SnapshotMeta) -> Machine:
        return Machine(b"".join(self.disk.snapshots.chunks(meta)))

    def _prune(self) -> None:
        leader = self.core.leader
        in_use = leader.snapshots_in_use() if leader else []
        assert self.core.snapshot is not None
        self.disk.snapshots.prune((self.core.snapshot, *in_use))

    # --- small things -------------------------------------------------------------------------

    def _send(self, message: AnyPeerMessage) -> None:
        self._world.trace.note("send", message)
        self._world.checker.sending(message)
        self._world.network.send(message)

    def _later(self, delay_us: int, action: Callable[[], None]) -> None:
        """Do something in this life."""
        life = self._life

        def if_still_alive() -> None:
            if self._life == life:
                action()

        self._world.scheduler.after(delay_us, if_still_alive)

    def _note_role(self, was_leader: bool) -> None:
        if self.core.is_leader == was_leader:
            return
        self._world.trace.note("lead" if self.core.is_leader else "unlead", self.id, self.core.term)
        if was_leader:
            self._world.coverage.leaders_that_stepped_down += 1
        else:
            self._world.coverage.elections += 1
