"""Members that come, are promoted, leave and are replaced (dissertation, chapter 4)."""

from __future__ import annotations

import msgspec
import pytest

from felix.core.raft import membership as memberships
from felix.proto.cluster import AddMember, RemoveMember, UpdateMember
from felix.proto.errors import MembershipRefused, NotFound
from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import (
    Addresses,
    AppendEntries,
    Dismissal,
    Entry,
    EntryKind,
    Member,
    Membership,
    PreVote,
)
from tests.raft.group import CONFIG, A, B, C, D, E, Group, Node, only

QUICK = msgspec.structs.replace(CONFIG, promote_after_ticks=6)
HERE = Addresses(peers="127.0.0.1:1", rpc="127.0.0.1:2")


def named(*ids: NodeId) -> Membership:
    return Membership(ids, members=tuple(Member(one, f"node-{one}", HERE) for one in ids))


def founded(*ids: NodeId) -> Group:
    """A cluster of these, founded, with the first one leading."""
    made = Group(*(Node(one, (), QUICK) for one in ids))
    for node in made.nodes.values():
        node.core.found(named(*ids))
    made.settle()
    made.elect(ids[0])
    return made


def add(node_id: NodeId, name: str | None = None, *, replace: bool = False) -> AddMember:
    return AddMember(
        member_id=node_id, name=name or f"node-{node_id}", addresses=HERE, replace=replace
    )


def join(cluster: Group, node_id: NodeId) -> Node:
    node = cluster.nodes[node_id] = Node(node_id, (), QUICK)
    return node


def reason(refused: pytest.ExceptionInfo[MembershipRefused]) -> object:
    return refused.value.details["reason"]


def test_founders_write_the_same_first_entry_and_elect_a_leader() -> None:
    three = founded(A, B, C)
    assert {node.core.log.slice(Index(1), Index(1))[0] for node in three.nodes.values()} == {
        three[A].core.log.slice(Index(1), Index(1))[0]
    }
    assert three[B].core.membership == named(A, B, C)
    assert three[A].core.commit == 2


def test_a_founder_that_heard_from_a_leader_first_takes_its_log() -> None:
    three = Group(*(Node(one, (), QUICK) for one in (A, B, C)))
    for one in (A, B):
        three[one].core.found(named(A, B, C))
    three.settle()
    three.elect(A)
    three.tick(4)
    assert three[C].core.membership == named(A, B, C)
    three[C].core.found(named(A, B, C))
    three.settle()
    assert three[C].core.log.last_index == three[A].core.log.last_index


def test_a_node_without_a_membership_never_stands_for_election() -> None:
    alone = Node(A, ())
    alone.tick(500)
    assert alone.work() == []


def test_a_newcomer_gets_the_log_has_no_say_and_becomes_a_voter_once_it_keeps_up() -> None:
    four = founded(A, B, C)
    join(four, D)
    four[A].core.change_membership(add(D))
    four.settle()
    assert four[A].core.membership.learners == (D,)
    assert four[D].core.log.last_index == four[A].core.log.last_index
    four.tick(4)
    assert four[A].core.membership.learners == (D,), "promoted before it was stable"
    four.tick(10)
    assert four[D].core.membership.voters == (A, B, C, D)
    assert four[D].core.membership.learners == four[D].core.membership.outgoing == ()


def test_a_learner_is_not_counted() -> None:
    four = founded(A, B, C)
    join(four, D)
    four[A].core.change_membership(add(D))
    four.settle()
    four.cut = {B, C}
    before = four[A].core.commit
    four.propose(A, b"x")
    assert four[D].core.log.last_index == before + 1
    assert four[A].core.commit == before


def test_a_learner_that_is_not_heard_from_is_not_promoted() -> None:
    four = founded(A, B, C)
    join(four, D)
    four[A].core.change_membership(add(D))
    four.settle()
    four.cut = {D}
    four.tick(100)
    assert four[A].core.membership.learners == (D,)


@pytest.mark.parametrize("silent", [{A, B}, {D, E}])
def test_in_a_change_both_majorities_are_needed(silent: set[NodeId]) -> None:
    five = founded(C, D, E)
    for newcomer in (A, B):
        join(five, newcomer)
    joint = Membership((A, B, C), outgoing=(C, D, E))
    five.cut = silent
    core = five[C].core
    before = core.commit
    core._append([core._membership_entry(core.term, joint)])
    five.settle()
    assert core.commit == before, "committed by one majority alone"
    five.cut = set()
    five.tick(10)
    assert core.membership.voters == (A, B, C)
    assert not memberships.is_joint(core.membership)


