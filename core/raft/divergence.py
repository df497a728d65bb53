"""Holds the digests of the members' state machines against each other.

All replicas are the same after the same entry. One that is not has a broken memory, or a build that
decides otherwise: it must not go on. Who is wrong is for a majority to say.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Final

from felix.core.raft import quorum
from felix.proto.ids import Index, NodeId
from felix.proto.raft import Checkpoint, Membership

CHECKPOINT_ENTRIES: Final = 1024
"""Digests are noted at the multiples of this, so that all members note the same ones."""
REMEMBERED_MAX: Final = 64


class Checkpoints:
    """This node's own last checkpoints, oldest first."""

    def __init__(self) -> None:
        self._known: deque[Checkpoint] = deque(maxlen=REMEMBERED_MAX)

    @property
    def newest(self) -> Checkpoint | None:
        """The last one."""
        return self._known[-1] if self._known else None

    def add(self, checkpoint: Checkpoint) -> None:
        """Remember one more."""
        self._known.append(checkpoint)

    def clear(self) -> None:
        """Forget all: the state machine was replaced."""
        self._known.clear()

    def at(self, index: Index) -> Checkpoint | None:
        """Look one up."""
        return next((one for one in reversed(self._known) if one.index == index), None)

    def contradicts(self, checkpoint: Checkpoint) -> bool:
        """Say whether this node had something else at that index."""
        own = self.at(checkpoint.index)
        return own is not None and own.digest != checkpoint.digest


def wrong_members(
    membership: Membership, told: Mapping[NodeId, Checkpoint], me: NodeId, own: Checkpoints
) -> dict[NodeId, Checkpoint]:
    """Find those that contradict what a majority of the voters has at the same index.

    `told` holds the last checkpoint of each other member, `own` those of `me`. Without a majority
    at an index nobody is found wrong there. The values are what the majority has.
    """
    wrong: dict[NodeId, Checkpoint] = {}
    for index in {one.index for one in told.values()}:
        there = {node_id: one for node_id, one in told.items() if one.index == index}
        mine = own.at(index)
        if mine is not None:
            there[me] = mine
        counts = Counter(one for node_id, one in there.items() if node_id in membership.voters)
        right, count = max(counts.items(), key=lambda item: item[1], default=(None, 0))
        if right is not None and count >= quorum.majority(membership.voters):
            wrong.update({node_id: right for node_id, one in there.items() if one != right})
    return wrong
