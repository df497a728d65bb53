"""How a node comes to take part: what it decides from what it and the others say."""

from __future__ import annotations

import msgspec
import pytest

from felix.core.enrolment import Ask, Found, Leave, Newcomer, Settled, Wait, decide
from felix.proto.cluster import AddMember, UpdateMember
from felix.proto.ids import NodeId
from felix.proto.queries import ClusterStatus, MemberRole, MemberStatus
from felix.proto.raft import Addresses

HERE = Addresses(peers="a:1", rpc="a:2")
ME = Newcomer(
    id=NodeId("1" * 32),
    name="n1",
    addresses=HERE,
    level=1,
    cluster_id="c",
    is_founder=True,
    founders=("n1", "n2", "n3"),
)
JOINER = msgspec.structs.replace(ME, is_founder=False)


def member(number: int, role: MemberRole = "follower", name: str = "") -> MemberStatus:
    return MemberStatus(
        id=str(number) * 32,
        name=name or f"n{number}",
        role=role,
        addresses=msgspec.structs.asdict(HERE),
    )


def said_by(
    number: int, *members: MemberStatus, cluster_id: str = "c", removed: tuple[str, ...] = ()
) -> ClusterStatus:
    return ClusterStatus(
        cluster_id=cluster_id,
        node_id=str(number) * 32,
        leader_id=None,
        term=1,
        commit_index=5,
        applied_index=5,
        version=0,
        epoch=1,
        digest="",
        members=list(members),
        removed=list(removed),
    )


def alone(number: int, role: MemberRole = "founder", cluster_id: str = "c") -> ClusterStatus:
    """What a node says that no cluster has taken in."""
    return said_by(number, member(number, role), cluster_id=cluster_id)


CLUSTER = said_by(2, member(2, "leader"), member(3))


def test_all_founders_come_to_the_same_membership() -> None:
    mine = decide(ME, alone(1), {"n2": alone(2), "n3": alone(3)})
    other = msgspec.structs.replace(ME, id=NodeId("2" * 32), name="n2")
    theirs = decide(other, alone(2), {"n1": alone(1), "n3": alone(3)})
    assert isinstance(mine, Found)
    assert mine == theirs
    assert mine.membership.voters == tuple(NodeId(str(n) * 32) for n in (1, 2, 3))
    assert [one.name for one in mine.membership.members] == ["n1", "n2", "n3"]


def test_a_founder_waits_for_all_the_others() -> None:
    decision = decide(ME, alone(1), {"n2": alone(2)})
    assert isinstance(decision, Wait)
    assert "n3" in decision.why


def test_nothing_is_founded_with_a_node_that_has_set_data_aside() -> None:
    decision = decide(ME, alone(1), {"n2": alone(2), "n3": alone(3, "outsider")})
    assert isinstance(decision, Wait)


def test_a_node_that_may_not_found_waits() -> None:
    others = {"n2": alone(2), "n3": alone(3)}
    assert isinstance(decide(JOINER, alone(1, "outsider"), others), Wait)


def test_nothing_is_founded_where_there_is_a_cluster() -> None:
    decision = decide(ME, alone(1), {"n2": CLUSTER, "n3": alone(3)})
    assert isinstance(decision, Wait)
    assert "felix-admin cluster add n1" in decision.why


def test_one_that_lost_its_disk_asks_to_replace_its_former_self() -> None:
    with_namesake = said_by(2, member(2, "leader"), member(3), member(9, name="n1"))
    decision = decide(ME, alone(1), {"n2": with_namesake})
    assert decision == Ask(
        AddMember(member_id=ME.id, name="n1", addresses=HERE, level=1, replace=True)
    )


def test_one_that_was_taken_in_waits_for_the_log() -> None:
    with_me = said_by(2, member(1, "learner"), member(2, "leader"))
    assert isinstance(decide(ME, alone(1), {"n2": with_me}), Wait)


@pytest.mark.parametrize(
    ("mine", "others", "cause"),
    [
        (alone(1), {"n2": said_by(2, member(2), cluster_id="other")}, "foreign"),
        (
            alone(1),
            {"n2": alone(2, cluster_id="other"), "n3": alone(3)},
            "foreign",
        ),
        (alone(1), {"n2": said_by(2, member(2), removed=(ME.id,))}, "removed"),
        (said_by(1, member(2), removed=(ME.id,)), {}, "removed"),
    ],
)
def test_a_node_without_a_place_leaves(
    mine: ClusterStatus, others: dict[str, ClusterStatus], cause: str
) -> None:
    decision = decide(ME, mine, others)
    assert isinstance(decision, Leave)
    assert decision.cause == cause


def test_a_node_whose_build_is_below_the_level_of_the_cluster_leaves() -> None:
    newer = msgspec.structs.replace(CLUSTER, feature_level=2)
    decision = decide(JOINER, alone(1, "outsider"), {"n2": newer})
    assert isinstance(decision, Leave)
    assert decision.cause == "too_old"
    up_to_date = msgspec.structs.replace(JOINER, level=2)
    assert not isinstance(decide(up_to_date, alone(1, "outsider"), {"n2": newer}), Leave)


def test_a_member_under_its_present_address_is_settled() -> None:
    assert decide(ME, said_by(1, member(1), member(2)), {}) == Settled()


def test_a_member_that_has_moved_tells_the_cluster() -> None:
    there = Addresses(peers="b:1", rpc="b:2")
    moved = msgspec.structs.replace(ME, addresses=there)
    decision = decide(moved, said_by(1, member(1), member(2)), {})
    assert decision == Ask(UpdateMember(member_id=ME.id, addresses=there))


def test_a_learner_whose_log_ends_before_it_was_added_is_not_removed() -> None:
    mine = said_by(1, member(2), member(3))
    assert isinstance(decide(ME, mine, {}), Wait)
    with_me = said_by(2, member(1, "learner"), member(2, "leader"))
    assert isinstance(decide(ME, mine, {"n2": with_me}), Wait)


def test_one_that_was_taken_in_under_a_wrong_address_says_where_it_is() -> None:
    there = Addresses(peers="b:1", rpc="b:2")
    moved = msgspec.structs.replace(JOINER, addresses=there)
    with_me = said_by(2, member(1, "learner"), member(2, "leader"))
    decision = decide(moved, alone(1, "outsider"), {"n2": with_me})
    assert decision == Ask(UpdateMember(member_id=ME.id, addresses=there))


def test_a_node_whose_entry_was_cut_off_again_asks_again() -> None:
    mine = said_by(1, member(2), member(9, name="n1"))
    others = {"n2": said_by(2, member(2, "leader"), member(9, name="n1"))}
    decision = decide(ME, mine, others)
    assert isinstance(decision, Ask)
    assert isinstance(decision.operation, AddMember)
