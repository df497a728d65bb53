"""Chooses faults by a seed, alone and in pairs, and carries them out one moment after the other."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from tests.nemesis import faults, operations
from tests.nemesis.faults import Fault, Stage
from tests.nemesis.machines import Machine
from tests.nemesis.network import Network
from tests.support.waiting import eventually

FAULTS: Final[dict[str, type[Fault]]] = {
    fault.name: fault
    for fault in (
        faults.Kill,
        faults.KillAll,
        faults.Restart,
        faults.Pause,
        faults.Partition,
        faults.IsolatedLeader,
        faults.OneWay,
        faults.Bridge,
        faults.SlowLink,
        faults.FullDisk,
        faults.SteppedClock,
        operations.Transfer,
        operations.Replacement,
    )
}
PAIR_CHANCE: Final = 0.4
HOLD_S: Final = (0.6, 2.5)
REST_S: Final = (0.3, 1.5)
START_S: Final = 30.0


class Moment(msgspec.Struct, frozen=True):
    """One or two faults at once, as the seed has it."""

    names: tuple[str, ...]
    rest_s: float
    """How long nothing is done before."""
    hold_s: float
    """How long they go on."""


class Done(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was done, and when; monotonic seconds."""

    at: float
    what: str
    to: str = ""


class Nemesis:
    """Does its worst for a time, then takes everything back."""

    def __init__(
        self, machines: Sequence[Machine], network: Network, seed: int, names: Sequence[str]
    ) -> None:
        """`names` are the faults to choose from."""
        self.log: list[Done] = []
        self.counts: Counter[str] = Counter()
        """How often each fault came about."""
        self.pairs = 0
        self.deaths: list[str] = []
        """Nodes that ended though nobody had done anything to them that explains it."""
        self._machines = machines
        self._chaos = random.Random(f"moments {seed}")
        self._stage = Stage(machines, network, random.Random(f"targets {seed}"))
        self._names = list(names)
        self._deck: list[str] = []
        self._clock = threading.Event()

    def rage(self, until: float, speak: Callable[[str], None]) -> None:
        """Go on until this time (monotonic); every fault is taken back when it returns."""
        possible = {name for name in self._names if FAULTS[name](self._stage).is_possible()}
        for name in sorted(set(self._names) - possible):
            speak(f"{name}: not possible here")
        if not possible:
            return
        while time.monotonic() < until:
            moment = self._next_moment()
            self._clock.wait(moment.rest_s)
            chosen = [name for name in moment.names if name in possible]
            if chosen:
                self._live_through(chosen, moment.hold_s, speak)

    def _next_moment(self) -> Moment:
        chaos = self._chaos
        size = 2 if chaos.random() < PAIR_CHANCE else 1
        return Moment(
            tuple(self._draw() for _ in range(size)), chaos.uniform(*REST_S), chaos.uniform(*HOLD_S)
        )

    def _draw(self) -> str:
        """Draw from a shuffled deck, so that in a short run, too, each fault has its turn."""
        if not self._deck:
            self._deck = self._chaos.sample(self._names, len(self._names))
        return self._deck.pop()

    def _live_through(
        self, names: Sequence[str], hold_s: float, speak: Callable[[str], None]
    ) -> None:
        stage = self._stage
        stage.struck = set()
        begun: list[Fault] = []
        try:
            for name in names:
                if len(stage.struck) == len(stage.machines):
                    break  # all of them are dead already
                fault = FAULTS[name](stage)
                to = fault.begin()
                self.log.append(Done(time.monotonic(), name, to))
                self.counts[name] += bool(to)
                speak(f"{name} {to or 'did not come about'}")
                begun.append(fault)
            self.pairs += len(begun) == 2
            self._clock.wait(hold_s)
            self._note_deaths()
        finally:
            for fault in sorted(begun, key=lambda one: isinstance(one, operations.Operation)):
                fault.end()
                self.log.append(Done(time.monotonic(), f"end of {fault.name}"))

    def _note_deaths(self) -> None:
        for machine in self._machines:
            if not (machine.is_running or machine.may_end or machine.name in self._stage.struck):
                self.deaths.append(f"{machine.name} ended by itself with {machine.wait()}")

    def wait_alive(self) -> None:
        """Wait until all nodes are ready; note those that ended by themselves, and start them."""
        for machine in self._machines:
            if not machine.is_running:
                self.deaths.append(f"{machine.name} ended by itself with {machine.wait()}")
                machine.start()
        eventually(lambda: all(one.is_ready() for one in self._machines), START_S)
