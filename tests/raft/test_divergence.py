"""State machines that are not the same: a majority says who is wrong."""

from __future__ import annotations

import pytest

from felix.core.raft.divergence import Checkpoints, wrong_members
from felix.proto.ids import Index, NodeId
from felix.proto.raft import Checkpoint, Divergence, Membership
from tests.raft.group import A, B, C, D, Group, group, only

THREE = Membership((A, B, C), learners=(D,))


def checkpoint(index: int, digest: str) -> Checkpoint:
    return Checkpoint(Index(index), digest)


def own(*known: Checkpoint) -> Checkpoints:
    made = Checkpoints()
    for one in known:
        made.add(one)
    return made


@pytest.mark.parametrize(
    ("b", "c", "wrong"),
    [
        ("x", "x", set()),
        ("y", "x", {B}),
        ("x", "y", {C}),
        ("y", "y", {A}),
        ("y", "z", set()),
    ],
)
def test_who_contradicts_a_majority_is_wrong(b: str, c: str, wrong: set[NodeId]) -> None:
    told = {B: checkpoint(8, b), C: checkpoint(8, c)}
    assert wrong_members(THREE, told, A, own(checkpoint(8, "x"))).keys() == wrong


def test_only_the_same_index_is_compared() -> None:
    told = {B: checkpoint(8, "x"), C: checkpoint(16, "y")}
    known = own(checkpoint(8, "x"), checkpoint(16, "z"))
    assert wrong_members(THREE, told, A, known) == {}


def test_a_learner_can_be_wrong_and_has_no_say() -> None:
    told = {B: checkpoint(8, "x"), D: checkpoint(8, "y")}
    assert wrong_members(THREE, told, A, own(checkpoint(8, "x"))).keys() == {D}
    assert wrong_members(THREE, {D: checkpoint(8, "y")}, A, own(checkpoint(8, "x"))) == {}


def led_by_a(**digests: str) -> Group:
    three = group(A, B, C)
    three.elect(A)
    for name, digest in digests.items():
        three[NodeId(name)].core.checkpoints.add(checkpoint(1, digest))
    three.tick(6)
    return three


def test_a_follower_that_differs_is_told_and_sees_it_itself() -> None:
    three = led_by_a(A="x", B="y", C="x")
    assert three[B].core.diverged_at == checkpoint(1, "x")
    assert three[A].core.diverged_at is three[C].core.diverged_at is None


def test_a_leader_that_differs_finds_out() -> None:
    three = led_by_a(A="y", B="x", C="x")
    assert three[A].core.diverged_at == checkpoint(1, "x")
    assert only(three.said, Divergence) == []


def test_a_node_that_had_the_same_does_not_believe_that_it_differs() -> None:
    three = led_by_a(A="x", B="x", C="x")
    three[B].hear(Divergence(A, B, three[B].core.term, checkpoint(1, "x")))
    three[B].hear(Divergence(A, B, three[B].core.term, checkpoint(2, "z")))
    assert three[B].core.diverged_at is None


def test_what_a_snapshot_has_replaced_is_not_wrong_any_more() -> None:
    three = led_by_a(A="x", B="y", C="x")
    three.cut = {B}
    three.propose(A, b"1", b"2")
    for name in (A, C):
        three[name].take_snapshot(b"state")
    three.cut = set()
    three.tick(6)
    assert three[B].core.snapshot == three[A].core.snapshot
    assert three[B].core.diverged_at is None
