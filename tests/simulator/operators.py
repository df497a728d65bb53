"""Those who run the cluster: they let nodes join, leave and be replaced, and move leadership."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from felix.core.raft import membership as memberships
from felix.proto.cluster import AddMember, RemoveMember, UpdateMember
from tests.simulator.cluster import Cluster, addresses
from tests.simulator.node import SimulatedNode
from tests.simulator.world import World

ASK_EVERY_TICKS = 4
"""A node that wants to join asks again after so long."""


class Operators:
    """They see a little more than a leader does: nobody removes the last that are whole."""

    def __init__(self, world: World, cluster: Cluster) -> None:
        self._world = world
        self._cluster = cluster
        self._random = world.random
        self._moves = 0
        cluster.on_stop = self._replace

    def change_something(self) -> None:
        """Do one of the things that operators do to members."""
        self._random.choice(
            (
                self._add_machine,
                self._remove_one,
                self._remove_one,
                self._give_up_a_dead_one,
                self._move_one,
                self._bring_back_an_old_disk,
            )
        )()

    def transfer(self) -> None:
        """Ask a leader to hand over: to the best, or to one that may be dead or far behind."""
        leader = self._leader()
        if leader is None:
            return
        others = [one for one in leader.core.membership.voters if one != leader.id]
        is_free = not others or self._random.random() < 0.4
        leader.transfer(None if is_free else self._random.choice(others))

    def settle(self) -> None:
        """End what was begun: who is gone for good is replaced, who has left may come to be told.

        A machine that was given up stays away as long as it is a member, or else it would be
        alive and could not be replaced.
        """
        for node in list(self._cluster.nodes.values()):
            if node.is_retired and node.is_alive and not self._cluster.is_removed(node):
                node.crash(keep_write=True)
        self._bring_back([node for node in self._old_disks() if self._cluster.is_removed(node)])
        for node in self._cluster.members():
            if not self._cluster.may_come_back(node):
                self._install_anew(node.name)

    # --- joining ------------------------------------------------------------------------------

    def join(self, name: str) -> None:
        """Start a machine with an empty disk; it asks to be taken in until it is."""
        node = self._cluster.install(name)
        node.start()
        self._ask_to_join(node)

    def _ask_to_join(self, node: SimulatedNode) -> None:
        if node.is_lost or node.is_retired or self._cluster.is_removed(node):
            return
        if node.is_alive and not node.is_paused:
            core = node.core
            taken_in = core.membership_at(core.commit)
            if memberships.member(taken_in, node.id) is not None:
                return
            self._ask(
                AddMember(
                    member_id=node.id, name=node.name, addresses=addresses(node.name), replace=True
                ),
                lambda: not node.is_lost,
            )
        delay_us = self._random.randint(1, 2 * ASK_EVERY_TICKS * self._world.plan.tick_us)
        self._world.scheduler.after(delay_us, partial(self._ask_to_join, node))

    def _replace(self, node: SimulatedNode) -> None:
        """Give a machine whose node stopped for good a new disk, later."""
        delay_us = self._random.randint(1, 40 * self._world.plan.tick_us)
        self._world.scheduler.after(delay_us, partial(self._install_anew, node.name))

    def _install_anew(self, name: str) -> None:
        """Start again with an empty disk, unless the machine has a disk that works."""
        others = [node for node in self._cluster.nodes.values() if node.name == name]
        if not any(self._cluster.may_come_back(other) for other in others):
            if name in self._cluster.spares:
                self._cluster.spares.remove(name)
            self.join(name)

    def _add_machine(self) -> None:
        if self._cluster.spares:
            name = self._random.choice(self._cluster.spares)
            self._world.trace.note("add machine", name)
            self._install_anew(name)

    # --- leaving and moving -------------------------------------------------------------------

    def _remove_one(self) -> None:
        leader = self._leader()
        if leader is None:
            return
        membership = leader.core.membership
        everyone = memberships.everyone(membership)
        is_itself = leader.id in everyone and self._random.random() < 0.3
        target = leader.id if is_itself else self._random.choice(everyone)
        self._world.trace.note("remove", target)

        def is_sensible() -> bool:
            now = leader.core.membership
            return (
                memberships.member(now, target) is not None
                and len(now.voters) > 1
                and not memberships.is_joint(now)
                and self._cluster.survives(memberships.removing(now, target))
                and self._cluster.survives(memberships.settled(memberships.removing(now, target)))
            )

        leader.change(RemoveMember(member=target), is_sensible)

    def _give_up_a_dead_one(self) -> None:
        """Replace a machine that is down; its disk may come back."""
        dead = [
            node
            for node in self._cluster.members()
            if not node.is_alive and self._cluster.may_come_back(node)
        ]
        if not dead:
            return
        node = self._random.choice(dead)
        if self._cluster.can_spare(node):
            self._world.trace.note("give up", node.id)
            node.is_retired = True
            self._replace(node)

    def _move_one(self) -> None:
        members = self._cluster.membership.members
        if members:
            self._moves += 1
            member = self._random.choice(members)
            moved = addresses(member.name, self._moves)
            self._ask(UpdateMember(member_id=member.id, addresses=moved), lambda: True)

    def _bring_back_an_old_disk(self) -> None:
        """Start a node that has left, or was given up, with what its disk held."""
        self._bring_back(self._old_disks())

    def _old_disks(self) -> list[SimulatedNode]:
        return [
            node
            for node in self._cluster.nodes.values()
            if not node.is_alive
            and not node.is_lost
            and node.has_started
            and (node.is_retired or self._cluster.is_removed(node))
        ]

    def _bring_back(self, old: list[SimulatedNode]) -> None:
        if old:
            node = self._random.choice(old)
            self._world.trace.note("old disk", node.id)
            self._world.coverage.old_disks_that_came_back += 1
            node.start()

    # --- asking -------------------------------------------------------------------------------

    def _leader(self) -> SimulatedNode | None:
        leading = self._cluster.leading()
        return self._random.choice(leading) if leading else None

    def _ask(
        self, command: AddMember | UpdateMember | RemoveMember, is_sensible: Callable[[], bool]
    ) -> None:
        leader = self._leader()
        if leader is not None:
            leader.change(command, is_sensible)
