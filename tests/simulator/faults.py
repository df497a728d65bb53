"""Begins and ends faults, at moments of its own choice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from felix.proto.ids import NodeId
from tests.simulator.coverage import Coverage
from tests.simulator.network import Link, Network
from tests.simulator.node import SimulatedNode
from tests.simulator.plan import EVENTS, TICK_US, Fault, Plan
from tests.simulator.scheduler import Scheduler
from tests.simulator.trace import Trace

DURATIONS_US_MAX = (10_000, 100_000, 500_000)


class Saboteur:
    """Makes nodes, disks and links fail as the plan says, until it is told to stop."""

    def __init__(
        self,
        plan: Plan,
        scheduler: Scheduler,
        random: Random,
        trace: Trace,
        coverage: Coverage,
        network: Network,
        nodes: dict[NodeId, SimulatedNode],
    ) -> None:
        self._plan = plan
        self._scheduler = scheduler
        self._random = random
        self._trace = trace
        self._coverage = coverage
        self._network = network
        self._nodes = nodes
        self._kinds = [fault for fault in EVENTS if plan.has(fault)]
        self._stopped = False
        self._begin: dict[Fault, Callable[[], None]] = {
            Fault.CRASH: self._crash,
            Fault.POWER_CUT: self._power_cut,
            Fault.PAUSE: self._pause,
            Fault.PARTITION: self._partition,
            Fault.ONE_WAY: self._one_way,
            Fault.SLOW_DISK: self._slow_disk,
            Fault.SLOW_LINK: self._slow_link,
            Fault.HELD_LINK: self._hold_link,
        }

    def start(self) -> None:
        """Begin with the first fault."""
        if self._plan.has(Fault.SKEW):
            for node in self._nodes.values():
                node.tick_us = int(TICK_US * self._random.uniform(0.6, 1.6))
        if self._kinds:
            self._scheduler.after(self._pause_between(), self._next)

    def stop(self) -> None:
        """End all faults: everything works from here on, and every node runs."""
        self._stopped = True
        self._trace.note("heal")
        self._network.heal()
        for node in self._nodes.values():
            node.tick_us = TICK_US
            node.disk_delay_us = 0
            if not node.is_alive:
                node.start()
            elif node.is_paused:
                node.resume()

    def _next(self) -> None:
        if self._stopped:
            return
        self._begin[self._random.choice(self._kinds)]()
        self._scheduler.after(self._pause_between(), self._next)

    def _pause_between(self) -> int:
        return self._random.randint(1, 2 * self._plan.fault_every_us)

    def _later(self, action: Callable[[], None]) -> None:
        """End a fault some time later, unless all have ended by then."""

        def unless_stopped() -> None:
            if not self._stopped:
                action()

        longest_us = self._random.choice(DURATIONS_US_MAX)
        self._scheduler.after(self._random.randint(1_000, longest_us), unless_stopped)

    def _victim(self) -> SimulatedNode | None:
        """Choose a node that runs; a leader more often than chance would."""
        running = [node for node in self._nodes.values() if node.is_alive and not node.is_paused]
        leading = [node for node in running if node.core.is_leader]
        if leading and self._random.random() < 0.5:
            return self._random.choice(leading)
        return self._random.choice(running) if running else None

    # --- nodes --------------------------------------------------------------------------------

    def _crash(self) -> None:
        victim = self._victim()
        if victim is not None:
            self._coverage.crashes += 1
            self._kill(victim)

    def _power_cut(self) -> None:
        self._coverage.power_cuts += 1
        for node in self._nodes.values():
            if node.is_alive:
                self._kill(node)

    def _kill(self, node: SimulatedNode) -> None:
        keep = self._plan.has(Fault.KEPT_WRITE) and self._random.random() < 0.5
        node.crash(keep_write=keep)
        self._later(partial(self._restart, node))

    def _restart(self, node: SimulatedNode) -> None:
        if not node.is_alive:
            node.start()

    def _pause(self) -> None:
        victim = self._victim()
        if victim is not None:
            self._coverage.pauses += 1
            victim.pause()
            self._later(partial(self._resume, victim))

    def _resume(self, node: SimulatedNode) -> None:
        if node.is_alive and node.is_paused:
            node.resume()

    def _slow_disk(self) -> None:
        victim = self._victim()
        if victim is not None:
            self._coverage.slow_disks += 1
            victim.disk_delay_us = self._random.randint(5_000, 200_000)
            self._trace.note("slow disk", victim.id, victim.disk_delay_us)
            self._later(partial(setattr, victim, "disk_delay_us", 0))

    # --- links --------------------------------------------------------------------------------

    def _partition(self) -> None:
        self._coverage.partitions += 1
        names = list(self._nodes)
        self._random.shuffle(names)
        victim = self._victim()
        if victim is not None:  # so that a leader is more often alone than chance would have it
            names.remove(victim.id)
            names.insert(0, victim.id)
        cut = self._random.randint(1, max(1, len(names) // 2))
        one, other = names[:cut], names[cut:]
        self._cut([(a, b) for a in one for b in other] + [(b, a) for a in one for b in other])

    def _one_way(self) -> None:
        victim = self._victim()
        if victim is None:
            return
        self._coverage.one_way_partitions += 1
        others = [name for name in self._nodes if name != victim.id]
        others = self._random.sample(others, self._random.randint(1, len(others)))
        if self._random.random() < 0.5:
            self._cut([(victim.id, other) for other in others])
        else:
            self._cut([(other, victim.id) for other in others])

    def _cut(self, links: list[Link]) -> None:
        self._trace.note("cut", links)
        self._network.cut(links)
        self._later(partial(self._network.join, links))

    def _slow_link(self) -> None:
        self._coverage.slow_links += 1
        link = self._some_link()
        self._trace.note("slow", link)
        self._network.slow_down(link, self._random.randint(10_000, 100_000))
        self._later(partial(self._network.slow_down, link, 0))

    def _hold_link(self) -> None:
        self._coverage.held_links += 1
        link = self._some_link()
        self._trace.note("hold", link)
        self._network.hold(link, self._scheduler.now_us + self._random.randint(10_000, 300_000))

    def _some_link(self) -> Link:
        one, other = self._random.sample(list(self._nodes), 2)
        return one, other
