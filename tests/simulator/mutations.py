"""Deliberate bugs, each of which breaks one rule in the production core."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import pytest

from felix.core.raft import changes, quorum
from felix.core.raft import membership as memberships
from felix.core.raft.core import RaftCore
from felix.core.raft.divergence import Checkpoints
from felix.core.raft.leader import Leader
from felix.core.raft.log import RaftLog
from felix.core.raft.membership import Memberships
from felix.core.raft.ready import Ready
from felix.core.raft.transfer import Transfer
from felix.proto.ids import Index, NodeId
from felix.proto.raft import (
    AnyPeerMessage,
    AppendEntries,
    Checkpoint,
    Dismissal,
    Entry,
    HardState,
    Membership,
    TimeoutNow,
)
from felix.storage.ports import Recovered
from tests.simulator.disk import TransparentJournal, empty_disk
from tests.simulator.node import SimulatedNode

Patch = Callable[[pytest.MonkeyPatch], None]

# --- one membership -------------------------------------------------------------------------------


def commit_by_counting_an_earlier_term(patch: pytest.MonkeyPatch) -> None:
    """Section 3.6.2, figure 3.7."""

    def commit_index(self: Leader, commit: Index) -> Index:
        return Index(max(commit, quorum.agreed(self._membership, self._match_of)))

    patch.setattr(Leader, "commit_index", commit_index)


def forget_the_vote_in_a_restart(patch: pytest.MonkeyPatch) -> None:
    """So that it votes twice in one term (section 3.8)."""
    recover = TransparentJournal.recover

    def without_vote(self: TransparentJournal) -> Recovered:
        recovered = recover(self)
        return msgspec.structs.replace(
            recovered, hard_state=HardState(recovered.hard_state.term, None)
        )

    patch.setattr(TransparentJournal, "recover", without_vote)


def reply_before_the_write(patch: pytest.MonkeyPatch) -> None:
    """Section 3.8."""
    ready = RaftCore.ready

    def hasty(self: RaftCore) -> Ready | None:
        found = ready(self)
        if found is None:
            return None
        return msgspec.structs.replace(
            found, messages=(*found.messages, *found.replies), replies=()
        )

    patch.setattr(RaftCore, "ready", hasty)


def read_without_asking_a_quorum(patch: pytest.MonkeyPatch) -> None:
    """Section 6.4."""
    patch.setattr(Leader, "confirmed_round", lambda self: self.reads.round)


def read_before_the_own_term_has_committed(patch: pytest.MonkeyPatch) -> None:
    """Section 6.4, step 1."""
    patch.setattr(Leader, "has_committed_in_its_term", lambda self, commit: True)


def append_without_checking_what_comes_before(patch: pytest.MonkeyPatch) -> None:
    """Section 3.5."""

    def on_append(self: RaftCore, message: AppendEntries) -> None:
        self._hear_leader(message.sender)
        if self.commit <= message.prev_index <= self.log.last_index:
            self._take_memberships(self.log.merge(message.entries, self.commit))
            last = Index(message.prev_index + len(message.entries))
            self.commit = max(self.commit, Index(min(message.commit, last)))
            self._accept(message.sender, last)

    _handle(patch, AppendEntries, on_append)


def let_a_late_append_shorten_the_log(patch: pytest.MonkeyPatch) -> None:
    """Section 3.5: entries that agree must stay."""

    def merge(self: RaftLog, entries: Sequence[Entry], committed: Index) -> Sequence[Entry]:
        if entries:
            self._truncate_from(entries[0].index)
            self.append(entries)
        return entries

    patch.setattr(RaftLog, "merge", merge)


def vote_for_anyone(patch: pytest.MonkeyPatch) -> None:
    """Section 3.6.1."""
    patch.setattr(RaftLog, "is_up_to_date", lambda self, last_index, last_term: True)


def apply_what_is_not_committed(patch: pytest.MonkeyPatch) -> None:
    """Section 3.5."""
    ready = RaftCore.ready

    def eager(self: RaftCore) -> Ready | None:
        commit, self.commit = self.commit, self.log.persisted
        found = ready(self)
        self.commit = commit
        return found

    patch.setattr(RaftCore, "ready", eager)


# --- memberships that change ----------------------------------------------------------------------


def _without_outgoing(membership: Membership) -> Membership:
    return msgspec.structs.replace(membership, outgoing=())


def _without_incoming(membership: Membership) -> Membership:
    if not membership.outgoing:
        return membership
    return msgspec.structs.replace(membership, voters=membership.outgoing, outgoing=())


def _with_learners(membership: Membership) -> Membership:
    voters = tuple(sorted({*membership.voters, *membership.learners}))
    return msgspec.structs.replace(membership, voters=voters)


def _commit_by(changed: Callable[[Membership], Membership]) -> Patch:
    def mutate(patch: pytest.MonkeyPatch) -> None:
        def commit_index(self: Leader, commit: Index) -> Index:
            agreed = Index(quorum.agreed(changed(self._membership), self._match_of))
            is_own = self._log.term_at(agreed) == self._term
            return agreed if agreed > commit and is_own else commit

        patch.setattr(Leader, "commit_index", commit_index)

    return mutate


def _elect_by(changed: Callable[[Membership], Membership]) -> Patch:
    def mutate(patch: pytest.MonkeyPatch) -> None:
        count_votes = quorum.count_votes
        patch.setattr(quorum, "count_votes", lambda one, votes: count_votes(changed(one), votes))

    return mutate


def _read_by(changed: Callable[[Membership], Membership]) -> Patch:
    def mutate(patch: pytest.MonkeyPatch) -> None:
        def confirmed_round(self: Leader) -> int:
            def round_of(voter: NodeId) -> int:
                return self.reads.round if voter == self._me else self.followers[voter].round_acked

            return quorum.agreed(changed(self._membership), round_of)

        patch.setattr(Leader, "confirmed_round", confirmed_round)

    return mutate


def count_whoever_votes(patch: pytest.MonkeyPatch) -> None:
    """Also those that were removed, and learners."""

    def count_votes(membership: Membership, votes: Mapping[NodeId, bool]) -> quorum.VoteResult:
        granted = sum(votes.values())
        return "won" if granted >= quorum.majority(membership.voters) else "pending"

    patch.setattr(quorum, "count_votes", count_votes)


def promote_a_learner_that_has_nothing(patch: pytest.MonkeyPatch) -> None:
    """Section 4.2.1."""

    def learner_to_promote(self: Leader) -> NodeId | None:
        return next(iter(self._membership.learners), None)

    patch.setattr(Leader, "learner_to_promote", learner_to_promote)


def go_by_a_membership_only_once_it_is_committed(patch: pytest.MonkeyPatch) -> None:
    """Section 4.1."""

    def committed(self: RaftCore) -> Membership:
        found = self.membership_at(self.commit)
        return found if found.voters else self._memberships.current  # founders have no other

    patch.setattr(RaftCore, "membership", property(committed))


def keep_a_membership_that_was_cut_off(patch: pytest.MonkeyPatch) -> None:
    """Section 4.1."""
    take = Memberships.take

    def without_truncation(self: Memberships, entries: Sequence[Entry]) -> bool:
        known = list(self._known)
        changed = take(self, entries)
        kept = [one for one in known if one not in self._known]
        self._known = sorted([*self._known, *kept], key=lambda one: one[0])
        return changed

    patch.setattr(Memberships, "take", without_truncation)


def begin_a_second_change_while_one_is_under_way(patch: pytest.MonkeyPatch) -> None:
    """Section 4.3."""
    patch.setattr(RaftCore, "change_is_under_way", property(lambda self: False))


def change_before_the_own_term_has_committed(patch: pytest.MonkeyPatch) -> None:
    """Ongaro, raft-dev, July 2015: "bug in single-server membership changes"."""
    refuse = changes.refuse_if_busy

    def lenient(*, under_way: bool, leader_is_new: bool) -> None:
        refuse(under_way=under_way, leader_is_new=False)

    patch.setattr(changes, "refuse_if_busy", lenient)


def change_voters_without_a_joint_step(patch: pytest.MonkeyPatch) -> None:
    """Section 4.3: two majorities that need not meet."""
    promoting = memberships.promoting

    def at_once(membership: Membership, learner: NodeId) -> Membership:
        return _without_outgoing(promoting(membership, learner))

    patch.setattr(memberships, "promoting", at_once)


def never_finish_a_change(patch: pytest.MonkeyPatch) -> None:
    """The old half would stay for ever."""
    patch.setattr(memberships, "is_joint", lambda membership: False)


def put_the_newest_membership_into_a_snapshot(patch: pytest.MonkeyPatch) -> None:
    """Section 5.1: it must be the one of the snapshot's index."""
    patch.setattr(RaftCore, "membership_at", lambda self, index: self.membership)


