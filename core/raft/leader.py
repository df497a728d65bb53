"""What only a leader knows and does: replicate, commit, confirm reads, notice a lost quorum, hand
leadership over, and judge who keeps up and who went wrong.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from felix.core.raft import membership as memberships
from felix.core.raft import quorum
from felix.core.raft.config import RaftConfig
from felix.core.raft.divergence import Checkpoints, wrong_members
from felix.core.raft.log import RaftLog
from felix.core.raft.progress import Mode, Progress
from felix.core.raft.reads import ReadRounds
from felix.core.raft.transfer import Transfer, successor
from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import (
    AnyPeerMessage,
    AppendEntries,
    AppendReply,
    Checkpoint,
    Entry,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Membership,
    SnapshotMeta,
    SnapshotReply,
    TimeoutNow,
)

NEVER_TICKS: Final = 1 << 40


class Leader:
    """A leader's state; it exists only while its node leads, in one term."""

    def __init__(
        self, me: NodeId, term: Term, membership: Membership, log: RaftLog, config: RaftConfig
    ) -> None:
        self._me = me
        self._term = term
        self._membership = membership
        self._log = log
        self._config = config
        self._ticks = 0
        """Since it leads."""
        self.reads = ReadRounds()
        self.transfer: Transfer | None = None
        self.followers: dict[NodeId, Progress] = {}
        """Everyone else that gets the log, learners too."""
        self._last_at_beats = deque(
            [log.last_index], config.election_ticks_min // config.heartbeat_ticks
        )
        """The end of the log at the beats of the last election timeout."""
        self.follow(membership)

    def follow(self, membership: Membership) -> None:
        """Go on with another membership: who is new gets the log, who is gone does not any more."""
        self._membership = membership
        others = [one for one in memberships.everyone(membership) if one != self._me]
        self.followers = {
            one: self.followers.get(one) or Progress(Index(self._log.last_index + 1))
            for one in others
        }

    def gather(self, commit: Index, snapshot: SnapshotMeta | None) -> list[AnyPeerMessage]:
        """Collect everything that may be sent now: entries, snapshot chunks, reads, commit."""
        messages: list[AnyPeerMessage] = []
        if self.has_committed_in_its_term(commit) and self.reads.start(commit):
            messages += self.heartbeats(commit)
        for follower, progress in self.followers.items():
            first = self._log.first_index
            if progress.needs_snapshot(first) or progress.sends_in_vain(first):
                assert snapshot is not None, "trimmed without a snapshot"
                progress.begin_snapshot(snapshot)
            if progress.mode is Mode.SNAPSHOT:
                messages += self._chunks(follower, progress)
            else:
                messages += self._entries(follower, progress, commit)
        return messages

    def beat(self, commit: Index) -> list[AnyPeerMessage]:
        """Send again what seems to be lost, and tell every follower that this node leads.

        Only here, once in a heartbeat interval, is anything sent again: a follower that answers
        but has not moved since the last beat did not get what it was sent. Were late answers
        enough, they could breed more answers than they are themselves.
        """
        for progress in self.followers.values():
            behind = progress.match < self._log.last_index
            if behind and progress.answered and progress.is_stalled():
                progress.send_again()
            is_heard = progress.silent_ticks < self._config.election_ticks_min
            keeps_up = is_heard and progress.match >= self._last_at_beats[0]
            progress.kept_up_ticks += self._config.heartbeat_ticks
            progress.kept_up_ticks *= keeps_up
            progress.answered = False
        self._last_at_beats.append(self._log.last_index)
        return self.heartbeats(commit)

    def heartbeats(self, commit: Index) -> list[AnyPeerMessage]:
        """Tell every follower that this node leads, and ask for an answer."""
        # Before it has committed in its own term it does not know all that is committed.
        knows_all = self.has_committed_in_its_term(commit)
        age_ticks = self.age_ticks() if knows_all else NEVER_TICKS
        return [
            msgspec.structs.replace(
                self._heartbeat(to, commit, self.reads.round),
                stamp=self._ticks,
                echo=progress.stamp,
                age_ticks=age_ticks,
                leader_commit=commit,
            )
            for to, progress in self.followers.items()
        ]

    def append_reply(self, message: AppendReply) -> None:
        """Take note of what a follower has, or step back to where the logs may agree."""
        progress = self._heard_from(message.sender)
        if progress is None or progress.mode is Mode.SNAPSHOT:
            return
        if message.accepted:
            if progress.acknowledged(message.index) and progress.mode is Mode.PROBE:
                progress.replicate()
            return
        index, _ = self._log.last_possible_match(
            min(message.index, self._log.last_index), message.hint_term
        )
        progress.rejected(message.rejected_prev, Index(index + 1))

    def heartbeat_reply(self, message: HeartbeatReply) -> None:
        """Take note that a follower lives."""
        progress = self._heard_from(message.sender)
        if progress is not None:
            progress.round_acked = max(progress.round_acked, message.round)
            # The last one, not the highest: a follower that was started again counts anew.
            progress.stamp = message.stamp
            progress.stamp_returned = max(message.echo, progress.stamp_returned or 0)
            progress.checkpoint = message.checkpoint or progress.checkpoint

    def snapshot_reply(self, message: SnapshotReply) -> None:
        """Go on with the next chunk, or with the log once the snapshot is in place."""
        progress = self._heard_from(message.sender)
        if progress is None or progress.mode is not Mode.SNAPSHOT or progress.snapshot is None:
            return
        if message.index != progress.snapshot.index:
            return
        if message.installed:
            progress.acknowledged(message.index)
            progress.replicate()
        else:
            progress.wants(message.offset)

    def commit_index(self, commit: Index) -> Index:
        """Find what is committed by now.

        Only an entry of the leader's own term commits by counting; those before it commit with
        it (section 3.6.2).
        """
        agreed = Index(quorum.agreed(self._membership, self._match_of))
        if agreed > commit and self._log.term_at(agreed) == self._term:
            return agreed
        return commit

    def confirmed_round(self) -> int:
        """Find the newest heartbeat round that a quorum has answered."""
        return quorum.agreed(
            self._membership,
            lambda voter: (
                self.reads.round if voter == self._me else self.followers[voter].round_acked
            ),
        )

    def quorum_is_active(self) -> bool:
        """Say whether a quorum was heard from since the last call."""
        active = quorum.has_quorum(
            self._membership, lambda voter: voter == self._me or self.followers[voter].active
        )
        for progress in self.followers.values():
            progress.active_before, progress.active = progress.active, False
        return active

    def tick(self) -> None:
        """Let one tick pass; a handover that took too long is over, and writes go on."""
        self._ticks += 1
        for progress in self.followers.values():
            progress.silent_ticks += 1
        if self.transfer is not None and not self.transfer.tick():
            self.transfer = None

    # --- handing over -------------------------------------------------------------------------

    def begin_transfer(self, wanted: NodeId | None) -> None:
        """Hand leadership to a voter, the most advanced one by default. Raises: TransferRefused."""
        voters = {one: self.followers[one] for one in self._membership.voters if one != self._me}
        target = successor(voters, wanted, self._log.last_index)
        if self.transfer is None or self.transfer.target != target:
            self.transfer = Transfer(target, self._config)

    def call_successor(self) -> list[AnyPeerMessage]:
        """Tell the successor to stand for election, once it has everything."""
        transfer = self.transfer
        if transfer is None or transfer.is_told:
            return []
        progress = self.followers.get(transfer.target)
        if progress is None or progress.match < self._log.last_index:
            return []
        transfer.is_told = True
        return [TimeoutNow(self._me, transfer.target, self._term)]

    # --- judging ------------------------------------------------------------------------------

    def is_alive(self, node_id: NodeId) -> bool:
        """Say whether a member was heard from lately."""
        if node_id == self._me:
            return True
        progress = self.followers.get(node_id)
        return progress is not None and progress.is_active

    def learner_to_promote(self) -> NodeId | None:
        """Find a learner that has kept up for long enough, and replaces nobody who is alive."""
        for learner in self._membership.learners:
            member = memberships.member(self._membership, learner)
            replaced = member.replaces if member is not None else None
            progress = self.followers[learner]
            known_ticks = progress.kept_up_ticks - progress.silent_ticks
            if known_ticks >= self._config.promote_after_ticks and not (
                replaced is not None and self.is_alive(replaced)
            ):
                return learner
        return None

    def wrong_members(self, own: Checkpoints) -> dict[NodeId, Checkpoint]:
        """Find those whose state machine is not that of the majority, and what that one is."""
        told = {
            one: progress.checkpoint
            for one, progress in self.followers.items()
            if progress.checkpoint is not None
        }
        return wrong_members(self._membership, told, self._me, own)

    def age_ticks(self) -> int:
        """Count the ticks since the last beat that a quorum is known to have answered was sent."""
        return self._ticks - quorum.agreed(self._membership, self._stamp_returned_by)

    def _stamp_returned_by(self, voter: NodeId) -> int:
        if voter == self._me:
            return self._ticks
        returned = self.followers[voter].stamp_returned
        return -NEVER_TICKS if returned is None else returned

    def snapshots_in_use(self) -> list[SnapshotMeta]:
        """List the snapshots being sent: their files must stay."""
        return [progress.snapshot for progress in self.followers.values() if progress.snapshot]

    def has_committed_in_its_term(self, commit: Index) -> bool:
        """Say whether all that earlier terms committed is known to be committed (section 6.4)."""
        return self._log.term_at(commit) == self._term

    def _match_of(self, voter: NodeId) -> int:
        return self._log.persisted if voter == self._me else self.followers[voter].match

    def _heard_from(self, sender: NodeId) -> Progress | None:
        progress = self.followers.get(sender)
        if progress is not None:
            progress.active = progress.answered = True
            progress.silent_ticks = 0
        return progress

    def _heartbeat(self, to: NodeId, commit: Index, round_: int) -> Heartbeat:
        progress = self.followers[to]
        told = Index(min(commit, progress.match))
        progress.commit_told = max(progress.commit_told, told)
        return Heartbeat(self._me, to, self._term, told, round_)

    def _entries(self, to: NodeId, progress: Progress, commit: Index) -> list[AnyPeerMessage]:
        messages: list[AnyPeerMessage] = []
        log = self._log
        if progress.inquiry_due:
            progress.inquiry_due = False
            messages.append(self._append(to, progress, commit, ()))
        while progress.next <= log.last_index or progress.mode is Mode.PROBE:
            if progress.mode is Mode.PROBE and progress.probe_sent:
                break
            if progress.window_is_full(self._config):
                break
            entries, size = log.slice_bytes(progress.next, self._config.append_bytes_max)
            messages.append(self._append(to, progress, commit, entries))
            last = Index(progress.next - 1 + len(entries))
            progress.commit_told = max(progress.commit_told, Index(min(commit, last)))
            if progress.mode is Mode.PROBE:
                progress.probe_sent = True
            else:
                progress.sent(last, size)
        if progress.commit_told < min(commit, progress.match):
            messages.append(self._heartbeat(to, commit, 0))
        return messages

    def _append(
        self, to: NodeId, progress: Progress, commit: Index, entries: tuple[Entry, ...]
    ) -> AppendEntries:
        prev = Index(progress.next - 1)
        prev_term = self._log.term_at(prev)
        assert prev_term is not None
        return AppendEntries(self._me, to, self._term, prev, prev_term, commit, entries)

    def _chunks(self, to: NodeId, progress: Progress) -> list[AnyPeerMessage]:
        snapshot = progress.snapshot
        assert snapshot is not None
        size = self._config.snapshot_chunk_bytes
        ahead = progress.offset_acked + size * self._config.snapshot_chunks_in_flight
        messages: list[AnyPeerMessage] = []
        while progress.offset_next < min(ahead, snapshot.size_bytes):
            messages.append(
                InstallSnapshot(self._me, to, self._term, snapshot, progress.offset_next, b"")
            )
            progress.offset_next = min(progress.offset_next + size, snapshot.size_bytes)
        return messages
