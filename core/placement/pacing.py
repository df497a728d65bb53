"""How much is begun at once of what the control plane plans by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from felix.core.placement.fleet import Fleet
from felix.proto.brokers import PlannedMove

QUEUE_MAX: Final = 8
"""Moves that a broker has before it, those under way included: enough that it never stands idle.
Each of those that wait is looked at in every turn, and may be planned better once there is room."""
MOVES_MAX: Final = 200
"""Of one plan."""


def first_moves(
    fleet: Fleet, moves: Iterable[PlannedMove], queue_max: int = QUEUE_MAX
) -> tuple[PlannedMove, ...]:
    """Pick those moves of a plan that brokers get to soon; the others are planned anew later.

    A broker that is down has nothing to do with a move of what was its copy.
    """
    up = frozenset(row.broker_id for row in fleet.brokers if row.is_up)
    queues: Counter[str] = Counter()
    for one in fleet.moves:
        queues.update(up & {one.from_broker, one.to_broker})
    picked: list[PlannedMove] = []
    for move in moves:
        ends = up & {move.from_broker, move.to_broker}
        if len(picked) == MOVES_MAX:
            break
        if all(queues[one] < queue_max for one in ends):
            queues.update(ends)
            picked.append(move)
    return tuple(picked)
