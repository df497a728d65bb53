"""Snapshots of one node in one life: written, sent, received and installed."""

from __future__ import annotations

import msgspec

from felix.core.raft import membership as memberships
from felix.core.raft.core import RaftCore
from felix.proto.ids import Index
from felix.proto.raft import InstallSnapshot, SnapshotMeta
from tests.simulator.disk import Disk
from tests.simulator.machine import Machine
from tests.simulator.world import World


class Snapshots:
    """Does what a core leaves to whoever has the files."""

    def __init__(self, core: RaftCore, disk: Disk, world: World) -> None:
        self._core = core
        self._disk = disk
        self._world = world

    def write(self, index: Index, data: bytes) -> None:
        """Write the state after `index`, and trim the log."""
        core, world = self._core, self._world
        if core.snapshot is not None and index <= core.snapshot.index:
            return  # one that the leader sent has overtaken it
        writer = self._disk.snapshots.begin(index, world.checker.term_of(index))
        writer.write(data)
        meta = writer.finish(core.membership_at(index))
        world.checker.electorate.check_snapshot(core.id, meta)
        trail = world.random.randint(0, world.plan.trail_entries_max)
        first_kept = Index(max(1, index + 1 - trail))
        world.trace.note("compact", core.id, meta, first_kept)
        world.coverage.snapshots_taken += 1
        self._disk.journal.compact(meta, first_kept)
        core.compact(meta, first_kept)
        self._prune()

    def filled_in(self, message: InstallSnapshot) -> InstallSnapshot:
        """Fill in the piece of the file that a message wants."""
        size = self._world.plan.raft.snapshot_chunk_bytes
        data = self._disk.snapshots.read(message.meta, message.offset, size)
        return msgspec.structs.replace(message, data=data)

    def put_down(self, chunk: InstallSnapshot) -> Machine | None:
        """Take a piece; return the new state machine once all are here."""
        meta = chunk.meta
        if not self._core.wants_snapshot(meta):
            return None
        next_offset = self._disk.snapshots.receive(meta, chunk.offset, chunk.data)
        if next_offset < meta.size_bytes:
            self._core.snapshot_received(chunk, next_offset)
        elif self._disk.snapshots.accept(meta):
            self._install(chunk)
            return self.machine(meta)
        else:
            self._world.coverage.snapshots_refused_as_damaged += 1
            self._core.snapshot_received(chunk, 0)
        return None

    def machine(self, meta: SnapshotMeta) -> Machine:
        """Read a snapshot."""
        return Machine(b"".join(self._disk.snapshots.chunks(meta)))

    def _install(self, chunk: InstallSnapshot) -> None:
        core, meta, world = self._core, chunk.meta, self._world
        world.trace.note("install", core.id, meta)
        world.coverage.snapshots_installed += 1
        is_younger = memberships.member(meta.membership, core.id) is None
        world.coverage.snapshots_older_than_their_receiver += is_younger
        world.checker.installing(core.id, meta)
        self._disk.journal.install(meta)
        core.snapshot_installed(chunk)
        self._prune()

    def _prune(self) -> None:
        leader = self._core.leader
        in_use = leader.snapshots_in_use() if leader else []
        assert self._core.snapshot is not None
        self._disk.snapshots.prune((self._core.snapshot, *in_use))
