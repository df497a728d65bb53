"""Leadership handed over (dissertation, section 3.10)."""

from __future__ import annotations

import pytest

from felix.proto.errors import NotLeader, TransferRefused
from felix.proto.ids import Index, Term
from felix.proto.raft import RequestVote, TimeoutNow
from tests.raft.group import CONFIG, A, B, C, Group, Node, group, only


def led_by_a() -> Group:
    three = group(A, B, C)
    three.elect(A)
    three.tick(2)
    return three


def test_the_target_leads_without_an_election_timeout() -> None:
    three = led_by_a()
    term = three[A].core.term
    three[A].core.transfer(C)
    three.settle()
    assert three[C].core.is_leader
    assert three[C].core.term == term + 1
    assert three[A].core.leader_id == C
    three.propose(C, b"x")
    assert three[B].core.commit == three[C].core.commit


def test_without_a_target_the_most_advanced_voter_is_chosen() -> None:
    three = led_by_a()
    three.cut = {B}
    three.propose(A, b"x")
    three[A].core.transfer(None)
    three.settle()
    assert three[C].core.is_leader


def test_the_successor_gets_everything_first() -> None:
    three = led_by_a()
    node = three[A]
    node.core.propose([b"x"])
    node.core.transfer(B)
    said = node.work()
    assert only(said, TimeoutNow) == []
    for message in said:
        for reply in three[message.to].hear(message) if message.to == B else []:
            node.core.step(reply)
    assert [one.to for one in only(node.work(), TimeoutNow)] == [B]


def test_a_handover_to_a_target_that_dies_ends_within_an_election_timeout_and_writes_go_on() -> (
    None
):
    three = led_by_a()
    three.cut = {B}
    three[A].core.transfer(B)
    ticks = 0
    while three[A].core.is_transferring:
        three.tick()
        ticks += 1
    assert ticks <= CONFIG.election_ticks_min
    assert three[A].core.is_leader
    before = three[A].core.commit
    three.propose(A, b"x")
    assert three[A].core.commit == before + 1


def test_after_a_failed_handover_a_later_one_succeeds() -> None:
    three = led_by_a()
    three.cut = {B}
    three[A].core.transfer(B)
    three.tick(CONFIG.election_ticks_min)
    three.cut = set()
    three.tick(6)
    three[A].core.transfer(B)
    three.settle()
    assert three[B].core.is_leader


def refusal(three: Group, target: object) -> object:
    with pytest.raises(TransferRefused) as refused:
        three[A].core.transfer(target)  # type: ignore[arg-type]  # also what is no node
    return refused.value.details["reason"]


def test_a_target_that_is_not_alive_is_refused() -> None:
    three = led_by_a()
    three.cut = {B}
    three.tick(3 * CONFIG.election_ticks_min)
    assert refusal(three, B) == "not_alive"


def test_a_target_that_lags_is_refused() -> None:
    three = led_by_a()
    three.cut = {B}
    for _ in range(11):
        three.propose(A, *[b"x"] * 1000)
    assert refusal(three, B) == "lagging"


def test_a_target_that_does_not_vote_is_refused() -> None:
    assert refusal(led_by_a(), "nobody") == "not_a_voter"


def test_a_leader_alone_has_no_successor() -> None:
    alone = group(A)
    alone.elect(A)
    assert refusal(alone, None) == "no_successor"


def test_who_does_not_lead_cannot_hand_over() -> None:
    with pytest.raises(NotLeader):
        led_by_a()[B].core.transfer(C)


def test_nobody_stands_for_election_because_a_stranger_says_so() -> None:
    three = led_by_a()
    said = three[B].hear(TimeoutNow(C, B, three[B].core.term))
    assert only(said, RequestVote) == []


def test_a_vote_asked_for_by_the_leader_is_given_though_the_leader_was_just_heard() -> None:
    node = Node(A, (A, B, C))
    node.core._follow(Term(1), B)
    assert node.core.hears_a_leader
    refused = node.hear(RequestVote(C, A, Term(2), Index(0), Term(0)))
    assert refused == []
    (granted,) = node.hear(RequestVote(C, A, Term(2), Index(0), Term(0), by_transfer=True))
    assert granted.granted  # type: ignore[union-attr]  # a VoteReply
