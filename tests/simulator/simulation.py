"""One history: a cluster, its faults and its clients, decided by one seed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from felix.core.raft import membership as memberships
from felix.proto.ids import NodeId, Term
from felix.proto.raft import AnyPeerMessage
from tests.simulator.clients import RecordingClients
from tests.simulator.cluster import Cluster
from tests.simulator.coverage import Coverage
from tests.simulator.disk import Disk
from tests.simulator.electorate import InvariantBroken
from tests.simulator.faults import Saboteur
from tests.simulator.invariants import Checker
from tests.simulator.network import Network
from tests.simulator.node import SimulatedNode
from tests.simulator.operators import Operators
from tests.simulator.plan import LIVENESS_US, SAFETY_US, Fault, Plan, draw_plan
from tests.simulator.scheduler import Scheduler
from tests.simulator.trace import Trace
from tests.simulator.world import World

PROBE_EVERY_US = 50_000
SLOW_PROBE_EVERY_US = 250_000


class Simulation:
    """Runs one seed: first with faults, then healed."""

    def __init__(
        self, seed: int, nodes: int = 5, write_trace: Callable[[str], object] | None = None
    ) -> None:
        """`write_trace` is called with each line of the trace."""
        self.plan = self._draw(seed, nodes)
        self.coverage = Coverage()
        self._scheduler = Scheduler()
        self.trace = Trace(self._scheduler, write_trace)
        self._random = Random(f"run {seed}")
        disks: dict[NodeId, Disk] = {}
        self._checker = Checker(disks, self.coverage)
        self._clients = RecordingClients(self._random, self.trace, self.coverage, self._checker)
        common = (self.plan, self._scheduler, self._random, self.trace, self.coverage)
        self._network = Network(*common, self._deliver)
        world = World(*common, self._checker, self._network, self._clients)
        self._cluster = Cluster(world, disks, machines=nodes)
        self._saboteur = Saboteur(world, self._cluster, Operators(world, self._cluster))
        self._probes: set[int] = set()
        self._trouble_end_us = 0

    def _draw(self, seed: int, nodes: int) -> Plan:
        return draw_plan(seed, nodes)

    @property
    def now_us(self) -> int:
        """The virtual time."""
        return self._scheduler.now_us

    def run(self) -> None:
        """Run to the end. Raises: InvariantBroken, or whatever a broken core raises."""
        self._begin()
        self._trouble(SAFETY_US, LIVENESS_US)
        self.trace.note("end", self._positions())

    def _begin(self) -> None:
        self.trace.note("plan", self.plan.seed, [fault.name for fault in self.plan.faults])
        for node in list(self._cluster.nodes.values()):
            node.start()

    def _trouble(self, length_us: int, liveness_us: int) -> None:
        """Let faults happen, then none, and require that all agree."""
        self._trouble_end_us = self.now_us + length_us
        self._network.break_again()
        self._network.allow_more()
        self._saboteur.start()
        self._operate()
        self._scheduler.run_until(self._trouble_end_us)
        self._saboteur.stop()
        self._probes.clear()
        self._probe()
        if not self._scheduler.run_until(self.now_us + liveness_us, self._has_converged):
            raise InvariantBroken(f"healed, but no agreement: {self._positions()}")
        self.coverage.terms = max(node.core.term for node in self._cluster.members())

    def _require_term(self, term: Term) -> None:
        """Require that nobody was elected. Raises: InvariantBroken."""
        terms = {node.core.term for node in self._cluster.members()}
        if terms != {term}:
            raise InvariantBroken(f"an election without any fault: {terms} after {term}")

    def _deliver(self, message: AnyPeerMessage) -> None:
        node = self._cluster.nodes.get(message.to)
        if node is not None:
            node.hear(message)

    def _operate(self) -> None:
        """Let clients work as long as there are faults."""
        if self.now_us >= self._trouble_end_us:
            return
        is_burst = self.plan.has(Fault.BURST) and self._random.random() < 0.1
        writes = self._random.randint(20, 100) if is_burst else 1
        self._clients.operate(self._cluster.alive(), writes)
        delay_us = self._random.randint(1, 2 * self.plan.operation_every_us)
        self._scheduler.after(delay_us, self._operate)

    def _probe(self) -> None:
        """Write at the leader until a write that began after the healing is acknowledged.

        And then, more slowly, until nobody is wrong any more: digests are compared at entries, and
        only a majority that keeps up can judge.
        """
        is_acknowledged = bool(self._probes & self._clients.acknowledged)
        if is_acknowledged and not any(node.machine.is_wrong for node in self._cluster.alive()):
            return
        for node in self._cluster.leading():
            self._probes.add(self._clients.write(node))
        delay_us = SLOW_PROBE_EVERY_US if is_acknowledged else PROBE_EVERY_US
        self._scheduler.after(delay_us, self._probe)

    def _has_converged(self) -> bool:
        if not self._probes & self._clients.acknowledged or not self._is_settled():
            return False
        members = self._cluster.members()
        if len(set(map(self._position, members))) != 1:
            return False
        core = members[0].core
        return core.leader_id is not None and core.log.persisted == core.commit

    def _is_settled(self) -> bool:
        """Say whether everyone who runs takes part, everyone who takes part runs, and one leads."""
        membership = self._cluster.membership
        if memberships.is_joint(membership) or membership.learners:
            return False
        alive = [
            node
            for node in self._cluster.alive()
            if not self._cluster.is_removed(node) or self._cluster.can_be_told(node)
        ]
        return (
            {node.id for node in alive} == {*membership.voters}
            and not any(node.machine.is_wrong for node in alive)
            and sum(node.core.is_leader for node in alive) == 1
        )

    def _positions(self) -> list[tuple[object, ...]]:
        """Say where every node is; those that take part are all equal when they agree."""
        return [self._position(node) for node in self._cluster.alive() + self._cluster.members()]

    def _position(self, node: SimulatedNode) -> tuple[object, ...]:
        return (
            node.core.term,
            node.core.leader_id,
            node.core.membership.voters,
            node.core.log.last_term,
            node.core.log.last_index,
            node.core.commit,
            node.machine.state.index,
            node.machine.state.version,
            node.machine.state.digest.hex(),
            node.disk.journal.last_index,
        )
