"""How entries reach the others, and when they are committed."""

from __future__ import annotations

import pytest

from felix.core.raft.config import RaftConfig
from felix.core.raft.progress import Mode
from felix.proto.errors import NotLeader
from felix.proto.ids import Index, Term
from felix.proto.raft import (
    AppendEntries,
    AppendReply,
    EntryKind,
    Heartbeat,
    HeartbeatReply,
    VoteReply,
)
from tests.raft.group import CONFIG, A, B, C, D, E, Group, Node, entries, entry, group, only

THREE = (A, B, C)


def append(term: int, prev: int, prev_term: int, *terms: int, commit: int = 0) -> AppendEntries:
    """An append from B to A."""
    new = tuple(entry(prev + n, one) for n, one in enumerate(terms, start=1))
    return AppendEntries(B, A, Term(term), Index(prev), Term(prev_term), Index(commit), new)


def accepted(sender: str, term: int, index: int) -> AppendReply:
    """An answer to A."""
    name = {"B": B, "C": C}[sender]
    return AppendReply(name, A, Term(term), accepted=True, index=Index(index))


def leader_of(log_terms: tuple[int, ...], term: int, config: RaftConfig = CONFIG) -> Node:
    """A as a leader of three in a term, with a log from earlier; nobody has answered yet."""
    node = Node(A, THREE, config, term=term - 1, log=entries(*log_terms))
    node.core._campaign()
    node.work()
    node.core.step(VoteReply(B, A, Term(term), granted=True))
    assert node.core.is_leader
    return node


def test_what_is_proposed_is_applied_everywhere_in_order() -> None:
    three = group(*THREE)
    three.elect(A)
    three.propose(A, b"one", b"two")
    three.propose(A, b"three")
    for name in THREE:
        applied = [one.data for one in three[name].applied if one.kind is EntryKind.COMMAND]
        assert applied == [b"one", b"two", b"three"]


def test_only_a_leader_takes_proposals() -> None:
    three = group(*THREE)
    three.elect(A)
    with pytest.raises(NotLeader):
        three[B].core.propose([b"x"])


def test_a_batch_is_one_message_to_each_follower_and_one_write() -> None:
    three = group(*THREE)
    three.elect(A)
    three[A].core.propose([b"one", b"two", b"three"])
    ready = three[A].core.ready()
    assert ready is not None
    assert [len(message.entries) for message in only(ready.messages, AppendEntries)] == [3, 3]
    assert len(ready.entries) == 3


def test_a_new_leaders_empty_entry_commits_what_earlier_terms_left_behind() -> None:
    five = Group(
        *(Node(name, (A, B, C, D, E), term=2, log=entries(1, 2)) for name in (A, B, C, D, E))
    )
    five.elect(A)
    assert [one.index for one in five[A].applied] == [1, 2, 3]
    assert five[A].applied[-1].kind is EntryKind.NOOP


def test_a_leader_never_commits_an_earlier_term_by_counting() -> None:
    """Figure 3.7 of the dissertation (figure 8 of the paper)."""
    leader = leader_of((1, 2), term=4)
    leader.work()
    leader.hear(accepted("B", 4, 2))
    assert leader.core.commit == 0, "on a majority, but of an earlier term"
    leader.hear(accepted("B", 4, 3))
    assert leader.core.commit == 3


def test_a_leader_counts_itself_only_once_its_disk_is_done() -> None:
    leader = leader_of((), term=1)
    ready = leader.core.ready()
    assert ready is not None
    leader.carry_out(ready)
    leader.core.propose([b"x"])
    ready = leader.core.ready()
    assert ready is not None
    assert leader.core.log.persisted == 1
    leader.carry_out(ready)
    assert leader.core.log.persisted == 2
    leader.hear(accepted("C", 1, 2))
    assert leader.core.commit == 2


def test_a_follower_answers_only_after_it_has_written() -> None:
    node = Node(A, THREE)
    node.core.step(append(1, 0, 0, 1, 1))
    ready = node.core.ready()
    assert ready is not None
    assert not only(ready.messages, AppendReply)
    assert [reply.index for reply in only(ready.replies, AppendReply)] == [2]