def dismiss_whoever_asks(patch: pytest.MonkeyPatch) -> None:
    """A removal that is not committed may be taken back."""

    def dismisses(self: RaftCore, sender: NodeId) -> bool:
        if sender in self.membership.voters:
            return False
        self._messages.append(Dismissal(self.id, sender, self.term, self._memberships.index))
        return True

    patch.setattr(RaftCore, "_dismisses", dismisses)


def come_back_with_an_empty_disk(patch: pytest.MonkeyPatch) -> None:
    """Under the old identity: what it acknowledged is counted, and is nowhere."""

    def lose_disk(self: SimulatedNode) -> None:
        if self.is_alive:
            self.crash(keep_write=False)
        disk = empty_disk(self.id)
        self.disk.journal.__dict__.update(disk.journal.__dict__)
        self.start()

    patch.setattr(SimulatedNode, "lose_disk", lose_disk)


# --- handing over, and going wrong ----------------------------------------------------------------


def wait_for_ever_for_a_successor(patch: pytest.MonkeyPatch) -> None:
    """Section 3.10: about an election timeout is enough."""
    patch.setattr(Transfer, "tick", lambda self: True)


def call_a_successor_that_lacks_entries(patch: pytest.MonkeyPatch) -> None:
    """Section 3.10, step 2."""

    def call_successor(self: Leader) -> list[AnyPeerMessage]:
        if self.transfer is None or self.transfer.is_told:
            return []
        self.transfer.is_told = True
        return [TimeoutNow(self._me, self.transfer.target, self._term)]

    patch.setattr(Leader, "call_successor", call_successor)


