"""One history: a cluster, its faults and its clients, decided by one seed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from felix.proto.ids import NodeId
from felix.proto.raft import AnyPeerMessage, Membership
from tests.simulator.clients import RecordingClients
from tests.simulator.coverage import Coverage
from tests.simulator.disk import empty_disk
from tests.simulator.faults import Saboteur
from tests.simulator.invariants import Checker, InvariantBroken
from tests.simulator.network import Network
from tests.simulator.node import SimulatedNode
from tests.simulator.plan import LIVENESS_US, SAFETY_US, Fault, Plan, draw_plan
from tests.simulator.scheduler import Scheduler
from tests.simulator.trace import Trace
from tests.simulator.world import World

PROBE_EVERY_US = 50_000


class Simulation:
    """Runs one seed: first with faults, then healed."""

    def __init__(
        self, seed: int, nodes: int = 5, write_trace: Callable[[str], object] | None = None
    ) -> None:
        """`write_trace` is called with each line of the trace."""
        self.plan: Plan = draw_plan(seed, nodes)
        self.coverage = Coverage()
        self._scheduler = Scheduler()
        self.trace = Trace(self._scheduler, write_trace)
        self._random = Random(f"run {seed}")
        membership = Membership(tuple(NodeId(f"n{number}") for number in range(1, nodes + 1)))
        disks = {node_id: empty_disk(node_id) for node_id in membership.voters}
        self._checker = Checker(disks)
        self._clients = RecordingClients(self._random, self.trace, self.coverage, self._checker)
        common = (self.plan, self._scheduler, self._random, self.trace, self.coverage)
        self._network = Network(*common, self._deliver)
        world = World(*common, self._checker, self._network, self._clients)
        self._nodes = {
            node_id: SimulatedNode(disk, membership, world) for node_id, disk in disks.items()
        }
        self._saboteur = Saboteur(*common, self._network, self._nodes)
        self._probes: set[int] = set()

    def run(self) -> None:
        """Run to the end. Raises: InvariantBroken, or whatever a broken core raises."""
        self.trace.note("plan", self.plan.seed, [fault.name for fault in self.plan.faults])
        for node in self._nodes.values():
            node.start()
        self._saboteur.start()
        self._operate()
        self._scheduler.run_until(SAFETY_US)
        self._saboteur.stop()
        self._probe()
        if not self._scheduler.run_until(SAFETY_US + LIVENESS_US, self._has_converged):
            raise InvariantBroken(f"healed, but no agreement: {self._positions()}")
        self.coverage.terms = max(node.core.term for node in self._nodes.values())
        self.trace.note("end", self._positions())

    def _deliver(self, message: AnyPeerMessage) -> None:
        self._nodes[message.to].hear(message)

    def _operate(self) -> None:
        """Let clients work as long as there are faults."""
        if self._scheduler.now_us >= SAFETY_US:
            return
        is_burst = self.plan.has(Fault.BURST) and self._random.random() < 0.1
        writes = self._random.randint(20, 100) if is_burst else 1
        self._clients.operate(list(self._nodes.values()), writes)
        delay_us = self._random.randint(1, 2 * self.plan.operation_every_us)
        self._scheduler.after(delay_us, self._operate)

    def _probe(self) -> None:
        """Write at the leader until a write that began after the healing is acknowledged."""
        if self._probes & self._clients.acknowledged:
            return
        for node in self._nodes.values():
            if node.core.is_leader:
                self._probes.add(self._clients.write(node))
        self._scheduler.after(PROBE_EVERY_US, self._probe)

    def _has_converged(self) -> bool:
        if not self._probes & self._clients.acknowledged:
            return False
        if len(set(self._positions())) != 1:
            return False
        cores = [node.core for node in self._nodes.values()]
        return (
            sum(core.is_leader for core in cores) == 1
            and cores[0].leader_id is not None
            and cores[0].log.persisted == cores[0].commit
        )

    def _positions(self) -> list[tuple[object, ...]]:
        """Say where every node is; all equal when they agree."""
        return [
            (
                node.core.term,
                node.core.leader_id,
                node.core.log.last_term,
                node.core.log.last_index,
                node.core.commit,
                node.machine.state.index,
                node.machine.state.version,
                node.machine.state.digest.hex(),
                node.disk.journal.last_index,
            )
            for node in self._nodes.values()
        ]
