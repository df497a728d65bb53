"""What a node does that leads: propose, commit, and see to the membership (sections 3.5 and 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from felix.core.raft import changes, quorum
from felix.core.raft import membership as memberships
from felix.core.raft.leader import Leader
from felix.core.raft.reads import ReadRequest
from felix.core.raft.ready import ReadRelease
from felix.core.raft.standing import Standing
from felix.proto.cluster import AddMember, RemoveMember, UpdateMember
from felix.proto.errors import NotLeader
from felix.proto.ids import Index, NodeId
from felix.proto.raft import (
    AnyPeerMessage,
    AppendReply,
    Dismissal,
    Divergence,
    Entry,
    EntryKind,
    HeartbeatReply,
    ReadIndexReply,
    ReadIndexRequest,
    SnapshotReply,
    TimeoutNow,
)


class Leading(Standing):
    """Replicates its log; `felix.core.raft.leader` knows about the followers."""

    def propose(self, data: Sequence[bytes]) -> Index:
        """Append commands to the log; return the index of the first. Raises: NotLeader."""
        if self._leader is None:
            raise NotLeader("this node does not lead")
        assert self._leader.transfer is None, "writes wait for the end of a handover"
        first = Index(self.log.last_index + 1)
        self.log.append(
            [
                Entry(Index(first + n), self.term, EntryKind.COMMAND, one)
                for n, one in enumerate(data)
            ]
        )
        return first

    def change_membership(self, command: AddMember | UpdateMember | RemoveMember) -> Index | None:
        """Begin a change; return where its (first) entry stands, None if nothing changes.

        The rest follows by itself. Raises: NotLeader, MembershipRefused, NotFound.
        """
        leader = self._leader
        if leader is None or leader.transfer is not None:
            raise NotLeader("this node does not lead")
        changes.refuse_if_busy(
            under_way=self.change_is_under_way,
            leader_is_new=self.log.term_at(self.commit) != self.term,
        )
        now = self.membership
        match command:
            case AddMember():
                new = changes.adding(now, command, leader.is_alive)
            case UpdateMember():
                new = changes.updating(now, command)
            case RemoveMember():
                new = changes.removing(now, command)
        if new is None:
            return None
        if new.voters != now.voters:
            changes.refuse_if_unhealthy(new, leader.is_alive)
        return self._append([self._membership_entry(self.term, new)])

    def transfer(self, target: NodeId | None) -> None:
        """Begin to hand leadership over; writes wait. Raises: NotLeader, TransferRefused.

        Over once this node does not lead any more, or, after one election timeout at most, once
        `is_transferring` is false again.
        """
        if self._leader is None:
            raise NotLeader("this node does not lead")
        self._leader.begin_transfer(target)

    def _tick_leader(self, leader: Leader) -> None:
        leader.tick()
        if self._elapsed >= self.config.election_ticks_min:
            self._elapsed = 0
            if not leader.quorum_is_active():
                self._follow(self.term, None)  # check-quorum (section 6.2)
                return
        self._heartbeat_elapsed += 1
        if self._heartbeat_elapsed >= self.config.heartbeat_ticks:
            self._heartbeat_elapsed = 0
            self._messages += leader.beat(self.commit)
            self._promote_learner(leader)
            self._judge(leader)

    def _advance_commit(self, leader: Leader) -> None:
        """Commit what a quorum has, and go on with what waits for a commit."""
        before = self.commit
        self.commit = leader.commit_index(before)
        if self.commit == before or self._memberships.index > self.commit:
            return
        if memberships.is_joint(self.membership):
            settled = memberships.settled(self.membership)
            self._append([self._membership_entry(self.term, settled)])
        elif before < self._memberships.index:
            self._settle(leader)

    def _settle(self, leader: Leader) -> None:
        """Tell those that left; who leads and has left itself hands over (section 4.2.2)."""
        index = self._memberships.index
        for gone in self.membership.removed:
            if gone.id != self.id:
                self._messages.append(Dismissal(self.id, gone.id, self.term, index))
        if self.id not in self.membership.voters:
            voters = [leader.followers[one] for one in self.membership.voters]
            best = max(voters, key=lambda progress: progress.match)
            heir = next(one for one, progress in leader.followers.items() if progress is best)
            self._messages.append(TimeoutNow(self.id, heir, self.term))
            self._follow(self.term, None)
            self.dismissed_at = index

    def _promote_learner(self, leader: Leader) -> None:
        """Make a learner that keeps up a voter, unless something speaks against it now."""
        learner = leader.learner_to_promote()
        is_new = self.log.term_at(self.commit) != self.term
        if learner is None or is_new or self.change_is_under_way or leader.transfer is not None:
            return
        joint = memberships.promoting(self.membership, learner)
        healthy = sum(map(leader.is_alive, joint.voters))
        if healthy >= quorum.majority(joint.voters):
            self._append([self._membership_entry(self.term, joint)])

    def _judge(self, leader: Leader) -> None:
        """Tell members that went wrong; a leader that did itself must not go on."""
        for node_id, right in leader.wrong_members(self.checkpoints).items():
            if node_id == self.id:
                self.diverged_at = right
            else:
                self._messages.append(Divergence(self.id, node_id, self.term, right))

    def _on_append_reply(self, message: AppendReply) -> None:
        if self._leader is not None:
            self._leader.append_reply(message)
            self._advance_commit(self._leader)

    def _on_heartbeat_reply(self, message: HeartbeatReply) -> None:
        if self._leader is not None:
            self._leader.heartbeat_reply(message)

    def _on_snapshot_reply(self, message: SnapshotReply) -> None:
        if self._leader is not None:
            self._leader.snapshot_reply(message)

    def _release_reads(self, leader: Leader) -> None:
        if not leader.reads.round_is_under_way:
            return
        for request, index in leader.reads.confirmed(leader.confirmed_round()):
            if request.requester == self.id:
                self._reads.append(ReadRelease(request.context, index))
            else:
                self._messages.append(
                    ReadIndexReply(self.id, request.requester, self.term, request.context, index)
                )

    def _on_read_index_request(self, message: ReadIndexRequest) -> None:
        request = ReadRequest(message.sender, message.context)
        if self._leader is None or not self._leader.reads.add(request):
            self._messages.append(
                ReadIndexReply(self.id, message.sender, self.term, message.context, Index(0))
            )

    HANDLERS: ClassVar[dict[type[AnyPeerMessage], Callable[[Any, Any], None]]] = {
        AppendReply: _on_append_reply,
        HeartbeatReply: _on_heartbeat_reply,
        SnapshotReply: _on_snapshot_reply,
        ReadIndexRequest: _on_read_index_request,
    }
