"""The consensus core of one node: terms, roles, votes, and who hears what.

Deterministic: the same inputs and the same random source give the same outputs. Section numbers
are those of Ongaro's dissertation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from random import Random
from typing import Any, ClassVar

from felix.core.raft import changes, quorum
from felix.core.raft import membership as memberships
from felix.core.raft.config import RaftConfig
from felix.core.raft.divergence import Checkpoints
from felix.core.raft.leader import Leader
from felix.core.raft.log import RaftLog
from felix.core.raft.membership import Memberships
from felix.core.raft.reads import ReadRequest
from felix.core.raft.ready import ReadRelease, Ready
from felix.core.raft.staleness import Staleness
from felix.proto import codec
from felix.proto.cluster import AddMember, RemoveMember, UpdateMember
from felix.proto.errors import NotLeader
from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import (
    AnyPeerMessage,
    AppendEntries,
    AppendReply,
    Checkpoint,
    Dismissal,
    Divergence,
    Entry,
    EntryKind,
    HardState,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Membership,
    PreVote,
    PreVoteReply,
    ReadIndexReply,
    ReadIndexRequest,
    RequestVote,
    SnapshotMeta,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
)

COMMITTED_PER_READY_MAX = 1024
"""Applied in one go; about 10 ms. Whoever has more to apply hears its peers in between."""


class Role(Enum):
    """What a node is in its term."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre_candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


_LEADERS_WORD = (AppendEntries, Heartbeat, InstallSnapshot)
"""Only the leader of a term says these."""