def test_a_follower_applies_nothing_that_it_has_not_written() -> None:
    node = Node(A, THREE)
    node.core.step(append(1, 0, 0, 1, 1, commit=2))
    ready = node.core.ready()
    assert ready is not None
    assert ready.committed == ()
    node.carry_out(ready)
    assert [one.index for one in node.applied] == []
    node.work()
    assert [one.index for one in node.applied] == [1, 2]


def test_a_follower_commits_no_further_than_what_the_message_shows_to_match() -> None:
    node = Node(A, THREE, term=1, log=entries(1, 1, 1))
    node.hear(append(2, 1, 1, commit=3))
    assert node.core.commit == 1, "entries 2 and 3 may be others than the leader's"


def test_a_follower_with_other_entries_takes_the_leaders() -> None:
    node = Node(A, THREE, term=2, log=entries(1, 2, 2))
    answers = node.hear(append(3, 1, 1, 3))
    assert [(reply.accepted, reply.index) for reply in only(answers, AppendReply)] == [(True, 2)]
    assert [one.term for one in node.journal.recover().entries] == [1, 3]


def test_a_mismatch_is_answered_with_where_the_logs_may_agree() -> None:
    node = Node(A, THREE, term=4, log=entries(1, 1, 4, 4, 4))
    (reply,) = only(node.hear(append(5, 5, 3)), AppendReply)
    assert (reply.accepted, reply.index, reply.hint_term) == (False, 2, 1)
    assert reply.rejected_prev == 5


def test_one_hint_leads_back_over_a_whole_term() -> None:
    leader_log = entries(1, *[2] * 50)
    follower_log = entries(1, *[3] * 70)
    three = Group(
        Node(A, THREE, term=3, log=leader_log),
        Node(B, THREE, term=3, log=leader_log),
        Node(C, THREE, term=3, log=follower_log),
    )
    three.cut = {C}
    three.elect(A)
    three.said.clear()
    three.cut = set()
    three.tick(4 * CONFIG.heartbeat_ticks)
    assert three[C].core.log.last_term == 4
    refusals = [
        reply for reply in only(three.said, AppendReply) if not reply.accepted and reply.sender == C
    ]
    assert len(refusals) == 1
    assert [one.term for one in three[C].journal.recover().entries] == [1, *[2] * 50, 4]


def test_the_next_entries_leave_before_the_last_are_acknowledged_up_to_a_limit() -> None:
    config = RaftConfig(
        heartbeat_ticks=2, election_ticks_min=10, election_ticks_max=20, in_flight_messages_max=3
    )
    leader = leader_of((), 1, config)
    leader.work()
    leader.hear(accepted("B", 1, 1))
    sent = []
    for number in range(5):
        leader.core.propose([b"%d" % number])
        sent += [one for one in only(leader.work(), AppendEntries) if one.to == B]
    assert [[one.index for one in message.entries] for message in sent] == [[2], [3], [4]]
    more = [one for one in only(leader.hear(accepted("B", 1, 2)), AppendEntries) if one.to == B]
    assert [[one.index for one in message.entries] for message in more] == [[5, 6]]


def test_until_it_is_known_where_the_logs_agree_one_message_goes_out() -> None:
    leader = leader_of((1, 1), term=2)
    assert len([one for one in only(leader.work(), AppendEntries) if one.to == B]) == 1
    leader.core.propose([b"x"])
    assert not only(leader.work(), AppendEntries)


def test_a_large_backlog_goes_in_messages_of_limited_size() -> None:
    config = RaftConfig(
        heartbeat_ticks=2, election_ticks_min=10, election_ticks_max=20, append_bytes_max=100
    )
    leader = leader_of((), 1, config)
    leader.work()
    leader.hear(accepted("B", 1, 1))
    leader.core.propose([b"x" * 30] * 6)
    sent = [one for one in only(leader.work(), AppendEntries) if one.to == B]
    assert [len(message.entries) for message in sent] == [2, 2, 2]


def test_what_was_lost_is_sent_again_after_heartbeats() -> None:
    three = group(*THREE)
    three.elect(A)
    three.cut = {C}
    three.propose(A, b"one")
    three.propose(A, b"two")
    three.cut = set()
    three.tick(4 * CONFIG.heartbeat_ticks)
    assert [one.data for one in three[C].applied] == [b"", b"one", b"two"]


