"""One long history: days of a cluster that is disturbed, healed, and left alone, again and again.

It ticks as slowly as production beats (50 ms), and what no node can come back to is forgotten after
each healing, so that a life may be as long as wanted.
"""

from __future__ import annotations

from typing import Final

from tests.simulator.plan import Plan, draw_life_plan
from tests.simulator.simulation import Simulation

SECOND_US: Final = 1_000_000
TROUBLE_US_MAX: Final = 120 * SECOND_US
QUIET_US_MAX: Final = 600 * SECOND_US
LIVENESS_US: Final = 120 * SECOND_US
"""How long a healed cluster may take to agree, with losses to be replaced one after the other."""
OPERATION_IN_QUIET_US_MAX: Final = 20 * SECOND_US


class Life(Simulation):
    """Runs one seed for some virtual time."""

    def _draw(self, seed: int, nodes: int) -> Plan:
        return draw_life_plan(seed, nodes)

    def live(self, length_us: int) -> None:
        """Run to the end. Raises: InvariantBroken, or whatever a broken core raises."""
        self._begin()
        while self.now_us < length_us:
            self._trouble(self._random.randint(SECOND_US, TROUBLE_US_MAX), LIVENESS_US)
            self._forget()
            self._be_quiet(self._random.randint(0, QUIET_US_MAX))
        self.trace.note("end", self._positions())

    def _be_quiet(self, length_us: int) -> None:
        """Let time pass in which nothing happens but a read or a write now and then.

        Nobody may lose leadership meanwhile.
        """
        term = self._cluster.members()[0].core.term
        end_us = self.now_us + length_us
        while self.now_us < end_us:
            self._network.allow_more()
            self._scheduler.run_until(
                self.now_us + self._random.randint(1, OPERATION_IN_QUIET_US_MAX)
            )
            self._clients.operate(self._cluster.alive(), 1)
        self._require_term(term)

    def _forget(self) -> None:
        """Forget what no node can come back to: all agree, and who has left stays away."""
        members = self._cluster.members()
        gone = [node for node in self._cluster.nodes.values() if node not in members]
        for node in gone:
            self._cluster.forget(node)
        first = min(node.disk.journal.beginning for node in members)
        self._checker.forget_before(first, members[0].core.term, {node.id for node in gone})
        self._clients.forget()
