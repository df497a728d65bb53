"""The consensus core of one node: what goes in, what comes out, and who handles what.

Deterministic: the same inputs and the same random source give the same outputs. Section numbers
are those of Ongaro's dissertation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from felix.core.raft.elections import Elections
from felix.core.raft.following import Following
from felix.core.raft.leading import Leading
from felix.core.raft.reads import ReadRequest
from felix.core.raft.ready import ReadRelease, Ready
from felix.core.raft.standing import Role
from felix.proto.ids import Index, Term
from felix.proto.raft import (
    AnyPeerMessage,
    Dismissal,
    HardState,
    Membership,
    PreVote,
    ReadIndexReply,
    ReadIndexRequest,
    RequestVote,
    SnapshotMeta,
)

COMMITTED_PER_READY_MAX = 1024
"""Applied in one go; about 10 ms. Whoever has more to apply hears its peers in between."""


class RaftCore(Elections, Following, Leading):
    """One node's part in consensus.

    Feed it with `step`, `tick`, `propose` and `read_index`; then take `ready` until it is None,
    carry each out and call `persisted`. Nothing but `snapshot_received` and `snapshot_installed`
    may be called in between.
    """

    # --- inputs -----------------------------------------------------------------------------------

    def found(self, membership: Membership) -> None:
        """Begin a new cluster: every founder writes the same first entry, in term 1.

        A node that has heard from a leader meanwhile needs no founding.
        """
        if self.log.last_index == 0 and not self.membership.voters:
            self.term = max(self.term, Term(1))
            self._append([self._membership_entry(Term(1), membership)])

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

    # --- outputs ----------------------------------------------------------------------------------

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

    # --- reads ------------------------------------------------------------------------------------

    def _on_read_index_reply(self, message: ReadIndexReply) -> None:
        context = message.context - self._life
        if self._reads_asked.pop(context, None) is not None:
            self._reads.append(ReadRelease(context, message.index or None))

    _HANDLERS: ClassVar[dict[type[AnyPeerMessage], Callable[[RaftCore, Any], None]]] = {
        **Elections.HANDLERS,
        **Following.HANDLERS,
        **Leading.HANDLERS,
        ReadIndexReply: _on_read_index_reply,
    }
