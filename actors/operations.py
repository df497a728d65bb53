"""What was asked of the cluster itself, at the leader: begun, watched, and answered when done."""

from __future__ import annotations

import time

import msgspec

from felix.actors.consensus import Consensus
from felix.core.raft import changes
from felix.core.raft.transfer import refused
from felix.proto.cluster import AddMember, Operation, RemoveMember, TransferLeadership, UpdateMember
from felix.proto.errors import DeadlineExceeded, FelixError, OutcomeUnknown, Overloaded
from felix.proto.ids import Index, NodeId, Term
from felix.transport.rpc_server import Incoming

OPERATIONS_MAX = 64


class _Pending(msgspec.Struct, frozen=True):
    incoming: Incoming
    operation: Operation
    deadline: float
    index: Index
    """Of the entry that begins a membership change; 0 for a handover."""
    term: Term


class Finished(msgspec.Struct, frozen=True):
    """An operation that is to be answered now."""

    incoming: Incoming
    error: FelixError | None


class Operations:
    """The operations that this node, as leader, has begun; used by one thread."""

    def __init__(self, consensus: Consensus) -> None:
        self._consensus = consensus
        self._pending: list[_Pending] = []

    def __len__(self) -> int:
        """Count those that are not finished."""
        return len(self._pending)

    def begin(self, incoming: Incoming) -> bool:
        """Begin an operation; False if there is nothing to do.

        Raises: NotLeader, NotFound, MembershipRefused, TransferRefused, Overloaded.
        """
        if len(self._pending) >= OPERATIONS_MAX:
            raise Overloaded("too many operations are under way", retry_after_ms=1000)
        core = self._consensus.core
        operation = incoming.request.message
        assert isinstance(operation, AddMember | UpdateMember | RemoveMember | TransferLeadership)
        index: Index | None
        if isinstance(operation, TransferLeadership):
            target = self._target(operation)
            if target == core.id:
                return False
            core.transfer(target)
            index = Index(0)
        else:
            index = core.change_membership(operation)
        if index is None:
            return False
        deadline = time.monotonic() + incoming.request.timeout_ms / 1000
        self._pending.append(_Pending(incoming, operation, deadline, index, core.term))
        return True

    def _target(self, operation: TransferLeadership) -> NodeId | None:
        if not operation.target:
            return None
        return changes.find(self._consensus.core.membership, operation.target)

    def take_finished(self, now: float) -> list[Finished]:
        """Take out what is done, failed or late; `now` is monotonic."""
        if not self._pending:
            return []
        finished: list[Finished] = []
        waiting: list[_Pending] = []
        for one in self._pending:
            error = self._failure(one, now)
            if error is not None or self._is_done(one):
                finished.append(Finished(one.incoming, error))
            else:
                waiting.append(one)
        self._pending = waiting
        return finished

    def _is_done(self, one: _Pending) -> bool:
        core = self._consensus.core
        if not one.index:
            return core.leader_id not in {None, core.id}
        if core.commit < one.index:
            return False
        return not isinstance(one.operation, RemoveMember) or not core.change_is_under_way

    def _failure(self, one: _Pending, now: float) -> FelixError | None:
        core = self._consensus.core
        if self._is_done(one):
            return None
        if one.deadline <= now:
            return DeadlineExceeded("not done within the deadline", retry_after_ms=1000)
        if not one.index:
            if core.is_leader and not core.is_transferring:
                return refused("timed_out", "the target did not take over in time; writes go on")
        elif core.term != one.term:
            return OutcomeUnknown("leadership was lost while the change was under way")
        return None