class RaftCore:
    """One node's part in consensus.

    Feed it with `step`, `tick`, `propose` and `read_index`; then take `ready` until it is None,
    carry each out and call `persisted`. Nothing but `snapshot_received` and `snapshot_installed`
    may be called in between.
    """

    def __init__(
        self,
        node_id: NodeId,
        membership: Membership,
        config: RaftConfig,
        random: Random,
        *,
        hard_state: HardState,
        snapshot: SnapshotMeta | None,
        entries: Sequence[Entry],
    ) -> None:
        """Take up what the journal recovered.

        `membership` counts only where neither the snapshot nor the log knows one.
        """
        self.id = node_id
        self.snapshot = snapshot
        self.log = RaftLog(snapshot, entries)
        self._memberships = Memberships(
            snapshot.index if snapshot else Index(0),
            snapshot.membership if snapshot else membership,
        )
        reached = snapshot.index if snapshot else 0
        self._memberships.take([entry for entry in entries if entry.index > reached])
        self.term = hard_state.term
        self.vote = hard_state.vote
        self.role = Role.FOLLOWER
        self.leader_id: NodeId | None = None
        self.commit = self.applied = snapshot.index if snapshot else Index(0)
        """`applied` is the last entry handed out to be applied."""
        self.checkpoints = Checkpoints()
        """Kept up to date by whoever applies."""
        self.dismissed_at: Index | None = None
        """Set once this node was removed: it must stop."""
        self.diverged_at: Checkpoint | None = None
        """Set once a majority has something else than this node: it must stop."""
        self.config = config
        self._random = random
        self._saved = hard_state
        self._leader: Leader | None = None
        self._votes: dict[NodeId, bool] = {}
        self._elapsed = 0
        self._heartbeat_elapsed = 0
        self._timeout = 0
        self._reads_asked: dict[int, int] = {}
        """Own reads forwarded to the leader, and the ticks since."""
        self._life = random.getrandbits(48)
        """Sent with them, so that no answer to a read of an earlier life releases one of this."""
        self._ticks = self._life
        """The clock of this life: stamps of an earlier one are not mistaken for its own."""
        self._staleness = Staleness()
        self._messages: list[AnyPeerMessage] = []
        self._replies: list[AnyPeerMessage] = []
        self._chunks: list[InstallSnapshot] = []
        self._reads: list[ReadRelease] = []
        self._writing = False
        self._draw_timeout()

    # --- inputs -------------------------------------------------------------------------------

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

    def found(self, membership: Membership) -> None:
        """Begin a new cluster: every founder writes the same first entry, in term 1.

        A node that has heard from a leader meanwhile needs no founding.
        """
        if self.log.last_index == 0 and not self.membership.voters:
            self.term = max(self.term, Term(1))
            self._append([self._membership_entry(Term(1), membership)])

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

    def read_index(self, context: int) -> None:
        """Ask up to where the log must be applied to answer a linearizable read.

        The answer is a `ReadRelease` with this context, sooner or later; contexts are not reused
        before the node restarts.
        """
        if self._leader is not None:
            if not self._leader.reads.add(ReadRequest(self.id, context)):
                self._reads.append(ReadRelease(context, None))
        elif self.leader_id is not None:
            self._reads_asked[context] = 0
            self._messages.append(
                ReadIndexRequest(self.id, self.leader_id, self.term, self._life + context)
            )
        else:
            self._reads.append(ReadRelease(context, None))

    def tick(self) -> None:
        """Let one tick pass."""
        self._ticks += 1
        self._elapsed += 1
        if self._leader is not None:
            self._tick_leader(self._leader)
        elif self._elapsed >= self._timeout:
            self._campaign_before_voting()
        for context in list(self._reads_asked):
            self._reads_asked[context] += 1
            if self._reads_asked[context] >= self.config.election_ticks_min:
                del self._reads_asked[context]
                self._reads.append(ReadRelease(context, None))

    def step(self, message: AnyPeerMessage) -> None:
        """Take in a message from a peer."""
        if message.to != self.id:
            return
        if isinstance(message, PreVote | RequestVote) and self._dismisses(message.sender):
            return
        if isinstance(message, Dismissal):  # of whatever term: nobody takes that back
            self.dismissed_at = message.index
            return
        if message.term > self.term:
            if not self._go_to_term_of(message):
                return
        elif message.term < self.term:
            self._answer_stale(message)
            return
        self._HANDLERS[type(message)](self, message)

    def compact(self, snapshot: SnapshotMeta, first_kept: Index) -> None:
        """Take note of a durable snapshot of what was applied, and trim the log before a tail."""
        assert snapshot.index <= self.applied
        if self.snapshot is None or snapshot.index > self.snapshot.index:
            self.snapshot = snapshot
            self.log.trim(Index(min(first_kept, snapshot.index + 1)))
            self._memberships.forget_before(snapshot.index)

    def snapshot_received(self, chunk: InstallSnapshot, next_offset: int) -> None:
        """Report that a chunk was put down, and which byte is wanted next."""
        self._replies.append(
            SnapshotReply(
                self.id, chunk.sender, self.term, chunk.meta.index, next_offset, installed=False
            )
        )

    def snapshot_installed(self, chunk: InstallSnapshot) -> None:
        """Report that a snapshot is complete, verified and durable, and the journal points to it.

        The caller replaces its state machine by the snapshot before it applies anything more.
        """
        meta = chunk.meta
        assert self.wants_snapshot(meta)
        self.log.restart_after(meta)
        self.commit = self.applied = meta.index
        self._memberships = Memberships(meta.index, meta.membership)
        self.checkpoints.clear()
        self.snapshot = meta
        self._replies.append(
            SnapshotReply(
                self.id, chunk.sender, self.term, meta.index, meta.size_bytes, installed=True
            )
        )

    def wants_snapshot(self, meta: SnapshotMeta) -> bool:
        """Say whether a snapshot holds entries that are not here; if not, leave it alone.

        Installing one forgets what follows it in the log, and if the log holds the snapshot's last
        entry, what follows may have been acknowledged already.
        """
        return meta.index > self.commit and self.log.term_at(meta.index) != meta.term

    # --- outputs ------------------------------------------------------------------------------

    def ready(self) -> Ready | None:
        """Collect the next round of work; None when there is nothing to do."""
        assert not self._writing, "the round before was not carried out"
        if self._leader is not None:
            self._messages += self._leader.gather(self.commit, self.snapshot)
            self._messages += self._leader.call_successor()
            self._release_reads(self._leader)  # alone, a leader needs nobody's answer
        elif self._is_idle():
            return None
        hard_state = HardState(self.term, self.vote)
        committed_to = Index(
            min(self.commit, self.log.persisted, self.applied + COMMITTED_PER_READY_MAX)
        )
        ready = Ready(
            committed=tuple(self.log.slice(Index(self.applied + 1), committed_to)),
            messages=tuple(self._messages),
            hard_state=None if hard_state == self._saved else hard_state,
            entries=tuple(self.log.slice(Index(self.log.handed + 1), self.log.last_index)),
            replies=tuple(self._replies),
            chunks=tuple(self._chunks),
            reads=tuple(self._reads),
        )
        if not any((ready.messages, ready.hard_state, ready.entries, ready.replies)) and not any(
            (ready.chunks, ready.committed, ready.reads)
        ):
            return None
        for queue in (self._messages, self._replies, self._chunks, self._reads):
            queue.clear()
        self.log.handed = self.log.last_index
        self.applied = max(self.applied, committed_to)
        self._saved = hard_state
        self._writing = True
        return ready

    def _is_idle(self) -> bool:
        """Say quickly that there is nothing to do; most calls end here."""
        return not (
            self._messages
            or self._replies
            or self._chunks
            or self._reads
            or self.log.handed < self.log.last_index
            or self.applied < min(self.commit, self.log.persisted)
            or self.term != self._saved.term
            or self.vote != self._saved.vote
        )

    def persisted(self) -> None:
        """Report that the last `Ready` was carried out: what it had to write is on disk."""
        assert self._writing
        self._writing = False
        self.log.persisted = self.log.handed
        if self.role is Role.CANDIDATE and self.id not in self._votes:
            self._count(self.id, granted=True)  # one's own vote counts once it is on disk
        if self._leader is not None:
            self._advance_commit(self._leader)

    @property
    def membership(self) -> Membership:
        """Who takes part: the last membership in the log, committed or not."""
        return self._memberships.current

    def membership_at(self, index: Index) -> Membership:
        """Who took part once `index` was the last entry; not before the snapshot."""
        return self._memberships.at(index)

    @property
    def change_is_under_way(self) -> bool:
        """Whether a change of the membership is not committed, or half done."""
        return self._memberships.index > self.commit or memberships.is_joint(self.membership)

    @property
    def is_transferring(self) -> bool:
        """Whether this node is handing leadership over: writes must wait."""
        return self._leader is not None and self._leader.transfer is not None

    @property
    def is_leader(self) -> bool:
        """Whether this node leads in its term."""
        return self._leader is not None

    @property
    def leader(self) -> Leader | None:
        """What this node knows as a leader, while it is one."""
        return self._leader

    @property
    def hears_a_leader(self) -> bool:
        """Whether this node leads, or heard from its leader within the shortest timeout."""
        return self.leader_id is not None and self._elapsed < self.config.election_ticks_min

    @property
    def ticks_since_heard(self) -> int | None:
        """Ticks since this node heard from the leader that it follows; None without one."""
        follows = self.leader_id is not None and self._leader is None
        return self._elapsed if follows else None

    def ticks_since_current(self, applied: Index) -> int | None:
        """Ticks since a moment of which this node has everything; None if there is none.

        That is: with `applied` applied, its state holds all that was committed anywhere by then.
        """
        if self._leader is not None:
            self._staleness.note(self._ticks - self._leader.age_ticks(), self.commit)
        as_of = self._staleness.as_of(applied)
        return None if as_of is None else self._ticks - as_of

    @property
    def ticks_until_due(self) -> int:
        """Ticks until something is to be done if nothing is heard; at least one."""
        if self._leader is not None:
            return max(1, self.config.heartbeat_ticks - self._heartbeat_elapsed)
        return max(1, self._timeout - self._elapsed)

    # --- terms and roles ----------------------------------------------------------------------

    def _go_to_term_of(self, message: AnyPeerMessage) -> bool:
        """Handle a newer term; say whether the message is to be handled any further."""
        wants_vote = isinstance(message, PreVote | RequestVote)
        by_transfer = isinstance(message, RequestVote) and message.by_transfer
        if wants_vote and self.hears_a_leader and not by_transfer:
            return False  # a live leader is not to be disturbed (section 4.2.3)
        if isinstance(message, PreVote) or (isinstance(message, PreVoteReply) and message.granted):
            return True  # about a term that nobody is in yet (section 9.6)
        leader = message.sender if isinstance(message, _LEADERS_WORD) else None
        self._follow(message.term, leader)
        return True

    def _answer_stale(self, message: AnyPeerMessage) -> None:
        """Tell the sender of an older term about ours.

        With pre-vote a leader of an older term would else never learn that it is not one any more.
        """
        if isinstance(message, _LEADERS_WORD):
            self._replies.append(
                AppendReply(
                    self.id, message.sender, self.term, accepted=False, index=self.log.last_index
                )
            )
        elif isinstance(message, PreVote):
            self._replies.append(PreVoteReply(self.id, message.sender, self.term, granted=False))
        elif isinstance(message, RequestVote):
            self._replies.append(VoteReply(self.id, message.sender, self.term, granted=False))

    def _follow(self, term: Term, leader: NodeId | None) -> None:
        if term > self.term:
            self.term = term
            self.vote = None
        if leader != self.leader_id:
            self._fail_reads_asked()
        if self._leader is not None:
            for request in self._leader.reads.drain():
                if request.requester == self.id:
                    self._reads.append(ReadRelease(request.context, None))
            self._leader = None
        self.role = Role.FOLLOWER
        self.leader_id = leader
        self._votes = {}
        self._elapsed = 0
        self._draw_timeout()

    def _campaign_before_voting(self) -> None:
        """Ask whether an election could be won before disturbing anyone (section 9.6).

        Who leaves stands for election until its leaving is committed, for its vote may be needed
        and its log the longest (section 4.2.2). Who has no say at all asks too, and does nothing
        with the votes: it may have been removed, and this is how it is told.
        """
        self._fail_reads_asked()
        self.leader_id = None
        self._elapsed = 0
        self._draw_timeout()
        self._votes = {}
        for peer in self._peers():
            self._messages.append(
                PreVote(self.id, peer, Term(self.term + 1), self.log.last_index, self.log.last_term)
            )
        known = self._memberships.since(self.commit)
        if any(memberships.has_say(one, self.id) for one in known):
            self.role = Role.PRE_CANDIDATE
            self._count(self.id, granted=True)
        else:
            self.role = Role.FOLLOWER

    def _campaign(self, *, by_transfer: bool = False) -> None:
        """Stand for election in a new term (section 3.4)."""
        self.term = Term(self.term + 1)
        self.vote = self.id
        self.leader_id = None
        self.role = Role.CANDIDATE
        self._elapsed = 0
        self._draw_timeout()
        self._votes = {}
        for peer in self._peers():
            # Sent after the write: a node that forgot its own vote could vote twice.
            self._replies.append(
                RequestVote(
                    self.id,
                    peer,
                    self.term,
                    self.log.last_index,
                    self.log.last_term,
                    by_transfer=by_transfer,
                )
            )

    def _lead(self) -> None:
        self.role = Role.LEADER
        self.leader_id = self.id
        self._elapsed = self._heartbeat_elapsed = 0
        self._leader = Leader(self.id, self.term, self.membership, self.log, self.config)
        # Commits what earlier terms left behind, and lets reads begin (sections 3.6.2 and 6.4).
        self.log.append([Entry(Index(self.log.last_index + 1), self.term, EntryKind.NOOP, b"")])

    def _count(self, voter: NodeId, *, granted: bool) -> None:
        self._votes[voter] = granted
        result = quorum.count_votes(self.membership, self._votes)
        if result == "lost":
            self._follow(self.term, None)
        elif result == "won":
            if self.role is Role.PRE_CANDIDATE:
                self._campaign()
            else:
                self._lead()

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

    def _draw_timeout(self) -> None:
        self._timeout = self._random.randint(
            self.config.election_ticks_min, self.config.election_ticks_max
        )

    def _peers(self) -> list[NodeId]:
        voters = {*self.membership.voters, *self.membership.outgoing}
        return sorted(voter for voter in voters if voter != self.id)

    # --- membership ---------------------------------------------------------------------------

    def _append(self, entries: list[Entry]) -> Index:
        self.log.append(entries)
        self._take_memberships(entries)
        return entries[0].index

    def _take_memberships(self, entries: Sequence[Entry]) -> None:
        """Go by the membership that the log ends with now (section 4.1)."""
        if self._memberships.take(entries) and self._leader is not None:
            self._leader.follow(self.membership)

    def _membership_entry(self, term: Term, membership: Membership) -> Entry:
        index = Index(self.log.last_index + 1)
        return Entry(index, term, EntryKind.MEMBERSHIP, codec.encode(membership))

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

    def _dismisses(self, sender: NodeId) -> bool:
        """Answer a candidate that was removed, once that is committed."""
        if self._memberships.index > self.commit:
            return False
        if not memberships.was_removed(self.membership, sender):
            return False
        self._messages.append(Dismissal(self.id, sender, self.term, self._memberships.index))
        return True

    def _on_timeout_now(self, message: TimeoutNow) -> None:
        if message.sender == self.leader_id and self.id in self.membership.voters:
            self._fail_reads_asked()
            self._campaign(by_transfer=True)

    # --- divergence ---------------------------------------------------------------------------

    def _judge(self, leader: Leader) -> None:
        """Tell members that went wrong; a leader that did itself must not go on."""
        for node_id, right in leader.wrong_members(self.checkpoints).items():
            if node_id == self.id:
                self.diverged_at = right
            else:
                self._messages.append(Divergence(self.id, node_id, self.term, right))

    def _on_divergence(self, message: Divergence) -> None:
        if message.sender == self.leader_id and self.checkpoints.contradicts(message.checkpoint):
            self.diverged_at = message.checkpoint

    # --- votes --------------------------------------------------------------------------------

    def _on_pre_vote(self, message: PreVote) -> None:
        granted = message.term > self.term and self.log.is_up_to_date(
            message.last_index, message.last_term
        )
        term = message.term if granted else self.term
        self._replies.append(PreVoteReply(self.id, message.sender, term, granted=granted))

    def _on_pre_vote_reply(self, message: PreVoteReply) -> None:
        if self.role is not Role.PRE_CANDIDATE:
            return
        if message.granted and message.term != self.term + 1:
            return  # about an earlier try
        self._count(message.sender, granted=message.granted)

    def _on_request_vote(self, message: RequestVote) -> None:
        free = self.vote == message.sender or (self.vote is None and self.leader_id is None)
        granted = free and self.log.is_up_to_date(message.last_index, message.last_term)
        if granted:
            self.vote = message.sender
            self._elapsed = 0
        self._replies.append(VoteReply(self.id, message.sender, self.term, granted=granted))

    def _on_vote_reply(self, message: VoteReply) -> None:
        if self.role is Role.CANDIDATE:
            self._count(message.sender, granted=message.granted)

    # --- following ----------------------------------------------------------------------------

    def _hear_leader(self, sender: NodeId) -> None:
        if self.role is not Role.FOLLOWER or self.leader_id != sender:
            assert self._leader is None, f"two leaders in term {self.term}"
            self._follow(self.term, sender)
        self._elapsed = 0

    def _on_append(self, message: AppendEntries) -> None:
        self._hear_leader(message.sender)
        log = self.log
        if message.prev_index < self.commit:
            self._accept(message.sender, self.commit)
        elif log.term_at(message.prev_index) == message.prev_term:
            self._take_memberships(log.merge(message.entries, self.commit))
            last = Index(message.prev_index + len(message.entries))
            self.commit = max(self.commit, Index(min(message.commit, last)))
            self._accept(message.sender, last)
        else:
            index, term = log.last_possible_match(
                Index(min(message.prev_index, log.last_index)), message.prev_term
            )
            self._replies.append(
                AppendReply(
                    self.id,
                    message.sender,
                    self.term,
                    accepted=False,
                    index=index,
                    hint_term=term,
                    rejected_prev=message.prev_index,
                )
            )

    def _accept(self, leader: NodeId, index: Index) -> None:
        self._replies.append(AppendReply(self.id, leader, self.term, accepted=True, index=index))

    def _on_heartbeat(self, message: Heartbeat) -> None:
        self._hear_leader(message.sender)
        # Never beyond what this node is known to have, so the entries are the leader's.
        self.commit = max(self.commit, Index(min(message.commit, self.log.last_index)))
        if message.echo is not None and self._life <= message.echo <= self._ticks:
            self._staleness.note(message.echo - message.age_ticks, message.leader_commit)
        if message.round:
            self._messages.append(
                HeartbeatReply(
                    self.id,
                    message.sender,
                    self.term,
                    message.round,
                    self._ticks,
                    message.stamp,
                    self.checkpoints.newest,
                )
            )

    def _on_install_snapshot(self, message: InstallSnapshot) -> None:
        self._hear_leader(message.sender)
        meta = message.meta
        if meta.index > self.commit and self.log.term_at(meta.index) == meta.term:
            self.commit = meta.index  # everything in it is here already
        if meta.index <= self.commit:
            self._replies.append(
                SnapshotReply(
                    self.id, message.sender, self.term, meta.index, meta.size_bytes, installed=True
                )
            )
        else:
            self._chunks.append(message)

    # --- leading ------------------------------------------------------------------------------

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

    # --- reads --------------------------------------------------------------------------------

    def _on_read_index_request(self, message: ReadIndexRequest) -> None:
        request = ReadRequest(message.sender, message.context)
        if self._leader is None or not self._leader.reads.add(request):
            self._messages.append(
                ReadIndexReply(self.id, message.sender, self.term, message.context, Index(0))
            )

    def _on_read_index_reply(self, message: ReadIndexReply) -> None:
        context = message.context - self._life
        if self._reads_asked.pop(context, None) is not None:
            self._reads.append(ReadRelease(context, message.index or None))

    def _fail_reads_asked(self) -> None:
        self._reads.extend(ReadRelease(context, None) for context in self._reads_asked)
        self._reads_asked.clear()

    _HANDLERS: ClassVar[dict[type[AnyPeerMessage], Callable[[RaftCore, Any], None]]] = {
        PreVote: _on_pre_vote,
        PreVoteReply: _on_pre_vote_reply,
        RequestVote: _on_request_vote,
        VoteReply: _on_vote_reply,
        AppendEntries: _on_append,
        AppendReply: _on_append_reply,
        Heartbeat: _on_heartbeat,
        HeartbeatReply: _on_heartbeat_reply,
        InstallSnapshot: _on_install_snapshot,
        SnapshotReply: _on_snapshot_reply,
        ReadIndexRequest: _on_read_index_request,
        ReadIndexReply: _on_read_index_reply,
        TimeoutNow: _on_timeout_now,
        Divergence: _on_divergence,
    }