def test_a_leader_finishes_the_change_that_another_began() -> None:
    five = founded(A, B, C)
    join(five, D)
    five[A].core.change_membership(add(D))
    five.settle()
    # The first half reaches B only, then A is gone for good.
    joint = memberships.promoting(five[A].core.membership, D)
    index = five[A].core._append([five[A].core._membership_entry(five[A].core.term, joint)])
    five.cut = {C, D}
    five.settle()
    assert five[B].core.log.last_index == index
    five.cut = {A}
    five.elect(B)
    five.tick(10)
    assert five[B].core.membership.voters == (A, B, C, D)
    assert not memberships.is_joint(five[B].core.membership)


def test_a_membership_that_was_cut_off_is_not_in_force_any_more() -> None:
    three = founded(A, B, C)
    three.cut = {A}
    three[A].core.change_membership(add(D))
    three.settle()
    assert three[A].core.membership.learners == (D,)
    three.elect(B)
    three.propose(B, b"x")
    three.cut = set()
    three.tick(30)
    assert three[A].core.membership == named(A, B, C)


def test_a_follower_leaves_and_is_told_when_it_stands_for_election() -> None:
    three = founded(A, B, C)
    three.cut = {C}
    three[A].core.change_membership(RemoveMember(member="node-C"))
    three.settle()
    assert three[A].core.membership.voters == (A, B)
    assert [one.id for one in three[A].core.membership.removed] == [C]
    three.cut = set()
    three.tick(40)
    assert three[C].core.dismissed_at == three[A].core._memberships.index
    assert three[A].core.is_leader
    assert three[A].core.term == three[C].core.term, "the removed node disturbed the others"


def test_one_that_was_removed_is_told_whatever_its_term() -> None:
    node = Node(A, (A, B, C), term=9)
    node.hear(Dismissal(B, A, Term(3), Index(7)))
    assert node.core.dismissed_at == 7


def test_the_leader_itself_can_leave_and_hands_over_at_once() -> None:
    three = founded(A, B, C)
    three[A].core.change_membership(RemoveMember(member="node-A"))
    three.settle()
    assert not three[A].core.is_leader
    assert three[A].core.dismissed_at is not None
    leaders = [node for node in three.nodes.values() if node.core.is_leader]
    assert len(leaders) == 1, "no election timeout was waited for"
    assert leaders[0].core.membership.voters == (B, C)


def test_a_dead_member_is_replaced_in_one_step() -> None:
    three = founded(A, B, C)
    three.cut = {C}
    three.tick(40)
    new = join(three, D)
    three[A].core.change_membership(add(D, "node-C", replace=True))
    three.settle()
    assert three[A].core.membership.members[-1].replaces == C
    sizes = set()
    for _ in range(20):
        three.tick()
        sizes.add(len(three[A].core.membership.voters))
    assert sizes == {3}, "there was a moment with another number of voters"
    assert new.core.membership.voters == (A, B, D)
    assert [one.id for one in new.core.membership.removed] == [C]


def test_who_is_replaced_stays_as_long_as_it_is_alive() -> None:
    three = founded(A, B, C)
    three.cut = {C}
    three.tick(40)
    join(three, D)
    three[A].core.change_membership(add(D, "node-C", replace=True))
    three.cut = set()
    three.tick(60)
    assert three[A].core.membership.voters == (A, B, C)


def test_a_second_change_is_refused_while_one_is_under_way() -> None:
    three = founded(A, B, C)
    three.cut = {B, C}
    three[A].core.change_membership(add(D))
    with pytest.raises(MembershipRefused) as refused:
        three[A].core.change_membership(add(E))
    assert reason(refused) == "change_under_way"


def test_a_change_before_the_leaders_no_op_is_refused() -> None:
    three = founded(A, B, C)
    three.cut = {A}
    node = three[B]
    for other in (B, C):
        three[other].core._elapsed = CONFIG.election_ticks_min
    node.tick_until(lambda: node.core.role.value != "follower")
    for _ in range(4):  # votes arrive, and the no-op does not leave
        for message in node.work():
            if message.to == C and not isinstance(message, AppendEntries):
                for reply in three[C].hear(message):
                    node.core.step(reply)
    assert node.core.is_leader
    with pytest.raises(MembershipRefused) as refused:
        node.core.change_membership(add(D))
    assert reason(refused) == "leader_is_new"


