"""Since when a node may lack something: the age of a stale read."""

from __future__ import annotations

from felix.core.raft.staleness import TOLD_MAX, Staleness
from felix.proto.ids import Index
from felix.proto.raft import Heartbeat, HeartbeatReply
from tests.raft.group import CONFIG, A, B, C, Group, Node, group, only

BEAT = CONFIG.heartbeat_ticks


def led_by_a() -> Group:
    three = group(A, B, C)
    three.elect(A)
    three.tick(3 * BEAT)
    return three


def age(node: Node) -> int | None:
    return node.core.ticks_since_current(node.core.applied)


def test_a_node_alone_is_never_stale() -> None:
    alone = group(A)
    alone.elect(A)
    alone.tick(7)
    assert age(alone[A]) == 0


def test_a_node_without_a_leader_does_not_know_how_stale_it_is() -> None:
    assert age(Node(A, [A, B, C])) is None


def test_a_leader_counts_from_the_last_beat_that_a_quorum_answered() -> None:
    three = led_by_a()
    three.cut = {C}
    three.tick(3 * BEAT)
    before = age(three[A])
    assert before in range(BEAT + 1)
    three.cut = {B, C}
    three.tick(3)
    assert before is not None
    assert age(three[A]) == before + 3


def test_a_follower_counts_from_its_answer_that_the_leader_had() -> None:
    three = led_by_a()
    before = age(three[B])
    assert before is not None
    assert before <= 2 * BEAT
    three.cut = {B}
    three.tick(4)
    assert age(three[B]) == before + 4


def test_a_follower_whose_answers_get_lost_grows_old_though_it_hears_the_leader() -> None:
    three = led_by_a()
    ages = []
    for _ in range(10):
        three[A].tick(BEAT)
        three[B].tick(BEAT)
        three[C].tick(BEAT)
        for message in three[A].work():
            if message.to == B:
                three[B].hear(message)  # and what it answers goes nowhere
            elif message.to == C:
                three[A].hear(*three[C].hear(message))
        ages.append(age(three[B]))
    assert all(one is not None for one in ages)
    assert ages[-1] >= ages[0] + 8 * BEAT  # type: ignore[operator]  # none is None


def test_a_beat_that_was_long_on_its_way_does_not_make_a_follower_young() -> None:
    three = led_by_a()
    late = [one for one in beats_of(three) if one.to == B]
    before = age(three[B])
    assert before is not None
    three.cut = {B}
    three.tick(20)
    three[B].hear(*late)
    found = age(three[B])
    assert found is not None
    assert found >= 20


def beats_of(three: Group) -> list[Heartbeat]:
    three[A].tick(BEAT)
    return only(three[A].work(), Heartbeat)


def test_a_follower_that_has_not_applied_what_is_committed_is_as_old_as_what_it_has() -> None:
    three = led_by_a()
    before = three[B].core.applied
    three.propose(A, b"x")
    three.tick(10 * BEAT)
    assert three[B].core.applied > before
    old = three[B].core.ticks_since_current(before)
    assert old is not None
    assert old >= 8 * BEAT
    new = age(three[B])
    assert new is not None
    assert new <= 2 * BEAT


def test_the_stamp_of_an_earlier_life_says_nothing() -> None:
    three = led_by_a()
    (beat,) = [one for one in beats_of(three) if one.to == B]
    three[B].restart()
    three[B].hear(beat)
    assert age(three[B]) is None


def test_a_follower_learns_its_age_in_every_life() -> None:
    three = led_by_a()
    for _ in range(10):  # each begins to count anywhere, half of them below the one before
        three[B].restart()
        three.tick(3 * BEAT)
        found = age(three[B])
        assert found is not None
        assert found <= 2 * BEAT


def test_a_leader_that_lost_its_quorum_makes_nobody_young() -> None:
    three = led_by_a()
    three.cut = {C}
    answered = []
    for _ in range(4):  # B hears A, and A does not hear B in time
        three[A].tick(BEAT)
        three[B].tick(BEAT)
        for message in three[A].work():
            if message.to == B:
                answered += only(three[B].hear(message), HeartbeatReply)
    found = age(three[B])
    assert found is not None
    assert found >= 3 * BEAT


def test_of_many_beats_without_their_entries_few_are_kept() -> None:
    staleness = Staleness()
    for number in range(3 * TOLD_MAX):
        staleness.note(number, Index(number))
    assert staleness.as_of(Index(10)) == 10
    assert staleness.as_of(Index(1000)) == TOLD_MAX - 1


def test_a_new_leader_makes_nobody_young_before_it_knows_what_is_committed() -> None:
    three = led_by_a()
    three.propose(A, b"x")  # committed and acknowledged at A; the others have not heard of it
    for follower in (B, C):
        three[follower].core.commit = Index(three[A].core.commit - 1)
    three.cut = {A}
    node = three[B]
    for other in (B, C):
        three[other].core._elapsed = CONFIG.election_ticks_min
    before = age(node)
    node.tick_until(lambda: node.core.role.value != "follower")
    while not node.core.is_leader:
        for message in node.work():
            if message.to == C:
                for reply in three[C].hear(message):
                    node.core.step(reply)
    node.tick(BEAT)
    for message in only(node.work(), Heartbeat):  # answered, and its no-op is not committed
        if message.to == C:
            node.hear(*only(three[C].hear(message), HeartbeatReply))
    node.tick(BEAT)
    now = age(node)
    assert before is not None
    assert now is not None
    assert now >= before + 2 * BEAT
