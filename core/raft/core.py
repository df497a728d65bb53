"""The consensus core of one node: terms, roles, votes, and who hears what.

Deterministic: the same inputs and the same random source give the same outputs. Section numbers
are those of Ongaro's dissertation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from random import Random
from typing import Any, ClassVar

from felix.core.raft import quorum
from felix.core.raft.config import RaftConfig
from felix.core.raft.leader import Leader
from felix.core.raft.log import RaftLog
from felix.core.raft.reads import ReadRequest
from felix.core.raft.ready import ReadRelease, Ready
from felix.proto.errors import NotLeader
from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import (
    AnyPeerMessage,
    AppendEntries,
    AppendReply,
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
        """Take up what the journal recovered. `membership` counts only without a snapshot."""
        self.id = node_id
        self.membership = snapshot.membership if snapshot else membership
        self.snapshot = snapshot
        self.log = RaftLog(snapshot, entries)
        self.term = hard_state.term
        self.vote = hard_state.vote
        self.role = Role.FOLLOWER
        self.leader_id: NodeId | None = None
        self.commit = self.applied = snapshot.index if snapshot else Index(0)
        """`applied` is the last entry handed out to be applied."""
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
        first = Index(self.log.last_index + 1)
        self.log.append(
            [
                Entry(Index(first + n), self.term, EntryKind.COMMAND, one)
                for n, one in enumerate(data)
            ]
        )
        return first

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
        self._elapsed += 1
        if self._leader is not None:
            self._tick_leader(self._leader)
        elif self._elapsed >= self._timeout and self.id in self.membership.voters:
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
        self.membership = meta.membership
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
            self.commit = self._leader.commit_index(self.commit)

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
    def ticks_since_leader(self) -> int | None:
        """Ticks since the leader was heard from (as leader: since a quorum was); None without."""
        if self._leader is not None:
            return self._leader.quorum_silent_ticks()
        return self._elapsed if self.leader_id is not None else None

    @property
    def ticks_until_due(self) -> int:
        """Ticks until something is to be done if nothing is heard; at least one."""
        if self._leader is not None:
            return max(1, self.config.heartbeat_ticks - self._heartbeat_elapsed)
        return max(1, self._timeout - self._elapsed)

    # --- terms and roles ----------------------------------------------------------------------

    def _go_to_term_of(self, message: AnyPeerMessage) -> bool:
        """Handle a newer term; say whether the message is to be handled any further."""
        if isinstance(message, PreVote | RequestVote) and self.hears_a_leader:
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
        """Ask whether an election could be won before disturbing anyone (section 9.6)."""
        self._fail_reads_asked()
        self.leader_id = None
        self._elapsed = 0
        self._draw_timeout()
        self.role = Role.PRE_CANDIDATE
        self._votes = {}
        for peer in self._peers():
            self._messages.append(
                PreVote(self.id, peer, Term(self.term + 1), self.log.last_index, self.log.last_term)
            )
        self._count(self.id, granted=True)

    def _campaign(self) -> None:
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
                RequestVote(self.id, peer, self.term, self.log.last_index, self.log.last_term)
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

    def _draw_timeout(self) -> None:
        self._timeout = self._random.randint(
            self.config.election_ticks_min, self.config.election_ticks_max
        )

    def _peers(self) -> list[NodeId]:
        return [voter for voter in self.membership.voters if voter != self.id]

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
            log.merge(message.entries, self.commit)
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
        if message.round:
            self._messages.append(HeartbeatReply(self.id, message.sender, self.term, message.round))

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
            self.commit = self._leader.commit_index(self.commit)

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
    }
