"""Linearizable reads without writing (section 6.4)."""

from __future__ import annotations

from felix.core.raft.ready import ReadRelease
from felix.proto.ids import Index, Term
from felix.proto.raft import (
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    ReadIndexReply,
    ReadIndexRequest,
    VoteReply,
)
from tests.raft.group import CONFIG, A, B, C, D, E, Node, group, only

THREE = (A, B, C)


def new_leader() -> Node:
    """A as the leader of three in term 1; its first entry is on its disk and nowhere else."""
    node = Node(A, THREE)
    node.core._campaign()
    node.work()
    node.hear(VoteReply(B, A, Term(1), granted=True))
    assert node.core.is_leader
    return node


def leader_that_has_committed() -> Node:
    node = new_leader()
    node.hear(AppendReply(B, A, Term(1), accepted=True, index=Index(1)))
    assert node.core.commit == 1
    return node


def test_a_new_leader_does_not_serve_reads_before_its_own_term_has_committed() -> None:
    node = new_leader()
    node.core.read_index(1)
    assert not only(node.work(), Heartbeat)
    said = node.hear(AppendReply(B, A, Term(1), accepted=True, index=Index(1)))
    rounds = [message.round for message in only(said, Heartbeat) if message.round]
    assert rounds == [2, 2]
    assert node.reads == []
    node.hear(HeartbeatReply(C, A, Term(1), 2))
    assert node.reads == [ReadRelease(1, Index(1))]


def test_a_read_waits_until_a_quorum_has_confirmed_the_leader() -> None:
    five = group(A, B, C, D, E)
    five.elect(A)
    node = five[A]
    node.core.read_index(1)
    round_ = only(node.work(), Heartbeat)[0].round
    node.hear(HeartbeatReply(B, A, Term(1), round_))
    assert node.reads == []
    node.hear(HeartbeatReply(B, A, Term(1), round_))
    assert node.reads == [], "the same follower twice is one"
    node.hear(HeartbeatReply(C, A, Term(1), round_))
    assert node.reads == [ReadRelease(1, Index(1))]


def test_an_answer_to_an_earlier_heartbeat_confirms_nothing() -> None:
    node = leader_that_has_committed()
    node.tick(CONFIG.heartbeat_ticks)
    earlier = only(node.work(), Heartbeat)[0].round
    node.core.read_index(1)
    node.work()
    node.hear(HeartbeatReply(B, A, Term(1), earlier), HeartbeatReply(C, A, Term(1), earlier))
    assert node.reads == []


def test_reads_that_come_together_share_a_round() -> None:
    node = leader_that_has_committed()
    for context in range(50):
        node.core.read_index(context)
    said = only(node.work(), Heartbeat)
    assert len(said) == 2
    node.hear(HeartbeatReply(B, A, Term(1), said[0].round))
    assert node.reads == [ReadRelease(context, Index(1)) for context in range(50)]


def test_a_lost_round_is_repeated_with_the_next_heartbeat() -> None:
    node = leader_that_has_committed()
    node.core.read_index(1)
    node.work()
    node.tick(CONFIG.heartbeat_ticks)
    repeated = only(node.work(), Heartbeat)[0].round
    node.hear(HeartbeatReply(B, A, Term(1), repeated))
    assert node.reads == [ReadRelease(1, Index(1))]


def test_a_follower_reads_at_the_leaders_commit_index() -> None:
    three = group(*THREE)
    three.elect(A)
    index = three.propose(A, b"x")
    three[B].core.read_index(7)
    three.settle()
    assert three[B].reads == [ReadRelease(7, index)]
    assert three[B].applied[-1].index == index


def test_a_read_without_a_leader_fails_at_once() -> None:
    node = Node(A, THREE)
    node.core.read_index(1)
    node.work()
    assert node.reads == [ReadRelease(1, None)]


def test_a_leader_alone_reads_at_once() -> None:
    alone = group(A)
    alone.elect(A)
    alone[A].core.read_index(1)
    alone.settle()
    assert alone[A].reads == [ReadRelease(1, Index(1))]


def test_reads_fail_when_the_leader_is_deposed() -> None:
    node = leader_that_has_committed()
    node.core.read_index(1)
    node.work()
    node.core.read_index(2)
    node.hear(Heartbeat(B, A, Term(2), Index(0), 1))
    assert node.reads == [ReadRelease(1, None), ReadRelease(2, None)]


def test_reads_of_a_follower_fail_when_another_leader_appears() -> None:
    node = Node(A, THREE)
    node.hear(Heartbeat(B, A, Term(1), Index(0), 1))
    node.core.read_index(1)
    node.work()
    node.hear(Heartbeat(C, A, Term(2), Index(0), 1))
    assert node.reads == [ReadRelease(1, None)]


def test_reads_of_a_follower_fail_when_the_leader_does_not_answer() -> None:
    node = Node(A, THREE)
    node.hear(Heartbeat(B, A, Term(1), Index(0), 1))
    node.core.read_index(1)
    node.work()
    for _ in range(CONFIG.election_ticks_min):
        node.hear(Heartbeat(B, A, Term(1), Index(0), 0))
        node.tick()
    node.work()
    assert node.reads == [ReadRelease(1, None)]


def test_a_follower_that_is_asked_refuses() -> None:
    node = Node(A, THREE)
    node.hear(Heartbeat(B, A, Term(1), Index(0), 1))
    (reply,) = only(node.hear(ReadIndexRequest(C, A, Term(1), 5)), ReadIndexReply)
    assert (reply.context, reply.index) == (5, 0)


def test_a_refusal_of_the_leader_fails_the_read() -> None:
    node = Node(A, THREE)
    node.hear(Heartbeat(B, A, Term(1), Index(0), 1))
    node.core.read_index(1)
    (request,) = only(node.work(), ReadIndexRequest)
    node.hear(ReadIndexReply(B, A, Term(1), request.context, Index(0)))
    assert node.reads == [ReadRelease(1, None)]


def test_an_answer_that_comes_twice_releases_once() -> None:
    node = Node(A, THREE)
    node.hear(Heartbeat(B, A, Term(1), Index(0), 1))
    node.core.read_index(1)
    (request,) = only(node.work(), ReadIndexRequest)
    answer = ReadIndexReply(B, A, Term(1), request.context, Index(4))
    node.hear(answer, answer)
    assert node.reads == [ReadRelease(1, Index(4))]


def test_an_answer_to_a_read_of_an_earlier_life_releases_nothing() -> None:
    """A restarted node counts its reads from the start again; the old answer may be too old."""
    node = Node(A, THREE)
    node.hear(Heartbeat(B, A, Term(1), Index(0), 1))
    node.core.read_index(1)
    (before,) = only(node.work(), ReadIndexRequest)
    node.restart()
    node.hear(Heartbeat(B, A, Term(1), Index(0), 1))
    node.core.read_index(1)
    node.work()
    node.hear(ReadIndexReply(B, A, Term(1), before.context, Index(4)))
    assert node.reads == []
