"""The network: everything a real one does to messages, on purpose."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

import msgspec

from felix.proto.ids import NodeId
from felix.proto.raft import AnyPeerMessage, InstallSnapshot
from tests.simulator.coverage import Coverage
from tests.simulator.electorate import InvariantBroken
from tests.simulator.plan import Plan
from tests.simulator.scheduler import Scheduler
from tests.simulator.trace import Trace

Link = tuple[NodeId, NodeId]

LATE_US_MAX = 60_000
MESSAGES_MAX = 200_000
"""In one history, or in one spell of a long one; the busiest need a fourth of it."""


class Network:
    """Carries messages between nodes, in order on each link unless the plan says otherwise."""

    def __init__(
        self,
        plan: Plan,
        scheduler: Scheduler,
        random: Random,
        trace: Trace,
        coverage: Coverage,
        deliver: Callable[[AnyPeerMessage], None],
    ) -> None:
        self._plan = plan
        self._scheduler = scheduler
        self._random = random
        self._trace = trace
        self._coverage = coverage
        self._deliver = deliver
        self._healed = False
        self._sent = 0
        self._cut: dict[Link, int] = {}
        """How many faults cut a link right now."""
        self._slow_us: dict[Link, int] = {}
        self._held_until_us: dict[Link, int] = {}
        self._last_arrival_us: dict[Link, int] = {}

    def send(self, message: AnyPeerMessage) -> None:
        """Take a message; it may arrive, sooner or later, or twice."""
        self._coverage.messages_sent += 1
        self._sent += 1
        if self._sent > MESSAGES_MAX:
            raise InvariantBroken(f"more than {MESSAGES_MAX} messages: answers breed answers")
        link = (message.sender, message.to)
        if self._cut.get(link) or self._happens(self._plan.drop):
            self._coverage.messages_dropped += 1
            self._trace.note("lost", message)
            return
        if isinstance(message, InstallSnapshot) and self._happens(self._plan.damage):
            message = self._damaged(message)
        self._carry(link, message)
        if self._happens(self._plan.duplicate):
            self._coverage.messages_duplicated += 1
            self._carry(link, message)

    def cut(self, links: list[Link]) -> None:
        """Let nothing pass any more."""
        for link in links:
            self._cut[link] = self._cut.get(link, 0) + 1

    def join(self, links: list[Link]) -> None:
        """Take back one `cut`."""
        for link in links:
            self._cut[link] = max(0, self._cut.get(link, 0) - 1)

    def slow_down(self, link: Link, delay_us: int) -> None:
        """Add to the delay of every message; 0 is back to normal."""
        self._slow_us[link] = delay_us

    def hold(self, link: Link, until_us: int) -> None:
        """Let messages wait, and come all at once."""
        self._held_until_us[link] = until_us

    def break_again(self) -> None:
        """Let the plan's faults happen again, after `heal`."""
        self._healed = False

    def allow_more(self) -> None:
        """Count messages anew: time has passed."""
        self._sent = 0

    def heal(self) -> None:
        """Carry every message from now on, once, in order and soon."""
        self._healed = True
        self._cut.clear()
        self._slow_us.clear()
        self._held_until_us.clear()

    def _happens(self, chance: float) -> bool:
        return chance > 0 and not self._healed and self._random.random() < chance

    def _carry(self, link: Link, message: AnyPeerMessage) -> None:
        now_us = self._scheduler.now_us
        arrival_us = now_us + self._random.randint(100, self._plan.delay_us_max)
        arrival_us += self._slow_us.get(link, 0)
        arrival_us = max(arrival_us, self._held_until_us.get(link, 0))
        if self._happens(self._plan.reorder):
            self._coverage.messages_reordered += 1
            arrival_us += self._random.randint(0, LATE_US_MAX)
        else:
            arrival_us = max(arrival_us, self._last_arrival_us.get(link, 0))
            self._last_arrival_us[link] = arrival_us
        self._scheduler.at(arrival_us, partial(self._deliver, message))

    def _damaged(self, message: InstallSnapshot) -> InstallSnapshot:
        self._coverage.snapshot_chunks_damaged += 1
        data = bytearray(message.data)
        data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        return msgspec.structs.replace(message, data=bytes(data))
