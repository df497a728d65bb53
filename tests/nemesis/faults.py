"""What the nemesis does: each fault begins, goes on for a while, and is taken back."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from tests.nemesis.machines import Machine, leader_of
from tests.nemesis.network import Network, Way

CLOCK_STEP_S: Final = 3600.0
DISK_LEFT_BYTES: Final = (0, 4 << 10, 64 << 10, 512 << 10)


class Stage:
    """What faults act upon."""

    def __init__(self, machines: Sequence[Machine], network: Network, chaos: random.Random) -> None:
        self.machines = list(machines)
        self.network = network
        self.chaos = chaos
        self.struck: set[str] = set()
        """Names of nodes that a fault of this moment has chosen."""

    def choose(self) -> Machine:
        """Choose a node that no other fault of this moment has; each second time the leader."""
        wants_leader, place = self.chaos.random() < 0.5, self.chaos.random()
        free = [one for one in self.machines if one.name not in self.struck]
        leader = leader_of(free) if wants_leader else None
        chosen = leader or free[int(place * len(free))]
        self.struck.add(chosen.name)
        return chosen

    def names(self) -> list[str]:
        """Name the nodes in an order of chance."""
        return self.chaos.sample([one.name for one in self.machines], len(self.machines))


class Fault:
    """Base of all faults."""

    name: ClassVar[str]

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def is_possible(self) -> bool:
        """Whether this machine and these nodes can have it."""
        return True

    def begin(self) -> str:
        """Do it, and say to whom; empty when it did not come about."""
        raise NotImplementedError

    def end(self) -> None:
        """Take it back, as far as that can be done."""


class Kill(Fault):
    """`kill -9`, and a new start at the end."""

    name = "kill"

    def begin(self) -> str:
        self.machine = self.stage.choose()
        self.machine.kill()
        return self.machine.name

    def end(self) -> None:
        self.machine.start()


class KillAll(Fault):
    """`kill -9` for every node at once, and a new start at once: the power was gone."""

    name = "kill_all"

    def begin(self) -> str:
        alive = [one for one in self.stage.machines if one.name not in self.stage.struck]
        self.stage.struck.update(one.name for one in alive)
        for machine in alive:
            machine.kill()
        for machine in alive:
            machine.start()
        return " ".join(one.name for one in alive)


class Restart(Fault):
    """SIGTERM, and a new start once it has ended."""

    name = "restart"

    def begin(self) -> str:
        self.machine = self.stage.choose()
        self.machine.may_end = True
        self.machine.terminate()
        return self.machine.name

    def end(self) -> None:
        self.machine.wait()
        self.machine.may_end = False
        self.machine.start()


class Pause(Fault):
    """SIGSTOP, SIGCONT: the node does not notice that time has passed."""

    name = "pause"

    def begin(self) -> str:
        self.machine = self.stage.choose()
        self.machine.pause()
        return self.machine.name

    def end(self) -> None:
        self.machine.resume()


class _Cut(Fault):
    """Base of what cuts wires."""

    ways: Sequence[Way] = ()

    def end(self) -> None:
        self.stage.network.mend(self.ways)

    def _cut(self, ways: Sequence[Way]) -> str:
        self.ways = ways
        self.stage.network.cut(ways)
        return " ".join(f"{source}>{target}" for source, target in ways)


class Partition(_Cut):
    """Two groups that cannot hear each other."""

    name = "partition"

    def begin(self) -> str:
        names = self.stage.names()
        size = self.stage.chaos.randint(1, len(names) - 1)
        return self._cut(both_ways(names[:size], names[size:]))


class IsolatedLeader(_Cut):
    """The leader and nobody else."""

    name = "isolated_leader"

    def begin(self) -> str:
        leader = leader_of(self.stage.machines)
        if leader is None:
            return ""
        others = [one.name for one in self.stage.machines if one is not leader]
        return self._cut(both_ways([leader.name], others))


class OneWay(_Cut):
    """One node that hears nothing, or is not heard."""

    name = "one_way"

    def begin(self) -> str:
        is_deaf = self.stage.chaos.random() < 0.5
        one = self.stage.choose()
        others = [other.name for other in self.stage.machines if other is not one]
        return self._cut([(other, one.name) if is_deaf else (one.name, other) for other in others])


class Bridge(_Cut):
    """Two groups that cannot hear each other, and one node that hears both."""

    name = "bridge"

    def is_possible(self) -> bool:
        return len(self.stage.machines) >= 3

    def begin(self) -> str:
        _, *names = self.stage.names()
        half = len(names) // 2
        return self._cut(both_ways(names[:half], names[half:]))


class SlowLink(Fault):
    """Everything that a node says to others comes late."""

    name = "slow_link"

    def begin(self) -> str:
        self.machine = self.stage.choose()
        self.stage.network.slow(self.machine.name)
        return self.machine.name

    def end(self) -> None:
        self.stage.network.hasten(self.machine.name)


class FullDisk(Fault):
    """No room on a node's disk; it may refuse writes or end, and is started when there is room."""

    name = "full_disk"

    def is_possible(self) -> bool:
        return all(one.has_own_disk for one in self.stage.machines)

    def begin(self) -> str:
        left_bytes = self.stage.chaos.choice(DISK_LEFT_BYTES)
        self.machine = self.stage.choose()
        self.machine.may_end = True
        self.machine.fill_disk(left_bytes)
        return f"{self.machine.name} ({left_bytes} bytes left)"

    def end(self) -> None:
        self.machine.clear_disk()
        if not self.machine.is_running:
            self.machine.start()
        self.machine.may_end = False


class SteppedClock(Fault):
    """A wall clock that jumps by up to an hour, and back."""

    name = "stepped_clock"

    def begin(self) -> str:
        offset_s = self.stage.chaos.uniform(-CLOCK_STEP_S, CLOCK_STEP_S)
        self.machine = self.stage.choose()
        self.machine.step_clock(offset_s)
        return f"{self.machine.name} by {offset_s:.0f} s"

    def end(self) -> None:
        self.machine.step_clock(0)


def both_ways(some: Sequence[str], others: Sequence[str]) -> list[Way]:
    """List every way between two groups."""
    there = [(one, other) for one in some for other in others]
    return there + [(other, one) for one, other in there]


FaultType = Callable[[Stage], Fault]
