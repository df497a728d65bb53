"""What clients ask of one node in one life, until it is answered."""

from __future__ import annotations

from collections.abc import Sequence

from felix.actors.proposals import Proposals
from felix.core.raft.core import RaftCore
from felix.core.raft.ready import ReadRelease
from felix.proto.errors import NotLeader
from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import Entry
from tests.simulator.machine import Machine
from tests.simulator.world import World


class Writes:
    """Writes: they wait while leadership is handed over, then for their commit."""

    def __init__(self, core: RaftCore, world: World) -> None:
        self._core = core
        self._world = world
        self._proposals = Proposals()
        self._held: list[tuple[int, bytes]] = []

    def ask(self, token: int, data: bytes) -> None:
        """Propose a command, or refuse it, or hold it."""
        if self._core.is_transferring:
            self._world.coverage.writes_held_in_transfers += 1
            self._held.append((token, data))
        else:
            self._propose(token, data)

    def go_on(self) -> None:
        """Propose what was held, once the handover is over, however it ended."""
        if self._held and not self._core.is_transferring:
            held, self._held = self._held, []
            for token, data in held:
                self._propose(token, data)

    def _propose(self, token: int, data: bytes) -> None:
        try:
            index = self._core.propose([data])
        except NotLeader:
            self._world.clients.refused(token)
        else:
            self._proposals.add(index, self._core.term, [token])

    def committed(self, entries: Sequence[Entry]) -> dict[Index, int]:
        """Find out whose writes these are; those whose place others took are refused."""
        outcome = self._proposals.committed(entries)
        for token in outcome.overwritten:
            self._world.coverage.writes_overwritten += 1
            self._world.clients.refused(token)
        return outcome.tokens


class Reads:
    """Linearizable reads: they wait for the core, then for the state machine."""

    def __init__(self, core: RaftCore, world: World) -> None:
        self._core = core
        self._world = world
        self._contexts = 0
        self._asked: dict[int, tuple[int, Term | None]] = {}
        """Tokens, and the term in which this node led when it was asked."""
        self._unapplied: list[tuple[Index, int]] = []

    def ask(self, token: int) -> None:
        """Ask the core for a read."""
        self._contexts += 1
        core = self._core
        self._asked[self._contexts] = token, core.term if core.is_leader else None
        core.read_index(self._contexts)

    def confirmed_by_this_leader(self, releases: Sequence[ReadRelease]) -> bool:
        """Say whether this node lets reads go because it leads, and a quorum said so."""
        return self._core.is_leader and any(
            one.index is not None and self._asked[one.context][1] == self._core.term
            for one in releases
        )

    def released(self, release: ReadRelease, machine: Machine) -> None:
        """Hear what the core says."""
        token, _ = self._asked.pop(release.context)
        if release.index is None:
            self._answer(token, None, machine)
        else:
            self._unapplied.append((release.index, token))
            self.answer(machine)

    def answer(self, machine: Machine) -> None:
        """Answer those for which enough is applied."""
        applied = machine.state.index
        waiting = []
        for index, token in self._unapplied:
            if index <= applied:
                self._answer(token, index, machine)
            else:
                waiting.append((index, token))
        self._unapplied = waiting

    def _answer(self, token: int, index: Index | None, machine: Machine) -> None:
        node_id: NodeId = self._core.id
        self._world.clients.answered(node_id, token, index, machine, by_leader=self._core.is_leader)
