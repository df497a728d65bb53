"""Terms and votes (sections 3.4, 4.2.3 and 9.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from felix.core.raft import membership as memberships
from felix.core.raft import quorum
from felix.core.raft.leader import Leader
from felix.core.raft.standing import Role, Standing
from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import (
    AnyPeerMessage,
    AppendEntries,
    AppendReply,
    Dismissal,
    Entry,
    EntryKind,
    Heartbeat,
    InstallSnapshot,
    PreVote,
    PreVoteReply,
    RequestVote,
    TimeoutNow,
    VoteReply,
)

_LEADERS_WORD = (AppendEntries, Heartbeat, InstallSnapshot)
"""Only the leader of a term says these."""


class Elections(Standing):
    """How a node comes to lead, and lets others."""

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

    HANDLERS: ClassVar[dict[type[AnyPeerMessage], Callable[[Any, Any], None]]] = {
        PreVote: _on_pre_vote,
        PreVoteReply: _on_pre_vote_reply,
        RequestVote: _on_request_vote,
        VoteReply: _on_vote_reply,
        TimeoutNow: _on_timeout_now,
    }