def overlook_a_state_that_is_wrong(patch: pytest.MonkeyPatch) -> None:
    """Nobody compares the digests."""
    patch.setattr(RaftCore, "_judge", lambda self, leader: None)


def accuse_whoever_differs_from_the_leader(patch: pytest.MonkeyPatch) -> None:
    """Without asking who is right."""

    def wrong_members(self: Leader, own: Checkpoints) -> dict[NodeId, Checkpoint]:
        wrong = {}
        for one, progress in self.followers.items():
            told = progress.checkpoint
            mine = own.at(told.index) if told is not None else None
            if mine is not None and mine != told:
                wrong[one] = mine
        return wrong

    patch.setattr(Leader, "wrong_members", wrong_members)


def _handle(
    patch: pytest.MonkeyPatch, kind: type[AnyPeerMessage], handler: Callable[..., None]
) -> None:
    handlers: dict[type[Any], Callable[..., None]] = dict(RaftCore._HANDLERS)
    handlers[kind] = handler
    patch.setattr(RaftCore, "_HANDLERS", handlers)


MUTATIONS: Final[dict[str, Patch]] = {
    "commits by counting an earlier term": commit_by_counting_an_earlier_term,
    "forgets its vote in a restart": forget_the_vote_in_a_restart,
    "replies before the write": reply_before_the_write,
    "reads without asking a quorum": read_without_asking_a_quorum,
    "reads before its own term has committed": read_before_the_own_term_has_committed,
    "appends without checking what comes before": append_without_checking_what_comes_before,
    "lets a late append shorten the log": let_a_late_append_shorten_the_log,
    "votes for anyone": vote_for_anyone,
    "applies what is not committed": apply_what_is_not_committed,
    "commits without the outgoing half": _commit_by(_without_outgoing),
    "commits without the incoming half": _commit_by(_without_incoming),
    "counts what learners have": _commit_by(_with_learners),
    "is elected without the outgoing half": _elect_by(_without_outgoing),
    "is elected without the incoming half": _elect_by(_without_incoming),
    "counts whoever votes": count_whoever_votes,
    "confirms reads without the outgoing half": _read_by(_without_outgoing),
    "confirms reads without the incoming half": _read_by(_without_incoming),
    "promotes a learner that has nothing": promote_a_learner_that_has_nothing,
    "goes by a membership only once it is committed": go_by_a_membership_only_once_it_is_committed,
    "keeps a membership that was cut off": keep_a_membership_that_was_cut_off,
    "begins a second change": begin_a_second_change_while_one_is_under_way,
    "changes before its own term has committed": change_before_the_own_term_has_committed,
    "changes voters without a joint step": change_voters_without_a_joint_step,
    "never finishes a change": never_finish_a_change,
    "puts the newest membership into a snapshot": put_the_newest_membership_into_a_snapshot,
    "dismisses whoever asks": dismiss_whoever_asks,
    "comes back with an empty disk": come_back_with_an_empty_disk,
    "waits for ever for a successor": wait_for_ever_for_a_successor,
    "calls a successor that lacks entries": call_a_successor_that_lacks_entries,
    "overlooks a state that is wrong": overlook_a_state_that_is_wrong,
    "accuses whoever differs from the leader": accuse_whoever_differs_from_the_leader,
}
