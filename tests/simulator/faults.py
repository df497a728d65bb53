"""Begins and ends faults, at moments of its own choice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from tests.simulator.cluster import Cluster
from tests.simulator.coverage import Coverage
from tests.simulator.network import Link, Network
from tests.simulator.node import SimulatedNode
from tests.simulator.operators import Operators
from tests.simulator.plan import EVENTS, Fault, Plan
from tests.simulator.scheduler import Scheduler
from tests.simulator.trace import Trace
from tests.simulator.world import World

DURATIONS_US_MAX = (10_000, 100_000, 500_000)
MISHAPS = (Fault.CRASH, Fault.PAUSE, Fault.PARTITION, Fault.ONE_WAY, Fault.HELD_LINK)
DISTURBED_CHANGES = 0.4
HALF = 0.5
DAMAGED_IN_CRASH = 0.1
ONE_LINK = 2
"""Nodes."""


class Saboteur:
    """Makes nodes, disks and links fail as the plan says, until it is told to stop."""

    def __init__(self, world: World, cluster: Cluster, operators: Operators) -> None:
        self._plan: Plan = world.plan
        self._scheduler: Scheduler = world.scheduler
        self._random: Random = world.random
        self._trace: Trace = world.trace
        self._coverage: Coverage = world.coverage
        self._network: Network = world.network
        self._cluster = cluster
        self._operators = operators
        self._kinds: list[Fault] = []
        self._spell = 0
        """Grows when faults begin or end."""
        self._is_at_work = False
        self._mishaps: list[Fault] = []
        world.checker.electorate.on_change = self._disturb_a_change
        self._begin: dict[Fault, Callable[[], None]] = {
            Fault.CRASH: self._crash,
            Fault.POWER_CUT: self._power_cut,
            Fault.PAUSE: self._pause,
            Fault.PARTITION: self._partition,
            Fault.ONE_WAY: self._one_way,
            Fault.SLOW_DISK: self._slow_disk,
            Fault.SLOW_LINK: self._slow_link,
            Fault.HELD_LINK: self._hold_link,
            Fault.CLOCK_STEP: self._step_clock,
            Fault.MEMBERS: operators.change_something,
            Fault.TRANSFER: operators.transfer,
            Fault.DISK_LOSS: self._lose_disk,
            Fault.WRONG_STATE: self._flip_a_bit,
        }

    def start(self) -> None:
        """Begin with the first fault of a spell of them."""
        self._is_at_work = True
        self._spell += 1
        self._kinds = [fault for fault in EVENTS if self._plan.has(fault)]
        if self._plan.varies:
            self._kinds = [fault for fault in self._kinds if self._random.random() < HALF]
        self._mishaps = [fault for fault in MISHAPS if fault in self._kinds]
        if self._plan.has(Fault.SKEW):
            for node in self._cluster.nodes.values():
                node.tick_us = int(self._plan.tick_us * self._random.uniform(0.6, 1.6))
        if self._kinds:
            self._scheduler.after(self._pause_between(), partial(self._next, self._spell))

    def stop(self) -> None:
        """End all faults: everything works from here on, and every node runs."""
        self._is_at_work = False
        self._spell += 1
        self._trace.note("heal")
        self._network.heal()
        self._operators.settle()
        for node in list(self._cluster.nodes.values()):
            node.tick_us = self._plan.tick_us
            node.disk_delay_us = 0
            self._restart(node)
            if node.is_alive and node.is_paused:
                node.resume()

    def _next(self, spell: int) -> None:
        if self._spell != spell:
            return
        self._begin[self._random.choice(self._kinds)]()
        self._scheduler.after(self._pause_between(), partial(self._next, spell))

    def _disturb_a_change(self) -> None:
        """Let something happen in the middle of a change more often than chance would."""
        if self._is_at_work and self._mishaps and self._random.random() < DISTURBED_CHANGES:
            delay_us = self._random.randint(0, 3 * self._plan.delay_us_max)
            self._scheduler.after(delay_us, partial(self._have_mishap, self._spell))

    def _have_mishap(self, spell: int) -> None:
        if self._spell == spell:
            self._begin[self._random.choice(self._mishaps)]()

    def _pause_between(self) -> int:
        return self._random.randint(1, 2 * self._plan.fault_every_us)

    def _later(self, action: Callable[[], None]) -> None:
        """End a fault some time later, unless all have ended by then."""

        spell = self._spell

        def unless_stopped() -> None:
            if self._spell == spell:
                action()

        longest_us = self._random.choice(DURATIONS_US_MAX) * self._plan.patience
        self._scheduler.after(self._random.randint(1_000, longest_us), unless_stopped)

    def _victim(self) -> SimulatedNode | None:
        """Choose a node that runs; a leader more often than chance would."""
        running = [node for node in self._cluster.alive() if not node.is_paused]
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
        for node in self._cluster.alive():
            self._kill(node)

    def _kill(self, node: SimulatedNode) -> None:
        keep = self._plan.has(Fault.KEPT_WRITE) and self._random.random() < 0.5
        node.crash(keep_write=keep)
        self._later(partial(self._restart, node))

    def _restart(self, node: SimulatedNode) -> None:
        if node.is_alive or not self._cluster.may_come_back(node):
            return
        if self._is_damaged(node):
            self._coverage.disks_found_damaged += 1
            node.lose_disk()
        else:
            node.start()

    def _is_damaged(self, node: SimulatedNode) -> bool:
        """Say whether a node finds at its start that its journal or snapshot is not whole."""
        return (
            self._is_at_work
            and self._plan.has(Fault.DISK_LOSS)
            and self._random.random() < DAMAGED_IN_CRASH
            and self._cluster.can_spare(node)
        )

    def _lose_disk(self) -> None:
        victim = self._victim()
        if victim is not None and self._may_lose(victim):
            self._coverage.disks_lost += 1
            victim.lose_disk()

    def _flip_a_bit(self) -> None:
        victim = self._victim()
        if victim is not None and self._may_lose(victim) and not victim.machine.is_wrong:
            self._trace.note("flip", victim.id)
            self._coverage.states_gone_wrong += 1
            victim.machine.flip_a_bit()

    def _may_lose(self, node: SimulatedNode) -> bool:
        return self._cluster.may_come_back(node) and self._cluster.can_spare(node)

    def _step_clock(self) -> None:
        victim = self._victim()
        if victim is not None:
            self._coverage.clock_steps += 1
            ticks = self._random.choice((-20, -5, 5, 50))
            self._trace.note("clock", victim.id, ticks)
            victim.step_clock(ticks * victim.tick_us)

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
        names = [node.id for node in self._cluster.alive()]
        if len(names) < ONE_LINK:
            return
        self._random.shuffle(names)
        victim = self._victim()
        if victim is not None:  # so that a leader is more often alone than chance would have it
            names.remove(victim.id)
            names.insert(0, victim.id)
        self._coverage.partitions += 1
        cut = self._random.randint(1, max(1, len(names) // 2))
        one, other = names[:cut], names[cut:]
        self._cut([(a, b) for a in one for b in other] + [(b, a) for a in one for b in other])

    def _one_way(self) -> None:
        victim = self._victim()
        if victim is None:
            return
        self._coverage.one_way_partitions += 1
        others = [node.id for node in self._cluster.alive() if node is not victim]
        if not others:
            return
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
        link = self._some_link()
        if link is not None:
            self._coverage.slow_links += 1
            self._trace.note("slow", link)
            self._network.slow_down(link, self._random.randint(10_000, 100_000))
            self._later(partial(self._network.slow_down, link, 0))

    def _hold_link(self) -> None:
        link = self._some_link()
        if link is not None:
            self._coverage.held_links += 1
            self._trace.note("hold", link)
            until_us = self._scheduler.now_us + self._random.randint(10_000, 300_000)
            self._network.hold(link, until_us)

    def _some_link(self) -> Link | None:
        alive = [node.id for node in self._cluster.alive()]
        if len(alive) < ONE_LINK:
            return None
        one, other = self._random.sample(alive, 2)
        return one, other
