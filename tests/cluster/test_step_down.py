"""`felix-controlplane step-down` on real nodes: what runs before a pod is stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from felix.proto.commands import UpdateTenant
from tests.rescue.commands import felix
from tests.support.cluster import TENANT, Cluster, RunningNode, cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    with cluster() as running:
        running.make_namespace()
        yield running


@pytest.fixture(autouse=True)
def all_up(three: Cluster) -> None:
    for node in three.nodes:
        if node.is_paused:
            node.resume()
    three.start()


def step_down(node: RunningNode, *options: object, code: int = 0) -> str:
    return felix("step-down", "--config", node.config_file, *options, code=code)


def test_a_leader_hands_over_and_the_new_one_takes_writes(three: Cluster) -> None:
    old = three.leader()
    said = step_down(old)
    new = three.leader()
    assert new is not old
    assert said == f"{new.name} leads\n"
    new.ask(UpdateTenant(tenant_id=TENANT, display_name="after the handover"))


def test_a_follower_is_left_alone_for_the_grace_and_so_is_the_leader(three: Cluster) -> None:
    leader = three.leader()
    begun = time.monotonic()
    said = step_down(three.others(leader)[0], "--grace-seconds", 1)
    assert time.monotonic() - begun >= 1
    assert said == f"{leader.name} leads\n"
    assert three.leader() is leader


def test_who_cannot_hand_over_says_so_in_time(three: Cluster) -> None:
    leader = three.leader()
    for other in three.others(leader):
        other.pause()
    # It leads for a moment still; by then it has noticed that nobody is there, and steps down.
    said = step_down(leader, "--timeout-seconds", 20)
    assert said == "this node does not lead\n"


def test_where_no_node_runs_there_is_nothing_to_hand_over(three: Cluster) -> None:
    node = three.others(three.leader())[0]
    node.terminate()
    assert node.wait() == 0
    assert step_down(node) == f"no node runs in {node.data_dir}\n"


def test_a_node_that_does_not_answer_is_not_waited_for_longer_than_said(three: Cluster) -> None:
    node = three.others(three.leader())[0]
    node.pause()
    assert "does not answer" in step_down(node, "--timeout-seconds", 1, code=5)


def test_the_only_voter_has_nobody_to_hand_over_to() -> None:
    with cluster(nodes=1) as one:
        said = step_down(one.nodes[0])
    assert "nobody to hand over to" in said
