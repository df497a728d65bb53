"""Terms, votes and roles."""

from __future__ import annotations

import pytest

from felix.core.raft.config import RaftConfig
from felix.core.raft.standing import Role
from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import (
    AppendReply,
    HardState,
    Heartbeat,
    HeartbeatReply,
    PreVote,
    PreVoteReply,
    RequestVote,
    VoteReply,
)
from tests.raft.group import CONFIG, A, B, C, Node, entries, group, only

THREE = (A, B, C)


def pre_vote(sender: NodeId, to: NodeId, term: int, last: int = 0, last_term: int = 0) -> PreVote:
    return PreVote(sender, to, Term(term), Index(last), Term(last_term))


def request(
    sender: NodeId, to: NodeId, term: int, last: int = 0, last_term: int = 0
) -> RequestVote:
    return RequestVote(sender, to, Term(term), Index(last), Term(last_term))


def heartbeat(sender: NodeId, to: NodeId, term: int) -> Heartbeat:
    return Heartbeat(sender, to, Term(term), Index(0), 1)


def silent(node: Node) -> Node:
    """Let a node's timeout end."""
    node.tick_until(lambda: node.core.role is not Role.FOLLOWER)
    return node


def test_a_node_alone_elects_itself_and_commits() -> None:
    alone = group(A)
    alone.elect(A)
    alone.propose(A, b"one")
    assert [one.data for one in alone[A].applied] == [b"", b"one"]


def test_a_node_alone_leads_only_once_its_own_vote_is_on_disk() -> None:
    node = silent(Node(A, (A,)))
    assert node.core.role is Role.CANDIDATE
    ready = node.core.ready()
    assert ready is not None
    assert ready.hard_state == HardState(Term(1), A)
    assert not node.core.is_leader
    node.carry_out(ready)
    assert node.core.is_leader


def test_three_nodes_elect_one_leader_and_the_others_follow() -> None:
    three = group(*THREE)
    three.elect(B)
    assert [three[name].core.leader_id for name in THREE] == [B, B, B]
    assert [three[name].core.term for name in THREE] == [1, 1, 1]


def test_asking_before_voting_raises_nobodys_term() -> None:
    node = silent(Node(A, THREE))
    said = node.work()
    assert [message.term for message in only(said, PreVote)] == [1, 1]
    assert node.core.term == 0
    other = Node(B, THREE)
    answers = other.hear(pre_vote(A, B, 1))
    assert only(answers, PreVoteReply)[0].granted
    assert other.core.term == 0
    assert other.core.vote is None


def test_an_isolated_node_never_raises_its_term() -> None:
    node = Node(A, THREE)
    for _ in range(20 * CONFIG.election_ticks_max):
        node.tick()
        node.work()
    assert node.core.term == 0


def test_a_node_that_was_isolated_comes_back_without_disturbing_anyone() -> None:
    three = group(*THREE)
    three.elect(A)
    for _ in range(20):
        three.cut = {C}
        three.tick(3 * CONFIG.election_ticks_max)
        three.cut = set()
        three.tick(2 * CONFIG.heartbeat_ticks)
    assert [three[name].core.term for name in THREE] == [1, 1, 1]
    assert [three[name].core.leader_id for name in THREE] == [A, A, A]


def test_candidates_are_ignored_while_a_leader_is_heard() -> None:
    node = Node(A, THREE)
    node.hear(heartbeat(B, A, 1))
    assert node.hear(pre_vote(C, A, 2, 99, 1)) == []
    assert node.hear(request(C, A, 2, 99, 1)) == []
    assert (node.core.term, node.core.leader_id) == (1, B)


def test_candidates_are_heard_once_the_leader_was_silent_for_the_shortest_timeout() -> None:
    node = Node(A, THREE)
    node.hear(heartbeat(B, A, 1))
    node.tick(CONFIG.election_ticks_min)
    answers = node.hear(request(C, A, 2))
    assert only(answers, VoteReply)[0].granted


def test_a_node_votes_once_in_a_term() -> None:
    node = Node(A, THREE)
    assert only(node.hear(request(B, A, 1)), VoteReply)[0].granted
    assert not only(node.hear(request(C, A, 1)), VoteReply)[0].granted
    assert only(node.hear(request(B, A, 1)), VoteReply)[0].granted, "the same answer, again"


def test_a_vote_outlives_a_restart() -> None:
    node = Node(A, THREE)
    node.hear(request(B, A, 1))
    node.restart()
    assert not only(node.hear(request(C, A, 1)), VoteReply)[0].granted


def test_a_vote_is_told_only_after_it_is_written() -> None:
    node = Node(A, THREE)
    node.core.step(request(B, A, 1))
    ready = node.core.ready()
    assert ready is not None
    assert ready.hard_state == HardState(Term(1), B)
    assert not only(ready.messages, VoteReply)
    assert only(ready.replies, VoteReply)


def test_a_candidacy_is_told_only_after_it_is_written() -> None:
    node = silent(Node(A, THREE))
    node.work()
    node.core.step(PreVoteReply(B, A, Term(1), granted=True))
    ready = node.core.ready()
    assert ready is not None
    assert ready.hard_state == HardState(Term(1), A)
    assert not only(ready.messages, RequestVote)
    assert len(only(ready.replies, RequestVote)) == 2


def test_a_candidate_with_an_older_log_gets_no_vote() -> None:
    node = Node(A, THREE, term=2, log=entries(1, 2))
    assert not only(node.hear(request(B, A, 3, last=9, last_term=1)), VoteReply)[0].granted
    assert not only(node.hear(request(B, A, 3, last=1, last_term=2)), VoteReply)[0].granted
    assert only(node.hear(request(C, A, 3, last=2, last_term=2)), VoteReply)[0].granted


