"""How long ago a node last knew that its leader leads: the age of a stale read."""

from __future__ import annotations

from tests.raft.group import CONFIG, A, B, C, Node, group


def test_a_node_alone_is_never_stale() -> None:
    alone = group(A)
    alone.elect(A)
    alone.tick(7)
    assert alone[A].core.ticks_since_leader == 0


def test_a_node_without_a_leader_does_not_know_how_stale_it_is() -> None:
    assert Node(A, [A, B, C]).core.ticks_since_leader is None


def test_a_leader_counts_from_the_last_answer_of_a_quorum() -> None:
    three = group(A, B, C)
    three.elect(A)
    three.cut = {C}
    three.tick(3 * CONFIG.heartbeat_ticks)
    assert three[A].core.ticks_since_leader in range(CONFIG.heartbeat_ticks + 1)
    three.cut = {B, C}
    before = three[A].core.ticks_since_leader
    assert before is not None
    three.tick(3)
    assert three[A].core.ticks_since_leader == before + 3


def test_a_follower_counts_from_its_leaders_last_word() -> None:
    three = group(A, B, C)
    three.elect(A)
    three.tick(CONFIG.heartbeat_ticks)
    three.cut = {B}
    before = three[B].core.ticks_since_leader
    assert before is not None
    three.tick(4)
    assert three[B].core.ticks_since_leader == before + 4
