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

from felix.core.raft.core import RaftCore
from felix.core.raft.ready import Ready
from felix.core.raft.transfer import Transfer
from felix.proto.cluster import AddMember, RemoveMember, UpdateMember
from felix.proto.errors import MembershipRefused, NotFound, NotLeader, TransferRefused
from felix.proto.ids import Index, NodeId
from felix.proto.raft import (
    AnyPeerMessage,
    Checkpoint,
    Entry,
    InstallSnapshot,
    Membership,
)
from tests.simulator.disk import Disk
from tests.simulator.electorate import InvariantBroken
from tests.simulator.machine import Machine
from tests.simulator.requests import Reads, Writes
from tests.simulator.snapshots import Snapshots
from tests.simulator.world import World

TICKS_AT_ONCE_MAX = 10
SNAPSHOT_WRITE_US_MAX = 60_000


class SimulatedNode:
    """A node that can be killed, started and stopped at any moment."""

    def __init__(
        self,
        disk: Disk,
        name: str,
        founding: Membership | None,
        world: World,
        stopped: Callable[[SimulatedNode], None],
    ) -> None:
        """`founding` is given to the founders; `stopped` hears of a node that stops for good."""
        self.id: NodeId = disk.node_id
        self.name = name
        self.disk = disk
        self._founding = founding
        self._world = world
        self._stopped = stopped
        self.is_alive = False
        self.is_paused = False
        self.is_lost = False
        """Its disk was lost or set aside: this identity never comes back."""
        self.is_retired = False
        """Given up by the operators; it may come back with its old disk."""
        self.tick_us = world.plan.tick_us
        self.disk_delay_us = 0
        self._life = 0
        """Grows with each start, so that nothing reaches a later life from an earlier one."""

    @property
    def has_started(self) -> bool:
        """Whether it ever ran."""
        return self._life > 0

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
            Membership(()),
            self._world.plan.raft,
            Random(f"{self._world.plan.seed} {self.id} {self._life}"),
            hard_state=recovered.hard_state,
            snapshot=snapshot,
            entries=recovered.entries,
        )
        self._snapshots = Snapshots(self.core, self.disk, self._world)
        self.machine = self._snapshots.machine(snapshot) if snapshot else Machine()
        self._inbox: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._writing: Ready | None = None
        self._written_in_pause = False
        self._work_planned = False
        self._snapshot_under_way = False
        self._writes = Writes(self.core, self._world)
        self._reads = Reads(self.core, self._world)
        self._transfer: Transfer | None = None
        self._transfer_ticks = 0
        self._last_tick_us = self._world.scheduler.now_us
        if snapshot is not None:
            self._world.coverage.restarts_from_a_snapshot += 1
        self._world.checker.restarted(self.id)
        self._world.checker.restored(self.id, self.machine)
        self._world.checker.stepped(self.core)
        self._later(self.tick_us, self._tick)
        if self._founding is not None:
            if self.core.log.last_index == 0:
                self.core.found(self._founding)
                self._world.checker.electorate.note(self.core.log.slice(Index(1), Index(1)))
            self._work()

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
        self._end()

    def lose_disk(self) -> None:
        """Never start again: the disk is gone, or not to be trusted and set aside."""
        self.is_lost = True
        if self.is_alive:
            self.crash(keep_write=False)
        self._world.trace.note("lost", self.id)
        self._stopped(self)

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
        self._give(lambda _: self._writes.ask(token, data), None)

    def read(self, token: int) -> None:
        """Ask for a linearizable read; the clients hear of it."""
        self._give(self._reads_ask, token)

    def change(
        self, command: AddMember | UpdateMember | RemoveMember, is_sensible: Callable[[], bool]
    ) -> None:
        """Ask for a change of the membership, unless it makes no sense any more by then."""
        self._give(self._change, (command, is_sensible))

    def transfer(self, target: NodeId | None) -> None:
        """Ask for a handover."""
        self._give(self._begin_transfer, target)

    def step_clock(self, step_us: int) -> None:
        """Let the clock jump; back means that some ticks do not come."""
        self._last_tick_us -= step_us

    def _step(self, message: AnyPeerMessage) -> None:
        if isinstance(message, InstallSnapshot):
            self._world.coverage.snapshot_chunks_received += 1
        was_leader = self.core.is_leader
        self.core.step(message)
        self._note_role(was_leader)

    def _reads_ask(self, token: int) -> None:
        self._reads.ask(token)

    def _change(
        self, request: tuple[AddMember | UpdateMember | RemoveMember, Callable[[], bool]]
    ) -> None:
        command, is_sensible = request
        if not is_sensible():
            return
        self._world.trace.note("change", self.id, command)
        try:
            self.core.change_membership(command)
        except (NotLeader, MembershipRefused, NotFound) as error:
            self._world.trace.note("change refused", self.id, error)
            self._world.coverage.changes_refused += 1

    def _begin_transfer(self, target: NodeId | None) -> None:
        self._world.trace.note("transfer", self.id, target)
        try:
            self.core.transfer(target)
        except (NotLeader, TransferRefused):
            self._world.coverage.transfers_refused += 1

    def _watch_transfer(self) -> None:
        """Note how a handover ends."""
        leader = self.core.leader
        now = leader.transfer if leader is not None else None
        if now is self._transfer:
            return
        if self._transfer is not None:
            self._world.trace.note("transfer over", self.id, self.core.is_leader)
            self._world.coverage.transfers_failed += self.core.is_leader
            self._world.coverage.transfers_done += not self.core.is_leader
        self._transfer, self._transfer_ticks = now, 0

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
            self._transfer_ticks += 1
            self._watch_transfer()
            if self._transfer and self._transfer_ticks > self.core.config.election_ticks_min:
                raise InvariantBroken(f"the handover of {self.id} does not end")

    def _snapshot_written(self, taken: tuple[Index, bytes]) -> None:
        self._snapshot_under_way = False
        self._snapshots.write(*taken)

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
                self._watch_transfer()
                self._writes.go_on()
                self._world.checker.stepped(self.core)
            ready = self.core.ready()
            if ready is None:
                self._stop_if_told()
                return
            self._carry_out(ready)

    def _stop_if_told(self) -> None:
        """Stop for good, as a node does that was removed or that has gone wrong."""
        if self.core.dismissed_at is not None:
            self._world.checker.electorate.check_dismissed(self.id)
            self._world.trace.note("dismissed", self.id)
            self._world.coverage.dismissals += 1
            self._end()
            self._stopped(self)
        elif self.core.diverged_at is not None:
            if not self.machine.is_wrong:
                raise InvariantBroken(f"{self.id} is quarantined and was right")
            self._world.coverage.quarantines += 1
            self.lose_disk()

    def _end(self) -> None:
        self._life += 1
        self.is_alive = False

    def _carry_out(self, ready: Ready) -> None:
        if self._reads.confirmed_by_this_leader(ready.reads):
            self._world.checker.confirmed(self.core)
        if ready.committed:
            self._deliver(ready.committed)
        for message in ready.messages:
            if isinstance(message, InstallSnapshot):
                message = self._snapshots.filled_in(message)  # noqa: PLW2901 - the same message, filled in
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
            self._world.checker.electorate.check_in_force(self.core)
        self.disk.journal.append(ready.hard_state, ready.entries)

    def _finish_write(self) -> None:
        ready, self._writing = self._writing, None
        assert ready is not None
        self._finish(ready)

    def _finish(self, ready: Ready) -> None:
        for message in ready.replies:
            self._send(message)
        for chunk in ready.chunks:
            self._replace_machine(self._snapshots.put_down(chunk))
        for read in ready.reads:
            self._reads.released(read, self.machine)
        was_leader = self.core.is_leader
        self.core.persisted()
        self._note_role(was_leader)
        self._watch_transfer()
        self._writes.go_on()
        self._world.checker.stepped(self.core)

    def _replace_machine(self, machine: Machine | None) -> None:
        if machine is not None:
            self.machine = machine
            self._world.checker.restored(self.id, machine)
            self._reads.answer(machine)

    def _deliver(self, committed: tuple[Entry, ...]) -> None:
        tokens = self._writes.committed(committed)
        for entry in committed:
            self._apply(entry)
            token = tokens.get(entry.index)
            if token is not None:
                self._world.clients.committed(token, entry.index)

    def _apply(self, entry: Entry) -> None:
        self.machine.apply(entry)
        self._world.coverage.entries_committed += 1
        self._world.checker.applied(self.id, entry, self.machine)
        self._reads.answer(self.machine)
        index = entry.index
        if index % self._world.plan.checkpoint_entries == 0:
            self.core.checkpoints.add(Checkpoint(index, self.machine.state.digest.hex()))
        self._consider_snapshot(index)

    def _consider_snapshot(self, index: Index) -> None:
        since = self.core.snapshot.index if self.core.snapshot else 0
        is_due = index - since >= self._world.plan.snapshot_entries
        if is_due and not self._snapshot_under_way and not self.machine.is_wrong:
            self._snapshot_under_way = True
            taken = (index, self.machine.snapshot())
            self._later(
                self._world.random.randint(100, SNAPSHOT_WRITE_US_MAX),
                partial(self._give, self._snapshot_written, taken),
            )

    # --- small things -------------------------------------------------------------------------

    def _send(self, message: AnyPeerMessage) -> None:
        self._world.trace.note("send", message)
        self._world.checker.sending(message, self.core)
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