def test_a_node_that_has_a_leader_votes_for_no_other_in_that_term() -> None:
    node = Node(A, THREE)
    node.hear(heartbeat(B, A, 1))
    node.tick(CONFIG.election_ticks_min)
    assert not only(node.hear(request(C, A, 1)), VoteReply)[0].granted


def test_late_grants_of_an_earlier_try_do_not_count() -> None:
    node = silent(Node(A, THREE))
    node.work()
    node.hear(heartbeat(B, A, 4))
    silent(node).work()
    node.hear(PreVoteReply(C, A, Term(1), granted=True))
    node.hear(PreVoteReply(C, A, Term(4), granted=True))
    assert node.core.term == 4
    node.hear(PreVoteReply(C, A, Term(5), granted=True))
    assert node.core.term == 5


def test_a_candidate_follows_the_leader_of_its_term() -> None:
    node = silent(Node(A, THREE))
    node.hear(PreVoteReply(B, A, Term(1), granted=True))
    assert node.core.role is Role.CANDIDATE
    node.hear(heartbeat(C, A, 1))
    assert (node.core.role, node.core.leader_id, node.core.vote) == (Role.FOLLOWER, C, A)


def test_a_lost_election_ends_at_once() -> None:
    node = silent(Node(A, THREE))
    node.hear(PreVoteReply(B, A, Term(1), granted=True))
    node.hear(VoteReply(B, A, Term(1), granted=False), VoteReply(C, A, Term(1), granted=False))
    assert node.core.role is Role.FOLLOWER


def test_a_leader_that_no_quorum_answers_steps_down() -> None:
    three = group(*THREE)
    three.elect(A)
    three.cut = {A}
    ticks = three[A].tick_until(lambda: not three[A].core.is_leader)
    assert ticks <= 2 * CONFIG.election_ticks_min
    assert three[A].core.term == 1
    assert three[A].core.leader_id is None


def test_a_leader_that_one_follower_answers_stays() -> None:
    three = group(*THREE)
    three.elect(A)
    three.cut = {C}
    three.tick(10 * CONFIG.election_ticks_min)
    assert three[A].core.is_leader


def test_a_deposed_leader_learns_of_it_from_those_it_still_reaches() -> None:
    node = Node(A, THREE, term=5)
    answers = node.hear(heartbeat(B, A, 4))
    assert [answer.term for answer in only(answers, AppendReply)] == [5]
    three = group(*THREE)
    three.elect(B)
    three[B].hear(*answers)
    assert not three[B].core.is_leader
    assert three[B].core.term == 5


def test_timeouts_differ_from_node_to_node_and_from_try_to_try() -> None:
    seen = set()
    for seed in range(20):
        core = Node(A, THREE, seed=seed).core
        ticks = 0
        while core.role is Role.FOLLOWER:
            core.tick()
            ticks += 1
        seen.add(ticks)
    assert len(seen) > 5
    assert min(seen) >= CONFIG.election_ticks_min
    assert max(seen) <= CONFIG.election_ticks_max


def test_a_heartbeat_puts_off_the_election() -> None:
    node = Node(A, THREE)
    for _ in range(10):
        node.tick(CONFIG.election_ticks_min - 1)
        node.hear(heartbeat(B, A, 1))
    assert node.core.role is Role.FOLLOWER


def test_messages_for_someone_else_are_left_alone() -> None:
    node = Node(A, THREE)
    assert node.hear(request(B, C, 7)) == []
    assert node.core.term == 0


def test_a_leader_of_an_older_term_is_not_followed() -> None:
    node = Node(A, THREE, term=5)
    node.hear(heartbeat(B, A, 4))
    assert node.core.leader_id is None


def test_two_leaders_in_one_term_end_the_process() -> None:
    three = group(*THREE)
    three.elect(A)
    with pytest.raises(AssertionError, match="two leaders"):
        three[A].core.step(heartbeat(B, A, 1))


def test_heartbeats_are_answered_with_their_round() -> None:
    node = Node(A, THREE)
    answers = node.hear(Heartbeat(B, A, Term(1), Index(0), 42))
    assert [answer.round for answer in only(answers, HeartbeatReply)] == [42]
    assert node.hear(Heartbeat(B, A, Term(1), Index(0), 0)) == []


@pytest.mark.parametrize(
    ("heartbeat_ticks", "shortest", "longest"), [(5, 19, 40), (5, 20, 20), (0, 10, 20)]
)
def test_timings_with_which_elections_never_end_are_refused(
    heartbeat_ticks: int, shortest: int, longest: int
) -> None:
    with pytest.raises(ValueError, match="is required"):
        RaftConfig(
            heartbeat_ticks=heartbeat_ticks,
            election_ticks_min=shortest,
            election_ticks_max=longest,
        )


def test_nothing_happens_before_it_is_due_and_then_it_does() -> None:
    node = Node(A, THREE)
    node.tick(3)
    node.tick(node.core.ticks_until_due - 1)
    assert node.work() == []
    assert node.core.ticks_until_due == 1
    node.tick()
    assert only(node.work(), PreVote)


def test_a_leader_beats_when_it_is_due_and_not_before() -> None:
    three = group(A, B, C)
    three.elect(A)
    node = three[A]
    node.tick()
    node.work()
    node.tick(node.core.ticks_until_due - 1)
    assert not only(node.work(), Heartbeat)
    node.tick()
    assert only(node.work(), Heartbeat)
