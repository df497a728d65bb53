"""A few cores that talk to each other, step by step, with disks that are done at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

import msgspec

from felix.core.raft.config import RaftConfig
from felix.core.raft.core import RaftCore
from felix.core.raft.ready import ReadRelease, Ready
from felix.core.raft.standing import Role
from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import (
    AnyPeerMessage,
    Entry,
    EntryKind,
    HardState,
    InstallSnapshot,
    Membership,
    SnapshotMeta,
)
from felix.storage.memory import MemoryJournal, MemorySnapshots

A, B, C, D, E = (NodeId(name) for name in "ABCDE")
CONFIG = RaftConfig(heartbeat_ticks=2, election_ticks_min=10, election_ticks_max=20)

Message = TypeVar("Message", bound=AnyPeerMessage)


def entry(index: int, term: int, data: bytes = b"x") -> Entry:
    """Make a command's entry."""
    return Entry(Index(index), Term(term), EntryKind.COMMAND, data)


def entries(*terms: int) -> list[Entry]:
    """Make a log from the terms of its entries."""
    return [entry(index, term) for index, term in enumerate(terms, start=1)]


def only(messages: Sequence[AnyPeerMessage], kind: type[Message]) -> list[Message]:
    """Pick the messages of one kind."""
    return [message for message in messages if isinstance(message, kind)]


class Node:
    """A core with its disk; what it wants done is done at once."""

    def __init__(
        self,
        node_id: NodeId,
        voters: Sequence[NodeId],
        config: RaftConfig = CONFIG,
        *,
        term: int = 0,
        log: Sequence[Entry] = (),
        seed: int = 0,
    ) -> None:
        """Start with a term and a log that are on the disk."""
        self.id = node_id
        self._membership = Membership(tuple(voters))
        self._config = config
        self.seed = seed
        self.journal = MemoryJournal()
        self.journal.append(HardState(Term(term), None), log)
        self.snapshots = MemorySnapshots()
        self.applied: list[Entry] = []
        self.reads: list[ReadRelease] = []
        self.restart()

    def restart(self) -> None:
        """Forget everything but the disk."""
        recovered = self.journal.recover()
        self.core = RaftCore(
            self.id,
            self._membership,
            self._config,
            Random(f"{self.id} {self.seed}"),
            hard_state=recovered.hard_state,
            snapshot=recovered.snapshot,
            entries=recovered.entries,
        )
        self.seed += 1

    def tick(self, times: int = 1) -> None:
        """Let ticks pass."""
        for _ in range(times):
            self.core.tick()

    def tick_until(self, condition: Callable[[], bool]) -> int:
        """Let ticks pass until something holds; return how many."""
        for ticks in range(1000):
            if condition():
                return ticks
            self.core.tick()
        raise AssertionError("it never came to hold")

    def work(self) -> list[AnyPeerMessage]:
        """Carry out everything; return what was said, in order."""
        said: list[AnyPeerMessage] = []
        while (ready := self.core.ready()) is not None:
            said += self.carry_out(ready)
        return said

    def carry_out(self, ready: Ready) -> list[AnyPeerMessage]:
        """Carry out one round."""
        self.applied += ready.committed
        said = [self._filled_in(message) for message in ready.messages]
        self.journal.append(ready.hard_state, ready.entries)
        said += ready.replies
        for chunk in ready.chunks:
            self._put_down(chunk)
        self.reads += ready.reads
        self.core.persisted()
        return said

    def hear(self, *messages: AnyPeerMessage) -> list[AnyPeerMessage]:
        """Take in messages as one batch; return what was said to them."""
        for message in messages:
            self.core.step(message)
        return self.work()

    def take_snapshot(self, data: bytes, first_kept: int | None = None) -> SnapshotMeta:
        """Write a snapshot of what was applied, and trim the log."""
        index = self.core.applied
        term = self.core.log.term_at(index)
        assert term is not None
        writer = self.snapshots.begin(index, term)
        writer.write(data)
        meta = writer.finish(self.core.membership_at(index))
        kept = Index(first_kept or index + 1)
        self.journal.compact(meta, kept)
        self.core.compact(meta, kept)
        return meta

    def _filled_in(self, message: AnyPeerMessage) -> AnyPeerMessage:
        if not isinstance(message, InstallSnapshot):
            return message
        size = self._config.snapshot_chunk_bytes
        data = self.snapshots.read(message.meta, message.offset, size)
        return msgspec.structs.replace(message, data=data)

    def _put_down(self, chunk: InstallSnapshot) -> None:
        if not self.core.wants_snapshot(chunk.meta):
            return
        wanted = self.snapshots.receive(chunk.meta, chunk.offset, chunk.data)
        if wanted < chunk.meta.size_bytes:
            self.core.snapshot_received(chunk, wanted)
        elif self.snapshots.accept(chunk.meta):
            self.journal.install(chunk.meta)
            self.core.snapshot_installed(chunk)
        else:
            self.core.snapshot_received(chunk, 0)


class Group:
    """Nodes and a network that delivers at once, in order, except where it is cut."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes = {node.id: node for node in nodes}
        self.cut: set[NodeId] = set()
        self.said: list[AnyPeerMessage] = []
        """Everything that was sent, delivered or not."""

    def __getitem__(self, node_id: NodeId) -> Node:
        """Find a node."""
        return self.nodes[node_id]

    def settle(self) -> None:
        """Let everyone work and talk until nobody has anything to do."""
        for _ in range(10_000):
            said = [message for node in self.nodes.values() for message in node.work()]
            if not said:
                return
            self.said += said
            for message in said:
                if not {message.sender, message.to} & self.cut and message.to in self.nodes:
                    self.nodes[message.to].core.step(message)
        raise AssertionError("they never stop talking")

    def tick(self, times: int = 1) -> None:
        """Let ticks pass for all, one after the other."""
        for _ in range(times):
            for node in self.nodes.values():
                node.tick()
            self.settle()

    def elect(self, node_id: NodeId) -> None:
        """Make a node lead: its timeout ends first, and nobody has heard a leader lately."""
        node = self.nodes[node_id]
        for other in self.nodes.values():
            other.core._elapsed = CONFIG.election_ticks_min
        node.tick_until(lambda: node.core.role is not Role.FOLLOWER)
        self.settle()
        assert node.core.is_leader, f"{node_id} was not elected"

    def propose(self, node_id: NodeId, *commands: bytes) -> Index:
        """Propose at a leader and let everyone work."""
        first = self.nodes[node_id].core.propose(commands)
        self.settle()
        return first


def group(*names: NodeId, config: RaftConfig = CONFIG) -> Group:
    """Make a group of new nodes."""
    return Group(*(Node(name, names, config) for name in names))
