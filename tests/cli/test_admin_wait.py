"""Following a change of the cluster: what is said on the way, and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec
import pytest

from felix.cli.admin.errors import OutcomeUnknown, Refused, TimedOut, Unreachable
from felix.cli.admin.wait import Step, follow, joining, leaving, member_of, until_done
from felix.http.cluster_views import ClusterView, cluster_view
from felix.proto.cluster import AddMember, RemoveMember
from felix.proto.queries import ClusterStatus, GetCluster
from tests.support.local_cluster import LocalCluster, addresses_of, identity_of

NEW = identity_of("new")


class Scene:
    """A cluster, what was said about it, and looks that are scripted to come between."""

    def __init__(self, *between: ClusterView | Exception) -> None:
        self.cluster = LocalCluster("n1", "n2", "n3", learner_lag=900, catch_up=400)
        self.said: list[str] = []
        self._between = list(between)

    def view(self) -> ClusterView:
        status = self.cluster.ask(GetCluster()).result
        assert isinstance(status, ClusterStatus)
        return cluster_view(status)

    def look(self) -> ClusterView:
        if self._between:
            found = self._between.pop(0)
            if isinstance(found, Exception):
                raise found
            return found
        return self.view()

    def say(self, step: Step) -> None:
        self.said.append(step.stage)

    def follow(
        self, step_of: Callable[[ClusterView], Step], timeout_s: float = 60.0
    ) -> ClusterView:
        return follow(self.look, step_of, self.say, timeout_s=timeout_s, pause=lambda: None)

    def add(self, name: str = "n4", *, replace: bool = False) -> None:
        operation = AddMember(member_id=NEW, name=name, addresses=addresses_of(7), replace=replace)
        self.cluster.ask(operation)


def test_a_learner_catches_up_keeps_up_and_becomes_a_voter() -> None:
    scene = Scene()
    scene.add()
    view = scene.follow(partial(joining, member_id=NEW))
    assert scene.said == ["behind", "behind", "steady", "joint", "voter"]
    member = member_of(view, NEW)
    assert member is not None
    assert member.voter


def test_a_replacement_is_done_only_when_the_dead_one_has_left() -> None:
    scene = Scene()
    scene.cluster.kill("n3")
    scene.add("n3", replace=True)
    view = scene.follow(partial(joining, member_id=NEW))
    assert scene.said[-2:] == ["joint", "voter"]
    assert [one.id for one in view.members if one.name == "n3"] == [NEW]


def test_a_learner_that_is_taken_out_again_ends_the_waiting() -> None:
    scene = Scene()
    scene.add()
    scene.cluster.ask(RemoveMember(member=NEW))
    with pytest.raises(Refused, match="removed it again"):
        scene.follow(partial(joining, member_id=NEW))


def test_without_the_leaders_numbers_a_learner_is_just_one() -> None:
    scene = Scene()
    scene.add()
    scene.cluster.has_quorum = False
    assert joining(scene.view(), NEW).text == "n4 is a learner"


def test_one_that_leaves_has_left_when_the_others_agree() -> None:
    scene = Scene()
    before = scene.view()
    gone = before.members[1]
    scene.cluster.ask(RemoveMember(member="n2"))
    after = scene.view()
    half = msgspec.structs.replace(after, change_under_way=True)
    assert [leaving(view, gone).stage for view in (before, half, after)] == [
        "leaving",
        "joint",
        "left",
    ]
    assert [leaving(view, gone).is_last for view in (before, half, after)] == [False, False, True]


def test_silence_and_having_no_leader_are_waited_out() -> None:
    scene = Scene()
    nobody = msgspec.structs.replace(scene.view(), leader_id=None, members=[])
    scene = Scene(Unreachable("x"), OutcomeUnknown("x"), nobody)
    scene.add()
    scene.follow(partial(joining, member_id=NEW))
    assert scene.said[:4] == ["silence", "silence", "leaderless", "behind"]
    assert scene.said[-1] == "voter"


def test_a_node_that_is_behind_cannot_turn_back_what_was_seen() -> None:
    seen = Scene()
    seen.add()
    newer = seen.view()
    older = msgspec.structs.replace(newer, term=newer.term - 1, members=[])
    behind = msgspec.structs.replace(newer, commit_index=newer.commit_index - 1, members=[])
    scene = Scene(newer, older, behind)
    scene.add()
    scene.follow(partial(joining, member_id=NEW))
    assert scene.said[:3] == ["behind"] * 3
    with pytest.raises(Refused):
        Scene(msgspec.structs.replace(newer, members=[])).follow(partial(joining, member_id=NEW))


def test_waiting_ends_after_its_time_and_says_how_far_it_came() -> None:
    scene = Scene()
    scene.cluster = LocalCluster("n1", learner_lag=1234, catch_up=0)
    scene.add()
    with pytest.raises(TimedOut, match=r"within 0\.01 s.*n4 is 1,234 entries behind"):
        scene.follow(partial(joining, member_id=NEW), timeout_s=0.01)


def test_an_interrupted_wait_says_that_the_change_goes_on() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    scene = Scene()
    scene.add()
    with pytest.raises(TimedOut, match="goes on without this command: n4 is 500") as caught:
        until_done(
            lambda: joining(scene.view(), NEW),
            scene.say,
            timeout_s=60.0,
            look_at="felix-admin cluster status",
            pause=interrupted,
        )
    assert caught.value.hint == "see how far it is: felix-admin cluster status"
