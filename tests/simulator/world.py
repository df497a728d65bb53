"""What all nodes of a simulation share."""

from __future__ import annotations

from random import Random
from typing import Protocol

import msgspec

from felix.proto.ids import Index, NodeId
from tests.simulator.coverage import Coverage
from tests.simulator.invariants import Checker
from tests.simulator.machine import Machine
from tests.simulator.network import Network
from tests.simulator.plan import Plan
from tests.simulator.scheduler import Scheduler
from tests.simulator.trace import Trace


class Clients(Protocol):
    """Those who wait for what a node does."""

    def refused(self, token: int) -> None:
        """Hear that a write is not in the log, or not any more."""
        ...

    def committed(self, token: int, index: Index) -> None:
        """Hear that a write is committed and applied."""
        ...

    def answered(
        self, node_id: NodeId, token: int, index: Index | None, machine: Machine, *, by_leader: bool
    ) -> None:
        """Hear of a read: it may use the machine as it is; without an index it failed."""
        ...


class World(msgspec.Struct, frozen=True):
    """Time, chance, the network, and those who watch."""

    plan: Plan
    scheduler: Scheduler
    random: Random
    trace: Trace
    coverage: Coverage
    checker: Checker
    network: Network
    clients: Clients