def test_a_change_that_leaves_fewer_healthy_voters_than_a_quorum_is_refused() -> None:
    three = founded(A, B, C)
    three.cut = {C}
    three.tick(40)
    with pytest.raises(MembershipRefused) as refused:
        three[A].core.change_membership(RemoveMember(member="node-B"))
    assert reason(refused) == "would_lose_quorum"
    three[A].core.change_membership(RemoveMember(member="node-C"))


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (add(D, "node-B"), "alive"),
        (add(D, "node-B", replace=True), "alive"),
        (add(B, "node-X"), "name_differs"),
        (UpdateMember(member_id=D, addresses=HERE), "no_member"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(
    command: AddMember | UpdateMember, why: str
) -> None:
    three = founded(A, B, C)
    with pytest.raises(MembershipRefused) as refused:
        three[A].core.change_membership(command)
    assert reason(refused) == why


@pytest.mark.parametrize(
    "address", ["", "node-b", "node-b:", ":1", "*:80", "http://b:1", "b:0", "b c:1"]
)
def test_what_is_no_address_never_gets_into_the_log(address: str) -> None:
    three = founded(A, B, C)
    before = three[A].core.log.last_index
    wrong = Addresses(peers=address, rpc="127.0.0.1:2")
    commands = (
        AddMember(member_id=D, name="node-D", addresses=wrong),
        UpdateMember(member_id=B, addresses=wrong),
    )
    for command in commands:
        with pytest.raises(MembershipRefused) as refused:
            three[A].core.change_membership(command)
        assert reason(refused) == "no_address"
    assert three[A].core.log.last_index == before


def test_a_dead_members_name_is_not_taken_by_accident() -> None:
    three = founded(A, B, C)
    three.cut = {C}
    three.tick(40)
    with pytest.raises(MembershipRefused) as refused:
        three[A].core.change_membership(add(D, "node-C"))
    assert reason(refused) == "name_taken"


def test_the_last_voter_stays() -> None:
    one = founded(A)
    with pytest.raises(MembershipRefused) as refused:
        one[A].core.change_membership(RemoveMember(member="node-A"))
    assert reason(refused) == "last_voter"


def test_who_is_not_there_cannot_be_removed() -> None:
    with pytest.raises(NotFound):
        founded(A)[A].core.change_membership(RemoveMember(member="node-B"))


def test_removing_twice_changes_nothing() -> None:
    three = founded(A, B, C)
    for word in (C, C, "node-C"):
        three[A].core.change_membership(RemoveMember(member=word))
        three.settle()
    assert three[A].core.membership.voters == (A, B)


def test_who_was_removed_is_never_taken_in_again() -> None:
    three = founded(A, B, C)
    three[A].core.change_membership(RemoveMember(member="node-C"))
    three.settle()
    with pytest.raises(MembershipRefused) as refused:
        three[A].core.change_membership(add(C))
    assert reason(refused) == "was_removed"


def test_asking_twice_changes_nothing() -> None:
    three = founded(A, B, C)
    assert three[A].core.change_membership(add(B)) is None
    assert three[A].core.change_membership(UpdateMember(member_id=B, addresses=HERE)) is None


def test_a_changed_address_is_an_entry_of_the_log() -> None:
    three = founded(A, B, C)
    there = Addresses(peers="10.0.0.9:1", rpc="10.0.0.9:2")
    three[A].core.change_membership(UpdateMember(member_id=B, addresses=there, level=2))
    three.settle()
    found = memberships.member(three[C].core.membership, B)
    assert found is not None
    assert (found.addresses, found.level) == (there, 2)


def test_a_learner_does_not_take_a_snapshot_older_than_itself_for_its_removal() -> None:
    three = founded(A, B, C)
    three.tick(2)
    three[A].take_snapshot(b"old")
    new = join(three, D)
    three[A].core.change_membership(add(D))
    three.tick(4)
    assert new.core.snapshot is not None
    assert memberships.member(new.core.snapshot.membership, D) is None
    assert new.core.dismissed_at is None
    assert new.core.membership.learners == (D,)


def test_a_snapshot_knows_the_membership_of_its_moment() -> None:
    three = founded(A, B, C)
    at = three[A].core.commit
    three.cut = {B, C}
    three[A].core.change_membership(add(D))
    three.settle()
    assert three[A].core.membership_at(at) == named(A, B, C)
    assert three[A].core.membership.learners == (D,)


def test_a_restarted_node_finds_the_membership_in_its_log() -> None:
    three = founded(A, B, C)
    three[A].core.change_membership(RemoveMember(member="node-C"))
    three.settle()
    three[B].restart()
    assert three[B].core.membership.voters == (A, B)


def test_a_removed_node_does_not_answer_for_a_membership_that_may_be_taken_back() -> None:
    three = founded(A, B, C)
    node = three[B]
    last = node.core.log.last_index
    removed = memberships.settled(memberships.removing(named(A, B, C), C))
    uncommitted = Entry(
        Index(last + 1), Term(1), EntryKind.MEMBERSHIP, msgspec.msgpack.encode(removed)
    )
    node.core._append([uncommitted])
    said = node.hear(PreVote(C, B, Term(9), Index(99), Term(9)))
    assert only(said, Dismissal) == []


def test_a_learner_that_was_removed_while_away_is_told_once_it_is_back() -> None:
    four = founded(A, B, C)
    join(four, D)
    four[A].core.change_membership(add(D))
    four.settle()
    four.cut = {D}
    four[A].core.change_membership(RemoveMember(member="node-D"))
    four.settle()
    four.cut = set()
    four.tick(40)
    assert four[D].core.dismissed_at is not None
    assert four[A].core.is_leader


def test_a_removed_leader_that_starts_again_with_its_old_volume_is_told() -> None:
    three = founded(A, B, C)
    three[A].core.change_membership(RemoveMember(member="node-A"))
    three.settle()
    three[A].restart()
    three.tick(60)
    assert three[A].core.dismissed_at is not None


def test_a_learner_cut_off_from_its_leader_never_stands_for_election() -> None:
    four = founded(A, B, C)
    join(four, D)
    four[A].core.change_membership(add(D))
    four.settle()
    four.cut = {A}
    for node in four.nodes.values():
        node.core._elapsed = CONFIG.election_ticks_min
    four[D].tick(CONFIG.election_ticks_max)
    said = four[D].work()
    assert only(said, PreVote)
    for message in said:
        for reply in four[message.to].hear(message):
            four[D].core.step(reply)
    assert four[D].core.term == four[B].core.term == four[A].core.term
    assert not four[D].core.is_leader


def test_a_new_leader_does_not_take_for_healthy_whom_it_has_not_heard_from() -> None:
    three = founded(A, B, C)
    three.cut = {A}
    three.elect(B)
    with pytest.raises(MembershipRefused) as refused:
        three[B].core.change_membership(RemoveMember(member="node-C"))
    assert reason(refused) == "would_lose_quorum"


def test_a_learner_whose_answers_take_longer_than_a_heartbeat_is_promoted() -> None:
    four = founded(A, B, C)
    join(four, D)
    four[A].core.change_membership(add(D))
    four.settle()
    four.tick(2)
    for _ in range(30):  # its answer comes two beats late, and every write a beat late
        four.cut = {D}
        four.propose(A, b"x")
        four.tick(2 * CONFIG.heartbeat_ticks)
        four.cut = set()
        four.tick(CONFIG.heartbeat_ticks)
        if D in four[A].core.membership.voters:
            return
    raise AssertionError("never promoted")


def test_a_leader_that_leaves_and_alone_knows_that_it_has_left_can_still_be_elected() -> None:
    two = founded(A, B)
    two[A].core.change_membership(RemoveMember(member="node-A"))
    while two[A].core.membership.outgoing or two[A].core.membership.voters != (B,):
        for node in two.nodes.values():
            for message in node.work():
                two[message.to].core.step(message)
    two.cut = {A}  # with an entry that says it has left, which B lacks and must have
    two.tick(2 * CONFIG.election_ticks_max)
    assert two[B].core.log.last_index < two[A].core.log.last_index
    two.cut = set()
    two.tick(3 * CONFIG.election_ticks_max)
    assert two[B].core.is_leader
    assert two[A].core.dismissed_at is not None
