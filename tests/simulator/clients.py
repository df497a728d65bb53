"""Clients: they write commands that are all distinct, read, and remember what they were told."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from felix.proto.ids import Index, NodeId
from tests.simulator.coverage import Coverage
from tests.simulator.electorate import InvariantBroken
from tests.simulator.invariants import NUMBERS_KEPT, Checker
from tests.simulator.machine import REGISTERS, Machine, command
from tests.simulator.node import SimulatedNode
from tests.simulator.trace import Trace


class RecordingClients:
    """Checks that the history is linearizable while it happens.

    Every operation has a place in the log: a write its index, a read the index of the state it
    saw. The history is linearizable if those places agree with real time: no operation is placed
    at or before one that had ended when it began. So one number, the floor, is all of the past
    that an operation must be compared with.
    """

    def __init__(self, random: Random, trace: Trace, coverage: Coverage, checker: Checker) -> None:
        self._random = random
        self._trace = trace
        self._coverage = coverage
        self._checker = checker
        self._floor = Index(0)
        """The highest place of an operation that has ended."""
        self._numbers = 0
        self._floor_at_start: dict[int, Index] = {}
        self.acknowledged: set[int] = set()

    def write(self, node: SimulatedNode) -> int:
        """Propose a new command at a node; return its number."""
        number = self._begin()
        self._trace.note("write?", node.id, number)
        node.propose(number, command(number))
        return number

    def read(self, node: SimulatedNode) -> int:
        """Ask a node for a linearizable read; return its number."""
        number = self._begin()
        self._trace.note("read?", node.id, number)
        node.read(number)
        return number

    def operate(self, nodes: Sequence[SimulatedNode], writes: int) -> None:
        """Read somewhere, or write at a node that believes to lead."""
        alive = [node for node in nodes if node.is_alive]
        leading = [node for node in alive if node.core.is_leader]
        if leading and self._random.random() < 0.6:
            node = self._random.choice(leading)
            for _ in range(writes):
                self.write(node)
        elif len(leading) > 1:  # where a read may go wrong: at one that was overthrown
            self.read(min(leading, key=lambda node: node.core.term))
        elif alive:
            self.read(self._random.choice(alive))

    # --- what nodes say -----------------------------------------------------------------------

    def refused(self, token: int) -> None:
        """Hear that a write has no effect and will have none."""
        self._trace.note("refused", token)
        self._coverage.writes_refused += 1
        self._checker.refused(token)
        del self._floor_at_start[token]

    def committed(self, token: int, index: Index) -> None:
        """Hear that a write is committed and applied."""
        self._trace.note("acknowledged", token, index)
        self._coverage.writes_acknowledged += 1
        self._end(token, index, "write")
        if self._checker.value_at(token % REGISTERS, index) != token:
            raise InvariantBroken(f"write {token} was acknowledged at {index}, where it is not")
        self.acknowledged.add(token)

    def answered(
        self, node_id: NodeId, token: int, index: Index | None, machine: Machine, *, by_leader: bool
    ) -> None:
        """Hear of a read: what it saw must be everything that had ended when it began."""
        self._trace.note("answered", node_id, token, index)
        if index is None:
            self._coverage.reads_refused += 1
            del self._floor_at_start[token]
            return
        if machine.is_wrong:  # its answers are wrong, until it is found out
            del self._floor_at_start[token]
            return
        self._coverage.reads_answered += 1
        self._coverage.reads_answered_by_followers += not by_leader
        state = machine.state
        if index < self._floor_at_start[token]:
            floor = self._floor_at_start[token]
            raise InvariantBroken(f"read {token} at {node_id} may see {index}, began at {floor}")
        register = token % REGISTERS
        if state.registers[register] != self._checker.value_at(register, state.index):
            raise InvariantBroken(f"read {token} at {node_id} saw a wrong value")
        self._end(token, state.index, "read")

    def forget(self) -> None:
        """Forget what will never end, because whoever knew of it has died, or long ended."""
        oldest = self._numbers - NUMBERS_KEPT
        self._floor_at_start = {
            token: floor for token, floor in self._floor_at_start.items() if token > oldest
        }
        self.acknowledged = {token for token in self.acknowledged if token > oldest}

    def _begin(self) -> int:
        self._numbers += 1
        self._floor_at_start[self._numbers] = self._floor
        return self._numbers

    def _end(self, token: int, place: Index, what: str) -> None:
        floor = self._floor_at_start.pop(token)
        if place < floor or (place == floor and what == "write"):
            raise InvariantBroken(f"{what} {token} took place at {place}, began after {floor}")
        self._floor = max(self._floor, place)