def test_a_slow_follower_is_asked_and_not_sent_everything_again() -> None:
    leader = leader_of((), term=1)
    leader.work()
    leader.hear(accepted("B", 1, 1))
    leader.core.propose([b"x" * 1000])
    leader.work()
    said = []
    for _ in range(4 * CONFIG.heartbeat_ticks):
        leader.tick()
        said += leader.work()
        said += leader.hear(HeartbeatReply(B, A, Term(1), 1))
    inquiries = [one for one in only(said, AppendEntries) if one.to == B]
    assert inquiries, "it may be lost"
    assert all(one.prev_index == 2 and not one.entries for one in inquiries)


def test_reads_do_not_make_a_leader_take_entries_for_lost() -> None:
    leader = leader_of((), term=1)
    leader.work()
    leader.hear(accepted("B", 1, 1))
    leader.core.propose([b"x"])
    leader.work()
    said = []
    for context in range(20):
        leader.core.read_index(context)
        rounds = only(leader.work(), Heartbeat)
        said += leader.hear(HeartbeatReply(B, A, Term(1), rounds[0].round))
    assert not only(said, AppendEntries)


def test_a_lost_first_message_of_a_leader_does_not_cost_the_follower_a_snapshot() -> None:
    leader = leader_of((1, 1, 1, 1), term=2)
    leader.work()
    leader.hear(accepted("B", 2, 5))
    leader.take_snapshot(b"state", first_kept=5)
    for _ in range(4 * CONFIG.heartbeat_ticks):
        leader.tick()
        leader.work()
        leader.hear(HeartbeatReply(C, A, Term(2), 1))
    assert leader.core.leader is not None
    assert leader.core.leader.followers[C].mode is Mode.PROBE
    leader.hear(accepted("C", 2, 5))
    assert leader.core.leader.followers[C].match == 5


def test_late_answers_do_not_breed_messages() -> None:
    leader = leader_of((), term=1)
    leader.work()
    leader.hear(accepted("B", 1, 1))
    for number in range(20):
        leader.core.propose([b"%d" % number])
        leader.work()
    leader.hear(
        AppendReply(
            B, A, Term(1), accepted=False, index=Index(1), hint_term=Term(1), rejected_prev=Index(9)
        )
    )
    for _ in range(10):
        assert leader.hear(accepted("B", 1, 1)) == []


def test_the_commit_index_reaches_followers_without_waiting_for_a_heartbeat() -> None:
    three = group(*THREE)
    three.elect(A)
    index = three.propose(A, b"x")
    assert [three[name].core.commit for name in THREE] == [index] * 3


def test_a_heartbeat_never_tells_a_follower_to_commit_what_it_may_not_have() -> None:
    leader = leader_of((), term=1)
    leader.work()
    leader.hear(accepted("B", 1, 1))
    leader.tick(CONFIG.heartbeat_ticks)
    told = {message.to: message.commit for message in only(leader.work(), Heartbeat)}
    assert told == {B: 1, C: 0}


def test_an_append_before_what_is_committed_is_answered_with_the_commit_index() -> None:
    node = Node(A, THREE)
    node.hear(append(1, 0, 0, 1, 1, 1, commit=3))
    (reply,) = only(node.hear(append(1, 1, 1, 1)), AppendReply)
    assert (reply.accepted, reply.index) == (True, 3)
    assert node.core.log.last_index == 3


def test_a_leader_without_a_quorum_commits_nothing() -> None:
    three = group(*THREE)
    three.elect(A)
    commit = three[A].core.commit
    three.cut = {B, C}
    three.propose(A, b"lost")
    assert three[A].core.commit == commit


def test_entries_that_never_committed_are_replaced_by_the_next_leaders() -> None:
    three = group(*THREE)
    three.elect(A)
    three.cut = {A}
    three.propose(A, b"lost")
    three.elect(B)
    three.propose(B, b"kept")
    three.cut = set()
    three.tick(4 * CONFIG.heartbeat_ticks)
    for name in THREE:
        applied = [one.data for one in three[name].applied if one.kind is EntryKind.COMMAND]
        assert applied == [b"kept"]
