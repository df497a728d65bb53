"""All nodes of a history, by identity: those that run, and those that never will again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from felix.core.raft import membership as memberships
from felix.core.raft.quorum import majority
from felix.proto.ids import NodeId
from felix.proto.raft import Addresses, Member, Membership
from tests.simulator.disk import Disk, empty_disk
from tests.simulator.node import SimulatedNode
from tests.simulator.world import World


def addresses(name: str, move: int = 0) -> Addresses:
    """Say where a machine is, after so many moves."""
    return Addresses(peers=f"{name}.{move}:1", rpc=f"{name}.{move}:2")


class Cluster:
    """The machines by name, and the identities that their disks have had."""

    def __init__(self, world: World, disks: dict[NodeId, Disk], machines: int) -> None:
        """Found a cluster of some machines; the others can join."""
        self._world = world
        self._disks = disks
        self.nodes: dict[NodeId, SimulatedNode] = {}
        self.spares = [f"n{number}" for number in range(world.plan.founders + 1, machines + 1)]
        """Machines that are not in use."""
        self._identities: dict[str, int] = {}
        self.on_stop: Callable[[SimulatedNode], None] = lambda _: None
        names = [f"n{number}" for number in range(1, world.plan.founders + 1)]
        self._founding = founding = Membership(
            tuple(NodeId(name) for name in names),
            members=tuple(Member(NodeId(name), name, addresses(name)) for name in names),
        )
        for name in names:
            self.install(name, founding)

    def install(self, name: str, founding: Membership | None = None) -> SimulatedNode:
        """Put an empty disk into a machine: a new identity."""
        number = self._identities.get(name, 0) + 1
        self._identities[name] = number
        node_id = NodeId(name if number == 1 else f"{name}.{number}")
        self._disks[node_id] = disk = empty_disk(node_id)
        node = SimulatedNode(disk, name, founding, self._world, self._has_stopped)
        self.nodes[node_id] = node
        return node

    def _has_stopped(self, node: SimulatedNode) -> None:
        self.on_stop(node)

    def forget(self, node: SimulatedNode) -> None:
        """Throw a disk away for good; its machine is free unless another disk is in it."""
        if node.is_alive:
            node.crash(keep_write=False)
        node.is_lost = True
        del self.nodes[node.id], self._disks[node.id]
        names = {one.name for one in self.nodes.values()}
        if node.name not in names and node.name not in self.spares:
            self.spares.append(node.name)

    # --- who is there -------------------------------------------------------------------------

    @property
    def membership(self) -> Membership:
        """The newest that is committed, or will be."""
        committed = self._world.checker.electorate.committed
        return committed if committed.voters else self._founding

    def alive(self) -> list[SimulatedNode]:
        """List the nodes that run, paused ones too."""
        return [node for node in self.nodes.values() if node.is_alive]

    def members(self) -> list[SimulatedNode]:
        """List those that take part, by the newest committed membership."""
        return [self.nodes[one] for one in memberships.everyone(self.membership)]

    def leading(self) -> list[SimulatedNode]:
        """List the nodes that believe to lead."""
        return [node for node in self.alive() if node.core.is_leader]

    def is_removed(self, node: SimulatedNode) -> bool:
        """Say whether a node has left, and that is committed."""
        return node.id in self._world.checker.electorate.removed

    def may_come_back(self, node: SimulatedNode) -> bool:
        """Say whether a node that does not run is one that starts again by itself."""
        return not (node.is_lost or node.is_retired or self.is_removed(node))

    def can_be_told(self, node: SimulatedNode) -> bool:
        """Say whether a removed node knows somebody who can still tell it so."""
        remembered = any(one.id == node.id for one in self.membership.removed)
        asked = {*node.core.membership.voters, *node.core.membership.outgoing}
        return remembered and not asked.isdisjoint(self.membership.voters)

    # --- who can be spared --------------------------------------------------------------------

    def can_spare(self, node: SimulatedNode) -> bool:
        """Say whether the cluster can do without a node for good.

        More than a minority lost is lost for good, and is for the rescue of a cluster, not for
        consensus. A learner counts as the voter that it may become.
        """
        return all(
            self._survives(membership, {node.id, *self._bad()}) for membership in self._in_force()
        )

    def survives(self, membership: Membership) -> bool:
        """Say whether there is a quorum of nodes that are not gone for good."""
        return self._survives(membership, self._bad())

    def _survives(self, membership: Membership, bad: set[NodeId]) -> bool:
        learners = len(bad.intersection(membership.learners))
        return all(
            len({*half} - bad) - learners >= majority(half)
            for half in (membership.voters, membership.outgoing)
            if half
        )

    def _bad(self) -> set[NodeId]:
        return {
            node.id
            for node in self.nodes.values()
            if node.is_lost or node.is_retired or (node.is_alive and node.machine.is_wrong)
        }

    def _in_force(self) -> Iterator[Membership]:
        """List the memberships that may still come to count."""
        yield self.membership
        for node in self.members():
            if not node.is_lost and node.has_started:
                core = node.core
                if core.change_is_under_way or core.membership != self.membership:
                    yield core.membership
