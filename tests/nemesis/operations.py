"""Faults that the cluster does to itself when it is asked to: leadership and membership."""

from __future__ import annotations

import shutil
from typing import Final

from felix.proto.cluster import AddMember, AnyOperation, RemoveMember, TransferLeadership
from felix.proto.control_plane import Call
from felix.proto.errors import FelixError, UnknownMessage
from felix.proto.raft import Addresses
from tests.nemesis.faults import Fault
from tests.nemesis.history import Outcome
from tests.support.waiting import eventually

TIMEOUT_S: Final = 5.0
END_S: Final = 20.0


class Operation(Fault):
    """Base of what is asked for; not possible with nodes that do not know how."""

    probe: AnyOperation
    refusal = ""
    """What the last one that failed was told."""

    def is_possible(self) -> bool:
        """Ask for what must be refused: only how it is refused counts."""
        try:
            self.stage.machines[0].ask(self.probe, Call(timeout_s=TIMEOUT_S))
        except UnknownMessage:
            return False
        except FelixError:
            return True
        return True

    def _ask(self, operation: AnyOperation) -> Outcome:
        """Ask a member that runs; the cluster may refuse, and may be in no state to answer."""
        alive = [one for one in self.stage.machines if one.is_running and not one.is_paused]
        alive = [one for one in alive if not one.may_end] or alive
        if not alive:
            return "not_applied"
        try:
            self.stage.chaos.choice(alive).ask(operation, Call(timeout_s=TIMEOUT_S))
        except FelixError as error:
            self.refusal = f"{error.code}: {error.message} {error.details}"
            return error.outcome
        return "ok"


class Transfer(Operation):
    """Leadership handed over, to a node of chance or to whom the leader thinks best."""

    name = "transfer"
    probe = TransferLeadership(target="nobody")

    def begin(self) -> str:
        target = self.stage.chaos.choice(["", *self.stage.names()])
        done = self._ask(TransferLeadership(target=target)) == "ok"
        return (target or "anybody") if done else ""


class Replacement(Operation):
    """A member removed for good, and a new one with an empty disk and its name taken in."""

    name = "membership"
    probe = RemoveMember(member="nobody")

    def begin(self) -> str:
        self.machine = self.stage.choose()
        self.removal: RemoveMember | None = None
        status = self.machine.status(0.5)
        if status is None:
            return ""
        removal = RemoveMember(member=status.node_id)
        outcome = self._ask(removal)
        if outcome == "not_applied":
            return ""
        self.machine.may_end = True
        self.removal = removal
        return self.machine.name

    def end(self) -> None:
        """Give the name a new node, once the old one is known to be gone."""
        if self.removal is None:
            return
        machine = self.machine
        self._insist(self.removal)
        machine.kill()
        shutil.rmtree(machine.data_dir)
        machine.start()
        eventually(lambda: machine.status(0.5) is not None, END_S)
        status = machine.status()
        assert status is not None
        listen = machine.config.listen
        own = {one.name: one for one in machine.config.cluster.members}[machine.name]
        self._insist(
            AddMember(
                member_id=status.node_id,
                name=machine.name,
                addresses=Addresses(own.peers, own.rpc, listen.watch, listen.http, listen.metrics),
            )
        )
        machine.may_end = False

    def _insist(self, operation: AnyOperation) -> None:
        """Ask until it is done: asking again changes nothing."""
        try:
            eventually(lambda: self._ask(operation) in {"ok", "gone"}, END_S)
        except AssertionError as error:
            raise AssertionError(f"{operation} is not carried out: {self.refusal}") from error
